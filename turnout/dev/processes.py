"""Every process below one of ours, found and ended by its parentage.

An edge agent starts Envoy in a session of its own, so process groups do not reach it. Whoever made
itself the *subreaper* (prctl(2), PR_SET_CHILD_SUBREAPER) becomes the parent of all orphans below,
so nothing that was ever started below it can hide from a walk over /proc.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_SWEEP_TIMEOUT_S = 10.0
_POLL_MS = 20


def become_subreaper() -> None:
    """Makes this process the parent of every orphan below it. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def descendants(pid: int) -> list[int]:
    """Every process below ``pid``, zombies too; parents before their children."""
    children: dict[int, list[int]] = {}
    for child, parent in _parents():
        children.setdefault(parent, []).append(child)
    found, waiting = [], [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found.extend(below)
        waiting.extend(below)
    return found


def programs_below(folder: Path, name: str) -> list[int]:
    """Every running program of this name that was given a file below the folder.

    By the executable: a program may call itself what it likes, as nginx does.
    """
    inside, found = bytes(folder) + b"/", []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            program, words = (process / "exe").readlink(), (process / "cmdline").read_bytes()
        except OSError:
            continue  # it ended while we looked, or is somebody else's
        if program.name == name and inside in words:
            found.append(int(process.name))
    return found


def sweep() -> list[int]:
    """Kills everything below this process and reaps it; returns what did not end in time.

    Every pass stops what it finds before it kills, so that nothing can start another process in
    between and get away; it repeats until a walk finds nothing.
    """
    deadline = time.monotonic() + _SWEEP_TIMEOUT_S
    own = os.getpid()
    while below := descendants(own):
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in below:
                _send(pid, number)
        _reap_all()
        if time.monotonic() > deadline:
            break
        signal.sigtimedwait({signal.SIGCHLD}, _POLL_MS / 1000)
    return below


def _parents() -> Iterator[tuple[int, int]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue  # it ended while we walked
            # The name, field 2, is in parentheses and may hold anything; state and parent follow.
            yield int(entry.name), int(stat.rpartition(")")[2].split()[1])


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _reap_all() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
