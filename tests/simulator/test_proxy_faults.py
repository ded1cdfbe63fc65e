"""What goes wrong with a proxy: slow, refusing, sick backends, a worker that lingers."""

from __future__ import annotations

import pytest

from simulator.explore.bootstrap import CHECKOUT
from simulator.proxy_faults import Step
from tests.simulator.proxied_edge import (
    BLUE,
    GREEN,
    Edge,
    prove,
    serving_blue,
    stage,
)
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.events import (
    Proven,
    Staged,
)
from turnout.protocol.identifiers import Epoch
from turnout.protocol.messages import No
from turnout.protocol.routing import Colour


@pytest.fixture
def edge() -> Edge:
    return serving_blue()


def test_proxy_slow_staging_ends_later_until_healed(edge: Edge) -> None:
    heal = edge.proxy.faults.slow(Step.STAGE, SECOND)
    assert edge.staged(2, GREEN, 2 * SECOND).staging_ns == SECOND + 10 * MS
    heal()
    assert edge.staged(2, GREEN).staging_ns == 10 * MS


def test_proxy_too_slow_staging_is_refused_at_its_limit(edge: Edge) -> None:
    edge.proxy.faults.slow(Step.STAGE, 10 * SECOND)
    assert edge.staged(2, GREEN, 4 * SECOND).refusal is not None


def test_proxy_too_slow_flip_is_refused_and_happens(edge: Edge) -> None:
    edge.staged(2, GREEN)
    edge.proxy.faults.slow(Step.FLIP, 10 * SECOND)
    assert edge.activated(2, GREEN, 3 * SECOND).refusal is not None
    assert edge.proxy.serving.epoch == 1
    edge.wait(8 * SECOND)
    assert edge.proxy.serving.epoch == 2


def test_proxy_refuses_to_stage_until_healed(edge: Edge) -> None:
    heal = edge.proxy.faults.refuse(Step.STAGE, "no room")
    refusal = edge.staged(2, GREEN).refusal
    assert refusal is not None
    assert (refusal.no, refusal.reason) == (No.REFUSED, "no room")
    heal()
    assert edge.staged(2, GREEN).refusal is None


def test_proxy_refused_flip_leaves_what_is_served(edge: Edge) -> None:
    edge.staged(2, GREEN)
    heal = edge.proxy.faults.refuse(Step.FLIP, "no")
    assert edge.activated(2, GREEN).refusal is not None
    assert edge.activated(2, GREEN).refusal is not None
    assert edge.proxy.serving.epoch == 1
    heal()
    assert edge.activated(2, GREEN).refusal is None


def test_proxy_refused_proof_is_a_failure(edge: Edge) -> None:
    edge.proxy.faults.refuse(Step.PROVE, "garbled")
    edge.proxy.begin(prove(1, BLUE))
    edge.wait(SECOND)
    assert edge.answers() == [Proven(epoch=Epoch(1), failure="garbled")]


def test_proxy_too_slow_proof_is_given_up_at_its_limit(edge: Edge) -> None:
    edge.proxy.faults.slow(Step.PROVE, 10 * SECOND)
    edge.proxy.begin(prove(1, BLUE))
    edge.wait(1500 * MS - 1)
    assert edge.answers() == []
    edge.wait(1)
    assert edge.answers() == [Proven(epoch=Epoch(1), failure="not proven in time")]


def test_proxy_told_of_a_flip_refuses_what_ranks_below_it(edge: Edge) -> None:
    edge.staged(3, GREEN)
    edge.proxy.faults.slow(Step.FLIP, 10 * SECOND)
    edge.activated(3, GREEN, 3 * SECOND)
    edge.staged(2, BLUE)
    refusal = edge.activated(2, BLUE).refusal
    assert refusal is not None
    assert "not above epoch 3" in refusal.reason


def test_proxy_sick_backends_are_refused_where_they_are_checked(edge: Edge) -> None:
    heal = edge.proxy.faults.sicken(CHECKOUT, Colour.GREEN)
    edge.proxy.begin(stage(2, GREEN, check=True, against=BLUE.digest))
    edge.wait(SECOND)
    (answer,) = edge.answers()
    assert isinstance(answer, Staged)
    assert answer.refusal is not None
    assert answer.refusal.no is No.UNHEALTHY
    assert edge.staged(2, GREEN).refusal is None, "not checked, not refused"
    heal()
    edge.proxy.begin(stage(2, GREEN, check=True, against=BLUE.digest))
    edge.wait(SECOND)
    assert [getattr(a, "refusal", "") for a in edge.answers()] == [None]


def test_proxy_sick_backends_are_not_proven(edge: Edge) -> None:
    edge.proxy.faults.sicken(CHECKOUT, Colour.BLUE)
    edge.proxy.begin(prove(1, BLUE))
    edge.wait(2 * SECOND)
    (answer,) = edge.answers()
    assert isinstance(answer, Proven)
    assert "error" in (answer.failure or "")


def test_proxy_old_worker_lingers_and_delays_the_proof(edge: Edge) -> None:
    edge.staged(2, GREEN)
    edge.proxy.faults.linger(100 * MS)
    edge.activated(2, GREEN, 2 * MS)
    edge.proxy.begin(prove(2, GREEN, against=BLUE.digest))
    assert edge.proxy.colour_for(CHECKOUT, 0) is Colour.BLUE
    edge.wait(100 * MS)
    assert edge.proxy.colour_for(CHECKOUT, 0) is Colour.GREEN
    edge.wait(20 * MS - 1)
    assert edge.answers() == []
    edge.wait(1)
    assert len(edge.answers()) == 1


def test_proxy_told_of_a_newer_flip_never_makes_the_older_one(edge: Edge) -> None:
    edge.staged(2, GREEN)
    edge.proxy.faults.slow(Step.FLIP, 10 * SECOND)
    assert edge.activated(2, GREEN, 3 * SECOND).refusal is not None
    edge.staged(3, BLUE)
    edge.activated(3, BLUE, 3 * SECOND)
    edge.wait(20 * SECOND)
    assert [epoch for epoch, _ in edge.flips] == [3]
