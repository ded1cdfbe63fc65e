"""status, services, history, agents, exclusions, apply and diff; usage errors; last resorts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click.testing
import pytest
from starlette.responses import HTMLResponse

from tests.cli.conftest import Run
from tests.cli.fake_coordinator import FakeCoordinator, live, switch
from turnout.cli import main as cli
from turnout.protocol.codec import converter
from turnout.protocol.routing import Colour
from turnout.runtime import problems
from turnout.runtime.table_file import EXAMPLE, parse_table

SERVICE = {
    "service": "checkout",
    "hosts": ["checkout.example"],
    "path_prefix": "/",
    "active": "green",
    "weights": {"blue": 0, "green": 100},
    "changed_in": 7,
    "rollback_until": "2026-01-31T10:05:07.000000Z",
    "backends": {"eu": {"blue": [], "green": []}},
}
AGENT = {
    "agent": "eu-a",
    "region": "eu",
    "standing": "stale",
    "reason": "no journal",
    "connected": False,
    "epoch": 6,
    "progress": "live",
    "trouble": None,
    "bound_ms": 0.25,
    "in_flight": None,
}
STATUS: dict[str, Any] = {
    "domain": "shop",
    "leader": {"replica": "c0", "url": "http://c0"},
    "term": 12,
    "head": {"committed": 7},
    "fleet": {"enrolled": 2, "connected": 1, "good": 1, "stale": 1, "excluded": 0},
    "exclusions": [{"region": "us", "reason": "maintenance"}],
    "in_progress": {"epoch": 8, "kind": "switch", "service": "checkout", "phase": "preparing"},
    "troubles": ["etcd is slow"],
}


@pytest.fixture
def domain(fake: FakeCoordinator) -> FakeCoordinator:
    fake.answer("GET", "/v1/services", {"services": [SERVICE]})
    fake.answer("GET", "/v1/agents", {"agents": [AGENT]})
    fake.answer("GET", "/v1/status", STATUS)
    return fake


def test_status_shows_what_is_in_force_who_is_behind_and_what_goes_on(
    run: Run, domain: FakeCoordinator
) -> None:
    out = run("status", at=domain).stdout
    for said in ("epoch 7 in force", "led by c0", "1 stale", "us is excluded: maintenance"):
        assert said in out
    for said in ("epoch 8: preparing", "etcd is slow", "checkout   green", "no journal", "away"):
        assert said in out


def test_status_as_json_is_one_document(run: Run, domain: FakeCoordinator) -> None:
    document = json.loads(run("status", "checkout", "-o", "json", at=domain).stdout)
    assert document["head"]["committed"] == 7
    assert document["services"] == [SERVICE]
    assert document["agents"] == [AGENT]


def test_status_of_an_unknown_service_suggests_names(run: Run, domain: FakeCoordinator) -> None:
    result = run("status", "chekout", at=domain)
    assert result.exit_code == 3
    assert "Did you mean checkout?" in result.stderr


def test_coordinators_come_from_the_environment(
    run: Run, domain: FakeCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TURNOUT_COORDINATORS", f"http://127.0.0.1:1, {domain.url}")
    assert run("services").exit_code == 0


def test_services_are_listed(run: Run, domain: FakeCoordinator) -> None:
    assert "checkout.example/" in run("services", at=domain).stdout
    assert json.loads(run("services", "-o", "json", at=domain).stdout)["services"] == [SERVICE]


def test_history_is_listed_and_says_how_to_go_on(run: Run, fake: FakeCoordinator) -> None:
    entry = {
        "epoch": 7,
        "kind": "accepted",
        "at": "2026-01-31T09:05:07.000000Z",
        "actor": "ada",
        "replica": "c0",
        "text": "switch checkout",
        "reason": "release",
        "comment": "4.2",
    }
    fake.answer("GET", "/v1/history", {"entries": [entry], "before": 7})
    result = run("history", "--limit", "1", at=fake)
    assert "release: 4.2" in result.stdout
    assert "turnout history --before 7" in result.stderr
    assert fake.seen[0].target == "/v1/history?limit=1"


def test_agents_are_added_and_removed(run: Run, fake: FakeCoordinator) -> None:
    key = "AB" * 32
    fake.answer("POST", "/v1/agents", {"text": "enrolled"})
    fake.answer("DELETE", "/v1/agents/eu-a", {"text": "removed"})
    assert (
        run("agents", "add", "eu-a", "--region", "eu", "--public-key", key, at=fake).exit_code == 0
    )
    assert fake.seen[0].body == {"agent": "eu-a", "region": "eu", "public_key": key.lower()}
    assert run("agents", "remove", "eu-a", at=fake).exit_code == 0


def test_public_key_that_is_none_is_a_usage_error(run: Run, fake: FakeCoordinator) -> None:
    result = run("agents", "add", "eu-a", "--region", "eu", "--public-key", "xyz", at=fake)
    assert result.exit_code == 2
    assert "64 hex digits" in result.stderr
    assert fake.seen == []


def test_region_is_excluded_with_a_reason_and_included(run: Run, fake: FakeCoordinator) -> None:
    fake.answer("POST", "/v1/exclusions", {"text": "done"})
    fake.answer("DELETE", "/v1/exclusions/eu", {"text": "done"})
    assert run("exclude", "eu", at=fake).exit_code == 2
    result = run("exclude", "eu", "--reason", "maintenance", at=fake)
    assert result.exit_code == 0
    assert "turnout include eu" in result.stderr
    assert run("include", "eu", at=fake).exit_code == 0


def test_waiver_names_agent_and_reason(run: Run, fake: FakeCoordinator) -> None:
    fake.answer("POST", "/v1/switches/7/waive", live())
    assert run("waive", "7", "eu-a", "--reason", "gone", at=fake).exit_code == 0
    assert fake.seen[0].body == {"agent": "eu-a", "reason": "gone"}


@pytest.mark.parametrize("type_", [problems.NOT_PERMITTED, problems.NOT_AUTHENTICATED])
def test_who_may_not_is_told_so_with_9(
    run: Run, fake: FakeCoordinator, type_: problems.ProblemType
) -> None:
    fake.answer("GET", "/v1/services", type_.problem("You may not."))
    assert run("services", at=fake).exit_code == 9


def test_something_else_than_a_coordinator_is_said_to_be_that(
    run: Run, fake: FakeCoordinator
) -> None:
    fake.answer("GET", "/v1/services", HTMLResponse("<html>"))
    result = run("services", at=fake)
    assert result.exit_code == 1
    assert "is that address a coordinator" in result.stderr


# ---------------------------------------------------------------------------- apply and diff


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.toml"
    path.write_text(EXAMPLE)
    return path


def in_force(text: str = EXAMPLE, colour: Colour | None = None) -> dict[str, Any]:
    table = parse_table(text.encode(), source="test")
    if colour is not None:
        table = table.switched("checkout", colour)
    return {"epoch": 3, "table": converter.unstructure(table)}


def test_apply_sends_the_whole_table(run: Run, fake: FakeCoordinator, table: Path) -> None:
    fake.answer("GET", "/v1/table", {"epoch": 0, "table": None})
    fake.answer("POST", "/v1/tables", switch(kind="apply", service=None))
    fake.tell(7, [live(kind="apply", service=None)])
    result = run("apply", "-f", table, at=fake)
    assert result.exit_code == 0
    assert fake.bodies("POST", "/v1/tables")[0]["table"] == in_force()["table"]


def test_apply_says_that_it_does_not_switch(run: Run, fake: FakeCoordinator, table: Path) -> None:
    fake.answer("GET", "/v1/table", in_force(colour=Colour.GREEN))
    fake.answer("POST", "/v1/tables", live(noop=True))
    result = run("apply", "-f", table, at=fake)
    assert "checkout stays on green" in result.stderr
    assert "turnout switch checkout --to blue" in result.stderr


def test_table_with_a_fault_is_refused_before_anything_is_sent(
    run: Run, fake: FakeCoordinator, table: Path
) -> None:
    table.write_text(EXAMPLE.replace("hosts =", "host ="))
    result = run("apply", "-f", table, at=fake)
    assert result.exit_code == 3
    assert "service.checkout.host is not a known key" in result.stderr
    assert fake.seen == []


def test_apply_without_a_file_is_a_usage_error(run: Run, fake: FakeCoordinator) -> None:
    assert run("apply", at=fake).exit_code == 2


def test_example_of_a_table_file_is_printed_without_a_coordinator(run: Run) -> None:
    assert run("apply", "--example").stdout == EXAMPLE


def test_diff_shows_keys_as_the_file_names_them(
    run: Run, fake: FakeCoordinator, table: Path
) -> None:
    fake.answer("GET", "/v1/table", in_force(colour=Colour.GREEN))
    table.write_text(
        EXAMPLE.replace("# retain_s = 3600", "retain_s = 60").replace("10.0.0.1:8080", "10.9.9.9:1")
    )
    changes = json.loads(run("diff", "-f", table, "-o", "json", at=fake).stdout)["changes"]
    assert changes[0]["change"] == "changed"
    assert [field["key"] for field in changes[0]["fields"]] == [
        "backends.eu-west-1.blue",
        "retain_s",
    ]
    assert changes[0]["fields"][1]["in_file"] == 60
    assert "10.9.9.9:1" in run("diff", "-f", table, at=fake).stdout


def test_diff_of_the_same_table_is_none_whatever_its_colour(
    run: Run, fake: FakeCoordinator, table: Path
) -> None:
    fake.answer("GET", "/v1/table", in_force(colour=Colour.GREEN))
    assert "No difference" in run("diff", "-f", table, at=fake).stdout


# ------------------------------------------------------------------------- usage, last resorts


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("swich",), "Did you mean 'switch'?"),
        (("switch", "checkout"), "--to"),
        (("status",), "TURNOUT_COORDINATORS"),
        (("status", "--coordinator", "not a url"), "not an address"),
        (("switch", "a", "--to", "blue", "--timeout", "soon"), "not a duration"),
        (("watch", "zero"), "EPOCH"),
        (("dev", "--regions", "99"), "from 1 to"),
        (("dev", "--regions", "A B"), "not a name"),
    ],
)
def test_usage_error_exits_with_2_and_says_what_is_wrong(
    run: Run, arguments: tuple[str, ...], said: str
) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_every_command_has_its_help(run: Run) -> None:
    for name in cli._COMMANDS:
        assert run(name, "--help").exit_code == 0, name


def test_fault_of_ours_is_told_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("wrong turn")

    monkeypatch.setattr(cli.turnout, "main", fail)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1
    said = capsys.readouterr().err
    assert "turnout failed: RuntimeError: wrong turn" in said
    assert "Traceback" not in said


def test_key_is_made_once(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "agent.key"
    first = run("agent", "keygen", path)
    assert len(first.stdout.strip()) == 64
    again = run("agent", "keygen", path)
    assert again.exit_code == 3
    assert "never overwritten" in again.stderr


def test_configuration_with_a_fault_is_refused(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "coordinator.toml"
    config.write_text('replica = "c0"\n')
    for arguments in (("serve",), ("domain", "init")):
        result: click.testing.Result = run(*arguments, "--config", config)
        assert result.exit_code == 3
        assert "domain_key is missing" in result.stderr
