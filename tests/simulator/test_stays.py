"""Time that many spent somewhere, against the obvious way of adding it up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from simulator.stays import Stay
from turnout.protocol.routing import RoutingTable

SPANS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=8)


@given(spans=SPANS, since=st.integers(-20, 120), length=st.integers(0, 120))
def test_stay_between_two_moments_is_what_each_spent_there(
    spans: list[tuple[int, int]], since: int, length: int
) -> None:
    stay = Stay(RoutingTable())
    for entered in sorted(start for start, _ in spans):
        stay.entered.add(entered)
    for ended in sorted(start + span for start, span in spans):
        stay.ended.add(ended)
    until = since + length
    spent = (max(0, min(until, a + span) - max(since, a)) for a, span in spans)
    assert stay.between(since, until) == sum(spent)
