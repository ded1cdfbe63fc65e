"""What the bench of proxies takes for misrouted, and that it can run; figures are no test's."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from bench.proxies import alone, under_load
from bench.proxy_site import Flip, judged
from turnout.dev.observations import Observation

FLIPS = (
    Flip(epoch=1, ordered_ns=0, live_ns=10),
    Flip(epoch=2, ordered_ns=100, live_ns=110),
    Flip(epoch=3, ordered_ns=200, live_ns=210),
)
SEEN = Observation(sent_ns=120, done_ns=130, epoch=2, colour="green")


def misrouted(seen: Observation) -> bool:
    return bool(judged([seen], FLIPS).misrouted)


def test_request_answered_by_the_epoch_in_force_is_right() -> None:
    assert not misrouted(SEEN)


@pytest.mark.parametrize(
    "crossing",
    [
        Observation(sent_ns=99, done_ns=101, epoch=2, colour="green"),
        Observation(sent_ns=105, done_ns=300, epoch=1, colour="blue"),
    ],
)
def test_request_that_crosses_a_flip_may_be_answered_by_either(crossing: Observation) -> None:
    assert not misrouted(crossing)


def test_request_answered_before_its_epoch_was_ordered_is_misrouted() -> None:
    assert misrouted(evolve(SEEN, epoch=3, colour="blue"))


def test_request_sent_after_a_proof_and_answered_by_an_older_epoch_is_misrouted() -> None:
    assert misrouted(evolve(SEEN, epoch=1, colour="blue"))


def test_request_answered_by_another_colour_than_its_epochs_is_misrouted() -> None:
    assert misrouted(evolve(SEEN, colour="blue"))


def test_request_that_failed_is_counted_as_that() -> None:
    counted = judged([evolve(SEEN, failed=True)], FLIPS)
    assert (counted.failed, counted.misrouted) == (1, 0)


async def test_bench_runs_and_no_user_notices(tmp_path: Path) -> None:
    result = await under_load("haproxy", 3, 2, tmp_path)
    assert result.is_clean, result
    assert result.web_sockets == 3


async def test_driver_alone_is_measured(tmp_path: Path) -> None:
    assert (await alone("nginx", 20, 2, tmp_path)).flip_ms_p50 > 0
