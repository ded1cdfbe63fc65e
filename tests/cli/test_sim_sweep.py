"""``turnout sim sweep``, ``replay`` and ``shrink`` as their users meet them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from simulator import shrink as shrinking
from simulator import sweep as sweeping
from simulator.results import Mark, SeedResult, SweepResult, Verdict
from simulator.scenario_file import load_scenario
from turnout.cli.main import turnout

BRIEF = """
name = "brief"
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
"""


def sim(*arguments: str) -> Result:
    return CliRunner().invoke(turnout, ["sim", *arguments])


@pytest.fixture
def brief(tmp_path: Path) -> str:
    path = tmp_path / "brief.toml"
    path.write_text(BRIEF)
    return str(path)


def test_sweep_of_a_scenario_runs_it_under_each_seed(brief: str) -> None:
    result = sim("sweep", "--scenario", brief, "--seeds", "1..3", "--workers", "2", "-o", "json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["verdict"] == "valid"


def test_sweep_writes_its_page(brief: str, tmp_path: Path) -> None:
    page = tmp_path / "sweep.html"
    result = sim("sweep", "--scenario", brief, "--seeds", "1", "--html", str(page))
    assert result.exit_code == 0, result.output
    assert "<svg" in page.read_text(encoding="utf-8")


def test_log_of_a_sweep_names_what_fails_at_once(brief: str, tmp_path: Path) -> None:
    path = tmp_path / "disappointed.toml"
    path.write_text(BRIEF + '[expect]\noutcome = "aborted"\n')
    result = sim("sweep", "--scenario", str(path), "--seeds", "1..2", "-o", "json")
    assert result.exit_code == 10, result.output
    for seed in (1, 2):
        assert f"seed {seed}: live, not aborted" in result.stderr


@pytest.mark.parametrize("seeds", ["", "a..b", "5..3", "-1..3", "1...3", "0..9999999", "1,2"])
def test_seeds_that_are_none_are_a_usage_error(seeds: str) -> None:
    result = sim("sweep", "--seeds", seeds)
    assert result.exit_code == 2
    assert "seeds" in result.output


@pytest.mark.parametrize(
    "arguments", [("replay", "x"), ("replay", "-1"), ("shrink",), ("sweep", "--workers", "0")]
)
def test_what_is_no_number_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    assert sim(*arguments).exit_code == 2


def test_sweep_keeps_failing_seeds_as_scenarios(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = SweepResult(
        name="swarm",
        runs=(
            SeedResult(seed=4, verdict=Verdict.VALID),
            SeedResult(seed=5, verdict=Verdict.INVALID, violated=("S7",), first="at 1 s: two"),
        ),
        marks=(Mark(name="abort", runs=1),),
    )
    monkeypatch.setattr(sweeping, "sweep", lambda *_, **__: found)
    result = sim("sweep", "--seeds", "4..5", "--keep", str(tmp_path / "failing"))
    assert result.exit_code == 10, result.output
    (kept,) = (tmp_path / "failing").iterdir()
    assert load_scenario(kept).name == "swarm-5"


def test_shrink_of_a_seed_that_does_not_fail_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shrinking, "shrink", lambda *_, **__: None)
    result = sim("shrink", "7", "--to", str(tmp_path / "small.toml"))
    assert result.exit_code == 1
    assert "does not fail" in result.output
    assert not (tmp_path / "small.toml").exists()


def test_shrink_into_a_folder_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    assert sim("shrink", "7", "--to", str(tmp_path / "no" / "small.toml")).exit_code == 2
