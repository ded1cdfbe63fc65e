"""Cutting off clients that take nothing for too long: one task that looks at all writes.

A cancel scope around each write would do it too, but costs half as much again as the write itself
(20 us of 60, measured); a leader writes four times for each agent of a switch, and nearly every
write is over at once.
"""

from __future__ import annotations

from typing import Protocol

import trio

_LOOKS = 8
"""Looks in the time that a write is given: so much later, an eighth, it may be cut."""


class Writer(Protocol):
    """Somebody with at most one write at a time."""

    def give_up(self) -> None:
        """End the write, which then raises."""


class StalledWrites:
    """Gives each write the same time."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._begun: dict[Writer, float] = {}
        """When each write under way began: the oldest first, as all are given the same time."""

    def begin(self, writer: Writer) -> None:
        """A write begins."""
        self._begun[writer] = trio.current_time()

    def end(self, writer: Writer) -> None:
        """It is over, however it ended."""
        self._begun.pop(writer, None)

    async def watch(self) -> None:
        """Give up on writes whose time is over, until cancelled."""
        while True:
            await trio.sleep(self._timeout_s / _LOOKS)
            began_before = trio.current_time() - self._timeout_s
            stalled = [one for one, began in self._begun.items() if began <= began_before]
            for writer in stalled:
                self.end(writer)
                writer.give_up()
