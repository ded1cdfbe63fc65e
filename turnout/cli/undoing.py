"""Which epoch a rollback undoes, made certain before it is asked for.

A rollback names what it undoes (DESIGN.md section 5, H10 of the specification). Sent without a
number, "the service's last change" would be another one after the first answer got lost: first
switch 8, which is undecided and so is aborted; then, when the command is repeated, 7. So the
number is looked up once, said, and sent. It is that of the service's newest switch, whatever
became of it, and a rollback stands for what it undid: whoever presses the button again asks for
the same again, and it is the coordinator that answers, and writes down, that it is done already.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from turnout.cli.api_client import Api
from turnout.cli.exit_codes import CommandError
from turnout.cli.requests import ChangeRequest
from turnout.cli.suggestions import with_suggestion
from turnout.cli.switch_view import SwitchView, view_of
from turnout.cli.terminal import say
from turnout.runtime.problems import NOTHING_TO_UNDO, ExitCode, ProblemError

# The newest few are all it takes nearly always; beyond the most that is listed, it is named.
_LOOKS = (20, 200)


async def with_undo(api: Api, request: ChangeRequest) -> ChangeRequest:
    """The same rollback, with the number of the epoch that it undoes.

    Raises ProblemError, CoordinatorError, CommandError.
    """
    if request.undo is not None:
        return request
    service = str(request.body["service"])
    try:
        newest = await _newest_switch(api, request, service)
    except ProblemError as error:
        raise await with_suggestion(api, error, service) from error
    committed = None
    if newest.phase == "aborted":
        committed = await _newest_committed(api, request, service)
    say(_described(newest, committed))
    return _naming(request, undone_by(newest))


def undone_by(newest: SwitchView) -> int:
    """The epoch that pressing the button means after this switch. Raises CommandError."""
    if newest.kind != "rollback":
        return newest.epoch
    if newest.requested.undo is None:
        raise CommandError(
            f"Epoch {newest.epoch} is a rollback already."
            f" To undo that rollback itself, name it: --undo {newest.epoch}",
            ExitCode.REFUSED,
        )
    return newest.requested.undo


def _described(newest: SwitchView, committed: SwitchView | None) -> str:
    by = f", asked for by {newest.requested.actor}" if newest.requested.actor else ""
    what = f"epoch {newest.epoch}, {newest.title}{by}"
    older = "To undo an older one, name it with --undo EPOCH (turnout history)."
    if newest.kind == "rollback":
        again = f"To undo that rollback itself: --undo {newest.epoch}."
        return f"The last change is {what}. This asks for the same again. {again}"
    if newest.phase == "aborted":
        if committed is not None:
            older = f"To undo the one before, {committed.title}: --undo {committed.epoch}."
        return f"The last switch is {what}: it was aborted. {older}"
    return f"This undoes {what}."


async def _newest_switch(api: Api, request: ChangeRequest, service: str) -> SwitchView:
    for limit in _LOOKS:
        documents = (await api.get("/v1/switches", limit=limit))["switches"]
        found = await _newest_among(api, request, service, list(map(view_of, documents)))
        if found is not None:
            return found
        if len(documents) < limit:
            break
    # The coordinator knows why there is nothing: no such service, or only the first table.
    await api.post(request.path, {**request.body, "dry_run": True})
    raise CommandError(
        f"The last change of '{service}' lies more than {_LOOKS[-1]} epochs back:"
        " name the epoch to undo with --undo EPOCH (turnout history).",
        ExitCode.REFUSED,
    )


async def _newest_committed(api: Api, request: ChangeRequest, service: str) -> SwitchView | None:
    """The newest of the service that was not aborted, among the newest few."""
    documents = (await api.get("/v1/switches", limit=_LOOKS[0]))["switches"]
    switches = [one for one in map(view_of, documents) if one.phase != "aborted"]
    return await _newest_among(api, request, service, switches)


async def _newest_among(
    api: Api, request: ChangeRequest, service: str, newest_first: Sequence[SwitchView]
) -> SwitchView | None:
    for switch in newest_first:
        if switch.service == service:
            return switch
        concerns_all = switch.service is None and switch.phase != "aborted"
        if concerns_all and await _concerns(api, request, switch):
            return switch
    return None


async def _concerns(api: Api, request: ChangeRequest, switch: SwitchView) -> bool:
    """Whether a change of the whole table changes this service: its undoing is tried, dry."""
    if switch.phase == "preparing":
        return True
    rehearsal = _naming(request, undone_by(switch)).body | {"dry_run": True}
    try:
        await api.post(request.path, rehearsal)
    except ProblemError as error:
        # Any other refusal speaks of a change; the rollback itself gets it as its answer.
        return error.problem.type is not NOTHING_TO_UNDO
    return True


def _naming(request: ChangeRequest, undo: int) -> ChangeRequest:
    return evolve(request, body={**request.body, "undo": undo})
