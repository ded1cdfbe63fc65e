"""``turnout sim sweep``, ``replay`` and ``shrink`` as their users meet them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from simulator import shrink as shrinking
from simulator import sweep as sweeping
from simulator.results import Mark, SeedResult, SweepResult, Verdict
from simulator.scenario import Scenario
from simulator.scenario_file import load_scenario
from turnout.cli.main import turnout
from turnout.protocol.clock import SECOND

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
    result = sim("sweep", "--scenario", str(path), "--seeds", "2")
    assert f"  turnout sim run {path} --seed 2\n" in result.stdout


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
    monkeypatch.setattr(sweeping, "sweep", swept)
    result = sim("sweep", "--seeds", "4..6", "--keep", str(tmp_path / "failing"))
    assert result.exit_code == 10, result.output
    (kept,) = (tmp_path / "failing").iterdir()
    assert load_scenario(kept).name == "swarm-5"
    assert "1 failing seed is in" in result.stderr


def seed_of(seed: int, verdict: Verdict, *violated: str) -> SeedResult:
    first = "at 1 s: two" if violated else ""
    return SeedResult(
        seed=seed, verdict=verdict, budget_ns=30 * SECOND, violated=violated, first=first
    )


def swept(*_: object, progress: Callable[[SeedResult], None], **__: object) -> SweepResult:
    """One seed that fails, one that does not, and one that breaks just what it should."""
    runs = (
        seed_of(4, Verdict.VALID),
        seed_of(5, Verdict.INVALID, "S7"),
        seed_of(6, Verdict.VALID, "S7"),
    )
    for run in runs:
        progress(run)
    return SweepResult(name="swarm", runs=runs, marks=(Mark(name="abort", runs=1),))


def test_sweep_in_which_nothing_fails_leaves_no_folder(brief: str, tmp_path: Path) -> None:
    keep = tmp_path / "some" / "failing"
    result = sim("sweep", "--scenario", brief, "--seeds", "1", "--keep", str(keep))
    assert result.exit_code == 0, result.output
    assert not keep.parent.exists()


def test_seed_that_cannot_be_kept_after_all_is_said_and_the_report_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = tmp_path / "failing"

    def swept_in_the_way(*_: object, **options: Any) -> SweepResult:
        keep.write_text("a file in the way")
        return swept(**options)

    monkeypatch.setattr(sweeping, "sweep", swept_in_the_way)
    result = sim("sweep", "--seeds", "4..6", "--keep", str(keep))
    assert result.exit_code == 10, result.output
    assert "seed 5 was not kept: File exists" in result.stderr
    assert result.stdout.startswith("INVALID  swarm")


def test_interrupted_sweep_has_kept_what_failed_and_says_where(tmp_path: Path) -> None:
    scenario, keep = tmp_path / "disappointed.toml", tmp_path / "failing"
    scenario.write_text(BRIEF + '[expect]\noutcome = "aborted"\n')
    program = [sys.executable, "-c", "from turnout.cli.main import main; main()", "sim", "sweep"]
    options = ["--scenario", scenario, "--seeds", "0..99999", "--workers", "1", "--keep", keep]
    with subprocess.Popen(
        [*program, *map(str, options)], stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as sweep:
        assert sweep.stderr is not None
        assert sweep.stderr.readline().startswith("seed 0: ")
        os.killpg(sweep.pid, signal.SIGINT)
        said = sweep.stderr.read()
    assert sweep.returncode == 130
    assert re.search(rf"\d failing seeds? (is|are) in {keep}\n", said)
    assert said.endswith("Interrupted.\n")
    assert "Traceback" not in said
    assert load_scenario(keep / "brief-0.toml").seed == 0


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (("sweep",), "--keep"),
        (("sweep",), "--html"),
        (("run", "tokyo-in-doubt"), "--html"),
        (("run", "tokyo-in-doubt"), "--trace"),
        (("replay", "3"), "--trace"),
        (("shrink", "3"), "--to"),
    ],
)
@pytest.mark.parametrize("place", ["/proc/no", "in-the-way/x"])
def test_what_cannot_be_written_is_a_usage_error_before_the_run(
    command: tuple[str, ...], option: str, place: str, tmp_path: Path
) -> None:
    (tmp_path / "in-the-way").write_text("a file")
    result = sim(*command, option, str(tmp_path / place))
    assert result.exit_code == 2, result.output
    assert f"Invalid value for '{option}': " in result.output


def test_what_can_be_written_is_left_as_it_was_until_there_is_something_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shrinking, "shrink", lambda *_, **__: None)
    there, new = tmp_path / "there.toml", tmp_path / "new.toml"
    there.write_text("of before")
    for path in (there, new):
        assert sim("shrink", "7", "--to", str(path)).exit_code == 1
    assert there.read_text() == "of before"
    assert not new.exists()


def test_shrink_of_a_seed_that_does_not_fail_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shrinking, "shrink", lambda *_, **__: None)
    result = sim("shrink", "7", "--to", str(tmp_path / "small.toml"))
    assert result.exit_code == 1
    assert "does not fail" in result.output
    assert not (tmp_path / "small.toml").exists()


@pytest.mark.parametrize("is_named", [True, False])
def test_shrink_takes_what_a_sweep_of_a_scenario_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_named: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "disappointed.toml").write_text(BRIEF + '[expect]\noutcome = "aborted"\n')
    swept = ("sweep", "--scenario", "disappointed.toml", "--seeds", "3", "--keep", "failing")
    assert sim(*swept).exit_code == 10
    result = sim("shrink", "failing/brief-3.toml", *(["--to", "x.toml"] if is_named else []))
    assert result.exit_code == 0, result.output
    assert "it breaks expect.outcome." in result.output
    again = sim("run", "x.toml" if is_named else "brief-3-shrunk.toml", "-o", "json")
    assert json.loads(again.stdout)["violations"] == {"expect.outcome": ["live, not aborted"]}


def test_shrink_takes_a_scenario_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrunk: list[Scenario] = []
    monkeypatch.setattr(shrinking, "shrink", lambda one, **_: shrunk.append(one))
    result = sim("shrink", "tokyo-in-doubt", "--to", str(tmp_path / "small.toml"))
    assert result.exit_code == 1
    assert [one.name for one in shrunk] == ["tokyo-in-doubt"]
    assert "tokyo-in-doubt does not fail" in result.output
    assert "did you mean tokyo-in-doubt?" in sim("shrink", "tokyo-in-dout").output


def test_shrink_into_a_folder_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    result = sim("shrink", "7", "--to", str(tmp_path / "no" / "small.toml"))
    assert result.exit_code == 2
    assert "Invalid value for '--to': there is no folder" in result.output
