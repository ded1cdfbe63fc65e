"""Machines and shells that are broken on purpose: the sweep must catch each, by the right invariant.

A checker that has never failed proves nothing. Each canary is one mistake that somebody could make, with
the number of the invariant that sees it; ``make sweep`` runs seeds of the swarm with it until that number
is broken, and a canary that survives a thousand makes the sweep too weak. (TigerBeetle's
``fuzz_tests.zig`` is where the idea of canaries for the harness itself comes from.)

The first are the exhaustive exploration's (``explore/canaries.py``), but for those that a swarm meets too
rarely, or that a proxy of its own keeps from doing harm; it knows neither time nor drains nor disks, so
the others are here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from attrs import evolve, frozen

from simulator.agent_node import AgentNode
from simulator.explore import canaries as explored
from simulator.patches import Patches
from simulator.proxy import Memory, Proxy
from turnout.protocol import (
    coordinator,
    election,
    fencing,
    gate,
    learning,
    releasing,
    serving,
)
from turnout.protocol.clock import Instant
from turnout.protocol.records import Active
from turnout.protocol.switching import PREPARE_TIMER, UNDO_TIMER


@frozen(kw_only=True)
class Canary:
    """One mistake.

    Attributes:
        number: the invariant that catches it.
        known: a seed that does: the first to be tried.
    """

    name: str
    breaks: Callable[[Patches], None]
    number: str
    known: int

    @contextmanager
    def broken(self) -> Iterator[None]:
        """Everything in this process runs with the mistake, until the end."""
        with Patches() as patches:
            self.breaks(patches)
            yield

    def seeds(self, most: int) -> Iterator[int]:
        """The seeds to try: the known one, then those of the swarm from the first."""
        yield self.known
        yield from (seed for seed in range(most) if seed != self.known)


# --- the protocol's machines -----------------------------------------------------------------------


def flips_on_receipt(patch: Patches) -> None:
    """A scheduled commit is flipped to when it is heard."""
    patch.setattr(learning, "_wait_ns", lambda *_: 0)


def released_too_early(patch: Patches) -> None:
    """A source is said to be free as soon as its time is up, whoever still uses it."""
    patch.setattr(releasing, "_is_draining", lambda *_: False)


def decides_after_a_restore(patch: Patches) -> None:
    """A leader that is shown a newer head than its store's takes no notice."""
    patch.setattr(gate, "_is_unknown", lambda *_: False)


def prepares_for_ever(patch: Patches) -> None:
    """T_prep and T_undo never end: an intent is undecided while an agent is away."""
    for timer in (PREPARE_TIMER, UNDO_TIMER):
        patch.setitem(coordinator._ON_TIMER, timer, lambda *_: None)


def aborts_are_not_heard(patch: Patches) -> None:
    """An agent keeps its yes when it hears that it was aborted."""
    patch.setattr(learning, "_learn_abort", lambda *_: None)


def never_tries_again(patch: Patches) -> None:
    """A flip that the proxy refused once is not tried again."""
    patch.setattr(serving, "PATIENCE", 10**6)


def never_stands_again(patch: Patches) -> None:
    """A replica that led once never campaigns again."""
    whole = election._vacant

    def vacant(state: election.Election, now: Instant) -> object:
        return (state, ()) if state.given_up else whole(state, now)

    patch.setattr(election, "_vacant", vacant)


# --- the shells around them ------------------------------------------------------------------------


def disk_is_not_read_again(patch: Patches) -> None:
    """After a failed write the machine is told what it wanted to be there, not what is."""
    whole = AgentNode._failed

    def failed(self: AgentNode, reason: str, undone: tuple[object, ...]) -> object:
        told = whole(self, reason, undone)  # type: ignore[arg-type]
        first = undone[0]
        record = getattr(first, "record", None)
        return evolve(told, record=record) if record is not None else told

    patch.setattr(AgentNode, "_failed", failed)


def old_workers_serve_on(patch: Patches) -> None:
    """A proxy that, for a while after the flip, sends new requests where it sent them before."""
    whole = Proxy.install

    def install(self: Proxy, active: Active, table: object) -> None:
        whole(self, active, table)  # type: ignore[arg-type]
        self.faults.linger(500_000_000)

    patch.setattr(Proxy, "install", install)


def proxy_goes_back(patch: Patches) -> None:
    """A proxy that comes back from a restart with the table before, and no floor to what it is told."""
    whole = Proxy._remember

    def remember(self: Proxy, memory: Memory) -> None:
        before = self._before
        whole(self, memory)
        if before is not None:
            self._serve(before)

    patch.setattr(Proxy, "_remember", remember)


def proxy_comes_back_empty(patch: Patches) -> None:
    """A proxy that keeps nothing of what it serves for its own restart."""
    whole = Proxy._remember
    patch.setattr(Proxy, "_remember", lambda self, _memory: whole(self, Memory.NOTHING))


def old_heads_count(patch: Patches) -> None:
    """An agent does not see how old a head is: what was said before is taken up again."""
    patch.setattr(fencing, "_age_fault", lambda *_: "")
    patch.setattr(learning, "_rank", lambda _head: (1 << 40, 0))


def _canary(name: str, breaks: Callable[[Patches], None], number: str, known: int = 0) -> Canary:
    return Canary(name=name, breaks=breaks, number=number, known=known)


CANARIES = (
    _canary("vote before fsync", explored.vote_before_fsync, "S3", 1),
    _canary("in-doubt times out into commit", explored.doubt_times_out_into_commit, "S1", 1),
    _canary("in-doubt times out into abort", explored.doubt_times_out_into_abort, "S3", 1),
    _canary("decision announced before the reply", explored.announced_before_the_reply, "S2", 1),
    _canary("excluded agent counted", explored.excluded_agent_counted, "S3", 5),
    _canary("no term guard on the decision", explored.no_term_guard, "S4", 8),
    _canary("flip before the journalled commit", explored.flip_before_the_journal, "S1", 1),
    _canary("lost reply taken for abort", explored.lost_reply_taken_for_abort, "S2", 0),
    _canary("scheduled commit flips on receipt", flips_on_receipt, "S8", 1),
    _canary("source released while it drains", released_too_early, "S9", 2),
    _canary("old workers serve on after the flip", old_workers_serve_on, "S9", 1),
    _canary("leader decides after a restore", decides_after_a_restore, "S11", 53),
    _canary("T_prep never ends", prepares_for_ever, "L1", 12),
    _canary("aborts are not heard", aborts_are_not_heard, "L2", 13),
    _canary("who led once never stands again", never_stands_again, "L2", 0),
    _canary("refused flip is never tried again", never_tries_again, "L3", 0),
    _canary("failed write is not read back", disk_is_not_read_again, "S3", 9),
    _canary("proxy goes back at a restart", proxy_goes_back, "S5", 6),
    _canary("proxy comes back empty", proxy_comes_back_empty, "S6", 7),
    _canary("old heads count again", old_heads_count, "S10", 5),
    _canary("no base check", explored.no_base_check, "S7", 172),
)
