"""Asking HAProxy over its sockets: the worker's, and the master's, which reaches every worker.

One question is one connection: HAProxy answers, and closes. An order is answered with nothing, or with
what HAProxy says when it was carried out; anything else is a refusal in its words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import trio

from edge_agent.drivers.base import RefusalCode, Refused

_TIMEOUT_S = 5.0
_PIECE_BYTES = 1 << 16
_MAX_ANSWER_BYTES = 64 << 20
_MAX_COMMAND_BYTES = 12_000
"""What is sent at once must fit HAProxy's buffer (``tune.bufsize``, 16,384 bytes)."""

_SHOWN = 200

_DONE = ("New server registered.", "Server deleted.", "New version created", "Done.")


class Cli:
    """One socket. Every method raises Refused (PROXY_DOWN) when nobody answers."""

    def __init__(self, socket: Path, prefix: str = "") -> None:
        """``prefix``: what goes before each command, ``@!PID`` for one worker by way of the master."""
        self._socket = socket
        self._prefix = prefix

    def to_worker(self, pid: int) -> Cli:
        """The same master's way to one of its workers."""
        return Cli(self._socket, f"@!{pid} ")

    async def ask(self, command: str) -> str:
        """The answer to one command, without the blank lines around it."""
        try:
            with trio.fail_after(_TIMEOUT_S):
                return await self._exchange(f"{self._prefix}{command}\n")
        except (OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
            said = "no answer in time" if isinstance(error, trio.TooSlowError) else str(error)
            raise Refused(
                RefusalCode.PROXY_DOWN, f"HAProxy does not answer on '{self._socket}': {said}"
            ) from error

    async def order(self, *commands: str) -> None:
        """Have commands carried out, many at once; what is not refused is done.

        Raises:
            Refused: REJECTED, in HAProxy's words.
        """
        for together in _at_once(commands):
            answer = await self.ask(together)
            refused = [line for line in answer.splitlines() if line and not line.startswith(_DONE)]
            if refused:
                raise Refused(
                    RefusalCode.REJECTED,
                    f"HAProxy refuses '{_first_line(together)}': {' | '.join(refused)}",
                )

    async def replace_map(self, path: Path, entries: Iterable[tuple[str, str]]) -> None:
        """Put these entries in place of all that a map has, in one moment.

        Raises:
            Refused: REJECTED.
        """
        answer = await self.ask(f"prepare map {path}")
        version = answer.rpartition(" ")[2]
        if not version.isdecimal():
            raise Refused(RefusalCode.REJECTED, f"HAProxy refuses 'prepare map {path}': {answer}")
        for lines in _payloads(entries):
            await self.order(f"add map @{version} {path} <<\n{lines}")
        await self.order(f"commit map @{version} {path}")

    async def _exchange(self, text: str) -> str:
        stream = await trio.open_unix_socket(self._socket)
        async with stream:
            await stream.send_all(text.encode())
            await stream.send_eof()  # or the master would wait for more
            answer = bytearray()
            while piece := await stream.receive_some(_PIECE_BYTES):
                answer += piece
                if len(answer) > _MAX_ANSWER_BYTES:
                    raise OSError("the answer has no end")
        return answer.decode(errors="replace").strip()


def _at_once(commands: Iterable[str]) -> Iterator[str]:
    """Commands in lines, as many in one as HAProxy takes."""
    line = ""
    for command in commands:
        if line and len(line) + len(command) > _MAX_COMMAND_BYTES:
            yield line
            line = ""
        line = f"{line}; {command}" if line else command
    if line:
        yield line


def _payloads(entries: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Lines of a map, as many at once as HAProxy takes."""
    lines: list[str] = []
    size = 0
    for key, value in entries:
        line = f"{key} {value}\n"
        if size + len(line.encode()) > _MAX_COMMAND_BYTES and lines:
            yield "".join(lines)
            lines, size = [], 0
        lines.append(line)
        size += len(line.encode())
    if lines:
        yield "".join(lines)


def _first_line(command: str) -> str:
    return command.partition("\n")[0][:_SHOWN]
