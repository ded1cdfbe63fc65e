"""A client's connection to one member, as gRPC keeps it: made when needed, given up when it is silent.

The member's side of an RPC runs in the member's process: a question is a function of the member and of
how to answer. What was sent on a connection that then breaks may still have arrived.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from simulator.etcd.knobs import EtcdKnobs
from simulator.etcd.member import Member, Tell, Told
from simulator.etcd.reads import Refusal
from simulator.network import Connection, Network
from simulator.process import Process
from simulator.randomness import Stream
from simulator.virtual_time import Appointment

Serve: TypeAlias = Callable[[Member, Connection, Tell], None]

NOT_CONNECTED = Refusal("failed to connect to all addresses", surely_not_done=True)
BROKEN = Refusal("the connection broke")
TIMED_OUT = Refusal("no answer in time")


class Call:
    """One question to one member, or a stream of its answers.

    ``told`` hears them, until one refuses or the call is dropped.
    """

    __slots__ = ("at_member", "is_over", "is_stream", "serve", "told")

    def __init__(self, serve: Serve, told: Tell, *, is_stream: bool = False) -> None:
        self.serve, self.told, self.is_stream = serve, told, is_stream
        self.is_over = False
        self.at_member: Tell | None = None


class Channel:
    """What one life of a client's process has of one member."""

    def __init__(
        self, process: Process, member: Member, network: Network, knobs: EtcdKnobs, stream: Stream
    ) -> None:
        self.member = member
        self._process, self._network, self._knobs, self._stream = process, network, knobs, stream
        self._connection: Connection | None = None
        self._is_open = False
        self._dialled_ns = 0
        self._refused_until_ns = 0
        self._backoff_ns = knobs.backoff_ns
        self._asked_ns = -1
        self._calls: dict[Call, None] = {}
        self._queue: list[Call] = []
        self._lifesign: Appointment | None = None
        self._sign_ns = 0

    def ask(self, call: Call) -> None:
        """Ask; where no connection can be had the call fails."""
        self._look_after_connection()
        if self._is_open:
            self._send(call)
            return
        now_ns = self._now_ns()
        if self._connection is None and now_ns < self._refused_until_ns:
            self._process.after(0, partial(self._finish, call, NOT_CONNECTED))
            return
        self._queue.append(call)
        if self._connection is None:
            self._dial()

    def drop(self, call: Call) -> None:
        """Nobody waits for it any more; a stream's other end hears so."""
        call.is_over = True
        self._calls.pop(call, None)
        if call.at_member is not None and self._connection is not None:
            forget = partial(self.member.unwatch, call.at_member)
            self._connection.send(self._process, forget)

    def _now_ns(self) -> int:
        return self._process.agenda.now_ns

    # --- the connection -------------------------------------------------------------------------

    def _look_after_connection(self) -> None:
        """Give up a connection that has been silent, or in the making, for too long."""
        if self._connection is None:
            return
        if not self._is_open:
            since_ns, bound_ns = self._dialled_ns, self._knobs.connect_timeout_ns
        elif self._asked_ns >= 0:
            since_ns, bound_ns = self._asked_ns, self._knobs.client_silence_ns
        else:
            return
        if self._now_ns() - since_ns >= bound_ns:
            self._connection.close(self._process)
            self._lose(BROKEN if self._is_open else NOT_CONNECTED)

    def _dial(self) -> None:
        self._dialled_ns = self._now_ns()
        connection = self._network.dial(
            self._process,
            self.member.process,
            round_trips=self._knobs.handshake_round_trips,
            opened=self._opened,
            ended=lambda _reason: self._ended(connection),
        )
        self._connection = connection

    def _opened(self, connection: Connection) -> None:
        if connection is not self._connection:
            return
        self._is_open, self._asked_ns = True, -1
        self._backoff_ns = self._knobs.backoff_ns
        queue, self._queue = self._queue, []
        for call in queue:
            if not call.is_over:
                self._send(call)

    def _ended(self, connection: Connection) -> None:
        if connection is self._connection:
            self._lose(BROKEN if self._is_open else NOT_CONNECTED)

    def _lose(self, refusal: Refusal) -> None:
        if not self._is_open:
            jitter = self._stream.randrange(800, 1200)
            self._refused_until_ns = self._now_ns() + self._backoff_ns * jitter // 1000
            self._backoff_ns = min(2 * self._backoff_ns, self._knobs.longest_backoff_ns)
        self._connection, self._is_open = None, False
        failed = [*self._calls, *self._queue]
        self._calls, self._queue = {}, []
        for call in failed:
            self._finish(call, refusal)

    # --- questions and answers ------------------------------------------------------------------

    def _send(self, call: Call) -> None:
        assert self._connection is not None
        connection = self._connection
        self._calls[call] = None
        if self._asked_ns < 0:
            self._asked_ns = self._now_ns()
        connection.send(self._process, partial(self._arrive, connection, call))
        if call.is_stream:
            self._await_lifesign()

    def _arrive(self, connection: Connection, call: Call) -> None:
        """At the member: serve the call; the answers go back the way it came."""
        member = self.member.process

        def tell(told: Told) -> None:
            connection.send(member, partial(self._answered, call, told))

        call.at_member = tell if call.is_stream else None
        call.serve(self.member, connection, tell)

    def _answered(self, call: Call, told: Told) -> None:
        self._asked_ns = -1
        if call.is_stream:
            self._sign_ns = self._now_ns()
        if isinstance(told, Refusal) or not call.is_stream:
            self._calls.pop(call, None)
            self._finish(call, told)
        elif not call.is_over:
            call.told(told)

    def _finish(self, call: Call, told: Told) -> None:
        if not call.is_over:
            call.is_over = True
            call.told(told)

    # --- silent streams -------------------------------------------------------------------------

    def _await_lifesign(self) -> None:
        if self._lifesign is None:
            self._sign_ns = self._now_ns()
            self._lifesign = self._process.after(self._knobs.lifesign_ns, self._check_lifesign)

    def _check_lifesign(self) -> None:
        """Ask a member whose streams have been silent how it is: one that is paused ends nothing."""
        self._lifesign = None
        if not any(call.is_stream for call in self._calls):
            return
        left_ns = self._sign_ns + self._knobs.lifesign_ns - self._now_ns()
        if left_ns > 0:
            self._lifesign = self._process.after(left_ns, self._check_lifesign)
            return
        asked = Call(lambda member, _connection, tell: member.status(tell), self._take_status)
        self._lifesign = self._process.after(self._knobs.timeout_ns, partial(self._no_sign, asked))
        self.ask(asked)

    def _no_sign(self, asked: Call) -> None:
        self.drop(asked)
        self._take_status(TIMED_OUT)

    def _take_status(self, told: Told) -> None:
        if self._lifesign is not None:
            self._lifesign.cancel()
            self._lifesign = None
        if isinstance(told, Refusal):
            for call in [call for call in self._calls if call.is_stream]:
                self.drop(call)
                call.told(told)
        elif self._is_open:
            self._await_lifesign()
