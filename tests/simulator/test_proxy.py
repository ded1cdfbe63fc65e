"""A proxy beside its agent: its work, its rules, its own life, and its drains."""

from __future__ import annotations

import pytest
from attrs import evolve

from simulator.explore.bootstrap import CHECKOUT
from simulator.proxy import Memory
from simulator.proxy_faults import Step
from tests.simulator.proxied_edge import (
    BLUE,
    BROKEN,
    GREEN,
    KNOBS,
    Edge,
    activate,
    prove,
    serving_blue,
    stage,
)
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.effects import (
    CloseSource,
    Stage,
    StopDrain,
    WatchDrain,
)
from turnout.protocol.events import (
    Activated,
    InFlight,
    Proven,
    ProxyRestarted,
    Staged,
)
from turnout.protocol.identifiers import NO_DIGEST, Digest, Epoch
from turnout.protocol.messages import No
from turnout.protocol.records import Active
from turnout.protocol.routing import Colour

SLOW_START = evolve(KNOBS, start_ns=(60 * SECOND, 60 * SECOND))


@pytest.fixture
def edge() -> Edge:
    return serving_blue()


# --- the calm path -------------------------------------------------------------------------------


def test_proxy_new_serves_nothing() -> None:
    edge = Edge()
    assert edge.found == [Active()]
    assert edge.proxy.serving == Active()
    assert edge.proxy.colour_for(CHECKOUT, 0) is None


def test_proxy_stages_beside_what_it_serves(edge: Edge) -> None:
    edge.proxy.begin(stage(2, GREEN))
    assert edge.answers() == [], "nothing is answered at once"
    edge.wait(10 * MS - 1)
    assert edge.answers() == []
    edge.wait(1)
    answer = Staged(epoch=Epoch(2), digest=GREEN.digest, staging_ns=10 * MS)
    assert edge.answers() == [answer]
    assert edge.proxy.serving.epoch == 1
    assert edge.flips == []


def test_proxy_flips_and_says_when_by_its_agents_clock(edge: Edge) -> None:
    edge.staged(2, GREEN)
    began_ns = edge.agenda.now_ns
    answer = edge.activated(2, GREEN)
    assert answer.refusal is None
    assert answer.flipped_ns == 5 * SECOND + began_ns + 2 * MS
    assert edge.flips == [(2, began_ns + 2 * MS)]
    assert edge.proxy.serving == Active(incarnation=1, epoch=Epoch(2), digest=GREEN.digest)
    assert edge.proxy.colour_for(CHECKOUT, 0) is Colour.GREEN


def test_proxy_health_check_may_take_longer_than_staging(edge: Edge) -> None:
    edge.proxy.begin(stage(2, GREEN, check=True, against=BLUE.digest))
    edge.wait(30 * MS - 1)
    assert edge.answers() == []
    edge.wait(1)
    assert len(edge.answers()) == 1


def test_proxy_proves_what_it_serves(edge: Edge) -> None:
    edge.proxy.begin(prove(1, BLUE))
    edge.wait(4 * MS)
    assert edge.answers() == [Proven(epoch=Epoch(1), proven_ns=edge.process.now().monotonic_ns)]


def test_proxy_proof_waits_for_a_silent_source(edge: Edge) -> None:
    edge.serves(2, GREEN)
    edge.proxy.begin(prove(2, GREEN, against=BLUE.digest))
    edge.wait(24 * MS - 1)
    assert edge.answers() == []
    edge.wait(1)
    assert len(edge.answers()) == 1


def test_proxy_large_table_takes_longer() -> None:
    edge = Edge(evolve(KNOBS, staging_per_service_ns=500 * MS, flip_per_service_ns=100 * MS))
    assert edge.staged(1, BLUE).staging_ns == 510 * MS
    edge.activated(1, BLUE)
    assert edge.flips == [(1, SECOND + 102 * MS)]


# --- its rules -----------------------------------------------------------------------------------


def test_proxy_flip_to_what_it_serves_is_done_already(edge: Edge) -> None:
    assert edge.activated(1, BLUE).refusal is None
    assert edge.flips == []


@pytest.mark.parametrize(("epoch", "why"), [(1, "not above"), (0, "not above"), (2, "not staged")])
def test_proxy_flip_that_does_not_rise_or_is_not_staged_is_refused(
    edge: Edge, epoch: int, why: str
) -> None:
    refusal = edge.activated(epoch, GREEN).refusal
    assert refusal is not None
    assert why in refusal.reason
    assert edge.proxy.serving.epoch == 1


def test_proxy_has_one_place_to_stage_in(edge: Edge) -> None:
    edge.staged(2, GREEN)
    edge.staged(3, BLUE)
    assert edge.activated(2, GREEN).refusal is not None
    assert edge.activated(3, BLUE).refusal is None


def test_proxy_refuses_an_inconsistent_table_and_keeps_what_was_staged(edge: Edge) -> None:
    edge.staged(2, GREEN)
    refusal = edge.staged(3, BROKEN).refusal
    assert refusal is not None
    assert refusal.no is No.TABLE
    assert edge.activated(2, GREEN).refusal is None


def test_proxy_refuses_a_table_that_is_not_on_disk(edge: Edge) -> None:
    edge.proxy.begin(Stage(epoch=Epoch(2), digest=Digest("x"), check=False, against=NO_DIGEST))
    edge.wait(0)
    (answer,) = edge.answers()
    assert isinstance(answer, Staged)
    assert answer.refusal is not None
    assert answer.refusal.no is No.TABLE


def test_proxy_does_not_prove_another_epoch(edge: Edge) -> None:
    edge.proxy.begin(prove(2, GREEN))
    edge.wait(1500 * MS - 1)
    assert edge.answers() == []
    edge.wait(1)
    assert edge.answers() == [Proven(epoch=Epoch(2), failure="epoch 1 is served, not 2")]


def test_proxy_proof_sees_a_flip_that_comes_meanwhile(edge: Edge) -> None:
    edge.staged(2, GREEN)
    edge.proxy.faults.slow(Step.FLIP, 500 * MS)
    edge.proxy.begin(activate(2, GREEN))
    edge.proxy.begin(prove(2, GREEN))
    edge.wait(1500 * MS)
    answers = [answer for answer in edge.answers() if isinstance(answer, Proven)]
    assert [answer.failure for answer in answers] == [None]


# --- the agent dies ------------------------------------------------------------------------------


def test_proxy_outlives_its_agent_and_forgets_what_was_staged(edge: Edge) -> None:
    edge.staged(2, GREEN)
    edge.restart_agent()
    assert edge.found[-1].epoch == 1
    assert edge.activated(2, GREEN).refusal is not None


def test_proxy_flips_for_an_agent_that_died_meanwhile(edge: Edge) -> None:
    edge.staged(2, GREEN)
    edge.proxy.begin(activate(2, GREEN))
    edge.process.kill()
    edge.wait(SECOND)
    assert edge.flips != []
    edge.restart_agent()
    assert edge.found[-1].epoch == 2
    assert edge.answers() == []


def test_proxy_stages_nothing_for_an_agent_that_died_meanwhile(edge: Edge) -> None:
    edge.proxy.begin(stage(2, GREEN))
    edge.restart_agent()
    edge.wait(SECOND)
    assert edge.answers() == []
    assert edge.activated(2, GREEN).refusal is not None


def test_proxy_answers_a_stopped_agent_when_it_goes_on(edge: Edge) -> None:
    edge.staged(2, GREEN)
    edge.proxy.begin(activate(2, GREEN))
    edge.process.stop()
    edge.wait(SECOND)
    assert edge.proxy.serving.epoch == 2
    assert edge.answers() == []
    edge.process.go_on()
    (answer,) = edge.answers()
    assert isinstance(answer, Activated)
    assert answer.flipped_ns == edge.process.now().monotonic_ns, "it saw the evidence only now"


# --- its own process -----------------------------------------------------------------------------


def test_proxy_comes_back_with_what_it_served(edge: Edge) -> None:
    edge.staged(2, GREEN)
    edge.proxy.crash()
    assert edge.proxy.colour_for(CHECKOUT, 0) is None
    edge.wait(300 * MS - 1)
    assert not edge.proxy.is_up
    edge.wait(1)
    assert edge.answers() == [ProxyRestarted(serving=edge.proxy.serving)]
    assert edge.proxy.serving.epoch == 1
    assert edge.activated(2, GREEN).refusal is not None, "what was staged is gone"


def test_proxy_that_forgets_comes_back_with_nothing_and_can_be_restored(edge: Edge) -> None:
    edge.serves(2, GREEN)
    edge.proxy.crash(memory=Memory.NOTHING)
    edge.wait(SECOND)
    assert edge.proxy.serving.epoch == 0 == edge.restarts[-1]
    edge.answers()
    edge.serves(2, GREEN)
    assert edge.proxy.serving.epoch == 2


def test_proxy_crash_is_the_answer_to_all_that_is_under_way(edge: Edge) -> None:
    edge.proxy.begin(stage(2, GREEN))
    edge.proxy.begin(prove(1, BLUE))
    edge.proxy.crash()
    edge.wait(0)
    staged, proven = edge.answers()
    assert isinstance(staged, Staged)
    assert staged.refusal is not None
    assert proven == Proven(epoch=Epoch(1), failure="the proxy stopped")
    edge.wait(SECOND)
    assert len(edge.answers()) == 1, "and nothing but the restart after it"


def test_proxy_crash_after_it_was_told_comes_back_flipped(edge: Edge) -> None:
    edge.staged(2, GREEN)
    edge.proxy.begin(activate(2, GREEN))
    edge.wait(MS)
    edge.proxy.crash()
    edge.wait(SECOND)
    activated, restarted = edge.answers()
    assert isinstance(activated, Activated)
    assert activated.refusal is not None
    assert restarted == ProxyRestarted(serving=edge.proxy.serving)
    assert edge.flips == [(2, 2 * SECOND + MS + 300 * MS + SECOND)]


def test_proxy_dies_after_its_flip_before_anybody_hears(edge: Edge) -> None:
    edge.staged(2, GREEN)
    edge.proxy.die_after_flip()
    edge.proxy.begin(activate(2, GREEN))
    edge.wait(SECOND)
    activated, restarted = edge.answers()
    assert isinstance(activated, Activated)
    assert activated.refusal is not None
    assert isinstance(restarted, ProxyRestarted)
    assert restarted.serving.epoch == 2


def test_proxy_work_waits_for_a_restart(edge: Edge) -> None:
    edge.proxy.crash()
    edge.proxy.begin(stage(2, GREEN))
    edge.wait(310 * MS)
    restarted, staged = edge.answers()
    assert isinstance(restarted, ProxyRestarted)
    assert isinstance(staged, Staged)
    assert staged.refusal is None


def test_proxy_work_waits_no_longer_than_its_limit() -> None:
    edge = serving_blue(SLOW_START)
    edge.proxy.crash()
    edge.proxy.begin(stage(2, GREEN))
    edge.wait(2 * SECOND)
    (staged,) = edge.answers()
    assert isinstance(staged, Staged)
    assert staged.refusal is not None
    edge.wait(57 * SECOND)
    assert edge.answers() == []
    edge.wait(SECOND)
    assert edge.answers() == [ProxyRestarted(serving=edge.proxy.serving)]
    assert edge.restarts == [1]


def test_proxy_is_found_by_a_starting_agent_once_it_is_up(edge: Edge) -> None:
    edge.proxy.crash()
    edge.restart_agent()
    assert len(edge.found) == 1
    edge.wait(300 * MS)
    assert [active.epoch for active in edge.found] == [0, 1]
    assert edge.answers() == [], "who just found it is not told that it restarted"


def test_proxy_that_does_not_come_up_is_taken_to_serve_nothing() -> None:
    edge = serving_blue(SLOW_START)
    edge.proxy.crash()
    edge.restart_agent()
    edge.wait(20 * SECOND)
    assert edge.found == [Active(), Active()]
    edge.wait(40 * SECOND)
    assert edge.answers() == [ProxyRestarted(serving=edge.proxy.serving)]


def test_proxy_that_dies_again_as_it_starts_begins_its_start_anew(edge: Edge) -> None:
    edge.proxy.crash()
    edge.wait(200 * MS)
    edge.proxy.crash()
    edge.wait(300 * MS - 1)
    assert not edge.proxy.is_up
    edge.wait(1)
    assert edge.restarts == [1]


# --- drains --------------------------------------------------------------------------------------


def drain() -> WatchDrain:
    return WatchDrain(epoch=Epoch(2), service=CHECKOUT, colour=Colour.BLUE)


def in_flight(edge: Edge) -> int:
    return edge.users.in_flight(edge.proxy.agent, CHECKOUT, Colour.BLUE, edge.agenda.now_ns)


def counts(edge: Edge) -> list[int]:
    return [event.count for event in edge.answers() if isinstance(event, InFlight)]


def test_proxy_counts_a_source_down_to_nothing(edge: Edge) -> None:
    edge.wait(60 * SECOND)
    edge.serves(2, GREEN)
    edge.proxy.begin(drain())
    edge.wait(299 * MS)
    assert counts(edge) == []
    edge.wait(MS)
    (first,) = counts(edge)
    assert first == in_flight(edge)
    assert first > 100
    empty_ns = edge.users.empty_at_ns(edge.proxy.agent, CHECKOUT, Colour.BLUE)
    edge.wait(empty_ns - edge.agenda.now_ns + 299 * MS)
    assert counts(edge) == [], "one reading of 0 is not believed"
    edge.wait(301 * MS)
    assert counts(edge) == [0]


def test_proxy_counts_no_more_once_told_to_stop(edge: Edge) -> None:
    edge.wait(60 * SECOND)
    edge.serves(2, GREEN)
    edge.proxy.begin(drain())
    edge.proxy.begin(StopDrain(service=CHECKOUT, colour=Colour.BLUE))
    edge.wait(1000 * SECOND)
    assert counts(edge) == []


def test_proxy_crash_empties_its_sources(edge: Edge) -> None:
    edge.wait(60 * SECOND)
    edge.serves(2, GREEN)
    edge.proxy.begin(drain())
    edge.proxy.crash()
    edge.wait(900 * MS - 1)
    assert counts(edge) == []
    edge.wait(1)
    assert counts(edge) == [0]


def test_proxy_closes_a_source_that_it_left(edge: Edge) -> None:
    edge.wait(60 * SECOND)
    edge.serves(2, GREEN)
    left = in_flight(edge)
    edge.proxy.begin(CloseSource(service=CHECKOUT, colour=Colour.BLUE))
    assert edge.users.requests().cut == left > 0


def test_proxy_does_not_close_what_it_sends_to(edge: Edge) -> None:
    edge.wait(60 * SECOND)
    before = in_flight(edge)
    edge.proxy.begin(CloseSource(service=CHECKOUT, colour=Colour.BLUE))
    assert in_flight(edge) == before > 0
    assert edge.users.requests().cut == 0


def test_proxy_source_that_is_sent_to_again_is_not_empty(edge: Edge) -> None:
    edge.serves(2, GREEN)
    edge.staged(3, BLUE)
    edge.proxy.begin(drain())
    edge.proxy.begin(activate(3, BLUE))
    edge.wait(1000 * SECOND)
    assert 0 not in counts(edge)
