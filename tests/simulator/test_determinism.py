"""The same seed is the same run, whatever process it is in and whoever looks on (DESIGN.md section 8)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulator.scenario_file import load_scenario, parse_scenario
from simulator.simulation import run
from tests.architecture import ROOT

SHIPPED = ROOT / "simulator" / "scenarios"
RICH = b"""
name = "rich-in-faults"
duration_s = 90
[topology]
matrix = "aws-19"
regions = ["us-east-1", "eu-west-1", "ap-northeast-1"]
agents_per_region = 2
coordinators = ["us-east-1", "us-east-2", "ca-central-1"]
etcd = ["us-east-1", "us-east-2", "ca-central-1"]
services = ["checkout", "search"]
[network]
spikes = true
loss = 0.01
duplicates = 0.05
stragglers = 0.02
[etcd]
unheard = 0.1
late = 0.1
[[operation]]
at_s = 8.0
do = "switch"
service = "checkout"
to = "green"
repeat = 2
[[operation]]
at_s = 30.0
do = "exclude"
region = "ap-northeast-1"
[[operation]]
at_s = 45.0
do = "rollback"
service = "checkout"
[[operation]]
at_s = 60.0
do = "include"
region = "ap-northeast-1"
[[fault]]
at_s = 7.5
kind = "partial-partition"
between = [["*"], ["*", "followers"]]
share = 0.3
for_s = 10.0
[[fault]]
when = "decision-write"
kind = "crash"
node = "leader"
for_s = 12.0
[[fault]]
when = "vote:eu-west-1"
kind = "restart"
node = "eu-west-1"
[[fault]]
at_s = 20.0
kind = "swizzle"
node = ["*"]
for_s = 6.0
[[fault]]
at_s = 28.0
kind = "etcd-quorum-loss"
for_s = 8.0
[[fault]]
at_s = 44.0
kind = "disk-fail"
node = "us-east-1"
for_s = 4.0
[[fault]]
at_s = 50.0
kind = "disk-rot"
node = "eu-west-1"
[[fault]]
at_s = 51.0
kind = "proxy-forget"
node = "eu-west-1"
[[fault]]
at_s = 52.0
kind = "replay"
[[fault]]
at_s = 53.0
kind = "herd"
handshakes = 300
[[fault]]
at_s = 55.0
kind = "etcd-restore"
[[operation]]
at_s = 70.0
do = "rebase"
"""

PROGRAM = """
import sys
from simulator.scenario_file import parse_scenario
from simulator.simulation import run
scenario = parse_scenario(sys.stdin.buffer.read(), source="rich")
result = run(scenario, seed=int(sys.argv[1]))
print(result.trace_digest, result.events, result.requests, result.reached, result.switches)
"""


def elsewhere(seed: int, hash_seed: int) -> str:
    """The run, in a process of its own whose sets and dicts of strings are ordered by another seed."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(seed)],
        input=RICH,
        capture_output=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(ROOT)},
    )
    return done.stdout.decode()


def test_run_is_the_same_in_another_process_with_another_hash_seed() -> None:
    first = elsewhere(1, hash_seed=1)
    assert first.startswith(run(parse_scenario(RICH, source="rich"), seed=1).trace_digest)
    assert elsewhere(1, hash_seed=2) == first


def test_run_with_another_seed_is_another_one() -> None:
    scenario = parse_scenario(RICH, source="rich")
    digests = {run(scenario, seed=seed).trace_digest for seed in (1, 2, 3)}
    assert len(digests) == 3


@pytest.mark.parametrize("name", ["tokyo-in-doubt", "previous-switch-replayed"])
def test_run_is_the_same_whether_its_story_is_kept_or_not(name: str) -> None:
    scenario = load_scenario(Path(SHIPPED / f"{name}.toml"))
    told, untold = run(scenario), run(scenario, keep_story=False)
    assert told.story.arrows
    assert not untold.story.arrows
    assert (told.trace_digest, told.events) == (untold.trace_digest, untold.events)
    assert (told.switches, told.requests, told.findings) == (
        untold.switches,
        untold.requests,
        untold.findings,
    )
