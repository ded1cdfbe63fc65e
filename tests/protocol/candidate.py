"""One replica's machine of the election, told things at made-up times."""

from __future__ import annotations

from attrs import define, field

from turnout.protocol import keys
from turnout.protocol.candidacy import (
    Claim,
    ElectionEffect,
    ElectionEvent,
)
from turnout.protocol.clock import ZERO, Instant, MonotonicNs
from turnout.protocol.codec import canonical_bytes
from turnout.protocol.election import Election, Phase, step
from turnout.protocol.events import Wake
from turnout.protocol.identifiers import ReplicaId
from turnout.protocol.limits import Timing
from turnout.protocol.transactions import KeyValue

TIMING = Timing()
TTL_NS = TIMING.lease_ttl_ns
ME = ReplicaId("me")
OTHER = Claim(replica=ReplicaId("other"), url="https://other", lease=99)


def at(monotonic_ns: int) -> Instant:
    return ZERO._replace(monotonic_ns=MonotonicNs(monotonic_ns))


def entry(claim: Claim, revision: int) -> KeyValue:
    return KeyValue(
        key=keys.LEADER,
        value=canonical_bytes(claim),
        create_revision=revision,
        mod_revision=revision,
    )


def mine(lease: int) -> Claim:
    return Claim(replica=ME, url="https://me", lease=lease)


@define
class Candidate:
    """One machine, told things at made-up times; remembers what it asked for last."""

    state: Election = field(
        factory=lambda: Election.begin(
            replica=ME, url="https://me", timing=TIMING, seed=7, now=at(0)
        )
    )
    asked: tuple[ElectionEffect, ...] = ()

    def told(self, event: ElectionEvent, at_ns: int = 0) -> Candidate:
        self.state, self.asked = step(self.state, event, at(at_ns))
        return self

    # Methods, since a type checker takes attributes for unchanged from one assertion to the next.
    def asks(self) -> tuple[ElectionEffect, ...]:
        return self.asked

    def phase(self) -> Phase:
        return self.state.phase

    def woken(self) -> Candidate:
        """Wake it when it wants to be."""
        due = self.state.next_deadline
        assert due is not None
        return self.told(Wake(), due)
