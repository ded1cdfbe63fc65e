"""How far a search may go, and what those who wait are shown of it."""

from __future__ import annotations

import os
import resource
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from attrs import frozen

from turnout.cli.render import duration
from turnout.cli.terminal import say, stderr

if TYPE_CHECKING:
    from rich.status import Status

    from simulator.explore.search import Count

_GIB = 2**30
_TOLD_EVERY_S = 60.0
_STATM = Path("/proc/self/statm")


@frozen(kw_only=True)
class Limits:
    """Where a search stops; None: nowhere."""

    worlds: int | None = None
    minutes: float | None = None
    memory_gib: float | None = None


class Watch:
    """Looks at a search as it goes on: shows how far it is, and says when it is far enough.

    Attributes:
        stopped_by: the option whose limit was met; empty if none was.
        count: how far it was when it was looked at last.
    """

    def __init__(self, name: str, limits: Limits) -> None:
        self.stopped_by = ""
        self.count: Count | None = None
        self._name, self._limits = name, limits
        self._began_s = self._told_s = time.monotonic()
        self._shown = ExitStack()
        self._status: Status | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._status = self._shown.enter_context(stderr().status(self._name))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._shown.close()

    @property
    def elapsed_s(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began_s

    def __call__(self, count: Count) -> bool:
        """Whether the search may go on."""
        self.count = count
        self._tell(count)
        limits = self._limits
        if limits.minutes is not None and self.elapsed_s >= 60 * limits.minutes:
            self.stopped_by = "--minutes"
        elif limits.memory_gib is not None and memory_gib() >= limits.memory_gib:
            self.stopped_by = "--memory-gib"
        return not self.stopped_by

    def _tell(self, count: Count) -> None:
        """A line that changes where somebody looks on; elsewhere one a minute."""
        if self._status is not None:
            self._status.update(self._line(count))
        elif time.monotonic() - self._told_s >= _TOLD_EVERY_S:
            self._told_s = time.monotonic()
            say(self._line(count))

    def _line(self, count: Count) -> str:
        rate = count.worlds / max(self.elapsed_s, 0.001)
        return (
            f"{self._name}: {count.worlds:,} worlds, {count.waiting:,} to visit, {rate:,.0f}/s,"
            f" {duration(self.elapsed_s)}, {memory_gib():.1f} GiB"
        )


def memory_gib() -> float:
    """What this process holds in memory; where the system does not say, the most it ever held."""
    if _STATM.exists():
        pages = int(_STATM.read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / _GIB
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most * (1 if sys.platform == "darwin" else 1024) / _GIB
