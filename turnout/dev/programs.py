"""Programs of a fleet: started, hurt and ended, each with its output in a file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import trio

_STOP_TIMEOUT_S = 10.0
_TAIL_BYTES = 3000

TURNOUT = (sys.executable, "-m", "turnout.cli.main")


class ProgramFailedError(Exception):
    """A program of the fleet ended when it should not have; the text ends with its output."""


class Program:
    """One program, running or not; starting it again appends to the same log."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, *, has_stdin: bool = False
    ) -> None:
        self.name = name
        self._command = list(command)
        self._log = log
        self._has_stdin = has_stdin
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id; it has been started."""
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    def start(self) -> None:
        """Starts it."""
        assert not self.running, f"{self.name} runs already"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own programs
                self._command,
                stdin=subprocess.PIPE if self._has_stdin else subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the command at the terminal, which ends the rest in order.
                start_new_session=True,
            )

    def tell(self, line: str) -> None:
        """Writes a line to its stdin."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Ends it at once (SIGKILL) and reaps it; again is no error."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdin is not None:
                with suppress(BrokenPipeError):
                    self._process.stdin.close()

    async def stop(self) -> None:
        """Asks it to end, and kills it if it does not."""
        if self._process is None or not self.running:
            return
        try:
            self._process.send_signal(signal.SIGTERM)
            with trio.move_on_after(_STOP_TIMEOUT_S):
                await exit_of(self._process.pid)
        finally:
            self.kill()

    async def result(self, timeout_s: float) -> str:
        """Waits for its end and returns its output. Raises ProgramFailedError."""
        assert self._process is not None
        with trio.move_on_after(timeout_s):
            await exit_of(self._process.pid)
        code = self._process.poll()
        if code != 0:
            self.kill()
            raise ProgramFailedError(f"{self.name} ended with {code}: {self.tail()}")
        return self._log.read_text(encoding="utf-8", errors="replace")

    def check(self) -> None:
        """Raises ProgramFailedError unless it runs."""
        if not self.running:
            code = self._process.returncode if self._process else None
            raise ProgramFailedError(f"{self.name} ended with {code}: {self.tail()}")

    def tail(self) -> str:
        """The end of its log."""
        if not self._log.exists():
            return ""
        return self._log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip()


async def exit_of(pid: int) -> None:
    """Waits until a child has ended, without a thread; it still wants to be reaped."""
    descriptor = os.pidfd_open(pid)
    try:
        await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)
