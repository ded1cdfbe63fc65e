from __future__ import annotations

import attrs
import pytest
from attrs import evolve

from turnout.protocol import limits
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.limits import Timing, broken_relations


def test_timing_as_shipped_keeps_every_relation() -> None:
    assert broken_relations(Timing()) == ()


def test_sla_inequality_is_the_sum_of_its_terms() -> None:
    timing = Timing()
    assert timing.failover_ns == 13_500 * MS
    assert timing.herd_ns == 500 * MS
    assert timing.worst_case_ns == (10_000 + 13_500 + 500 + 2_500 + 750 + 250 + 1_500) * MS


@pytest.mark.parametrize(
    ("election_s", "lease_ttl_s", "limit_s"), [(1, 5, 15), (2, 4, 15), (0.5, 2, 15), (3, 5, 19)]
)
def test_core_converges_in_15_s_or_in_what_elections_and_leases_of_a_far_etcd_take(
    election_s: float, lease_ttl_s: int, limit_s: int
) -> None:
    timing = Timing(election_ns=int(election_s * SECOND), lease_ttl_ns=lease_ttl_s * SECOND)
    assert timing.convergence_ns == limit_s * SECOND


def test_store_is_given_up_after_twice_the_time_of_a_write() -> None:
    assert Timing(store_write_ns=800 * MS).store_timeout_ns == 1600 * MS


def test_store_that_is_near_is_given_half_a_second_all_the_same() -> None:
    assert Timing(store_write_ns=5 * MS).store_timeout_ns == Timing().store_timeout_ns == 500 * MS


@pytest.mark.parametrize(
    "change",
    [
        {"prepare_timeout_ns": 6 * SECOND},
        {"lease_ttl_ns": 6 * SECOND},
        {"election_ns": 2 * SECOND},
        {"streams_per_replica": 1_000},
        {"handshakes_per_s": 20},
        {"max_g_ns": 4 * SECOND},
        {"max_round_trip_ns": 2 * SECOND},
        {"store_write_ns": 2 * SECOND},
        {"flip_ns": 3 * SECOND},
        {"budget_ns": 28 * SECOND},
    ],
)
def test_timing_that_cannot_keep_the_promise_is_refused_with_the_sum(
    change: dict[str, int],
) -> None:
    (fault,) = broken_relations(evolve(Timing(), **change))
    assert fault.startswith("2*T_prep ")
    for term in ("F ", "H ", "G_max ", "1.5*D_max ", "W ", "V ", "above the budget of"):
        assert term in fault


@pytest.mark.parametrize("name", [field.name for field in attrs.fields(Timing)])
@pytest.mark.parametrize("value", [0, -1])
def test_time_that_is_not_positive_is_named(name: str, value: int) -> None:
    assert f"{name} must be above 0" in broken_relations(evolve(Timing(), **{name: value}))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"undo_timeout_ns": 5 * SECOND + 1}, "undo_timeout_s must not be above prepare_timeout_s"),
        ({"silence_ns": 2 * SECOND - 1}, "silence_s must be at least twice sync_interval_s"),
        ({"lease_ttl_ns": 1500 * MS - 1}, "lease_ttl_s must be at least 1.5 x election_s"),
        (
            {"store_write_ns": 1 * SECOND, "lease_ttl_ns": 2 * SECOND},
            "twice store_write_s must be below lease_ttl_s",
        ),
    ],
)
def test_relation_that_is_just_broken_is_named(change: dict[str, int], named: str) -> None:
    (fault,) = broken_relations(evolve(Timing(), **change))
    assert named in fault


@pytest.mark.parametrize(
    "change",
    [
        {"undo_timeout_ns": 5 * SECOND},
        {"silence_ns": 2 * SECOND},
        {"lease_ttl_ns": 1500 * MS},
        {"budget_ns": 29 * SECOND},
    ],
)
def test_relation_that_just_holds_is_not_named(change: dict[str, int]) -> None:
    assert broken_relations(evolve(Timing(), **change)) == ()


def test_sizes_fit_into_each_other_and_into_etcds_limits() -> None:
    assert limits.MAX_STORED_TABLE_BYTES < limits.MAX_TABLE_BYTES
    assert limits.MAX_STORED_TABLE_BYTES < 3 * 1024 * 1024 // 2
    assert limits.MAX_REPORT_BYTES < limits.MAX_MESSAGE_BYTES
    assert limits.MAX_AGENTS_PER_TRANSACTION < 128
