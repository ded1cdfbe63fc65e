from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from attrs import evolve
from click.testing import CliRunner, Result

from simulator import simulation
from simulator.report import extras
from simulator.results import RunResult, Verdict
from simulator.scenario import Scenario
from tests.simulator.sample_results import broken, in_doubt, seed_result, strong_sweep, sweep
from turnout.cli.sim_exit import exit_code_of_sweep
from turnout.cli.sim_run import list_, run

Stub = Callable[[RunResult], list[dict[str, Any]]]


def invoke(command: click.Command, *arguments: object) -> Result:
    return CliRunner().invoke(command, [*map(str, arguments)])


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Stub:
    """Lets every run come to a result at once; returns how the simulation was called."""

    def come_to(result: RunResult) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []

        def run_one(scenario: Scenario, **options: Any) -> RunResult:
            calls.append({"scenario": scenario, **options})
            if options["listener"] is not None:
                options["listener"]("0 agent eu-west-1/1 Booted > Prove")
            return evolve(result, name=scenario.name)

        monkeypatch.setattr(simulation, "run", run_one)
        return calls

    return come_to


def test_run_of_a_shipped_scenario_is_as_it_expects() -> None:
    result = invoke(run, "tokyo-in-doubt")
    assert result.exit_code == 0, result.output
    assert result.output.startswith("VALID  tokyo-in-doubt  seed 7")
    assert "It came to what was expected." in result.output


@pytest.mark.parametrize(
    ("verdict", "code"), [(Verdict.VALID, 0), (Verdict.INVALID, 10), (Verdict.UNKNOWN, 12)]
)
def test_run_ends_as_its_verdict_says(stub: Stub, verdict: Verdict, code: int) -> None:
    stub(evolve(in_doubt(), verdict=verdict))
    assert invoke(run, "tokyo-in-doubt").exit_code == code


def test_sweep_that_is_too_weak_ends_so_unless_it_is_worse() -> None:
    unknown = evolve(sweep([1]), runs=(seed_result(1, verdict=Verdict.UNKNOWN),))
    sweeps = (strong_sweep(), sweep([1]), sweep([1], invalid=[1]), unknown)
    assert [exit_code_of_sweep(one) for one in sweeps] == [0, 11, 10, 12]


def test_run_says_what_broke(stub: Stub) -> None:
    stub(broken())
    assert "S7 invalid" in invoke(run, "tokyo-in-doubt").output


def test_run_prints_json_and_nothing_else(stub: Stub) -> None:
    stub(in_doubt())
    document = json.loads(invoke(run, "tokyo-in-doubt", "-o", "json").stdout)
    assert document["verdict"] == "valid"
    assert document["invariants"]["S11"] == "valid"


def test_run_takes_another_seed(stub: Stub) -> None:
    calls = stub(in_doubt())
    invoke(run, "tokyo-in-doubt")
    invoke(run, "tokyo-in-doubt", "--seed", 99)
    assert [call["seed"] for call in calls] == [None, 99]
    assert all(call["keep_story"] for call in calls)


def test_run_writes_a_page_and_a_trace(stub: Stub, tmp_path: Path) -> None:
    stub(in_doubt())
    page, trace = tmp_path / "report.html", tmp_path / "trace.txt"
    result = invoke(run, "tokyo-in-doubt", "--html", page, "--trace", trace)
    assert result.exit_code == 0, result.output
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert trace.read_text(encoding="utf-8") == "0 agent eu-west-1/1 Booted > Prove\n"
    assert f"pictures is in {page}" in result.stderr


def test_run_takes_a_file(stub: Stub, tmp_path: Path) -> None:
    calls = stub(in_doubt())
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\n[topology]\nmatrix = "aws-19"\n'
        'coordinators = ["us-east-1"]\netcd = ["us-east-1"]\n',
        encoding="utf-8",
    )
    assert invoke(run, path).exit_code == 0
    assert calls[0]["scenario"].name == "mine"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "bad.toml: it is empty: not one key is set"),
        ("name = 3\n", "name must be a text, not 3"),
        (
            'name = "x"\n[topology]\nmatrix = "aws-19"\ncoordinators = ["mars"]\netcd = ["mars"]\n',
            "topology.coordinators names mars, which aws-19 has not",
        ),
    ],
)
def test_bad_scenario_is_refused_with_file_and_key(
    stub: Stub, tmp_path: Path, content: str, said: str
) -> None:
    calls = stub(in_doubt())
    path = tmp_path / "bad.toml"
    path.write_text(content, encoding="utf-8")
    result = invoke(run, path)
    assert result.exit_code == 2
    assert str(path) in result.output
    assert said in result.output
    assert calls == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tokyo-in-dout"], "did you mean tokyo-in-doubt?"),
        (["nothing-like-it"], "`turnout sim list` lists what there is"),
        (["there-is-none.toml"], "there-is-none.toml: there is no such file"),
        (["tokyo-in-doubt", "--seed", "-1"], "is not in the range"),
        (["tokyo-in-doubt", "--html", "no/such/folder/x.html"], "there is no folder no/such"),
        ([], "Missing argument"),
    ],
)
def test_wrong_usage_runs_nothing(stub: Stub, arguments: list[str], said: str) -> None:
    calls = stub(in_doubt())
    result = invoke(run, *arguments)
    assert result.exit_code == 2
    assert said in result.output
    assert calls == []


def test_page_without_its_packages_is_refused_before_the_run(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = stub(in_doubt())
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    result = invoke(run, "tokyo-in-doubt", "--html", tmp_path / "x.html")
    assert result.exit_code == 1
    assert "pip install 'turnout[sim]'" in result.output
    assert calls == []


def test_run_needs_no_package_of_the_extra_until_a_page_is_asked_for() -> None:
    program = (
        "import sys, turnout.cli.sim_run, simulator.report.text, simulator.scenario_file;"
        "print({'jinja2', 'matplotlib', 'numpy', 'tomlkit'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_list_names_what_comes_along() -> None:
    listed = json.loads(invoke(list_, "-o", "json").stdout)["scenarios"]
    assert "tokyo-in-doubt" in [one["name"] for one in listed]
    assert all(one["description"] for one in listed)
    assert "tokyo-in-doubt" in invoke(list_).output
