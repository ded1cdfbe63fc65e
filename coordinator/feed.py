"""Telling those who watch that something changed: nobody is rendered anything who does not ask.

A watcher waits for a change, and then a moment for more of them: a thousand reports that arrive
together are one view, not a thousand.
"""

from __future__ import annotations

import trio

GATHER_S = 0.05


class Feed:
    """Wakes watchers after steps that changed the state."""

    def __init__(self) -> None:
        self._changed: trio.Event | None = None

    def stepped(self, before: object, after: object) -> None:
        """Note a step; costs nothing while nobody watches."""
        if self._changed is not None and before is not after:
            self._changed.set()
            self._changed = None

    async def change(self, patience_s: float, gather_s: float = GATHER_S) -> bool:
        """Wait for the next change, and what comes right after it; false if none came in time."""
        if self._changed is None:
            self._changed = trio.Event()
        with trio.move_on_after(patience_s) as waited:
            await self._changed.wait()
        if waited.cancelled_caught:
            return False
        await trio.sleep(gather_s)
        return True
