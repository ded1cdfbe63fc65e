"""Each machine or shell that is broken on purpose is caught, by its own invariant."""

from __future__ import annotations

import pytest

from simulator.canaries import CANARIES, Canary
from simulator.judging.summing_up import NUMBERS
from simulator.sweep import look_for, run_seed

ENOUGH = 16
"""At the least: what the exploration catches too, and what only time, disks or drains show."""


@pytest.mark.parametrize("canary", CANARIES, ids=lambda canary: canary.name)
def test_canary_is_caught_by_its_number(canary: Canary) -> None:
    with canary.broken():
        result, _ = run_seed(canary.known)
    assert canary.number in result.violated, result


def test_canaries_are_many_and_break_every_kind_of_promise() -> None:
    assert len(CANARIES) >= ENOUGH
    assert len({canary.name for canary in CANARIES}) == len(CANARIES)
    assert {canary.number for canary in CANARIES} == set(NUMBERS)


def test_machine_is_whole_again_after_a_canary() -> None:
    first = CANARIES[0]
    with first.broken():
        pass
    result, _ = run_seed(first.known)
    assert result.violated == ()


def test_known_seed_is_tried_first_and_every_seed_once() -> None:
    canary = CANARIES[0]
    seeds = list(canary.seeds(5))
    assert seeds[0] == canary.known
    assert sorted(seeds) == sorted({*range(5), canary.known})


def test_canary_that_breaks_nothing_is_not_caught() -> None:
    harmless = Canary(name="harmless", breaks=lambda _patches: None, number="S1", known=0)
    assert not look_for(harmless, most=1).is_caught
