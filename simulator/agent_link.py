"""An agent's connection, modelled: what ``edge_agent/link.py`` does, over the modelled network.

One try at one replica at a time: a connection on which a challenge is asked for and the stream is
opened, and another (rarely a third) for what is posted, kept for a minute as the real one's pool
does. A vote does not wait for the answer to a report; if none of the kept connections is free it
dials, and pays the handshake. Nothing is repeated here: what is lost is said again at the next connect.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from simulator.door import Answer, Challenge, Door, Moved, TurnedAway
from simulator.network import Connection, Network
from simulator.process import Process
from simulator.signers import CheapSigner
from simulator.virtual_time import Appointment
from turnout.protocol.clock import SECOND
from turnout.protocol.events import FromLeader
from turnout.protocol.limits import Timing
from turnout.protocol.messages import Receipt, Report, Up, Vote
from turnout.protocol.session import (
    Connect,
    Connected,
    Disconnected,
    Proven,
    Redirected,
    SessionEvent,
)
from turnout.protocol.signing import signed

HANDSHAKE_ROUND_TRIPS = 2
"""TCP takes one, TLS 1.3 another (RFC 8446)."""

KEPT_NS = 60 * SECOND
"""An idle connection for posts is kept so long (``turnout.runtime.http.joined.KEPT_S``)."""


class Owner(Protocol):
    """The agent whose link it is."""

    @property
    def process(self) -> Process:
        """Where it runs."""

    def opening(self) -> Report:
        """What a stream is opened with: how things stand on the disk."""

    def tell_session(self, event: SessionEvent) -> None:
        """Something has become of the connection."""

    def hear(self, heard: FromLeader) -> None:
        """A leader has said something."""

    def said(self, message: Up, replica: Process) -> Callable[[], None]:
        """A message leaves; returns what to call when it arrives."""


class AgentLink:
    """Opens and closes what the session says."""

    def __init__(
        self,
        owner: Owner,
        network: Network,
        doors: Callable[[str], Door | None],
        signer: CheapSigner,
        timing: Timing,
    ) -> None:
        self.owner = owner
        self.network = network
        self.signer = signer
        self.patience_ns = timing.silence_ns
        self._doors = doors
        self._try: _Try | None = None

    def connect(self, wanted: Connect) -> None:
        """Try this replica, and no other any more."""
        self.close()
        door = self._doors(wanted.url)
        if door is None:
            reason = f"nobody is known at {wanted.url}"
            self.owner.tell_session(Disconnected(link=wanted.link, reason=reason))
            return
        self._try = _Try(self, door, wanted.link)
        self._try.begin()

    def close(self) -> None:
        """Hang up."""
        if self._try is not None:
            self._try.close()
            self._try = None

    def send(self, message: Up) -> None:
        """Sign a vote or report and send it, if a stream is open; else drop it."""
        if self._try is not None:
            self._try.send(message)


class _Try:
    """One try at one replica, and all that comes of it."""

    def __init__(self, link: AgentLink, door: Door, number: int) -> None:
        self._link = link
        self._door = door
        self._replica = door.process
        self._number = number
        self._proof = Proven(link=number)
        self._me = link.owner.process
        self._challenge = ""
        self._is_over = False
        self._stream: Connection | None = None
        self._posts = _Posts(link.network, self._me, door.process, self._broke)
        self._votes: deque[Vote] = deque()
        self._report: Report | None = None
        self._is_voting = self._is_reporting = False
        self._waits: list[Appointment] = []

    def begin(self) -> None:
        self._stream = self._link.network.dial(
            self._me,
            self._replica,
            round_trips=HANDSHAKE_ROUND_TRIPS,
            opened=self._dialled,
            ended=self._broke,
        )

    def close(self) -> None:
        self._is_over = True
        if self._stream is not None:
            self._stream.close(self._me)
        self._posts.close()
        for wait in self._waits:
            wait.cancel()

    def _broke(self, reason: str) -> None:
        self._end(Disconnected(link=self._number, reason=f"{self._replica.name}: {reason}"))

    def _end(self, end: Redirected | Disconnected) -> None:
        if not self._is_over:
            self.close()
            self._link.owner.tell_session(end)

    def _answered_badly(self, answer: Answer) -> None:
        if isinstance(answer, Moved):
            self._end(Redirected(link=self._number, url=answer.url))
        elif isinstance(answer, TurnedAway):
            self._broke(answer.reason)

    # ---------------------------------------------------------------- the stream

    def _dialled(self, stream: Connection) -> None:
        stream.send(self._me, lambda: self._at_door_challenge(stream))

    def _at_door_challenge(self, stream: Connection) -> None:
        answer = self._door.challenge()
        stream.send(self._replica, lambda: self._challenged(stream, answer))

    def _challenged(self, stream: Connection, answer: Answer) -> None:
        if not isinstance(answer, Challenge):
            self._answered_badly(answer)
            return
        self._challenge = answer.text
        opening = self._signed(self._link.owner.opening())
        assert isinstance(opening, Report)
        arrived = self._link.owner.said(opening, self._replica)
        stream.send(self._me, lambda: self._at_door_open(stream, opening, arrived))

    def _at_door_open(
        self, stream: Connection, opening: Report, arrived: Callable[[], None]
    ) -> None:
        arrived()
        opened = self._door.open(opening, stream, partial(self._down, stream))
        if callable(opened):
            stream.send(self._replica, self._opened)
            opened()
        else:
            stream.send(self._replica, lambda: self._answered_badly(opened))

    def _opened(self) -> None:
        self._link.owner.tell_session(Connected(link=self._number))

    def _down(self, stream: Connection, heard: FromLeader, arrived: Callable[[], None]) -> None:
        """The leader sends something along the stream."""
        stream.send(self._replica, partial(self._heard, heard, arrived))

    def _heard(self, heard: FromLeader, arrived: Callable[[], None]) -> None:
        if not self._is_over:
            arrived()
            owner = self._link.owner
            owner.tell_session(self._proof)
            owner.hear(heard)

    # ---------------------------------------------------------------- what is posted

    def send(self, message: Up) -> None:
        if isinstance(message, Report):
            self._report = message
        else:
            self._votes.append(message)
        self._post_next()

    def _post_next(self) -> None:
        if self._votes and not self._is_voting:
            self._is_voting = True
            self._post(self._votes.popleft())
        if self._report is not None and not self._is_reporting and not self._is_voting:
            report, self._report = self._report, None
            self._is_reporting = True
            self._post(report)

    def _post(self, message: Up) -> None:
        message = self._signed(message)
        wait = self._me.after(
            self._link.patience_ns, lambda: self._broke("no answer to what was posted")
        )
        self._waits = [other for other in self._waits if other.act is not None]
        self._waits.append(wait)
        self._posts.take(partial(self._send, message, wait))

    def _send(
        self, message: Up, wait: Appointment, connection: Connection, *, has_dialled: bool
    ) -> None:
        arrived = self._link.owner.said(message, self._replica)

        def at_door() -> None:
            arrived()
            answer = self._door.take(message)
            connection.send(
                self._replica,
                lambda: self._posted(connection, message, answer, wait, has_dialled),
            )

        connection.send(self._me, at_door, repeatable=True)

    def _posted(
        self,
        connection: Connection,
        message: Up,
        answer: Answer,
        wait: Appointment,
        has_dialled: bool,
    ) -> None:
        """An answer has come; an exchange with a handshake in it says nothing of the clocks."""
        if self._is_over or wait.act is None:
            return
        wait.cancel()
        self._posts.give_back(connection)
        if isinstance(message, Report):
            self._is_reporting = False
        else:
            self._is_voting = False
        if isinstance(answer, Receipt):
            if isinstance(message, Report) and not has_dialled:
                self._link.owner.hear(FromLeader(message=answer))
        elif not isinstance(answer, TurnedAway) or answer.is_fatal:
            self._answered_badly(answer)
            return
        self._post_next()

    def _signed(self, message: Up) -> Up:
        """A message as it goes out: a report tells its stream, and all are signed."""
        if isinstance(message, Report):
            now_ns = self._me.now().monotonic_ns
            return signed(message, self._link.signer, challenge=self._challenge, sent_ns=now_ns)
        return signed(message, self._link.signer)


class Use(Protocol):
    """Posts something on a connection, which had to be dialled for it or not."""

    def __call__(self, connection: Connection, *, has_dialled: bool) -> None:
        """It is open now."""


class _Posts:
    """The connections for what is posted to one replica: those that are free, and since when."""

    def __init__(
        self, network: Network, me: Process, replica: Process, broke: Callable[[str], None]
    ) -> None:
        self._network = network
        self._me = me
        self._replica = replica
        self._broke = broke
        self._free: list[tuple[Connection, int]] = []
        self._all: list[Connection] = []

    def take(self, use: Use) -> None:
        """Use a free connection, or dial one."""
        now_ns = self._me.agenda.now_ns
        while self._free:
            connection, since_ns = self._free.pop(0)
            if now_ns - since_ns < KEPT_NS and connection.is_open(self._me):
                use(connection, has_dialled=False)
                return
            connection.close(self._me)
            self._all.remove(connection)
        self._all.append(
            self._network.dial(
                self._me,
                self._replica,
                round_trips=HANDSHAKE_ROUND_TRIPS,
                opened=partial(use, has_dialled=True),
                ended=self._ended,
            )
        )

    def give_back(self, connection: Connection) -> None:
        """It was answered: the next one may use it."""
        self._free.append((connection, self._me.agenda.now_ns))

    def close(self) -> None:
        """Hang up everywhere."""
        for connection in self._all:
            connection.close(self._me)
        self._all.clear()
        self._free.clear()

    def _ended(self, reason: str) -> None:
        self._broke(reason)
