"""The operator API as the command uses it: patient, repeatable, and following over to a new leader.

    async with Api(urls, actor="ada", say=print) as api:
        reply = await api.post("/v1/switches", {...}, key=key)
        async with aclosing(api.follow(reply.body["epoch"])) as documents: ...

Everything that changes something carries an idempotency key, so that repeating it, to whichever
coordinator leads by then, is safe. Answers of type "nobody can answer at the moment" are asked
again until patience ends; every other problem is raised as ``ProblemError``, and so is that of a
store that went back, which an operator has to end.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode

import httpx
import trio
from attrs import frozen

from turnout.runtime.http.client import ClientTimeouts, Coordinators
from turnout.runtime.http.client_errors import (
    CoordinatorError,
    StreamBrokenError,
    UnreachableError,
)
from turnout.runtime.http.events import follow_events
from turnout.runtime.problems import (
    INTERNAL,
    STORE_WENT_BACK,
    ExitCode,
    Problem,
    ProblemError,
    parse_problem,
)

# Between two rounds over all coordinators: well below a failover, well above a busy loop.
_PAUSE_S = 0.2


@frozen(kw_only=True)
class Reply:
    """A coordinator's answer, not a problem."""

    status: int
    body: dict[str, Any]
    headers: Mapping[str, str]


@frozen(kw_only=True)
class Patience:
    """How long the command asks again before it gives up.

    ``away_s``: nobody answers a question. ``leaderless_s``: somebody answers that nobody leads or
    that the store has no quorum, or nobody takes a change: a failover ends that within F
    (DESIGN.md section 5).
    """

    away_s: float = 5.0
    leaderless_s: float = 20.0


class Api:
    """A client of one domain's operator API. Use it as a context."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        actor: str,
        say: Callable[[str], None],
        patience: Patience | None = None,
    ) -> None:
        self._coordinators = Coordinators(urls, timeouts=ClientTimeouts(connect_s=2.0))
        self._actor = actor
        self._say = say
        self._patience = patience or Patience()
        self.trouble = ""
        """Why a coordinator that answers cannot do what it is asked at the moment, as told last."""

    async def __aenter__(self) -> Self:
        """The client itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the client."""
        await self._coordinators.aclose()

    async def get(self, path: str, **query: str | int | None) -> dict[str, Any]:
        """The JSON at a path. Raises ProblemError, CoordinatorError."""
        return (await self._ask("GET", _target(path, query), None, {})).body

    async def post(self, path: str, body: Mapping[str, Any], *, key: str | None = None) -> Reply:
        """The answer to a request for a change. Raises ProblemError, CoordinatorError."""
        content = json.dumps(body).encode()
        headers = {
            "content-type": "application/json",
            "idempotency-key": key or new_key(),
        }
        return await self._ask("POST", path, content, headers)

    async def delete(self, path: str, **query: str | int | None) -> Reply:
        """The answer to a request for a removal. Raises ProblemError, CoordinatorError."""
        return await self._ask("DELETE", _target(path, query), None, {})

    async def switch(self, epoch: int) -> dict[str, Any]:
        """A switch as it stands."""
        return await self.get(f"/v1/switches/{epoch}")

    async def follow(
        self, epoch: int, *, until: str, patient: bool
    ) -> AsyncGenerator[dict[str, Any]]:
        """A switch at each of its changes, the first as it stands, over changes of leader.

        ``until`` (outcome, drained, released) tells the coordinator where to end; the caller
        stops by itself at the document it waited for. Whoever is not ``patient`` is told with a
        CoordinatorError that nobody answers the first time; afterwards it is tried for ever.
        """
        path = f"/v1/switches/{epoch}/events?{urlencode({'until': until})}"
        started, told = trio.current_time(), False

        def interrupted(error: CoordinatorError) -> None:
            nonlocal told
            if not patient and trio.current_time() - started > self._patience.leaderless_s:
                raise error
            # A stream that ends by itself says that there is nothing more to come yet.
            if not told and not isinstance(error, StreamBrokenError):
                told = True
                self._say(
                    f"{_clause(error)}; trying again for as long as it takes."
                    " A switch goes on regardless"
                )

        events = follow_events(
            self._coordinators, path, pause_s=_PAUSE_S, on_interruption=interrupted
        )
        async with aclosing(events):
            async for event in events:
                told, patient = False, True
                if event.event == "switch":
                    yield _object(event.data.encode(), path)

    async def _ask(
        self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]
    ) -> Reply:
        started, told = trio.current_time(), False
        while True:
            trouble: ProblemError | CoordinatorError
            try:
                response = await self._coordinators.request(
                    method, path, body=content, headers={"x-turnout-actor": self._actor, **headers}
                )
                return _reply(response, path)
            except ProblemError as error:
                kind = error.problem.type
                if kind.exit_code is not ExitCode.UNREACHABLE or kind is STORE_WENT_BACK:
                    raise
                self.trouble = _clause(error)
                trouble, limit_s = error, self._patience.leaderless_s
            except (UnreachableError, StreamBrokenError) as error:
                # A follower that points to a leader which has just died looks like this too, so
                # a change is given the time of a failover.
                changes = method != "GET"
                limit_s = self._patience.leaderless_s if changes else self._patience.away_s
                trouble = error
            left_s = started + limit_s - trio.current_time()
            if left_s < _PAUSE_S:
                raise trouble
            if not told:
                left_s = min(left_s, trio.current_effective_deadline() - trio.current_time())
                self._say(f"{_clause(trouble)}; trying again for {left_s:.1f} s")
                told = True
            await trio.sleep(_PAUSE_S)


def new_key() -> str:
    """A fresh idempotency key."""
    return secrets.token_hex(8)


def segment(name: str) -> str:
    """A name as one segment of a path."""
    return quote(name, safe="")


def _clause(error: Exception) -> str:
    """An error's text as the beginning of a sentence; a problem's detail is a whole one."""
    return str(error).removesuffix(".")


def _target(path: str, query: Mapping[str, str | int | None]) -> str:
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def _reply(response: httpx.Response, path: str) -> Reply:
    if not response.is_success:
        raise ProblemError(parse_problem(response.status_code, response.content))
    body = _object(response.content, path) if response.content else {}
    return Reply(status=response.status_code, body=body, headers=dict(response.headers))


def _object(content: bytes, path: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ProblemError(_strange(path))
    return value


def _strange(path: str) -> Problem:
    return INTERNAL.problem(
        f"The answer to {path} is not a JSON object: is that address a coordinator of Turnout?"
    )
