from __future__ import annotations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from turnout.protocol.activation import (
    FAULT_CHECKS,
    ClockEstimate,
    Interval,
    Wait,
    delay_until,
    drift,
    plan_activation,
    skew_ns,
)
from turnout.protocol.clock import MS, SECOND, ZERO, ClockNs, Instant, MonotonicNs
from turnout.protocol.identifiers import ReplicaId, Term
from turnout.protocol.limits import CLOCK_SAMPLES, RETRANSMISSION_ROOM_NS, Timing
from turnout.protocol.messages import Receipt
from turnout.protocol.records import Activation, Mode

TIMING = Timing()
OFFSET_NS = 1_700_000_000 * SECOND


def at(monotonic_ns: int, wall_ns: int = 0, wall_bound_ns: int | None = None) -> Instant:
    return Instant(
        monotonic_ns=MonotonicNs(monotonic_ns),
        clock_ns=ClockNs(0),
        wall_ns=wall_ns,
        wall_bound_ns=wall_bound_ns,
    )


def answer(
    sent_ns: int, clock_ns: int, wall_ns: int = 0, wall_bound_ns: int | None = None
) -> Receipt:
    return Receipt(
        term=Term(1),
        replica=ReplicaId("a"),
        echo_ns=MonotonicNs(sent_ns),
        clock_ns=ClockNs(clock_ns),
        wall_ns=wall_ns,
        wall_bound_ns=wall_bound_ns,
    )


def exchanged(
    estimate: ClockEstimate, sent_ns: int, round_trip_ns: int, offset_ns: int = OFFSET_NS
) -> ClockEstimate:
    """One exchange with a leader whose clock is ahead by ``offset_ns``, both ways equally long."""
    clock_ns = sent_ns + round_trip_ns // 2 + offset_ns
    return estimate.observe(answer(sent_ns, clock_ns), at(sent_ns + round_trip_ns))


# --- intervals ----------------------------------------------------------------------------------

intervals = st.builds(
    lambda low, width: Interval(low, low + width), st.integers(-50, 50), st.integers(0, 60)
)


def members(interval: Interval | None) -> set[int]:
    """The slow twin of an interval: everything in it."""
    return set(range(interval.low, interval.high + 1)) if interval else set()


@given(intervals, intervals)
def test_meet_of_two_intervals_holds_what_both_hold(a: Interval, b: Interval) -> None:
    assert members(a.meet(b)) == members(a) & members(b)


@given(intervals, st.integers(0, 20))
def test_widened_interval_holds_all_within_reach(interval: Interval, by: int) -> None:
    reach = {number + step for number in members(interval) for step in range(-by, by + 1)}
    assert members(interval.widened(by)) == reach


@given(intervals)
def test_nothing_in_an_interval_is_further_from_its_middle_than_its_bound(
    interval: Interval,
) -> None:
    assert max(abs(number - interval.middle) for number in members(interval)) == interval.bound


@given(st.integers(0, 10**12))
def test_drift_is_500_ppm_rounded_up(length_ns: int) -> None:
    assert 0 <= drift(length_ns) * 1_000_000 - length_ns * 500 < 1_000_000


# --- the estimate -------------------------------------------------------------------------------


def test_estimate_of_nothing_knows_nothing() -> None:
    estimate = ClockEstimate()
    assert estimate.offset(5) is None
    assert estimate.bound_ns(5) is None
    assert estimate.to_leader_clock(5) is None
    assert estimate.round_trip_ns is None
    assert estimate.shortest_round_trip_ns is None


def test_one_exchange_gives_the_offset_within_half_the_round_trip_and_drift() -> None:
    estimate = exchanged(ClockEstimate(), sent_ns=0, round_trip_ns=10 * MS)
    assert estimate.bound_ns(10 * MS) == 5 * MS + drift(10 * MS)
    assert estimate.to_leader_clock(10 * MS) == OFFSET_NS + 10 * MS
    assert estimate.fault == ""


def test_bound_grows_with_age_in_both_directions() -> None:
    estimate = exchanged(ClockEstimate(), sent_ns=0, round_trip_ns=10 * MS)
    assert estimate.bound_ns(100 * SECOND) == 5 * MS + 50 * MS
    assert estimate.bound_ns(-100 * SECOND) == 5 * MS + 50 * MS + drift(10 * MS)


def test_short_exchange_keeps_the_bound_small_after_longer_ones() -> None:
    estimate = exchanged(ClockEstimate(), sent_ns=0, round_trip_ns=2 * MS)
    estimate = exchanged(estimate, sent_ns=SECOND, round_trip_ns=300 * MS)
    assert estimate.bound_ns(1300 * MS) == 1 * MS + drift(1300 * MS)
    assert estimate.round_trip_ns == 300 * MS
    assert estimate.shortest_round_trip_ns == 2 * MS


def test_old_exchanges_are_forgotten() -> None:
    estimate = exchanged(ClockEstimate(), sent_ns=0, round_trip_ns=300 * MS)
    for second in range(1, CLOCK_SAMPLES + 1):
        estimate = exchanged(estimate, sent_ns=second * SECOND, round_trip_ns=2 * MS)
    assert len(estimate.exchanges) == CLOCK_SAMPLES
    assert estimate.round_trip_ns == 2 * MS


def test_repeated_overtaken_and_nonsense_answers_change_nothing() -> None:
    estimate = exchanged(ClockEstimate(), sent_ns=SECOND, round_trip_ns=MS)
    repeated = answer(SECOND, OFFSET_NS + SECOND)
    assert estimate.observe(repeated, at(9 * SECOND)) is estimate
    overtaken = answer(SECOND // 2, OFFSET_NS + SECOND // 2)
    assert estimate.observe(overtaken, at(9 * SECOND)) is estimate
    from_the_future = answer(9 * SECOND + 1, OFFSET_NS)
    assert estimate.observe(from_the_future, at(9 * SECOND)) is estimate


def test_leader_clock_that_jumps_is_a_fault_until_checked() -> None:
    estimate = exchanged(ClockEstimate(), sent_ns=0, round_trip_ns=2 * MS)
    jumped = OFFSET_NS + SECOND
    estimate = exchanged(estimate, SECOND, 2 * MS, jumped)
    assert "jumped" in estimate.fault
    assert len(estimate.exchanges) == 1
    assert estimate.bound_ns(SECOND) is None
    assert estimate.to_leader_clock(1002 * MS) == 1002 * MS + jumped
    for second in range(2, 2 + FAULT_CHECKS):
        assert estimate.bound_ns(second * SECOND) is None
        assert "jumped" in estimate.fault
        estimate = exchanged(estimate, second * SECOND, 2 * MS, jumped)
    assert estimate.fault == ""
    assert estimate.bound_ns(5 * SECOND) is not None


def test_second_jump_while_checking_starts_the_checks_anew() -> None:
    estimate = exchanged(ClockEstimate(), sent_ns=0, round_trip_ns=2 * MS)
    estimate = exchanged(estimate, SECOND, 2 * MS, OFFSET_NS + SECOND)
    estimate = exchanged(estimate, 2 * SECOND, 2 * MS, OFFSET_NS + SECOND)
    estimate = exchanged(estimate, 3 * SECOND, 2 * MS, OFFSET_NS)
    assert estimate.unchecked == FAULT_CHECKS


def test_wall_clocks_that_are_credible_narrow_a_long_round_trip() -> None:
    # 300 ms there and back, all of the delay on the way back; both hosts know the time to 2 ms.
    now = at(300 * MS, wall_ns=5 * SECOND + 300 * MS, wall_bound_ns=2 * MS)
    receipt = answer(0, OFFSET_NS, wall_ns=5 * SECOND, wall_bound_ns=2 * MS)
    estimate = ClockEstimate().observe(receipt, now)
    assert estimate.offset(0) == Interval(OFFSET_NS, OFFSET_NS).widened(
        4 * MS + 2 * drift(300 * MS)
    ).meet(Interval(OFFSET_NS - 300 * MS, OFFSET_NS).widened(drift(300 * MS)))
    assert estimate.fault == ""


@pytest.mark.parametrize(("own", "leaders"), [(None, 1), (1, None), (None, None)])
def test_wall_clock_without_a_bound_is_not_used(own: int | None, leaders: int | None) -> None:
    now = at(10 * MS, wall_ns=77, wall_bound_ns=own)
    receipt = answer(0, OFFSET_NS, wall_ns=-77, wall_bound_ns=leaders)
    estimate = ClockEstimate().observe(receipt, now)
    assert estimate.bound_ns(10 * MS) == 5 * MS + drift(10 * MS)


def test_wall_clock_that_lies_is_reported_and_the_round_trip_counts_alone() -> None:
    now = at(10 * MS, wall_ns=5 * SECOND + 400 * MS, wall_bound_ns=1 * MS)
    receipt = answer(0, OFFSET_NS + 5 * MS, wall_ns=5 * SECOND, wall_bound_ns=1 * MS)
    estimate = ClockEstimate().observe(receipt, now)
    assert "wall clock" in estimate.fault
    assert estimate.bound_ns(10 * MS) == 5 * MS + drift(10 * MS)
    honest = exchanged(estimate, SECOND, 10 * MS)
    assert honest.fault == ""


# --- the estimate against true clocks -----------------------------------------------------------


@st.composite
def histories(draw: st.DrawFn) -> tuple[ClockEstimate, int, int]:
    """An estimate made with true clocks that drift within the limit, a later time, the truth.

    The leader's clock gains ``rate`` ppm on the agent's; it was ``OFFSET_NS`` ahead at time 0.
    """
    rate = draw(st.integers(-500, 500))

    def true_offset(monotonic_ns: int) -> int:
        return OFFSET_NS + monotonic_ns * rate // 1_000_000

    estimate, now_ns = ClockEstimate(), 0
    for _ in range(draw(st.integers(1, 20))):
        now_ns += draw(st.integers(1, 5 * SECOND))
        out_ns, back_ns = draw(st.integers(0, SECOND)), draw(st.integers(0, SECOND))
        read_ns = now_ns + out_ns
        # Walls are either absent or within their bounds of true time (the agent's own time here).
        bound = draw(st.none() | st.integers(0, 100 * MS))
        errors = st.integers(-(bound or 0), bound or 0)
        receipt = answer(now_ns, read_ns + true_offset(read_ns), read_ns + draw(errors), bound)
        end_ns = read_ns + back_ns
        estimate = estimate.observe(receipt, at(end_ns, end_ns + draw(errors), bound))
        now_ns = end_ns
    later_ns = now_ns + draw(st.integers(0, 60 * SECOND))
    return estimate, later_ns, true_offset(later_ns)


@given(histories())
def test_truth_lies_in_the_estimate_whatever_the_delays(
    history: tuple[ClockEstimate, int, int],
) -> None:
    estimate, now_ns, truth = history
    offset = estimate.offset(now_ns)
    bound = estimate.bound_ns(now_ns)
    leaders = estimate.to_leader_clock(now_ns)
    assert estimate.fault == ""
    assert offset is not None
    assert offset.low - 1 <= truth <= offset.high + 1
    assert bound is not None
    assert leaders is not None
    assert abs(leaders - (now_ns + truth)) <= bound + 1


@given(histories(), st.integers(0, 60 * SECOND))
def test_offset_is_that_of_its_slow_twin_now_and_before(
    history: tuple[ClockEstimate, int, int], before_ns: int
) -> None:
    estimate, now_ns, _ = history
    moment_ns = now_ns - before_ns
    ages = [max(moment_ns - e.sent_ns, e.received_ns - moment_ns) for e in estimate.exchanges]
    alone = [e.offset.widened(drift(age)) for e, age in zip(estimate.exchanges, ages, strict=True)]
    low, high = max(one.low for one in alone), min(one.high for one in alone)
    assert estimate.offset(moment_ns) == (Interval(low, high) if low <= high else None)


# --- the wait -----------------------------------------------------------------------------------


def scheduled(g_ns: int, decided_ns: int = 0) -> Activation:
    """A commit decided when the agent's clock showed ``decided_ns``."""
    return Activation(
        mode=Mode.SCHEDULED, time_ns=ClockNs(OFFSET_NS + decided_ns + g_ns), g_ns=g_ns
    )


def test_immediate_commit_is_not_waited_for() -> None:
    estimate = exchanged(ClockEstimate(), 0, MS)
    assert delay_until(Activation(), estimate, at(SECOND)) == Wait(delay_ns=0)
    no_time = Activation(mode=Mode.SCHEDULED, g_ns=SECOND)
    assert delay_until(no_time, estimate, at(SECOND)) == Wait(delay_ns=0)


def test_wait_ends_at_the_activation_time() -> None:
    estimate = exchanged(ClockEstimate(), 0, 2 * MS)
    wait = delay_until(scheduled(g_ns=SECOND, decided_ns=2 * MS), estimate, at(3 * MS))
    assert wait == Wait(delay_ns=SECOND - MS)


def test_wait_for_a_time_that_has_passed_is_none() -> None:
    estimate = exchanged(ClockEstimate(), 0, 2 * MS)
    assert delay_until(scheduled(SECOND), estimate, at(5 * SECOND)).delay_ns == 0


def test_h15_wait_longer_than_g_proves_a_clock_wrong_and_is_cut_to_zero() -> None:
    estimate = exchanged(ClockEstimate(), 0, 2 * MS)
    early = scheduled(SECOND, decided_ns=600 * SECOND)
    wait = delay_until(early, estimate, at(2 * MS))
    assert wait.delay_ns == 0
    assert "a clock is wrong" in wait.fault


def test_wait_longer_than_g_within_the_bound_is_cut_to_g() -> None:
    estimate = exchanged(ClockEstimate(), 0, 200 * MS)
    wait = delay_until(scheduled(SECOND, decided_ns=250 * MS), estimate, at(200 * MS))
    assert wait == Wait(delay_ns=SECOND)


def test_agent_without_a_bound_counts_from_receipt() -> None:
    commit = scheduled(SECOND)
    assert delay_until(commit, ClockEstimate(), at(0)) == Wait(delay_ns=SECOND)
    faulty = exchanged(ClockEstimate(), 0, 200 * MS)
    faulty = exchanged(faulty, SECOND, 100 * MS, OFFSET_NS + 9 * SECOND)
    wait = delay_until(commit, faulty, at(2 * SECOND))
    assert wait.delay_ns == SECOND - 50 * MS
    assert wait.fault == faulty.fault


def test_agent_without_a_bound_and_far_away_does_not_wait_less_than_nothing() -> None:
    faulty = exchanged(ClockEstimate(), 0, 2 * MS)
    faulty = exchanged(faulty, SECOND, 900 * MS, OFFSET_NS + 9 * SECOND)
    assert delay_until(scheduled(100 * MS), faulty, at(2 * SECOND)).delay_ns == 0


@given(histories(), st.integers(-(10**12), 10**12), st.integers(0, 10 * SECOND))
def test_wait_is_never_longer_than_g_whatever_the_leader_says(
    history: tuple[ClockEstimate, int, int], error_ns: int, g_ns: int
) -> None:
    estimate, now_ns, truth = history
    commit = Activation(mode=Mode.SCHEDULED, time_ns=ClockNs(now_ns + truth + error_ns), g_ns=g_ns)
    assert 0 <= delay_until(commit, estimate, at(now_ns)).delay_ns <= g_ns


@given(st.lists(histories(), min_size=2, max_size=5), st.data())
def test_s8_flips_of_one_commit_differ_by_at_most_the_sum_of_two_bounds(
    agents: list[tuple[ClockEstimate, int, int]], data: st.DataObject
) -> None:
    flips = []
    g_ns = 4 * SECOND
    for estimate, heard_ns, truth in agents:
        on_the_way_ns = data.draw(st.integers(0, g_ns))
        # On a common axis the decision is at 0 and the flip is due at G; this agent hears late.
        commit = Activation(
            mode=Mode.SCHEDULED,
            time_ns=ClockNs(heard_ns + truth + g_ns - on_the_way_ns),
            g_ns=g_ns,
        )
        wait = delay_until(commit, estimate, at(heard_ns))
        bound = estimate.bound_ns(heard_ns)
        assert bound is not None
        flips.append((on_the_way_ns + wait.delay_ns, bound))
    for flip, bound in flips:
        for other, other_bound in flips:
            assert abs(flip - other) <= bound + other_bound + 2


# --- the plan -----------------------------------------------------------------------------------

NOW = ZERO._replace(clock_ns=ClockNs(OFFSET_NS))
VOTE = (100 * MS, 10 * MS)


def test_plan_gives_the_farthest_agent_room_and_two_clocks_that_err() -> None:
    plan = plan_activation(Mode.SCHEDULED, [VOTE, (40 * MS, 20 * MS)], TIMING, NOW)
    g_ns = 100 * MS + RETRANSMISSION_ROOM_NS + 40 * MS
    assert plan == Activation(
        mode=Mode.SCHEDULED, time_ns=ClockNs(OFFSET_NS + g_ns), g_ns=g_ns, bound_ns=20 * MS
    )


def test_plan_that_was_asked_to_be_immediate_needs_no_reason() -> None:
    plan = plan_activation(Mode.IMMEDIATE, [VOTE, (None, None)], TIMING, NOW)
    assert plan == Activation(bound_ns=10 * MS)


@pytest.mark.parametrize(
    ("votes", "reason"),
    [
        ([], "nobody voted"),
        ([VOTE, (10 * MS, None)], "1 agent has no clock bound"),
        ([VOTE, (None, 1), (-1, 1), (1, -1)], "3 agents have no clock bound"),
        ([VOTE, (501 * MS, 0)], "a round trip of 501.0 ms is above max_round_trip, 500 ms"),
        ([(400 * MS, 401 * MS)], "G = 2502.0 ms is above max_g, 2500 ms"),
    ],
)
def test_plan_that_cannot_be_kept_is_immediate_and_says_why(
    votes: list[tuple[int | None, int | None]], reason: str
) -> None:
    plan = plan_activation(Mode.SCHEDULED, votes, TIMING, NOW)
    assert (plan.mode, plan.time_ns, plan.g_ns) == (Mode.IMMEDIATE, None, 0)
    assert plan.reason == reason


def test_plan_names_bounds_above_the_ceiling_and_is_scheduled_all_the_same() -> None:
    plan = plan_activation(Mode.SCHEDULED, [VOTE, (1, 51 * MS)], TIMING, NOW)
    assert plan.mode is Mode.SCHEDULED
    assert plan.reason == "1 agent has a clock bound above max_clock_bound, 50 ms"
    assert plan.bound_ns == 51 * MS


figures = st.none() | st.integers(-10, 1000 * MS)


@given(st.lists(st.tuples(figures, figures), max_size=6))
@example([(500 * MS, 350 * MS)])
def test_plan_is_that_of_its_slow_twin(votes: list[tuple[int | None, int | None]]) -> None:
    plan = plan_activation(Mode.SCHEDULED, iter(votes), TIMING, NOW)
    known = [(t, b) for t, b in votes if t is not None and b is not None and t >= 0 and b >= 0]
    g_ns = RETRANSMISSION_ROOM_NS
    g_ns += max([trip for trip, _ in known], default=0)
    g_ns += 2 * max([bound for _, bound in known], default=0)
    fits = (
        len(known) == len(votes) > 0
        and all(trip <= TIMING.max_round_trip_ns for trip, _ in known)
        and g_ns <= TIMING.max_g_ns
    )
    assert (plan.mode is Mode.SCHEDULED) == fits
    assert plan.g_ns == (g_ns if fits else 0)


@given(st.lists(st.tuples(st.integers(0, 400 * MS), st.integers(0, 100 * MS)), min_size=1))
def test_planned_commit_reaches_every_agent_in_time_with_one_segment_lost(
    votes: list[tuple[int, int]],
) -> None:
    plan = plan_activation(Mode.SCHEDULED, votes, TIMING, NOW)
    assume(plan.mode is Mode.SCHEDULED)
    assert all(trip + RETRANSMISSION_ROOM_NS + bound <= plan.g_ns for trip, bound in votes)


def test_skew_is_latest_less_earliest() -> None:
    assert skew_ns([]) is None
    assert skew_ns([5]) == 0
    assert skew_ns(iter([7, 5, 12])) == 7
