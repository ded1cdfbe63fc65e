"""The tables of legal transitions, as h11's ``_state.py`` has them: a missing row is the one error.

The machines are level-triggered: a message changes what is *wanted* or *known*, and the phase
follows from the state. So a phase is never stored, and cannot disagree with what it describes. But
not every way from one phase to another makes sense, whatever the bug that led there: each change of
a state names its cause, and the table of its phases must have a row for (phase before, cause, phase
after). Nothing in production may take a way that the specification's picture does not show; the
pictures are printed from these tables (:meth:`TransitionTable.mermaid`).

Staying in a phase needs no row. A *reset* is a cause after which the disk has been read again (a
restart, a failed fsync): it may lead to any phase, namely to the one that the disk tells.
"""

from __future__ import annotations

import enum
from functools import cached_property

from attrs import frozen

from turnout.protocol.errors import IllegalTransition
from turnout.protocol.messages import Progress

ANY = "*"
"""As a row's source: whichever phase it was."""


@frozen
class Row:
    """From one phase, for one cause, to one of these phases; ``why`` is a label in the picture."""

    source: str
    cause: str
    targets: tuple[str, ...]


@frozen(kw_only=True, slots=False)
class TransitionTable:
    """The legal transitions of one aspect of a machine.

    Attributes:
        phases: all of them, the first one being the start.
        resets: causes that may lead to any phase.
    """

    name: str
    phases: tuple[str, ...]
    rows: tuple[Row, ...]
    resets: tuple[str, ...] = ()

    @cached_property
    def legal(self) -> frozenset[tuple[str, str, str]]:
        """Every legal (phase, cause, other phase), resets aside."""
        return frozenset(
            (source, row.cause, target)
            for row in self.rows
            for source in (self.phases if row.source == ANY else (row.source,))
            for target in row.targets
            if source != target
        )

    def check(self, source: str, cause: str | None, target: str) -> None:
        """Let a transition pass, or not.

        Raises:
            IllegalTransition: the table has no such row.
        """
        if source == target or cause in self.resets or (source, cause, target) in self.legal:
            return
        raise IllegalTransition(f"{self.name}: no way from {source} to {target} by {cause}")

    def after(self, source: str, cause: str) -> str:
        """The phase that follows, in a table whose rows leave no choice.

        Raises:
            IllegalTransition: the table has no such row.
        """
        targets = [t for s, c, t in self.legal if (s, c) == (source, cause)]
        if not targets:
            raise IllegalTransition(f"{self.name}: no way from {source} by {cause}")
        (target,) = targets
        return target

    def arrows(self) -> tuple[tuple[str, str, str], ...]:
        """Every legal (phase, causes, other phase) in the order of the phases; causes joined."""
        found = []
        for source in self.phases:
            for target in self.phases:
                causes = sorted(c for s, c, t in self.legal if (s, t) == (source, target))
                if causes:
                    found.append((source, ", ".join(causes), target))
        return tuple(found)

    def mermaid(self) -> str:
        """The picture as a Mermaid state diagram."""
        lines = ["stateDiagram-v2", f"    [*] --> {self.phases[0]}"]
        lines += [f"    {s} --> {t}: {causes}" for s, causes, t in self.arrows()]
        return "\n".join(lines) + "\n"

    def text(self) -> str:
        """The picture as text: a line for each arrow, grouped by the phase that it leaves."""
        width = max(len(phase) for phase in self.phases)
        lines = [f"{self.name} (starts {self.phases[0]})"]
        lines += [f"  {s:<{width}} -> {t:<{width}}  {causes}" for s, causes, t in self.arrows()]
        if self.resets:
            lines.append(f"  {ANY:<{width}} -> {ANY:<{width}}  {', '.join(sorted(self.resets))}")
        return "\n".join(lines) + "\n"


# --- the participant's two tables ---------------------------------------------------------------


class Voting(enum.StrEnum):
    """How an agent stands to the epoch that is being prepared.

    Attributes:
        IDLE: nothing was asked, or it was decided.
        STAGING: asked; the proxy is trying the table.
        REFUSED: voted no; a no is not an outcome, so it waits for one like everybody (H8).
        PREPARED: its yes is in the journal: in doubt until a decision is heard, for however long.
        LOST: the same, but what was staged is gone and could not be staged again (H23).
    """

    IDLE = "idle"
    STAGING = "staging"
    REFUSED = "refused"
    PREPARED = "prepared"
    LOST = "lost"


class Cause(enum.StrEnum):
    """Why a participant's state changes."""

    PREPARE = "prepare"
    STAGED = "staged"
    REFUSED = "refused"
    COMMIT = "commit"
    ABORT = "abort"
    DUE = "due"
    FLIP = "flip"
    FLIPPED = "flipped"
    PROVEN = "proven"
    PROXY_RESTART = "proxy-restart"
    REBASE = "rebase"
    RESTART = "restart"
    FAILED_FSYNC = "failed-fsync"


_RESETS = (Cause.RESTART, Cause.FAILED_FSYNC)

VOTING = TransitionTable(
    name="vote",
    phases=tuple(Voting),
    resets=_RESETS,
    rows=(
        Row(Voting.IDLE, Cause.PREPARE, (Voting.STAGING, Voting.REFUSED)),
        # A new leader asks again: the older leader's question is void (H11).
        Row(Voting.STAGING, Cause.PREPARE, (Voting.REFUSED, Voting.IDLE)),
        Row(Voting.REFUSED, Cause.PREPARE, (Voting.STAGING, Voting.IDLE)),
        Row(Voting.STAGING, Cause.STAGED, (Voting.PREPARED,)),
        Row(Voting.STAGING, Cause.REFUSED, (Voting.REFUSED,)),
        # The yes stands, in either phase: only a decision takes it back.
        Row(Voting.PREPARED, Cause.REFUSED, (Voting.LOST,)),
        Row(Voting.LOST, Cause.PREPARE, (Voting.PREPARED,)),
        Row(Voting.LOST, Cause.PROXY_RESTART, (Voting.PREPARED,)),
        # A prepare for the next epoch was refused, since the decision of this one was not journalled.
        Row(Voting.PREPARED, Cause.COMMIT, (Voting.REFUSED,)),
        Row(Voting.PREPARED, Cause.ABORT, (Voting.REFUSED,)),
        Row(Voting.LOST, Cause.COMMIT, (Voting.REFUSED,)),
        Row(Voting.LOST, Cause.ABORT, (Voting.REFUSED,)),
        Row(ANY, Cause.COMMIT, (Voting.IDLE,)),
        Row(ANY, Cause.ABORT, (Voting.IDLE,)),
        Row(ANY, Cause.REBASE, (Voting.IDLE,)),
    ),
)

_UNDER_WAY = (Progress.WAITING, Progress.STAGING, Progress.PROVING)

PROGRESS = TransitionTable(
    name="newest commit",
    phases=tuple(Progress),
    resets=_RESETS,
    rows=(
        # A newer commit supersedes whatever was going on. It starts proving where the proxy serves
        # it already: the journal that knew of it was lost.
        Row(ANY, Cause.COMMIT, _UNDER_WAY),
        Row(Progress.WAITING, Cause.DUE, (Progress.STAGING,)),
        Row(Progress.WAITING, Cause.REFUSED, (Progress.DIVERGED,)),
        Row(Progress.STAGING, Cause.REFUSED, (Progress.DIVERGED,)),
        Row(Progress.STAGING, Cause.FLIP, (Progress.FLIPPING,)),
        Row(Progress.FLIPPING, Cause.REFUSED, (Progress.DIVERGED,)),
        Row(Progress.FLIPPING, Cause.FLIPPED, (Progress.PROVING,)),
        # A diverged agent tries again and again, and may succeed.
        Row(Progress.DIVERGED, Cause.FLIPPED, (Progress.PROVING, Progress.WAITING)),
        Row(Progress.PROVING, Cause.PROVEN, (Progress.LIVE,)),
        Row(Progress.WAITING, Cause.PROXY_RESTART, (Progress.PROVING,)),
        Row(Progress.STAGING, Cause.PROXY_RESTART, (Progress.PROVING,)),
        Row(Progress.FLIPPING, Cause.PROXY_RESTART, (Progress.PROVING,)),
        Row(Progress.PROVING, Cause.PROXY_RESTART, (Progress.STAGING,)),
        Row(Progress.LIVE, Cause.PROXY_RESTART, (Progress.STAGING, Progress.PROVING)),
        Row(Progress.DIVERGED, Cause.PROXY_RESTART, (*_UNDER_WAY, Progress.FLIPPING)),
    ),
)

# --- the leader's table -------------------------------------------------------------------------


class SwitchPhase(enum.StrEnum):
    """How far a switch is; ``deciding`` is shown to operators as ``preparing``.

    Attributes:
        PREPARING: votes are collected.
        DECIDING: the decision is on its way to the store, and is not known to be there.
        ABORTED: nothing has changed.
        COMMITTED: agents flip; the outcome is open.
        LIVE: proven everywhere.
        DRAINING: the outcome is known; some source still has requests in flight, or an agent has
            not said that it has none.
        RETAINED: drained; the source is kept loaded for a rollback.
        RELEASED: the source may be scaled down, or it is none any more: the switch was undone.
    """

    PREPARING = "preparing"
    DECIDING = "deciding"
    ABORTED = "aborted"
    COMMITTED = "committed"
    LIVE = "live"
    DRAINING = "draining"
    RETAINED = "retained"
    RELEASED = "released"


class SwitchInput(enum.StrEnum):
    """What moves a switch on."""

    DECIDE = "decide"
    COMMIT_WON = "commit-won"
    ABORT_WON = "abort-won"
    ALL_LIVE = "all-live"
    TIME_OVER = "time-over"
    UNDONE = "undone"
    DRAIN = "drain"
    DRAINED = "drained"
    RELEASE = "release"


SWITCH = TransitionTable(
    name="switch",
    phases=tuple(SwitchPhase),
    rows=(
        Row(SwitchPhase.PREPARING, SwitchInput.DECIDE, (SwitchPhase.DECIDING,)),
        Row(SwitchPhase.DECIDING, SwitchInput.COMMIT_WON, (SwitchPhase.COMMITTED,)),
        Row(SwitchPhase.DECIDING, SwitchInput.ABORT_WON, (SwitchPhase.ABORTED,)),
        Row(SwitchPhase.COMMITTED, SwitchInput.ALL_LIVE, (SwitchPhase.LIVE,)),
        # Partial: whoever is behind drains when it has caught up.
        Row(SwitchPhase.COMMITTED, SwitchInput.TIME_OVER, (SwitchPhase.DRAINING,)),
        # Rolled back before it was live: its source serves, and is never released.
        Row(SwitchPhase.COMMITTED, SwitchInput.UNDONE, (SwitchPhase.RELEASED,)),
        Row(SwitchPhase.LIVE, SwitchInput.DRAIN, (SwitchPhase.DRAINING,)),
        Row(SwitchPhase.DRAINING, SwitchInput.DRAINED, (SwitchPhase.RETAINED,)),
        Row(SwitchPhase.RETAINED, SwitchInput.RELEASE, (SwitchPhase.RELEASED,)),
    ),
)


def advance_switch(phase: SwitchPhase, given: SwitchInput) -> SwitchPhase:
    """Return the phase that follows.

    Raises:
        IllegalTransition: the table has no such row.
    """
    return SwitchPhase(SWITCH.after(phase, given))
