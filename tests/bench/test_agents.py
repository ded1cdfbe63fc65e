"""The bench of an agent's cost to its leader runs, on real daemons; its figures are no test's."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.architecture import ROOT


@pytest.mark.slow
def test_smallest_fleet_is_measured_and_judged() -> None:
    command = [sys.executable, "-m", "bench.agents", "--agents", "2", "--switches", "1", "--json"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode in (0, 1), done.stderr  # 1: a bar is broken, as so small a fleet does
    measured = json.loads(done.stdout)
    (run,) = measured["runs"]
    assert (run["agents"], run["switches"]) == (2, 1)
    assert run["etcd_writes_per_switch"] == 3
    assert {verdict["figure"] for verdict in measured["verdicts"]} == {
        "cpu_ms_per_agent_switch",
        "etcd_writes_per_switch",
    }
