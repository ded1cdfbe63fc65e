"""Three processes, so that any one of them may be killed and nothing of the fleet is left behind.

    turnout dev          the owner: what the user started, and may kill with SIGKILL
      keeper             its own session: sees the owner die, ends all that is below, removes files
        fleet            the program that does the work; everything else is below it

1. The owner dies: the pipe between them closes, and the keeper sweeps.
2. The fleet program dies or ends: the keeper sweeps, and hands its exit code up.
3. The keeper dies: the owner, a subreaper too, becomes the parent of all that was below it, and
   sweeps.

The owner hands Ctrl-C and SIGTERM down; the fleet program ends in good order, and the sweep finds
nothing to do. Only the standard library is imported here: three small processes, not three big.
"""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from turnout.dev.processes import become_subreaper, sweep

_HANDED_DOWN = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_INTERRUPTED = 130
_FAILED = 1


def run_kept(command: Sequence[str], folder: Path, *, keep_folder: bool) -> int:
    """Runs the fleet program below a keeper; returns its exit code when nothing is left of it.

    ``folder`` is removed in the end, unless ``keep_folder``.
    """
    become_subreaper()
    lifeline, ours = os.pipe()
    arguments = [str(folder), "keep" if keep_folder else "remove", *command]
    with _handing_down() as signals:
        try:
            keeper = subprocess.Popen(  # noqa: S603 - this very program
                [sys.executable, "-m", "turnout.dev.keeper", str(lifeline), *arguments],
                start_new_session=True,
                pass_fds=[lifeline],
            )
            os.close(lifeline)
            signals.hand_to(keeper.pid)
            code = keeper.wait()
        finally:
            sweep()
            os.close(ours)
            if not keep_folder:
                shutil.rmtree(folder, ignore_errors=True)
    return code if code >= 0 else _FAILED


class _handing_down:  # noqa: N801 - reads as what it does in a with statement
    """Hands the signals that ask us to end down to another process, those before it ran too."""

    def __init__(self) -> None:
        self._to: int | None = None
        self._early: list[int] = []
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in _HANDED_DOWN:
            self._before[number] = signal.signal(number, self._received)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def hand_to(self, pid: int) -> None:
        """From now on to this process."""
        self._to = pid
        while self._early:
            self._send(pid, self._early.pop())

    def _received(self, number: int, _frame: object) -> None:
        if self._to is None:
            self._early.append(number)
        else:
            self._send(self._to, number)

    def _send(self, pid: int, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _keep(lifeline: int, folder: Path, *, keep_folder: bool, command: Sequence[str]) -> int:
    """The keeper: starts the fleet program and outlives it; returns its exit code."""
    become_subreaper()
    os.set_inheritable(lifeline, False)
    with _handing_down() as signals:
        try:
            fleet = subprocess.Popen(command)  # noqa: S603 - what our owner told us to run
            signals.hand_to(fleet.pid)
            code = _exit_code(fleet, lifeline)
        finally:
            sweep()
            if not keep_folder:
                shutil.rmtree(folder, ignore_errors=True)
    return code


def _exit_code(fleet: subprocess.Popen[bytes], lifeline: int) -> int:
    """Waits until the fleet program ends or the owner is gone."""
    ended = os.pidfd_open(fleet.pid)
    with selectors.DefaultSelector() as selector:
        selector.register(ended, selectors.EVENT_READ, "ended")
        selector.register(lifeline, selectors.EVENT_READ, "owner gone")
        ready = {key.data for key, _ in selector.select()}
    os.close(ended)
    if "ended" not in ready:
        return _INTERRUPTED
    code = fleet.wait()
    return code if code >= 0 else _FAILED


def main(arguments: Sequence[str]) -> int:
    """The keeper's own beginning; ``run_kept`` says with which arguments."""
    lifeline, folder, keep, *command = arguments
    return _keep(int(lifeline), Path(folder), keep_folder=keep == "keep", command=command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
