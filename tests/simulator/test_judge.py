"""Who looks on: what is somebody's fault, and what is nobody's."""

from __future__ import annotations

from simulator.canaries import proxy_comes_back_empty
from simulator.etcd.client import EtcdClient
from simulator.patches import Patches
from tests.simulator.small_world import SWITCH, broken, simulated

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
