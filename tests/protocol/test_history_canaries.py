"""A test that cannot fail is a defect: the histories catch every machine that is broken on purpose."""

from __future__ import annotations

import pytest

from tests.protocol.history_canaries import HISTORY_CANARIES, HistoryCanary, caught, rows
from tests.protocol.specification import SPECIFICATION
from turnout.protocol.invariants import COURSE, SAFETY


@pytest.mark.parametrize("canary", HISTORY_CANARIES, ids=lambda canary: canary.name)
def test_broken_machine_is_caught_by_a_history_and_by_its_number(canary: HistoryCanary) -> None:
    assert caught(canary) is not None


def test_every_invariant_of_a_run_has_a_canary() -> None:
    """No machine of ours can empty a proxy: S6's canary is a shell's, and the simulator has it."""
    assert {number for number, _ in COURSE} <= {canary.number for canary in HISTORY_CANARIES}
    assert {number for number, _ in SAFETY} - {canary.number for canary in HISTORY_CANARIES} == {
        "S6"
    }


def test_specification_says_which_number_catches_which_and_where() -> None:
    text = SPECIFICATION.read_text(encoding="utf-8")
    assert [row for row in rows() if row not in text] == []
