"""Spacing out expensive work so that a storm of it finishes in order instead of all too late."""

from __future__ import annotations

import trio


class Pace:
    """Lets callers through at a steady rate, first come, first served, after a short burst.

    This is the virtual-scheduling form of the leaky bucket (ITU-T I.371): one instant is kept,
    and no task runs to refill anything.
    """

    def __init__(self, *, per_s: float, burst: int) -> None:
        self._interval_s = 1 / per_s
        self._allowance_s = burst / per_s
        self._next_turn = 0.0

    async def turn(self) -> None:
        """Returns when it is the caller's turn."""
        now = trio.current_time()
        mine = max(self._next_turn, now - self._allowance_s)
        self._next_turn = mine + self._interval_s
        if mine > now:
            await trio.sleep_until(mine)
