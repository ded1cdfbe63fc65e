"""Who judges S1-S7: what one disk has lost says nothing of the others."""

from __future__ import annotations

import pytest
from attrs import evolve

from simulator.agent_node import AgentNode
from simulator.judging.judge import Judge
from simulator.patches import Patches
from simulator.results import RunResult
from simulator.scenario_file import parse_scenario
from simulator.simulation import run
from turnout.protocol.messages import Up, Vote

ROBBED = b"""
name = "robbed"
duration_s = 12
[topology]
matrix = "one-continent"
coordinators = ["northeurope"]
etcd = ["northeurope"]
regions = ["northeurope", "westeurope"]
[[operation]]
at_s = 6.0
do = "switch"
service = "checkout"
to = "green"
[[fault]]
at_s = 2.0
kind = "disk-replace"
node = "agent northeurope/1"
"""


def run_with_a_lying_disk(agent: str) -> RunResult:
    """One disk keeps a yes until it is said, and no longer."""
    voted = Judge.voted

    def forgets(judge: Judge, node: AgentNode, message: Up) -> None:
        voted(judge, node, message)
        if node.agent == agent and isinstance(message, Vote):
            node.disk.install(evolve(node.record, prepared=None), node.disk.tables())

    with Patches() as patches:
        patches.setattr(Judge, "voted", forgets)
        return run(parse_scenario(ROBBED, source="robbed"), keep_story=False)


@pytest.mark.parametrize(("liar", "violated"), [("westeurope/1", ("S3",)), ("nobody", ())])
def test_s3_yes_of_one_agent_is_looked_for_though_another_disk_was_replaced(
    liar: str, violated: tuple[str, ...]
) -> None:
    assert run_with_a_lying_disk(liar).violated == violated
