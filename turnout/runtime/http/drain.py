"""The moment a server begins to shut down, told at once to whoever waits for a client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio


class Drain:
    """Ends every wait that only more work from a client would end.

    A set of cancel scopes rather than an event: a waiting connection then needs no second task,
    which would cost each held stream some kilobytes.
    """

    def __init__(self) -> None:
        self.begun = False
        self._waits: set[trio.CancelScope] = set()

    def begin(self) -> None:
        """Ends all waits, and those begun later right away."""
        self.begun = True
        for wait in self._waits:
            wait.cancel()

    @contextmanager
    def ends_wait(self, timeout_s: float = float("inf")) -> Iterator[trio.CancelScope]:
        """A wait that the timeout ends too; ``cancelled_caught`` then says that it was ended."""
        with trio.move_on_after(timeout_s) as wait:
            if self.begun:
                wait.cancel()
            self._waits.add(wait)
            try:
                yield wait
            finally:
                self._waits.discard(wait)
