"""How long to pause before another try: growing, capped and jittered, from a seed given once.

The jitter is what keeps a thousand agents from coming back in one instant. It is drawn from SHA-256
over the seed and a counter, so that a machine needs randomness once, with the event that starts it,
and a simulation repeats from its seed.
"""

from __future__ import annotations

import hashlib

from attrs import evolve, frozen


@frozen(kw_only=True)
class Backoff:
    """Pauses of ``base_ns``, doubled with each failure in a row, never above ``cap_ns``.

    Attributes:
        seed: random bits that nobody else has.
        drawn: how many random numbers have been drawn; none is ever drawn twice.
        failures: in a row.
    """

    seed: int
    base_ns: int
    cap_ns: int
    drawn: int = 0
    failures: int = 0

    def below(self, limit_ns: int) -> tuple[int, Backoff]:
        """Draw a length from 0 up to, but not with, ``limit_ns``; each as likely."""
        digest = hashlib.sha256(f"{self.seed}:{self.drawn}".encode()).digest()
        drawn_ns = int.from_bytes(digest[:16]) * limit_ns >> 128
        return drawn_ns, evolve(self, drawn=self.drawn + 1)

    def failed(self) -> tuple[int, Backoff]:
        """The pause after one more failure in a row: between half and all of its length."""
        whole_ns = min(self.cap_ns, self.base_ns << min(self.failures, 32))
        drawn_ns, drawn = self.below(whole_ns - whole_ns // 2)
        return whole_ns // 2 + drawn_ns, evolve(drawn, failures=self.failures + 1)

    def succeeded(self) -> Backoff:
        """The next failure is the first in a row."""
        return evolve(self, failures=0) if self.failures else self
