"""A load generator for one edge: steady, honest, and light enough to run beside a whole fleet.

    python -m turnout.dev.load --edge 127.0.0.1:8080 --host checkout.example --record FILE

It reads commands from stdin, a line each: ``rate N`` (requests a second from now on, all kinds
together; 0 lets what is under way finish and closes what is kept). It ends when stdin does. Every request is recorded as
``observations.py`` says. Nothing is ever repeated: what fails is a failure.

Requests are of three kinds: on kept connections, each on a connection of its own, and slow ones of
five seconds, which a drain has to wait for. They are sent on a schedule; whoever is late catches up.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Final

import click
import trio
from attrs import define

from turnout.dev.observations import Observation

_KEPT: Final = 12
"""Connections that are kept: enough that each answer may take 25 ms at the usual rate."""

_NEW_SHARE: Final = 0.06
"""The part of all requests that come on connections of their own."""

_SLOW_PER_S: Final = 1.0
_SLOW_S: Final = 5
_PATIENCE_S: Final = 15.0
_FLUSH_S: Final = 0.05
_MAX_BEHIND_S: Final = 0.5
_MAX_HEAD_BYTES: Final = 65_536
_OK: Final = 200


class BadAnswerError(Exception):
    """The answer was cut short, or is not HTTP."""


@define(kw_only=True)
class Answer:
    """The head of an answer and whether the connection may be used again."""

    status: int
    headers: dict[str, str]


class Line:
    """One HTTP/1.1 connection: a request, a whole answer, and so on."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._received = b""

    async def ask(self, request: bytes) -> Answer:
        """Sends a request and reads the whole answer. Raises BadAnswerError, trio's errors."""
        await self._stream.send_all(request)
        while b"\r\n\r\n" not in self._received:
            if len(self._received) > _MAX_HEAD_BYTES:
                raise BadAnswerError("the head has no end")
            await self._more()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        answer = _parsed(head)
        length = answer.headers.get("content-length", "")
        if not length.isdecimal():
            raise BadAnswerError("an answer without a length")
        while len(self._received) < int(length):
            await self._more()
        self._received = self._received[int(length) :]
        return answer

    async def _more(self) -> None:
        data = await self._stream.receive_some()
        if not data:
            raise BadAnswerError("cut short")
        self._received += data

    async def aclose(self) -> None:
        """Closes the connection."""
        await trio.aclose_forcefully(self._stream)


def _parsed(head: bytes) -> Answer:
    first, *lines = head.decode("latin-1").split("\r\n")
    parts = first.split(" ", 2)
    if not parts[0].startswith("HTTP/1.") or len(parts) < 2 or not parts[1].isdecimal():  # noqa: PLR2004
        raise BadAnswerError(f"not HTTP: {first[:40]}")
    headers = {
        name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)
    }
    return Answer(status=int(parts[1]), headers=headers)


class Generator:
    """Sends the load and records what comes of it."""

    def __init__(self, edge: tuple[str, int], host: str, record: Path) -> None:
        self._edge = edge
        self._host = host
        self._record = record
        self._rate = 0.0
        self._changed = trio.Event()
        self._seen: list[Observation] = []

    def set_rate(self, per_s: float) -> None:
        """Requests a second from now on, all kinds together."""
        self._rate = per_s
        self._changed.set()
        self._changed = trio.Event()

    async def run(self) -> None:
        """Sends and records until cancelled."""
        with self._record.open("ab", buffering=0) as file:
            async with trio.open_nursery() as nursery:
                for _ in range(_KEPT):
                    nursery.start_soon(self._keep_asking)
                nursery.start_soon(self._each, "new connection", nursery)
                nursery.start_soon(self._each, "slow", nursery)
                while True:
                    await trio.sleep(_FLUSH_S)
                    lines, self._seen = self._seen, []
                    file.write(b"".join(one.line() for one in lines))

    def _pause_s(self, kind: str) -> float:
        """Between two requests of a kind (of one kept connection)."""
        rest = max(0.0, self._rate - _SLOW_PER_S)
        per_s = {
            "slow": min(self._rate, _SLOW_PER_S),
            "new connection": rest * _NEW_SHARE,
            "keep-alive": rest * (1 - _NEW_SHARE) / _KEPT,
        }[kind]
        return 1 / per_s if per_s > 0 else float("inf")

    async def _turn(self, due: float, kind: str) -> float | None:
        """Waits until the next request of this kind is due, and returns when that was.

        None instead where the rate has changed meanwhile: a new schedule begins.
        """
        at = max(due + self._pause_s(kind), trio.current_time() - _MAX_BEHIND_S)
        with trio.move_on_at(at):
            await self._changed.wait()
            return None
        return at

    async def _keep_asking(self) -> None:
        """One kept connection after another, a request at a time."""
        line: Line | None = None
        request = self._request("/")
        due = trio.current_time()
        try:
            while True:
                turn = await self._turn(due, "keep-alive")
                due = turn or trio.current_time()
                if turn is not None:
                    line = await self._observed("keep-alive", request, line)
                elif line is not None:
                    await line.aclose()  # whoever is to be restarted has no connections left
                    line = None
        finally:
            if line is not None:
                await line.aclose()

    async def _each(self, kind: str, nursery: trio.Nursery) -> None:
        """Requests on connections of their own, without waiting for one another."""
        path = f"/slow?seconds={_SLOW_S}" if kind == "slow" else "/"
        request = self._request(path, close=True)
        due = trio.current_time()
        while True:
            turn = await self._turn(due, kind)
            due = turn or trio.current_time()
            if turn is not None:
                nursery.start_soon(self._observed, kind, request, None)

    async def _observed(self, kind: str, request: bytes, line: Line | None) -> Line | None:
        """Asks once and records it; returns the connection if it can be used again."""
        was_open = line is not None
        sent_ns, answer, reusable, trouble = time.time_ns(), None, False, ""
        try:
            with trio.fail_after(_PATIENCE_S):
                if line is None:
                    line = Line(await trio.open_tcp_stream(*self._edge))
                sent_ns = time.time_ns()
                answer = await line.ask(request)
                reusable = kind == "keep-alive" and answer.headers.get("connection") != "close"
        except (OSError, trio.TooSlowError, trio.BrokenResourceError, BadAnswerError) as error:
            trouble = f"{type(error).__name__}: {error}"
        finally:
            if line is not None and not reusable:
                await line.aclose()
        seen = _observation(kind, sent_ns, answer)
        self._seen.append(seen)
        if seen.failed:
            said = trouble or f"{answer}"
            reused = "a kept" if was_open else "a new"
            sys.stderr.write(f"{kind} on {reused} connection: {said}\n")
        return line if reusable else None

    def _request(self, path: str, *, close: bool = False) -> bytes:
        connection = "connection: close\r\n" if close else ""
        return f"GET {path} HTTP/1.1\r\nhost: {self._host}\r\n{connection}\r\n".encode()


def _observation(kind: str, sent_ns: int, answer: Answer | None) -> Observation:
    epoch = answer.headers.get("x-turnout-epoch", "") if answer else ""
    colour = answer.headers.get("x-turnout-colour", "") if answer else ""
    backend = answer.headers.get("x-backend", "") if answer else ""
    whole = answer is not None and answer.status == _OK and epoch.isdecimal()
    return Observation(
        sent_ns=sent_ns,
        done_ns=time.time_ns(),
        epoch=int(epoch) if epoch.isdecimal() else 0,
        # The backend that answered is believed; a proxy that names another colour has failed.
        colour=backend if backend in ("blue", "green") else "",
        kind=kind,
        failed=not whole or not backend or backend != colour,
    )


async def _run(generator: Generator) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(generator.run)
        stdin = trio.lowlevel.FdStream(sys.stdin.fileno())
        commands = b""
        async for data in stdin:
            *lines, commands = (commands + data).split(b"\n")
            for line in lines:
                word, _, value = line.decode().partition(" ")
                if word == "rate":
                    generator.set_rate(float(value))
        nursery.cancel_scope.cancel()


@click.command()
@click.option("--edge", required=True, metavar="HOST:PORT", help="Where requests go.")
@click.option("--host", required=True, help="The Host header.")
@click.option("--record", required=True, type=click.Path(path_type=Path), help="Where to record.")
def main(edge: str, host: str, record: Path) -> None:
    """Send steady load to one edge, as told on stdin."""
    address, _, port = edge.rpartition(":")
    trio.run(_run, Generator((address, int(port)), host, record))


if __name__ == "__main__":
    main()
