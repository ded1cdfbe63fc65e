from __future__ import annotations

from itertools import combinations, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.matrices import Matrix, load, parse
from simulator.placement import Costs, Distances, Parts, Placement, fitting_timing
from simulator.placement_search import NEVER_NS, Shape, best_placements
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.identifiers import Region
from turnout.protocol.limits import broken_relations
from turnout.protocol.records import Mode

NOTHING = Costs(staging_ns=0, flip_ns=0, proof_ns=0, commit_ns=0)
A, B, C, D = (Region(name) for name in "abcd")


def line(*places_ms: float) -> Matrix:
    """Regions a, b, c ... on a line: each as far from another as their places say."""
    names = [chr(ord("a") + n) for n in range(len(places_ms))]
    rows = [
        f"{one},{other},{abs(p - q) or 0.5}"
        for one, p in zip(names, places_ms, strict=True)
        for other, q in zip(names, places_ms, strict=True)
    ]
    return parse("from,to,rtt_ms\n" + "\n".join(rows), "line")


def at(coordinators: str, etcd: str) -> Placement:
    return Placement(coordinators=tuple(map(Region, coordinators)), etcd=tuple(map(Region, etcd)))


def test_lower_bound_of_the_aws_map_is_the_published_one() -> None:
    """368 ms, proxies taking no time: coordinator in us-east-1, etcd there and nearby."""
    distances = Distances(load("aws-19"), Costs(staging_ns=0, flip_ns=0))
    placement = Placement(
        coordinators=(Region("us-east-1"),),
        etcd=(Region("us-east-1"), Region("us-east-2"), Region("ca-central-1")),
    )
    assert round(distances.lower_bound_ns(placement) / MS) == 368


def test_lower_bound_adds_up_by_hand() -> None:
    """Leader in b, 100 ms from the farthest; etcd's leader in a, 20 ms away, its majority in b."""
    costs = Costs(staging_ns=7 * MS, flip_ns=3 * MS, commit_ns=4 * MS)
    distances = Distances(line(0, 20, 120), costs)
    assert distances.lower_bound_ns(at("b", "abc")) == (150 + 20 + 20 + 4 + 7 + 3) * MS


@pytest.mark.parametrize(
    ("etcd", "waits_ms"), [("a", 0), ("ab", 20), ("abc", 20), ("abcd", 120), ("abcde", 120)]
)
def test_write_waits_for_the_nearest_majority(etcd: str, waits_ms: int) -> None:
    distances = Distances(line(0, 20, 120, 500, 900), NOTHING)
    members = tuple(map(Region, etcd))
    assert distances.quorum_ns(members, len(members)) == waits_ms * MS


def test_expected_time_adds_ordinary_jitter_and_the_proof() -> None:
    costs = Costs(staging_ns=10 * MS, flip_ns=2 * MS, proof_ns=5 * MS, commit_ns=0)
    parts = Distances(line(0, 100), costs).parts(A, write_ns=30 * MS)
    assert parts.prepare_ns == 100_400_000
    assert parts.activate_ns == 50_200_000
    assert parts.total_ns == (100_400_000 + 50_200_000) + (10 + 2 + 5 + 30) * MS


def test_scheduled_switch_waits_for_g_as_the_protocol_plans_it() -> None:
    costs = Costs(mode=Mode.SCHEDULED, clock_bound_ns=2 * MS)
    parts = Distances(line(0, 100), costs).parts(A, write_ns=0)
    assert parts.activate_ns == 100_400_000 + 1300 * MS + 2 * 2 * MS


def test_scheduled_switch_across_more_than_the_default_ceilings_is_scheduled_all_the_same() -> None:
    costs = Costs(mode=Mode.SCHEDULED)
    parts = Distances(line(0, 2000), costs).parts(A, write_ns=0)
    assert parts.activate_ns > 3 * SECOND


def test_dominant_parts_make_up_three_quarters() -> None:
    parts = Parts(prepare_ns=50, staging_ns=5, decide_ns=15, activate_ns=25, flip_ns=2, proof_ns=3)
    assert parts.dominant() == (("prepare", 50), ("activate", 25))


def test_takeover_is_judged_by_the_worst_next_leader_and_the_worst_of_etcds_leaders() -> None:
    """a is lost: b leads, 100 ms from d; etcd's leader is in c, 80 ms away, and waits for b."""
    distances = Distances(line(0, 20, 100, 120), NOTHING)
    estimate = distances.estimate(at("abc", "abc"))
    assert estimate.takeover_ns == distances.parts(B, (80 + 80) * MS, lost=A).total_ns
    assert estimate.takeover_reason == ""


def test_takeover_leaves_the_lost_region_out_of_the_farthest() -> None:
    distances = Distances(line(0, 500, 510, 520), NOTHING)
    assert distances.farthest_ns(C) == 510 * MS
    assert distances.farthest_ns(C, lost=A) == 10 * MS


@pytest.mark.parametrize(
    ("coordinators", "etcd", "reason"),
    [
        ("a", "abc", "no coordinator is left"),
        ("ab", "a", "etcd has no quorum left"),
        ("ab", "ab", "etcd has no quorum left"),
    ],
)
def test_takeover_that_cannot_be_says_why(coordinators: str, etcd: str, reason: str) -> None:
    estimate = Distances(line(0, 20, 100), NOTHING).estimate(at(coordinators, etcd))
    assert (estimate.takeover_ns, estimate.takeover_reason) == (None, reason)


# -------------------------------------------------------------------------------- fitting times


@pytest.mark.parametrize(
    ("spread_ms", "election_s", "lease_ttl_s", "prepare_s"),
    [(0, 1, 5, 5), (100, 1, 5, 5), (101, 2, 4, 5), (200, 2, 4, 5), (201, 3, 5, 3.5)],
)
def test_times_fit_etcd_nearby_and_across_oceans(
    spread_ms: int, election_s: int, lease_ttl_s: int, prepare_s: float
) -> None:
    timing = fitting_timing(240 * MS, 15 * MS, spread_ms * MS)
    assert timing.election_ns == election_s * SECOND
    assert timing.lease_ttl_ns == lease_ttl_s * SECOND
    assert timing.prepare_timeout_ns == prepare_s * SECOND
    assert broken_relations(timing) == ()


@pytest.mark.parametrize(("spread_ms", "limit_s"), [(0, 15), (200, 15), (201, 19), (400, 23)])
def test_core_converges_within_15_s_unless_ten_round_trips_of_etcd_are_above_2_s(
    spread_ms: int, limit_s: int
) -> None:
    timing = fitting_timing(240 * MS, 15 * MS, spread_ms * MS)
    assert timing.convergence_ns == limit_s * SECOND


def test_slowest_write_goes_by_way_of_the_farthest_member_to_the_worst_leader() -> None:
    """From c by way of a to the leader c, and on to the nearest other: 100 + 100 + 80 ms."""
    distances = Distances(line(0, 20, 100), NOTHING)
    assert distances.slowest_write_ns((C,), (A, B, C)) == 280 * MS
    assert distances.slowest_write_ns((A, C), (B,)) == 80.5 * MS
    assert distances.estimate(at("c", "abc")).timing.store_write_ns == 300 * MS


def test_times_cannot_fit_members_of_etcd_too_far_apart() -> None:
    timing = fitting_timing(240 * MS, 15 * MS, 450 * MS)
    assert timing.election_ns == 5 * SECOND
    assert any("above the budget" in text for text in broken_relations(timing))


def test_times_raise_their_ceilings_to_the_map() -> None:
    timing = fitting_timing(600 * MS, 310 * MS, 10 * MS)
    assert timing.max_round_trip_ns == 650 * MS
    assert timing.max_g_ns == 2500 * MS
    assert timing.store_write_ns == 350 * MS


# ------------------------------------------------------------------------------------- the search


def every_placement(distances: Distances, shape: Shape) -> list[Placement]:
    """All of them, etcd's leader where it serves the leader best: the search's obvious twin."""
    regions = distances.matrix.regions
    placements = []
    for leader in regions:
        others = [region for region in regions if region != leader]
        for etcd in combinations(regions, shape.etcd):
            orders = [(one, *(r for r in etcd if r != one)) for one in etcd]
            best = min(orders, key=lambda order: distances.write_ns(leader, order))
            placements += [
                Placement(coordinators=(leader, *rest), etcd=best)
                for rest in combinations(others, shape.coordinators - 1)
            ]
    return placements


def key(distances: Distances, placement: Placement) -> tuple[int, int]:
    estimate = distances.estimate(placement)
    takeover_ns = NEVER_NS if estimate.takeover_ns is None else estimate.takeover_ns
    return estimate.parts.total_ns // MS, takeover_ns


def by_trying_all(distances: Distances, shape: Shape, top: int) -> list[tuple[int, int]]:
    """The best keys, one for each leader with each choice of etcd."""
    best: dict[tuple[Region, tuple[Region, ...]], tuple[int, int]] = {}
    for placement in every_placement(distances, shape):
        name = placement.leader, tuple(sorted(placement.etcd))
        this = key(distances, placement)
        best[name] = min(best.get(name, this), this)
    return sorted(best.values())[:top]


@settings(max_examples=15, deadline=None)
@given(
    trips=st.lists(st.sampled_from([10, 20, 40, 200]), min_size=20, max_size=20),
    coordinators=st.integers(1, 3),
    etcd=st.integers(1, 5),
    top=st.integers(1, 12),
)
def test_search_finds_what_trying_all_finds(
    trips: list[int], coordinators: int, etcd: int, top: int
) -> None:
    pairs = zip(permutations("abcde", 2), trips, strict=True)
    rows = "\n".join(f"{one},{other},{ms}" for (one, other), ms in pairs)
    distances = Distances(parse(f"from,to,rtt_ms\n{rows}", "any"), Costs())
    shape = Shape(coordinators=coordinators, etcd=etcd)
    found = best_placements(distances, shape, top)
    assert [key(distances, one.placement) for one in found] == by_trying_all(distances, shape, top)


def test_search_finds_no_placement_twice_and_the_best_first() -> None:
    distances = Distances(load("azure-24"), Costs())
    found = best_placements(distances, Shape(coordinators=5, etcd=5), 50)
    names = [(one.placement.leader, tuple(sorted(one.placement.etcd))) for one in found]
    assert len(set(names)) == 50
    keys = [key(distances, one.placement) for one in found]
    assert keys == sorted(keys)


def test_search_puts_the_safer_of_equals_first() -> None:
    """With d 300 ms away a takeover by it would be slow, and nothing else tells a, b and c apart."""
    distances = Distances(line(0, 0.2, 0.4, 300), NOTHING)
    best = best_placements(distances, Shape(coordinators=2, etcd=3), 1)[0]
    assert D not in (*best.placement.coordinators, *best.placement.etcd)


def test_search_returns_fewer_where_there_are_no_more() -> None:
    distances = Distances(line(0, 10), NOTHING)
    assert len(best_placements(distances, Shape(coordinators=2, etcd=2), 10)) == 2
