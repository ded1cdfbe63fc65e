from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from simulator.explore import search
from simulator.explore.canaries import CANARIES
from simulator.explore.search import Count
from simulator.explore.worlds import WORLDS
from turnout.cli.main import turnout
from turnout.cli.sim_explore_limits import Limits, Watch, memory_gib

TINY = ("--requests", "green", "--agents", 1)


def explore(*arguments: object) -> Result:
    return CliRunner().invoke(turnout, ["sim", "explore", *map(str, arguments)])


@pytest.mark.parametrize("name", ["run", "list", "plan", "sweep", "replay", "shrink", "explore"])
def test_every_command_of_sim_is_there(name: str) -> None:
    assert name in CliRunner().invoke(turnout, ["sim", "--help"]).output
    result = CliRunner().invoke(turnout, ["sim", name, "--help"])
    assert result.exit_code == 0, result.output


def test_list_names_every_world_with_its_bounds_and_what_can_be_broken() -> None:
    result = explore("--list")
    assert result.exit_code == 0
    names = [one.name for one in (*WORLDS, *CANARIES)]
    assert [name for name in names if name not in result.output] == []
    assert "2 replicas, 2 agents, 1 request, 1 takeover, 1 death" in result.output


def test_list_as_json_says_how_long_each_takes() -> None:
    document = json.loads(explore("--list", "-o", "json").stdout)
    takes = {world["name"]: world["takes"] for world in document["worlds"]}
    assert takes["switch, an agent dies"] == "seconds"
    assert {"name": "epoch >=", "number": "S5", "bounds": "1 replica, 2 agents, 1 request"} in (
        document["broken"]
    )


def test_tiny_world_is_exhausted_and_valid() -> None:
    result = explore(*TINY)
    assert result.exit_code == 0, result.output
    assert "VALID  every world was visited" in result.stdout
    assert "(1 replica, 1 agent, 1 request)" in result.stdout


def test_world_by_part_of_its_name_is_searched_and_told_as_json() -> None:
    result = explore("--world", "a reply is lost", "-o", "json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["verdict"] == "valid"
    (world,) = document["worlds"]
    assert world["name"] == "switch, a reply is lost"
    assert world["frontier"] == 0
    assert world["worlds"] > 500
    assert world["stopped_by"] is None


def test_broken_machine_is_found_and_its_history_told() -> None:
    result = explore("--break", "promise forgotten")
    assert result.exit_code == 10
    assert "INVALID  breaks S4 in 7 steps; no history is shorter" in result.stdout
    assert "  6  a0 dies, and starts again" in result.stdout
    assert "S4: a0 voted in term 1000 after promising 2000" in result.stdout


def test_broken_machine_as_json_has_its_transcript() -> None:
    result = explore("--break", "epoch >=", "-o", "json")
    assert result.exit_code == 10
    document = json.loads(result.stdout)
    violation = document["worlds"][0]["violation"]
    assert document["verdict"] == "invalid"
    assert (violation["number"], violation["is_history"]) == ("S5", True)
    assert violation["transcript"][0].endswith("an operator asks r0: switch checkout to green")


def test_what_was_broken_is_whole_again_afterwards() -> None:
    assert explore("--break", "vote before fsync").exit_code == 10
    assert explore(*TINY).exit_code == 0


@pytest.mark.parametrize(
    ("limit", "named"),
    [
        (("--limit-worlds", 10), "--limit-worlds"),
        (("--minutes", 0.00001), "--minutes"),
        (("--memory-gib", 0.0001), "--memory-gib"),
    ],
)
def test_limit_ends_it_unknown_with_frontier_and_count(
    limit: tuple[str, object], named: str
) -> None:
    result = explore("--world", "switch and rollback, takeover, an agent dies", *limit)
    assert result.exit_code == 12, result.output
    assert f"UNKNOWN  not exhausted ({named}); nothing was broken so far" in result.stdout
    assert "of them in the frontier" in result.stdout


def test_interrupt_says_how_far_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, watch: Callable[[Count], bool], **__: object) -> None:
        watch(Count(worlds=7, steps=9, waiting=3))
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "explore", interrupted)
    result = explore(*TINY)
    assert result.exit_code == 130
    assert "not exhausted (interrupted)" in result.stdout
    assert "7 worlds, 3 of them in the frontier" in result.stdout


def test_history_that_no_cluster_goes_through_is_called_a_hint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search._Search, "relived", lambda _: None)
    monkeypatch.setattr(search._Exact, "history", lambda *_: ())
    result = explore("--break", "vote before fsync")
    assert result.exit_code == 10
    assert "no history is shorter" not in result.stdout
    assert "Read it as a hint" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--world", "swich, takeover"), "did you mean 'switch, takeover'?"),
        (("--world", ""), "--list"),
        (("--break", "nothing like it"), "--list"),
        (("--break", "an"), "that may be"),
        (("--requests", "green,purple"), "'purple' is none of green, blue, rollback, apply"),
        (("--requests", ",".join(["green"] * 10)), "more than 9"),
        (("--agents", 0), "--agents"),
        (("--minutes", 0), "--minutes"),
        (("--minutes", "nan"), "'--minutes': 'nan' is no limit"),
        (("--memory-gib", "inf"), "'--memory-gib': 'inf' is no limit"),
        (("--takeovers", 1, "--replicas", 1), "'--replicas': another replica takes over"),
        (("--limit-worlds", "many"), "--limit-worlds"),
        (("--all", "--deaths", 1), "exclude each other"),
        (("--world", "switch", "--break", "epoch >="), "exclude each other"),
    ],
)
def test_bad_input_is_usage_and_says_what_is_wrong(
    arguments: tuple[object, ...], named: str
) -> None:
    result = explore(*arguments)
    assert result.exit_code == 2
    assert named in result.output


@pytest.mark.parametrize(
    ("command", "codes"),
    [
        ("explore", "0 valid, 10 invalid, 12 not exhausted at a limit, 2 usage, 130 interrupted"),
        ("run", "0 valid, 10 invalid, 12 unknown, 2 usage or a bad scenario, 130 interrupted"),
        ("sweep", "0 valid, 10 invalid, 11 too weak, 12 unknown, 2 usage"),
    ],
)
def test_help_lists_the_exit_codes_that_there_are(command: str, codes: str) -> None:
    result = CliRunner().invoke(turnout, ["sim", command, "--help"])
    assert f"Exit codes: {codes}" in " ".join(result.output.split())


def test_takeovers_alone_bring_a_second_replica() -> None:
    result = explore("--agents", 1, "--takeovers", 1)
    assert result.exit_code == 0
    assert "(2 replicas, 1 agent, 1 request, 1 takeover)" in result.stdout


def test_where_nobody_looks_on_a_line_a_minute_tells_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock_s = [0.0]
    monkeypatch.setattr("turnout.cli.sim_explore_limits.time.monotonic", lambda: clock_s[0])
    with Watch("small", Limits()) as watch:
        for clock_s[0] in (1.0, 61.0, 62.0):
            assert watch(Count(worlds=122, steps=5, waiting=4))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("small: 122 worlds, 4 to visit, 2/s, 61.00 s, ")


def test_memory_is_that_of_this_process() -> None:
    assert 0.001 < memory_gib() < 64
