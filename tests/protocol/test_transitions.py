from __future__ import annotations

import attrs
import pytest

from turnout.protocol.errors import IllegalTransition
from turnout.protocol.messages import Progress
from turnout.protocol.participant_state import PROGRESSED_BY, VOTED_BY, ParticipantState
from turnout.protocol.transitions import (
    PROGRESS,
    SWITCH,
    VOTING,
    Cause,
    Row,
    SwitchInput,
    SwitchPhase,
    TransitionTable,
    Voting,
    advance_switch,
)


@pytest.mark.parametrize("table", [VOTING, PROGRESS, SWITCH])
def test_every_phase_is_reached_from_the_start(table: TransitionTable) -> None:
    reached = {table.phases[0]}
    for _ in table.phases:
        reached |= {target for source, _, target in table.legal if source in reached}
    assert reached == set(table.phases)


@pytest.mark.parametrize(("phase", "watched"), [("voting", VOTED_BY), ("progress", PROGRESSED_BY)])
def test_phase_is_worked_out_from_what_is_watched_for_it_alone(
    phase: str, watched: frozenset[str]
) -> None:
    assert _fields_read_for(phase) == watched


def _fields_read_for(phase: str) -> set[str]:
    """The fields of an agent's state that a property reads, by itself or through another."""
    code = vars(ParticipantState)[phase].fget.__code__
    read = {field.name for field in attrs.fields(ParticipantState)} & {*code.co_names}
    for name in code.co_names:
        if isinstance(vars(ParticipantState).get(name), property):
            read |= _fields_read_for(name)
    return read


def test_staying_needs_no_row_and_a_reset_leads_anywhere() -> None:
    VOTING.check(Voting.IDLE, None, Voting.IDLE)
    VOTING.check(Voting.IDLE, Cause.RESTART, Voting.PREPARED)


def test_missing_row_is_the_one_error() -> None:
    with pytest.raises(IllegalTransition, match="no way from prepared to idle by due"):
        VOTING.check(Voting.PREPARED, Cause.DUE, Voting.IDLE)
    with pytest.raises(IllegalTransition):
        PROGRESS.check(Progress.WAITING, None, Progress.STAGING)


def test_doubt_is_left_by_a_decision_or_a_new_incarnation_only_h11() -> None:
    ways_out = {
        cause
        for source, cause, target in VOTING.legal
        if source in (Voting.PREPARED, Voting.LOST) and target not in (Voting.PREPARED, Voting.LOST)
    }
    assert ways_out == {Cause.COMMIT, Cause.ABORT, Cause.REBASE}


def test_pictures_show_every_row() -> None:
    mermaid, text = VOTING.mermaid(), VOTING.text()
    assert mermaid.startswith("stateDiagram-v2\n    [*] --> idle\n")
    assert "    staging --> prepared: staged\n" in mermaid
    assert "  staging  -> prepared  staged\n" in text
    assert text.endswith("  *        -> *         failed-fsync, restart\n")
    for source, cause, target in PROGRESS.legal:
        assert any(
            line.strip().startswith(f"{source} --> {target}:") and cause in line
            for line in PROGRESS.mermaid().splitlines()
        )


def test_picture_of_a_table_without_resets_has_its_rows_only() -> None:
    table = TransitionTable(name="lamp", phases=("off", "on"), rows=(Row("off", "press", ("on",)),))
    assert table.text() == "lamp (starts off)\n  off -> on   press\n"


def test_switch_goes_from_its_request_to_its_release() -> None:
    phase = SwitchPhase.PREPARING
    for given in ("decide", "commit-won", "all-live", "drain", "drained", "release"):
        phase = advance_switch(phase, SwitchInput(given))
    assert phase is SwitchPhase.RELEASED


def test_switch_that_is_aborted_or_released_takes_nothing_more() -> None:
    for phase in (SwitchPhase.ABORTED, SwitchPhase.RELEASED):
        for given in SwitchInput:
            with pytest.raises(IllegalTransition, match=f"no way from {phase} by {given}"):
                advance_switch(phase, given)


def test_switch_has_one_phase_to_go_to_for_each_input() -> None:
    ways = [(source, cause) for source, cause, _ in SWITCH.legal]
    assert len(ways) == len(set(ways))
