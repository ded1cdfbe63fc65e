"""A node's clocks: drift, steps, and when a timer of theirs rings."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from simulator.clocks import WALL_NS, NodeClock
from turnout.protocol.clock import SECOND

PPM = st.integers(-500, 500)
MOMENTS = st.integers(0, 10_000 * SECOND)


@given(ppm=PPM, offset=MOMENTS, moment=MOMENTS)
def test_clock_shows_a_moment_first_when_it_says(ppm: int, offset: int, moment: int) -> None:
    clock = NodeClock(offset_ns=offset, ppm=ppm)
    shown = clock.monotonic_ns(moment)
    first = clock.true_ns(shown)
    assert clock.monotonic_ns(first) >= shown
    assert first == 0 or clock.monotonic_ns(first - 1) < shown


@given(first=PPM, then=PPM, turned=MOMENTS, later=st.integers(0, 1000 * SECOND))
def test_clock_that_changes_its_speed_never_jumps(
    first: int, then: int, turned: int, later: int
) -> None:
    clock = NodeClock(ppm=first)
    before = clock.monotonic_ns(turned)
    clock.drift(then, turned)
    assert clock.monotonic_ns(turned) == before
    passed = clock.monotonic_ns(turned + later) - before
    assert passed == later + later * then // 1_000_000


def test_step_moves_the_wall_clock_and_not_the_steady_one() -> None:
    clock = NodeClock(bound_ns=5)
    clock.read_wall(10)
    before = clock.now(20)
    clock.step_wall(3600 * SECOND)
    after = clock.now(20)
    assert after.wall_ns == before.wall_ns + 3600 * SECOND == WALL_NS + 20 + 3600 * SECOND
    assert (after.clock_ns, after.monotonic_ns) == (before.clock_ns, before.monotonic_ns)
    assert after.wall_bound_ns == 5
    clock.read_wall(30)
    assert clock.now(30).clock_ns == clock.now(30).wall_ns


def test_bound_that_a_clock_states_counts_from_that_moment_on() -> None:
    clock = NodeClock(bound_ns=5)
    before = clock.now(20)
    clock.state_bound(500)
    assert (before.wall_bound_ns, clock.now(20).wall_bound_ns) == (5, 500)
