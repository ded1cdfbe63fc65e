from __future__ import annotations

from turnout.protocol.clock import MS, SECOND
from turnout.runtime.clock import Readings, SystemClock


class Hands:
    """Two clocks set by hand; the monotonic one moves by ``step_ns`` with each reading."""

    def __init__(self) -> None:
        self.monotonic = 100 * SECOND
        self.wall = 1_700_000_000 * SECOND
        self.step_ns = 0

    def readings(self) -> Readings:
        return Readings(monotonic_ns=self.read_monotonic, wall_ns=lambda: self.wall)

    def read_monotonic(self) -> int:
        self.monotonic += self.step_ns
        return self.monotonic


def test_steady_clock_begins_at_the_wall_clock_and_moves_with_the_monotonic_one() -> None:
    hands = Hands()
    clock = SystemClock(readings=hands.readings())
    hands.monotonic += 7 * SECOND
    assert clock.now().clock_ns == 1_700_000_007 * SECOND


def test_steady_clock_does_not_follow_a_wall_clock_that_steps() -> None:
    hands = Hands()
    clock = SystemClock(readings=hands.readings())
    hands.wall -= 3600 * SECOND
    now = clock.now()
    assert now.clock_ns == 1_700_000_000 * SECOND
    assert now.wall_ns == 1_699_996_400 * SECOND


def test_clock_whose_wall_bound_nobody_knows_says_so() -> None:
    assert SystemClock(readings=Hands().readings()).now().wall_bound_ns is None


def test_clock_interrupted_between_two_readings_widens_the_bound_by_the_interruption() -> None:
    hands = Hands()
    clock = SystemClock(lambda _: 2 * MS, readings=hands.readings())
    assert clock.now().wall_bound_ns == 2 * MS
    hands.step_ns = 300 * MS
    assert clock.now().wall_bound_ns == 302 * MS


def test_real_clocks_go_forward_together() -> None:
    clock = SystemClock()
    first, second = clock.now(), clock.now()
    assert first.monotonic_ns <= second.monotonic_ns
    passed_ns = second.monotonic_ns - first.monotonic_ns
    assert second.clock_ns - first.clock_ns == passed_ns
