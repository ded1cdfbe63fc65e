"""All chance in a run, from one seed: the only module here that imports ``random``.

Each thing that draws has a stream of its own, named after it. So one more draw in the network leaves
the operators' choices as they were, and a fault plan may shrink without every other die falling anew.
A name and a seed are hashed by SHA-256, never by ``hash()``, which differs from process to process.
"""

from __future__ import annotations

import hashlib
import random

Stream = random.Random
"""One named source of chance."""


class Randomness:
    """The streams of one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._streams: dict[str, Stream] = {}

    def stream(self, name: str) -> Stream:
        """The stream of this name: the same object each time it is asked for."""
        if name not in self._streams:
            digest = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
            self._streams[name] = Stream(int.from_bytes(digest[:16]))
        return self._streams[name]
