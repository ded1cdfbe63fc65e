"""The demo, whole: the one test that plays everything together, and takes a minute for it."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.dev.conftest import TURNOUT

ACTS = ["first-table", "switch", "rollback", "partition", "heal", "control-plane-gone"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_demo_keeps_every_promise() -> None:
    command = [*TURNOUT, "dev", "--demo", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["ok"] is True
    assert [act["name"] for act in document["acts"]] == ACTS
    for act in document["acts"]:
        assert act["ok"], act
        requests = act["requests"]
        assert (requests["failed"], requests["misrouted"]) == (0, 0)
        assert requests["on_new_connections"] > 0
        assert requests["slow"] > 0
    outcomes = [[switch["outcome"] for switch in act["switches"]] for act in document["acts"]]
    assert outcomes == [["live"], ["live"], ["live"], ["partial"], [], []]
