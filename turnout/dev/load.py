"""A load generator for one edge: steady, honest, and light enough to run beside a whole fleet.

    python -m turnout.dev.load --edge 127.0.0.1:8080 --host checkout.example --record FILE

It reads commands from stdin, a line each: ``rate N`` (requests a second from now on, all kinds
together; 0 lets what is under way finish and closes what is kept). It ends when stdin does. Every request is recorded as
``observations.py`` says. Nothing is ever repeated: what fails is a failure.

Requests are of three kinds: on kept connections, each on a connection of its own, and slow ones of
five seconds, which a drain has to wait for. They are sent on a schedule; whoever is late catches up.

One bare loop over non-blocking sockets, since the machine is needed for what is measured: a request
costs it a third of what tasks would.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from math import inf
from pathlib import Path
from typing import Final

import click
from attrs import define, field

from turnout.dev.answer import Answer, BadAnswerError, whole_answer
from turnout.dev.observations import COLOURS, NOBODY, Observation

_KEPT: Final = 32
"""Connections that are kept: enough that each answer may take 60 ms at the usual rate."""

_NEW_SHARE: Final = 0.06
"""The part of all requests that come on connections of their own."""

_SLOW_PER_S: Final = 1.0
_SLOW_S: Final = 5
_PATIENCE_S: Final = 15.0
_TICK_S: Final = 0.008
_FLUSH_S: Final = 0.05
_MAX_BEHIND_S: Final = 2.0
_CHUNK_BYTES: Final = 65_536
_OK: Final = 200
_NOT_FOUND: Final = 404
_UNAVAILABLE: Final = 503


@define
class Pace:
    """When requests of one kind are due; moments in seconds of the monotonic clock."""

    per_s: float = 0.0
    due: float = inf

    def change(self, per_s: float, now: float) -> None:
        """A new schedule begins."""
        self.per_s = per_s
        self.due = now + 1 / per_s if per_s else inf

    def take(self, now: float) -> None:
        """One more was sent."""
        self.due = max(self.due + 1 / self.per_s, now - _MAX_BEHIND_S)


@define(eq=False)
class Line:
    """One connection, and the request under way on it."""

    kind: str
    edge: tuple[str, int]
    request: bytes
    socket: socket.socket = field(factory=lambda: socket.socket(socket.AF_INET))
    used_before: bool = False
    sent_ns: int = 0
    give_up_at: float = inf
    received: bytes = b""

    def connect(self) -> None:
        """Begins to; the socket can be written to when it is done. Raises OSError."""
        self.sent_ns = time.time_ns()
        self.socket.setblocking(False)
        self._check(self.socket.connect_ex(self.edge))

    def send(self) -> None:
        """Sends the request; a connection just made is looked at first. Raises OSError."""
        if not self.used_before:
            self._check(self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        self.sent_ns, self.received = time.time_ns(), b""
        if self.socket.send(self.request) < len(self.request):
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))

    def receive(self) -> Answer | None:
        """The answer, once all of it is there. Raises OSError, BadAnswerError."""
        data = self.socket.recv(_CHUNK_BYTES)
        if not data:
            raise BadAnswerError("cut short")
        self.received += data
        return whole_answer(self.received)

    def _check(self, number: int) -> None:
        if number not in (0, errno.EINPROGRESS):
            raise OSError(number, os.strerror(number))


class Generator:
    """Sends the load and records what comes of it."""

    def __init__(self, edge: tuple[str, int], host: str, record: Path, commands: int) -> None:
        """``commands`` is the descriptor that they are read from."""
        self._edge = edge
        self._record = record
        self._commands = commands
        self._command = b""
        self._requests = {
            "keep-alive": _request("/", host),
            "new connection": _request("/", host, close=True),
            "slow": _request(f"/slow?seconds={_SLOW_S}", host, close=True),
        }
        self._paces = {kind: Pace() for kind in self._requests}
        self._selector = selectors.DefaultSelector()
        self._idle: list[Line] = []
        self._busy: set[Line] = set()
        self._seen: list[Observation] = []

    def run(self) -> None:
        """Sends and records until the commands end; what is under way then is given up."""
        self._selector.register(self._commands, selectors.EVENT_READ, self._obey)
        flush_at = time.monotonic()
        with self._record.open("ab", buffering=0) as file, closing(self._selector):
            while self._commands >= 0:
                for key, _ in self._selector.select(self._pause_s()):
                    key.data()
                now = time.monotonic()
                self._send_due(now)
                if now >= flush_at:
                    self._expire(now)
                    file.write(b"".join(one.line() for one in self._seen))
                    self._seen.clear()
                    flush_at = now + _FLUSH_S
            for line in (*self._busy, *self._idle):
                line.socket.close()

    # ------------------------------------------------------------------------------- commands

    def _obey(self) -> None:
        data = os.read(self._commands, _CHUNK_BYTES)
        if not data:
            self._commands = -1
        *lines, self._command = (self._command + data).split(b"\n")
        for line in lines:
            word, _, value = line.decode().partition(" ")
            if word == "rate":
                self._set_rate(float(value))

    def _set_rate(self, per_s: float) -> None:
        """Requests a second from now on, all kinds together."""
        now, rest = time.monotonic(), max(0.0, per_s - _SLOW_PER_S)
        self._paces["slow"].change(min(per_s, _SLOW_PER_S), now)
        self._paces["new connection"].change(rest * _NEW_SHARE, now)
        self._paces["keep-alive"].change(rest * (1 - _NEW_SHARE), now)
        if per_s == 0:
            while self._idle:  # whoever is to be restarted has no connections left
                self._close(self._idle.pop())

    # ------------------------------------------------------------------------------- requests

    def _pause_s(self) -> float:
        """Until the next request is due; several that are due at once are cheaper."""
        due = min(pace.due for kind, pace in self._paces.items() if self._has_room(kind))
        return min(_FLUSH_S, max(_TICK_S, due - time.monotonic()))

    def _has_room(self, kind: str) -> bool:
        """Whether another request of this kind can be sent: not while all kept lines wait."""
        return kind != "keep-alive" or bool(self._idle) or self._kept < _KEPT

    @property
    def _kept(self) -> int:
        return len(self._idle) + sum(line.kind == "keep-alive" for line in self._busy)

    def _send_due(self, now: float) -> None:
        for kind, pace in self._paces.items():
            while pace.due <= now and self._has_room(kind):
                pace.take(now)
                self._begin(kind, now)

    def _begin(self, kind: str, now: float) -> None:
        """Sends a request on an idle connection, or on one to be made."""
        is_kept = kind == "keep-alive" and self._idle
        line = self._idle.pop() if is_kept else self._new_line(kind)
        line.give_up_at = now + _PATIENCE_S
        self._busy.add(line)
        self._try(line, line.send if line.used_before else line.connect)

    def _new_line(self, kind: str) -> Line:
        line = Line(kind, self._edge, self._requests[kind])
        self._selector.register(line.socket, selectors.EVENT_WRITE, partial(self._made, line))
        return line

    def _made(self, line: Line) -> None:
        """A connection is made, or could not be."""
        self._selector.modify(line.socket, selectors.EVENT_READ, partial(self._readable, line))
        self._try(line, line.send)

    def _readable(self, line: Line) -> None:
        if line in self._busy:
            self._try(line, partial(self._answered, line))
        elif line in self._idle:  # the edge has closed a connection that nobody used
            self._idle.remove(line)
            self._close(line)

    def _try(self, line: Line, work: Callable[[], None]) -> None:
        try:
            work()
        except (OSError, BadAnswerError) as error:
            self._fail(line, f"{type(error).__name__}: {error}")

    def _answered(self, line: Line) -> None:
        answer = line.receive()
        if answer is None:
            return
        self._note(line, answer, f"{answer}")
        self._busy.discard(line)
        keeps = line.kind == "keep-alive" and answer.headers.get("connection") != "close"
        if keeps and self._paces["keep-alive"].per_s:
            line.used_before = True
            self._idle.append(line)
        else:
            self._close(line)

    def _fail(self, line: Line, trouble: str) -> None:
        self._note(line, None, trouble)
        self._busy.discard(line)
        self._close(line)

    def _expire(self, now: float) -> None:
        for line in [line for line in self._busy if line.give_up_at <= now]:
            self._fail(line, f"no answer within {_PATIENCE_S:g} s")

    def _close(self, line: Line) -> None:
        self._selector.unregister(line.socket)
        line.socket.close()

    def _note(self, line: Line, answer: Answer | None, said: str) -> None:
        seen = observation(line.kind, line.sent_ns, answer)
        self._seen.append(seen)
        if seen.failed:
            reused = "a kept" if line.used_before else "a new"
            sys.stderr.write(f"{line.kind} on {reused} connection: {said}\n")


def _request(path: str, host: str, *, close: bool = False) -> bytes:
    connection = "connection: close\r\n" if close else ""
    return f"GET {path} HTTP/1.1\r\nhost: {host}\r\n{connection}\r\n".encode()


def observation(kind: str, sent_ns: int, answer: Answer | None) -> Observation:
    """What an answer that has just come (None: it never came whole) says of who gave it."""
    done_ns = time.time_ns()
    headers = answer.headers if answer else {}
    epoch = headers.get("x-turnout-epoch", "")
    # The backend that answered is believed; a proxy that names another colour has failed.
    backend, colour = headers.get("x-backend", NOBODY), headers.get("x-turnout-colour", NOBODY)
    # The proxy itself says 404 where its table has no route, and 503 before its first table.
    unrouted = _UNAVAILABLE if epoch == "0" else _NOT_FOUND
    status = unrouted if backend == NOBODY else _OK
    is_whole = answer is not None and answer.status == status and epoch.isdecimal()
    return Observation(
        sent_ns=sent_ns,
        done_ns=done_ns,
        epoch=int(epoch) if epoch.isdecimal() else 0,
        colour=backend if backend in COLOURS else NOBODY,
        kind=kind,
        failed=not is_whole or backend not in COLOURS or backend != colour,
    )


@click.command()
@click.option("--edge", required=True, metavar="HOST:PORT", help="Where requests go.")
@click.option("--host", required=True, help="The Host header.")
@click.option("--record", required=True, type=click.Path(path_type=Path), help="Where to record.")
def main(edge: str, host: str, record: Path) -> None:
    """Send steady load to one edge, as told on stdin."""
    address, _, port = edge.rpartition(":")
    Generator((address, int(port)), host, record, sys.stdin.fileno()).run()


if __name__ == "__main__":
    main()
