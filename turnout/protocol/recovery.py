"""(Journal says) x (proxy says) -> action: one labelled decision table, for every restart.

An agent or its proxy may die between any two instants: before a flip, between the flip and its
journal record, after a newer commit was learnt. Journal and proxy then tell different stories, and
which is right depends on nothing but the two (the idea is TigerBeetle's ``recovery_cases`` in
``vsr/journal.zig``). Three things are compared by (incarnation, epoch): what the journal calls
active, the newest commit in the journal, and what the proxy serves.

What holds in every case: the proxy is never taken below what it was told (S5), never to what the
journal does not know to be committed (S1), and is left alone rather than emptied (S6). A prepared
table is not part of this: a restart neither keeps it in a proxy's memory nor decides it, so it is
staged again (H23), and absence of an answer stays absence (H5).
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from attrs import frozen

from turnout.protocol.records import Active, AgentRecord


class Action(enum.StrEnum):
    """What follows from a case.

    Attributes:
        WAIT: nothing was ever committed here.
        KEEP: the proxy is where the journal says; a newer commit flips when it is due.
        ADOPT: the flip happened and its record did not: journal it, never flip back (H1).
        RESTORE: what the proxy serves counts for nothing: stage and flip the newest commit that
            is due, else what was active.
        HOLD: the proxy is ahead of the journal: leave it, and wait for that commit to be heard.
    """

    WAIT = "wait"
    KEEP = "keep"
    ADOPT = "adopt"
    RESTORE = "restore"
    HOLD = "hold"


@frozen(kw_only=True)
class Situation:
    """What journal and proxy say; an :class:`Active` of epoch 0 stands for nothing."""

    active: Active
    committed: Active
    serving: Active

    @property
    def serves_nothing(self) -> bool:
        """Whether the proxy has no table of ours."""
        return self.serving.epoch == 0

    @property
    def newest(self) -> Active:
        """The newest of what the journal knows."""
        return max(self.active, self.committed, key=lambda known: known.rank)


@frozen(kw_only=True)
class Case:
    """One line of the table."""

    label: str
    fits: Callable[[Situation], bool]
    action: Action


CASES = (
    # A fresh agent beside a fresh proxy.
    Case(
        label="nothing known, nothing served",
        fits=lambda s: s.serves_nothing and s.newest.epoch == 0,
        action=Action.WAIT,
    ),
    # The proxy lost its memory, or the first table was committed and not yet flipped to.
    Case(
        label="something committed, nothing served",
        fits=lambda s: s.serves_nothing and s.newest.epoch > 0,
        action=Action.RESTORE,
    ),
    # The proxy came back with a table it had before: to leave it there would be a silent rollback.
    Case(
        label="served below active",
        fits=lambda s: not s.serves_nothing and s.serving.rank < s.active.rank,
        action=Action.RESTORE,
    ),
    # The usual case.
    Case(
        label="served as journalled",
        fits=lambda s: not s.serves_nothing and s.serving == s.active,
        action=Action.KEEP,
    ),
    # Not a table that this domain ever named so: somebody changed the proxy behind our back.
    Case(
        label="served as active, but another table",
        fits=lambda s: (
            not s.serves_nothing
            and s.serving.rank == s.active.rank
            and s.serving.digest != s.active.digest
        ),
        action=Action.RESTORE,
    ),
    # Died between the flip and its record, after hearing a newer commit: what it serves was
    # committed, since the machine never flips to anything else.
    Case(
        label="served between active and newest commit",
        fits=lambda s: s.active.rank < s.serving.rank < s.newest.rank and not s.serves_nothing,
        action=Action.ADOPT,
    ),
    # Died between the flip and its record (H1).
    Case(
        label="served newest commit, not journalled as active",
        fits=lambda s: s.active.rank < s.serving.rank and s.serving == s.newest,
        action=Action.ADOPT,
    ),
    # As above, but with a table of another name.
    Case(
        label="served as newest commit, but another table",
        fits=lambda s: (
            s.active.rank < s.serving.rank == s.newest.rank
            and s.serving.digest != s.newest.digest
            and not s.serves_nothing
        ),
        action=Action.RESTORE,
    ),
    # The journal was lost, or restored from an older copy (H13): users keep the last good table,
    # and the agent is stale until the head tells it what it serves.
    Case(
        label="served above all that is journalled",
        fits=lambda s: s.serving.rank > s.newest.rank and not s.serves_nothing,
        action=Action.HOLD,
    ),
)


def case_of(situation: Situation) -> Case:
    """The one case that fits."""
    (case,) = [case for case in CASES if case.fits(situation)]
    return case


def recover(record: AgentRecord, serving: Active) -> tuple[Action, Active]:
    """What to do, and what the proxy is to be taken to serve, after a restart of either."""
    committed = record.committed.active if record.committed else Active()
    case = case_of(Situation(active=record.active, committed=committed, serving=serving))
    return case.action, Active() if case.action is Action.RESTORE else serving
