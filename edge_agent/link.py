"""The agent's connection, carried out: one held stream down, short POSTs up (DESIGN.md section 3).

``turnout.protocol.session`` decides whom to try and when to give up; this opens and closes what it
says and tells what came of it. One connection at a time: the link asks for a challenge, opens a stream
with a report that repeats it, reads lines from the stream, and posts votes and reports to the replica
at its other end. Each report repeats the challenge, so that no recorded one is ever taken for it (S10).

Votes do not wait behind reports, but reports behind votes: for one more connection a leader far away is
known to be live half a second later. Reports keep their order, and of those that wait only the newest is
sent: each says all there is to say, and dates itself when it leaves, since a wait is no distance. Whatever
is lost with a connection is said again at the next
one, so nothing is ever repeated here.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import httpx
import structlog
import trio

from turnout.protocol.clock import SECOND
from turnout.protocol.errors import MalformedError
from turnout.protocol.events import AgentEvent, FromLeader, LinkUp
from turnout.protocol.limits import Timing
from turnout.protocol.messages import Receipt, Report, Up, Vote
from turnout.protocol.session import (
    Announce,
    Connect,
    Connected,
    Disconnect,
    Disconnected,
    Proven,
    Redirected,
    SessionEffect,
    SessionEvent,
)
from turnout.protocol.signing import Signer, signed
from turnout.protocol.wire import decode_down, encode
from turnout.runtime.host import Clock
from turnout.runtime.http.answers import lines_of, reason_of, whole
from turnout.runtime.http.client_errors import StreamBrokenError
from turnout.runtime.http.joined import JoiningTransport
from turnout.runtime.http.lines import NDJSON
from turnout.runtime.problems import Problem, parse_problem
from turnout.runtime.tls import trusting_nobody

CHALLENGE_PATH = "/v1/agent/challenge"
STREAM_PATH = "/v1/agent/stream"
REPORTS_PATH = "/v1/agent/reports"

_VOTES_WAITING = 16
_MAX_CHALLENGE = 128
_MAX_SAID = 64
"""What replicas said last, for the log: five of them say little, but a redirect may name any address."""

_REDIRECTS = frozenset({307, 308})

# Lines must come as they are written, not in compressed blocks.
_HEADERS = {"content-type": NDJSON, "accept-encoding": "identity", "user-agent": "turnout-agent"}

_log = structlog.get_logger(__name__)


class _Refused(Exception):  # noqa: N818 - the answer was a no
    """The replica answered with a problem; the text is what it says."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.type.title}: {problem.detail}")
        self.problem = problem


class _Moved(Exception):  # noqa: N818 - news, not a fault
    """The replica says who leads; the text is the address."""


_CONNECTION_ENDS = (
    httpx.HTTPError,
    httpx.InvalidURL,
    StreamBrokenError,
    MalformedError,
    _Refused,
)


class Link:
    """The handler of a session's host: carries out ``Connect``, ``Disconnect`` and ``Announce``.

    ``opening`` makes the report that a stream is opened with. ``tell_session`` and ``tell_agent``
    queue events for the two machines. ``turned_away`` is told the problem type of every refusal.

    An agent that is refused comes back every second, to one replica after another: what a replica
    says is logged when it says something else than before, or had meanwhile taken the agent.
    """

    def __init__(
        self,
        *,
        signer: Signer,
        timing: Timing,
        opening: Callable[[], Report],
        tell_session: Callable[[SessionEvent], Awaitable[None]],
        tell_agent: Callable[[AgentEvent], Awaitable[None]],
        turned_away: Callable[[str], None],
        clock: Clock,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.signer = signer
        self.opening = opening
        self.tell_session = tell_session
        self.tell_agent = tell_agent
        self.turned_away = turned_away
        self.clock = clock
        self.patience_s = timing.silence_ns / SECOND
        self.transport = JoiningTransport(ssl_context or trusting_nobody())
        self.client = httpx.AsyncClient(
            transport=self.transport,
            trust_env=False,
            follow_redirects=False,
        )
        self._nursery: trio.Nursery | None = None
        self._connection: _Connection | None = None
        self._said: dict[tuple[str, str], str] = {}
        self.trouble = ""
        """Why the newest try at a stream came to nothing, or the last stream ended."""

    async def run(self) -> None:
        """Keep what is open until cancelled."""
        async with self.client, trio.open_nursery() as nursery:
            self._nursery = nursery
            await trio.sleep_forever()

    def taken(self, url: str) -> None:
        """A replica took the agent: what it says next is news again."""
        self._said = {about: said for about, said in self._said.items() if about[0] != url}

    def ended(self, url: str, reason: str) -> None:
        """Say why there is no stream to a replica."""
        self.trouble = reason
        if self._is_news((url, "stream"), reason):
            _log.warning("no stream to a coordinator", reason=reason)

    def refused(self, url: str, kind: str, problem: Problem) -> None:
        """Say that the leader would not have a message, and why."""
        self.turned_away(problem.type.name)
        if self._is_news((url, kind), problem.type.name):
            _log.warning("not taken by the leader", message=kind, reason=problem.detail)

    def _is_news(self, about: tuple[str, str], said: str) -> bool:
        is_news = self._said.pop(about, None) != said
        self._said[about] = said
        if len(self._said) > _MAX_SAID:
            del self._said[next(iter(self._said))]
        return is_news

    async def carry_out(self, effect: SessionEffect) -> None:
        """Start what the session asks for."""
        match effect:
            case Connect():
                self._connect(effect)
            case Disconnect():
                self._close()
            case Announce():
                await self.tell_agent(effect.event)
                if isinstance(effect.event, LinkUp) and self._connection is not None:
                    self._connection.announced.set()

    async def failed(self, reason: str, undone: tuple[SessionEffect, ...]) -> SessionEvent:
        """A session asks for nothing durable."""
        raise AssertionError(f"nothing here fails durably: {reason} {undone}")

    def send(self, message: Up) -> None:
        """Sign a vote or report and send it, if a stream is open; else drop it."""
        if self._connection is not None:
            self._connection.send(message)

    @property
    def url(self) -> str:
        """The replica that is, or is being, talked to; empty for none."""
        return self._connection.url if self._connection else ""

    def _connect(self, wanted: Connect) -> None:
        assert self._nursery is not None, "run() was started before the session was told anything"
        self._close()
        self._connection = _Connection(self, wanted)
        self._nursery.start_soon(self._connection.run)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.scope.cancel()
            self._connection = None


class _Connection:
    """One try at one replica, and all that comes of it. Ends with one word to the session."""

    def __init__(self, link: Link, wanted: Connect) -> None:
        self.url = wanted.url
        self.scope = trio.CancelScope()
        self.announced = trio.Event()
        """Set once the agent was told that a link is up: what it answers before would be dropped."""
        self._number = wanted.link
        self._challenge = ""
        self._link = link
        self._votes, self._votes_waiting = trio.open_memory_channel[Vote](_VOTES_WAITING)
        self._report: Report | None = None
        self._report_waits = trio.Event()
        self._votes_are_out = trio.Event()
        self._votes_are_out.set()

    def send(self, message: Up) -> None:
        if isinstance(message, Report):
            self._report = message
            self._report_waits.set()
            return
        try:
            self._votes.send_nowait(message)
        except trio.WouldBlock:
            _log.warning("a vote is dropped: the coordinator takes none", url=self.url)

    async def run(self) -> None:
        """Open the stream and serve it until it ends."""
        with self.scope:
            end: Redirected | Disconnected
            try:
                await self._open()
                end = self._over("the coordinator ended the stream")
            except* _Moved as moved:
                end = Redirected(link=self._number, url=str(_first(moved)))
            except* _CONNECTION_ENDS as errors:
                first = _first(errors)
                end = self._over(reason_of(first))
                if isinstance(first, _Refused):
                    self._link.turned_away(first.problem.type.name)
            if isinstance(end, Disconnected):
                self._link.ended(self.url, end.reason)
            await self._link.tell_session(end)

    def _over(self, reason: str) -> Disconnected:
        return Disconnected(link=self._number, reason=f"{self.url}: {reason}")

    async def _open(self) -> None:
        answer = await self._request("GET", CHALLENGE_PATH)
        await _check(answer)
        self._challenge = _challenge_in(answer.content)
        opening = self._encoded(self._link.opening())
        response = await self._request("POST", STREAM_PATH, opening, stream=True)
        try:
            await _check(response)
            self._link.taken(self.url)
            await self._link.tell_session(Connected(link=self._number))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_votes)
                nursery.start_soon(self._send_reports)
                await self.announced.wait()
                await self._listen(response)
        finally:
            await response.aclose()

    async def _listen(self, response: httpx.Response) -> None:
        """Pass on each message; raises when the stream is over."""
        async with aclosing(lines_of(response)) as lines:
            async for line in lines:
                message = decode_down(line)
                await self._link.tell_session(Proven(link=self._number))
                await self._link.tell_agent(FromLeader(message=message))

    async def _send_votes(self) -> None:
        async for vote in self._votes_waiting:
            self._votes_are_out = trio.Event()
            await self._post(vote)
            self._votes_are_out.set()

    async def _send_reports(self) -> None:
        while True:
            await self._report_waits.wait()
            await self._votes_are_out.wait()
            self._report_waits = trio.Event()
            report, self._report = self._report, None
            dialled = self._link.transport.dialled
            receipt = await self._post(report) if report is not None else None
            # With a handshake in it, an exchange would pass for a round trip three times as long.
            if receipt is not None and self._link.transport.dialled == dialled:
                await self._link.tell_agent(FromLeader(message=receipt))

    def _encoded(self, message: Up) -> bytes:
        """A message as it goes out: a report tells its stream, and all are signed."""
        signer = self._link.signer
        if isinstance(message, Report):
            sent_ns = self._link.clock.now().monotonic_ns
            return encode(signed(message, signer, challenge=self._challenge, sent_ns=sent_ns))
        return encode(signed(message, signer))

    async def _request(
        self, method: str, path: str, body: bytes = b"", *, stream: bool = False
    ) -> httpx.Response:
        """The answer; a stream's may be silent for as long as the session bears it."""
        patience_s = self._link.patience_s
        timeout = httpx.Timeout(patience_s, read=None if stream else patience_s)
        request = httpx.Request(
            method,
            self.url + path,
            headers=_HEADERS,
            content=body or None,
            extensions={"timeout": timeout.as_dict()},
        )
        if body:
            request.stream = _Body(body)
        return await self._link.client.send(request, stream=stream)

    async def _post(self, message: Up) -> Receipt | None:
        """Send one message; None where it was refused: the stream stays all the same."""
        answer = await self._request("POST", REPORTS_PATH, self._encoded(message))
        if answer.is_client_error:
            problem = parse_problem(answer.status_code, answer.content)
            self._link.refused(self.url, type(message).__name__, problem)
            return None
        await _check(answer)
        receipt = decode_down(answer.content.rstrip(b"\n"))
        if not isinstance(receipt, Receipt):
            raise MalformedError(f"a report was answered with a {type(receipt).__name__}")
        return receipt


class _Body(httpx.AsyncByteStream):
    """A body in one piece. httpx's own is a generator, which a cancelled request leaves half read."""

    def __init__(self, body: bytes) -> None:
        self._pieces = [body]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._pieces:
            raise StopAsyncIteration
        return self._pieces.pop()


def _challenge_in(content: bytes) -> str:
    """The challenge that a leader gave. Raises MalformedError."""
    try:
        challenge = json.loads(content)["challenge"]
    except (ValueError, RecursionError, LookupError, TypeError) as error:
        raise MalformedError("a challenge was asked for, and none was given") from error
    if not isinstance(challenge, str) or len(challenge) > _MAX_CHALLENGE:
        raise MalformedError(f"a challenge is a text of at most {_MAX_CHALLENGE} characters")
    return challenge


async def _check(response: httpx.Response) -> None:
    """Raise _Moved, _Refused or StreamBrokenError unless the answer is a good one."""
    if response.is_success:
        return
    target = response.request.url.join(response.headers.get("location", ""))
    # Never from https to http, which would bare the report.
    if response.status_code in _REDIRECTS and target.scheme == response.request.url.scheme:
        raise _Moved(f"{target.scheme}://{target.netloc.decode('ascii')}")
    answer = await whole(response)
    problem = parse_problem(answer.status_code, answer.content)
    raise _Refused(problem)


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    """One of the exceptions in a group of groups."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
