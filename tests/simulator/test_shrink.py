"""What is left of a failing plan when all that can be spared is taken out."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from simulator.shrink import fewest


@given(st.integers(0, 40), st.sets(st.integers(0, 39), max_size=5))
def test_fewest_are_those_that_all_must_be_there(size: int, wanted: set[int]) -> None:
    needed = {number for number in wanted if number < size}

    def fails(kept: Sequence[int]) -> bool:
        return needed <= set(kept)

    assert set(fewest(list(range(size)), fails)) == needed


def test_fewest_keeps_the_order() -> None:
    assert fewest([5, 3, 9, 1], lambda kept: {9, 5} <= set(kept)) == [5, 9]


def test_nothing_is_left_of_a_plan_that_has_no_part_in_it() -> None:
    assert list(fewest([1, 2, 3], lambda _kept: True)) == []
