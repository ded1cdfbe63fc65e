"""Where agents come in: the stream that each holds open, and the votes and reports that it sends.

Every message passes the machine's own gate here first, so that a sender learns what is wrong with
it; the machine asks again, since what holds at the door may not hold any more when it is heard.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from starlette.requests import Request as HttpRequest
from starlette.types import ASGIApp, Receive, Scope, Send

from coordinator.api.arrivals import address_of, is_held, suspect, take_note, turn_twin_away
from coordinator.api.context import Context
from coordinator.api.leading import elsewhere
from coordinator.presence import Presence
from coordinator.registry import new_stream
from turnout.protocol.clock import MonotonicNs
from turnout.protocol.coordinator_state import Role
from turnout.protocol.errors import MalformedError
from turnout.protocol.events import FromAgent
from turnout.protocol.gate import Suspicion, admit_from_agent
from turnout.protocol.limits import MAX_REPORT_BYTES
from turnout.protocol.messages import Receipt, Report, Up
from turnout.protocol.wire import decode_up, encode
from turnout.runtime import problems
from turnout.runtime.http.channel import ClientGoneError
from turnout.runtime.http.lines import NDJSON, line
from turnout.runtime.http.streams import HeldResponse
from turnout.runtime.problems import Problem, ProblemError

CHALLENGE_PATH = "/v1/agent/challenge"

Handler = Callable[[Up, str], Awaitable[ASGIApp]]

# What happens in good order, to messages overtaken by a decision or a new leader.
_ORDINARY = frozenset({Suspicion.TERM, Suspicion.NOT_ASKED})

_PROBLEMS = {
    Suspicion.STRANGER: problems.UNKNOWN_AGENT,
    Suspicion.SIGNATURE: problems.BAD_SIGNATURE,
    Suspicion.INCARNATION: problems.STALE_TERM,
    Suspicion.TERM: problems.STALE_TERM,
    Suspicion.NOT_ASKED: problems.NOT_ASKED,
    Suspicion.JOURNAL: problems.NOT_ASKED,
}


class _LineResponse:
    """Answers with one line: a plain response without what only operators need."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it."""
        length = str(len(self._data)).encode()
        headers = [(b"content-type", NDJSON.encode()), (b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self._data})


class AgentDoor:
    """The addresses for agents, as an ASGI application.

    It stands before the framework that serves operators: a leader hears each of its agents two or
    three times in a switch, and routing and middleware would cost as much again as the rest.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._presence = Presence(context.registry, context.nursery, context.host.tell)
        self._handlers: dict[str, Handler] = {
            "/v1/agent/stream": self._open,
            "/v1/agent/reports": self._take,
        }

    def serves(self, scope: Scope) -> bool:
        """Whether a request is an agent's."""
        if scope["type"] != "http":
            return False
        return scope["path"] in self._handlers or scope["path"] == CHALLENGE_PATH

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request that it serves."""
        response = await self._answer(scope, receive)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        method = "GET" if scope["path"] == CHALLENGE_PATH else "POST"
        if scope["method"] != method:
            detail = f"Agents {method} here, not {scope['method']}."
            headers = {"allow": method}
            return problems.METHOD_NOT_ALLOWED.problem(detail).response(headers)
        if self._context.state.role is not Role.LEADING:
            return elsewhere(self._context, HttpRequest(scope))
        if scope["path"] == CHALLENGE_PATH:
            challenge = {"challenge": self._context.openings.challenge(self._now_ns())}
            return _LineResponse(line(json.dumps(challenge).encode()))
        try:
            address = address_of(scope)
            message = self._admitted(await _body(receive), address)
            return await self._handlers[scope["path"]](message, address)
        except ProblemError as error:
            return error.problem.response(error.headers)

    def _now_ns(self) -> MonotonicNs:
        return self._context.clock.now().monotonic_ns

    async def _open(self, report: Up, address: str) -> ASGIApp:
        """Open an agent's stream with its report; messages come down it from then on."""
        if not isinstance(report, Report):
            detail = "A stream is opened with a report, not with a vote."
            raise ProblemError(problems.INVALID_FIELD.problem(detail))
        context, stream = self._context, new_stream()
        if not context.openings.is_fresh(report, self._now_ns()):
            raise _replayed(report, context, "It answers no challenge of this leader's of now")
        held = is_held(context, report.agent)
        turn_twin_away(context, report, address, held=held)
        take_note(context, report, address, held=held)
        context.openings.opened(report)
        await self._presence.opened(report, stream)

        def on_end(_reason: str) -> None:
            if stream.evicted:
                context.metrics.stream_evicted()
            context.openings.closed(report)
            self._presence.ended(report.agent, stream)

        return HeldResponse(stream, on_end=on_end)

    async def _take(self, message: Up, _address: str) -> ASGIApp:
        """Take a vote or report, and answer with this leader's clocks."""
        if isinstance(message, Report):
            if not self._context.openings.follows(message):
                reason = "It, or a newer one, was heard before, or it is of another stream"
                raise _replayed(message, self._context, reason)
            self._context.twins.heard(message.agent)
        await self._context.host.tell(FromAgent(message=message))
        return _LineResponse(line(encode(_receipt(self._context, message))))

    def _admitted(self, body: bytes, address: str) -> Up:
        """The message in a body, if its sender may speak. Raises ProblemError."""
        context, config = self._context, self._context.config
        message = _decoded(body)
        suspicion = admit_from_agent(
            message, context.state, config.verifier, config.signer.public_key
        )
        if suspicion is None or suspicion is Suspicion.STORE_WENT_BACK:
            return message
        context.metrics.message_refused(suspicion)
        problem = _problem(suspicion, message, context)
        if suspicion not in _ORDINARY:
            suspect(context, message.agent, problem, address)
        raise ProblemError(problem)


async def _body(receive: Receive) -> bytes:
    """The whole body. Raises ProblemError for one over the limit, ClientGoneError for half of one."""
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError("the agent left in the middle of its message")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_REPORT_BYTES:
            detail = f"A vote or report may have {MAX_REPORT_BYTES} bytes."
            raise ProblemError(problems.TOO_LARGE.problem(detail))
    return bytes(body)


def _decoded(body: bytes) -> Up:
    try:
        return decode_up(body.removesuffix(b"\n"))
    except MalformedError as error:
        raise ProblemError(problems.INVALID_FIELD.problem(f"{error}.")) from error


def _problem(suspicion: Suspicion, message: Up, context: Context) -> Problem:
    state, agent = context.state, message.agent
    incarnation = state.known_incarnation
    details = {
        Suspicion.STRANGER: f"No agent '{agent}' is enrolled: see `turnout agents add`.",
        Suspicion.SIGNATURE: (
            f"The message is not signed by the key that '{agent}' is enrolled with: check its key "
            "file, or remove and enrol it again."
        ),
        Suspicion.INCARNATION: (
            "The message is of another incarnation than "
            f"{incarnation.number if incarnation else 'unknown'}, the domain's."
        ),
        Suspicion.TERM: f"The vote was given in another term than {state.term}, this leader's.",
        Suspicion.NOT_ASKED: (
            "The vote is on an epoch or table that is not being prepared, or by an agent that was "
            "not asked."
        ),
        Suspicion.JOURNAL: (
            f"'{agent}' votes under another journal than the registered one: it may have lost a "
            "promise, and has to catch up first."
        ),
    }
    return _PROBLEMS[suspicion].problem(details[suspicion], agents=[agent])


def _replayed(report: Report, context: Context, reason: str) -> ProblemError:
    context.metrics.message_refused(problems.REPLAYED.name)
    detail = f"This report of '{report.agent}' is not fresh. {reason}."
    return ProblemError(problems.REPLAYED.problem(detail, agents=[report.agent]))


def _receipt(context: Context, message: Up) -> Receipt:
    now = context.clock.now()
    return Receipt(
        term=context.state.term,
        replica=context.config.replica,
        echo_ns=message.sent_ns if isinstance(message, Report) else MonotonicNs(0),
        clock_ns=now.clock_ns,
        wall_ns=now.wall_ns,
        wall_bound_ns=now.wall_bound_ns,
    )
