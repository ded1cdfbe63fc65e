from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from turnout.cli.sim_plan import plan

THREE = "from,to,rtt_ms\na,b,10\nb,a,10\na,c,200\nc,a,200\nb,c,200\nc,b,200\n"


def run(*args: str) -> Result:
    return CliRunner().invoke(plan, args)


def document(*args: str) -> dict[str, Any]:
    result = run(*args, "-o", "json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.fixture
def csv(tmp_path: Path) -> str:
    file = tmp_path / "map.csv"
    file.write_text(THREE)
    return str(file)


def test_plan_shows_the_best_placement_its_parts_and_what_is_most_of_it() -> None:
    result = run("--matrix", "aws-19")
    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["1", "us-east-2", "ca-central-1", "us-east-2", "376", "ms"] in [row[:6] for row in rows]
    assert "Most of it: prepare and votes (56 %), until activation (28 %)." in result.stdout
    assert "If us-east-2 is lost, the next switch takes up to 437 ms" in result.stdout
    assert "30 s are kept through a failover." in result.stdout
    assert "has the newest table within 15 s" in result.stdout


def test_plan_reproduces_the_published_bound() -> None:
    """368 ms for the leader in us-east-1 with etcd there, in us-east-2 and in ca-central-1."""
    found = document("--matrix", "aws-19", "--staging-ms", "0", "--flip-ms", "0", "--top", "100")
    members = {"us-east-1", "us-east-2", "ca-central-1"}
    bounds = [
        one["lower_bound_s"]
        for one in found["placements"]
        if one["leader"] == "us-east-1" and set(one["etcd"]) == members
    ]
    assert [round(bound * 1000) for bound in bounds] == [368]


def test_plan_as_json_has_parts_that_add_up(csv: str) -> None:
    found = document("--matrix", csv, "--top", "2", "--flip-ms", "0.2", "--activation", "scheduled")
    assert found["matrix"] == csv
    assert found["regions"] == ["a", "b", "c"]
    assert found["activation"] == "scheduled"
    assert found["given"]["flip_s"] == 0.0002
    assert len(found["placements"]) == 2
    for one in found["placements"]:
        assert sum(one["parts"].values()) == pytest.approx(one["expected_s"], abs=1e-5)
        assert one["leader"] == one["coordinators"][0]
        assert one["etcd_leader"] == one["etcd"][0]
        assert one["failover_s"] == 13.5
        assert one["timing"]["convergence_s"] == 15
        assert one["dominant"][0] == "activate"
        assert one["broken"] == []


def test_plan_keeps_to_the_regions_asked_for() -> None:
    found = document(
        "--matrix", "aws-19", "--regions", "eu-west-1, eu-west-2,eu-west-3", "--replicas", "2"
    )
    assert found["regions"] == ["eu-west-1", "eu-west-2", "eu-west-3"]
    assert all(set(one["etcd"]) <= set(found["regions"]) for one in found["placements"])
    assert {len(one["coordinators"]) for one in found["placements"]} == {2}


def test_plan_says_when_a_lost_region_ends_everything(csv: str) -> None:
    result = run("--matrix", csv, "--etcd", "1")
    assert result.exit_code == 0
    assert "If a is lost, no switch can be decided: etcd has no quorum left." in result.stdout


def test_plan_says_when_thirty_seconds_cannot_be_promised(tmp_path: Path) -> None:
    file = tmp_path / "far.csv"
    file.write_text("from,to,rtt_ms\na,b,900\nb,a,900\n")
    result = run("--matrix", str(file), "--replicas", "2", "--etcd", "2")
    assert result.exit_code == 0
    assert "30 s cannot be promised: " in result.stdout
    assert "broken" in result.stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "Missing option '--matrix'"),
        (("--matrix", "aws-18"), "'--matrix': there is no map aws-18: shipped are aws-19"),
        (("--matrix", "gone.csv"), "'--matrix': gone.csv cannot be read: No such file"),
        (("--matrix", "aws-19", "--regions", "us-east-1,mars"), "'--regions': aws-19 has no region 'mars'"),
        (("--matrix", "aws-19", "--regions", " ,"), "'--regions': aws-19: no regions are asked for"),
        (("--matrix", "two-halves", "--regions", "us-east-1"), "'--replicas': 3 need as many regions"),
        (("--matrix", "aws-19", "--etcd", "6"), "'--etcd'"),
        (("--matrix", "aws-19", "--staging-ms", "nan"), "'--staging-ms': 'nan' is not a number of"),
        (("--matrix", "aws-19", "--flip-ms", "-1"), "'--flip-ms': '-1' is not a number of"),
        (("--matrix", "aws-19", "--flip-ms", "fast"), "'--flip-ms': 'fast' is not a number of"),
        (("--matrix", "aws-19", "--top", "0"), "'--top'"),
    ],
)  # fmt: skip
def test_plan_refuses_what_cannot_be_with_the_option(args: tuple[str, ...], said: str) -> None:
    result = run(*args)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "map.csv is empty"),
        (THREE.replace("b,c,200\n", ""), "map.csv has no line for b to c"),
        (THREE.replace("a,c,200", "a,c,-200"), "map.csv:4: rtt_ms: -200 must be above 0"),
        (THREE.replace("a,c,200", "a,c,nan"), "map.csv:4: rtt_ms: nan is not a time"),
    ],
)
def test_plan_refuses_an_impossible_map_with_file_and_line(
    tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "map.csv"
    file.write_text(text)
    result = run("--matrix", str(file))
    assert result.exit_code == 2
    assert said in result.stderr
