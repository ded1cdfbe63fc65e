"""A switch's phases at the leader, as a table: state -> input -> state; a missing key is an error.

The table is the specification's diagram (h11's ``_state.py`` is the model).
"""

from __future__ import annotations

import enum

from turnout.protocol.errors import IllegalTransition


class SwitchPhase(enum.StrEnum):
    """How far a switch is; ``deciding`` is shown to operators as ``preparing``."""

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


SWITCH_TABLE: dict[SwitchPhase, dict[SwitchInput, SwitchPhase]] = {
    SwitchPhase.PREPARING: {SwitchInput.DECIDE: SwitchPhase.DECIDING},
    SwitchPhase.DECIDING: {
        SwitchInput.COMMIT_WON: SwitchPhase.COMMITTED,
        SwitchInput.ABORT_WON: SwitchPhase.ABORTED,
    },
    SwitchPhase.ABORTED: {},
    SwitchPhase.COMMITTED: {
        SwitchInput.ALL_LIVE: SwitchPhase.LIVE,
        SwitchInput.TIME_OVER: SwitchPhase.DRAINING,
        SwitchInput.UNDONE: SwitchPhase.RELEASED,
    },
    SwitchPhase.LIVE: {SwitchInput.DRAIN: SwitchPhase.DRAINING},
    SwitchPhase.DRAINING: {SwitchInput.DRAINED: SwitchPhase.RETAINED},
    SwitchPhase.RETAINED: {SwitchInput.RELEASE: SwitchPhase.RELEASED},
    SwitchPhase.RELEASED: {},
}


def advance_switch(phase: SwitchPhase, given: SwitchInput) -> SwitchPhase:
    """Return the phase that follows.

    Raises:
        IllegalTransition: the table has no such row.
    """
    try:
        return SWITCH_TABLE[phase][given]
    except KeyError:
        raise IllegalTransition(f"a switch that is {phase} cannot take '{given}'") from None
