"""A world of three regions to try one thing in."""

from __future__ import annotations

from simulator.scenario_file import parse_scenario
from simulator.simulation import Simulation
from turnout.protocol.clock import SECOND

TOPOLOGY = """
name = "small"
duration_s = 60
[topology]
matrix = "aws-19"
regions = ["us-east-1", "eu-west-1"]
coordinators = ["us-east-1", "us-east-2", "ca-central-1"]
etcd = ["us-east-1", "us-east-2", "ca-central-1"]
"""

SWITCH = """
[[operation]]
at_s = 6.0
do = "switch"
service = "checkout"
to = "green"
"""


def simulated(*parts: str, until_s: float) -> Simulation:
    """The small world, with these parts of a scenario, as it is at a moment."""
    content = "".join([TOPOLOGY, *parts]).encode()
    simulation = Simulation(parse_scenario(content, source="small"))
    simulation.go(round(until_s * SECOND))
    return simulation


def broken(simulation: Simulation) -> dict[str, tuple[str, ...]]:
    """What is not as it should be at the end: invariants and expectations."""
    findings = simulation.result(wall_ns=0).findings
    return {finding.number: finding.violations for finding in findings if finding.violations}
