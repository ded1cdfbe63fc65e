"""Near misses: a service that does not exist is answered with those that do."""

from __future__ import annotations

import difflib

import attrs

from turnout.cli.api_client import Api
from turnout.runtime.http.client_errors import CoordinatorError
from turnout.runtime.problems import UNKNOWN_SERVICE, ProblemError

_LISTED = 8


async def with_suggestion(api: Api, error: ProblemError, service: object) -> ProblemError:
    """The same error; if it is about an unknown service, with the names it may have meant."""
    if error.problem.type is not UNKNOWN_SERVICE or "did you mean" in error.problem.detail.lower():
        return error
    try:
        known = [str(one["service"]) for one in (await api.get("/v1/services"))["services"]]
    except (ProblemError, CoordinatorError, KeyError):
        return error
    said = error.problem.detail
    near = difflib.get_close_matches(str(service), known, n=1)
    if not near and known and all(name in said for name in known):
        return error  # the coordinator has listed them
    detail = f"{said} {suggestion(str(service), known)}"
    return ProblemError(attrs.evolve(error.problem, detail=detail))


def suggestion(wanted: str, known: list[str]) -> str:
    """A sentence with the nearest names, or with those there are."""
    near = difflib.get_close_matches(wanted, known, n=3)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    if not known:
        return "There are no services yet: bring the first with `turnout apply -f FILE`."
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    return f"There are: {', '.join(known[:_LISTED])}{more}."
