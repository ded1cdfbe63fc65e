"""Who looks on: what is somebody's fault, and what is nobody's."""

from __future__ import annotations

from attrs import evolve

from simulator.canaries import proxy_comes_back_empty
from simulator.etcd.client import EtcdClient
from simulator.explore.canaries import flip_before_the_journal
from simulator.judging import replays as replays_of
from simulator.patches import Patches
from tests.protocol.participant.bench import GREEN, HEAD6, HEAD7, Bench, prepare
from tests.simulator.small_world import SWITCH, broken, simulated
from turnout.protocol.clock import SECOND
from turnout.protocol.identifiers import Term
from turnout.protocol.records import Incarnation

AGENT = "agent eu-west-1/1"
PAUSE = """
[[fault]]
when = "decision"
after_ms = 300.0
kind = "pause"
node = "agent eu-west-1/1"
for_s = 10.0
"""


def restarted(kind: str) -> str:
    return f'[[fault]]\nat_s = 20.0\nkind = "{kind}"\nnode = "agent eu-west-1/1"\n'


def test_s8_agent_that_stood_still_when_it_should_have_flipped_has_no_bad_clock() -> None:
    simulation = simulated(SWITCH, PAUSE, until_s=40.0)
    (switch,) = simulation.result(wall_ns=0).switches
    assert switch.scheduled
    assert switch.laggards == ("eu-west-1/1",)
    assert broken(simulation) == {}


def test_s1_flip_is_judged_when_it_happens_and_not_with_the_next_write() -> None:
    with Patches() as patches:
        flip_before_the_journal(patches)
        simulation = simulated(SWITCH, until_s=40.0)
    said = simulation.judge.violations["S1"]
    days = simulation.judge.chronicle.days
    flips = {agent: one.served[-1][0] for agent, one in days.items()}
    moments = [f"at {flipped_ns / SECOND:.6f} s: {agent} " for agent, flipped_ns in flips.items()]
    assert [any(text.startswith(moment) for text in said) for moment in moments] == [True, True]


def test_leader_that_stands_still_leads_nobody_until_it_goes_on() -> None:
    pause = '[[fault]]\nat_s = 20.0\nkind = "pause"\nnode = "leader"\nfor_s = 1.0\n'
    reigns = simulated(pause, until_s=25.0).judge.chronicle.reigns
    assert reigns is not None
    (began, stood_still, went_on) = reigns
    assert {replica for _, replica, _ in reigns} == {began[1]}
    assert [leads for _, _, leads in reigns] == [True, False, True]
    assert stood_still[0] == 20 * SECOND
    assert 21 * SECOND <= went_on[0] < 22 * SECOND


def test_l2_core_that_nobody_ever_leads_is_no_valid_run() -> None:
    with Patches() as patches:
        patches.setattr(EtcdClient, "grant", lambda *_: None)
        simulation = simulated(SWITCH, until_s=40.0)
    (said,) = broken(simulation)["L2"]
    assert said.endswith("a core that nobody leads: not yet seen after 40.000 s, limit 15.000 s")


def test_s6_proxy_that_comes_back_empty_is_found_out() -> None:
    with Patches() as patches:
        proxy_comes_back_empty(patches)
        simulation = simulated(SWITCH, restarted("proxy-restart"), until_s=40.0)
    assert broken(simulation)["S6"][0].endswith(
        "eu-west-1/1 served nothing after its proxy came back"
    )
    assert broken(simulated(SWITCH, restarted("proxy-restart"), until_s=40.0)) == {}


def test_s6_proxy_that_is_made_to_forget_is_nobody_s_fault() -> None:
    assert broken(simulated(SWITCH, restarted("proxy-forget"), until_s=40.0)) == {}


def test_s10_question_that_the_disk_did_not_take_is_asked_for_the_first_time_again() -> None:
    fails = (
        f'[[fault]]\nwhen = "decision-write"\nkind = "disk-fail"\nnode = "{AGENT}"\nfor_s = 30.0\n'
    )
    crash = '[[fault]]\nwhen = "decision-write"\nkind = "crash"\nnode = "leader"\nfor_s = 30.0\n'
    replays = "".join(
        f'[[fault]]\nat_s = {at}\nkind = "replay"\n' for at in (13.5, 14.7, 15.9, 17.1)
    )
    simulation = simulated(SWITCH, crash, fails, replays, until_s=20.0)
    assert "S10" not in broken(simulation)
    with Patches() as patches:
        patches.setattr(replays_of, "_is_new", lambda *_: False)
        assert "S10" in broken(simulated(SWITCH, crash, fails, replays, until_s=20.0))


def test_s10_question_of_the_past_is_never_taken_for_a_new_one() -> None:
    """Of another history, or of an epoch that is decided: who votes on that has mistaken a replay."""
    question, now = prepare(7, GREEN, HEAD6, term=11), Bench().state
    assert replays_of._is_new(now, question)
    promised = evolve(now, record=evolve(now.record, promised=Term(11)))
    other = evolve(now, record=evolve(now.record, incarnation=Incarnation(number=2, id="second")))
    decided = evolve(now, head=HEAD7)
    for state in (promised, other, decided):
        assert not replays_of._is_new(state, question)
