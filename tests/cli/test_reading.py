"""status, services, history, agents, exclusions, apply and diff; usage errors; last resorts."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
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
    for said in ("epoch 8: preparing", "etcd is slow", "checkout  green", "no journal", "away"):
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
        "kind": "exclude-1234",
        "at": "2026-01-31T09:05:07.000000Z",
        "actor": "ada",
        "replica": "c0",
        "text": "excluded us",
        "reason": "release",
        "comment": "4.2",
    }
    fake.answer("GET", "/v1/history", {"entries": [entry], "before": 7})
    result = run("history", "--limit", "1", at=fake)
    assert "release: 4.2" in result.stdout
    assert "  exclude  " in result.stdout
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
    for region in ("eu", "us"):
        fake.answer("DELETE", f"/v1/exclusions/{region}", {"text": "done"})
    assert run("exclude", "eu", at=fake).exit_code == 2
    result = run("exclude", "eu", "--reason", "maintenance", at=fake)
    assert result.exit_code == 0
    assert "turnout include eu" in result.stderr
    fake.answer("GET", "/v1/exclusions", {"exclusions": [{"region": "eu", "reason": "works"}]})
    result = run("include", "eu", at=fake)
    assert (result.exit_code, "catches up" in result.stderr) == (0, True)
    assert "was not excluded" in run("include", "us", at=fake).stderr


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


def test_faults_that_a_refusal_names_already_are_not_repeated(
    run: Run, fake: FakeCoordinator
) -> None:
    faults = [{"path": "reason", "message": "must not be blank"}]
    said = problems.INVALID_FIELD.problem("reason must not be blank", faults=faults)
    fake.answer("POST", "/v1/exclusions", said)
    result = run("exclude", "eu", "--reason", " ", at=fake)
    assert result.stderr == "Error: reason must not be blank\n"
    assert result.exit_code == 3


def test_one_agent_is_not_several(run: Run, domain: FakeCoordinator) -> None:
    fleet = {"enrolled": 1, "connected": 1, "good": 1, "stale": 0, "excluded": 0}
    domain.answer("GET", "/v1/status", STATUS | {"fleet": fleet})
    assert "\n1 agent: 1 connected, 1 good\n" in run("status", at=domain).stdout


def test_domain_without_anything_says_how_to_begin(run: Run, domain: FakeCoordinator) -> None:
    domain.answer("GET", "/v1/services", {"services": []})
    domain.answer("GET", "/v1/agents", {"agents": []})
    domain.answer("GET", "/v1/status", STATUS | {"fleet": None, "head": None, "leader": None})
    out = run("status", at=domain).stdout
    assert "turnout apply -f FILE" in out
    assert "turnout agents add ID" in out
    assert "\n0 agents\n" in out


# ---------------------------------------------------------------------------- files that are none


@pytest.mark.parametrize("command", ["apply", "diff"])
def test_file_that_cannot_be_a_table_is_refused(
    run: Run, fake: FakeCoordinator, tmp_path: Path, command: str
) -> None:
    (tmp_path / "empty.toml").touch()
    (tmp_path / "blank.toml").write_text("  \n")
    (tmp_path / "latin.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "broken.toml").write_text("[service")
    with (tmp_path / "huge.toml").open("wb") as huge:
        huge.truncate(50 * 1024 * 1024)
    said = {
        "empty.toml": "it is empty",
        "blank.toml": "it is empty",
        "latin.toml": "not UTF-8",
        "broken.toml": "not valid TOML",
        "huge.toml": "larger than",
        "none.toml": "there is no such file",
        ".": "it is not a file",
    }
    for name, text in said.items():
        result = run(command, "-f", tmp_path / name, at=fake)
        assert (result.exit_code, text in result.stderr) == (3, True), result.stderr
    assert fake.seen == []


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
        (("status", "--coordinator", "nowhere"), "not an address"),
        (("switch", "a", "--to", "blue", "--timeout", "soon"), "not a duration"),
        (("watch", "zero"), "EPOCH"),
        (("dev", "--regions", "99"), "from 1 to"),
        (("dev", "--regions", "A B"), "not a name"),
        (("status", "--coordinator", "http://127.0.0.1:abc"), "'http://127.0.0.1:abc'"),
        (("status", "--coordinator", "http://127.0.0.1:99999"), "'http://127.0.0.1:99999'"),
        (("status", "--coordinator", "http://a b:1"), "has a blank in it"),
        (("status", "--coordinator", "http://[::1"), "'http://[::1'"),
        (("status", "-w", "--interval", "0"), "is not from 100ms to 720h"),
        (("switch", "a", "--to", "blue", "--timeout", "9" * 400), "is not from 100ms to 720h"),
        (("switch", "a", "--to", "blue", "--drain-timeout", "-5"), "not a duration"),
        (("switch", "", "--to", "blue"), "'' is not a name"),
        (("switch", "a" * 64, "--to", "blue"), "1 to 63 characters"),
        (("switch", "a\nb", "--to", "blue"), "not a name"),
        (("rollback", " "), "' ' is not a name"),
        (("rollback", "a", "--undo", "0"), "0 is not in the range"),
        (("exclude", "a/b", "--reason", "x"), "'a/b' is not a name"),
        (("include", ""), "'' is not a name"),
        (("include", ".."), "'..' is not a name"),
        (("agents", "remove", ""), "'' is not a name"),
        (("waive", "7", "a/b", "--reason", "x"), "'a/b' is not a name"),
        (("switch", "a", "--to", "blue", "--idempotency-key", " "), "must not be blank"),
        (("switch", "a", "--to", "blue", "--idempotency-key", "a\nb"), "printable ASCII"),
        (("switch", "a", "--to", "blue", "--idempotency-key", "x" * 129), "at most 128"),
        (("switch", "a", "--to", "blue", "--as", "Ада"), "printable ASCII"),
        (("switch", "a", "--to", "blue", "--as", ""), "must not be blank"),
    ],
)
def test_usage_error_exits_with_2_and_says_what_is_wrong(
    run: Run, arguments: tuple[str, ...], said: str
) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_every_command_has_its_help(run: Run) -> None:
    for words in commands():
        assert run(*words, "--help").exit_code == 0, words


def test_examples_in_the_help_are_commands_that_exist() -> None:
    found = 0
    for words, command in commands().items():
        for example in getattr(command, "examples", ()):
            given = shlex.split(re.split(r" [|>] ", example)[0])
            assert tuple(given[1 : len(words) + 1]) == words
            command.make_context(example, given[len(words) + 1 :])
            found += 1
    assert found > 20


def commands() -> dict[tuple[str, ...], click.Command]:
    """Every command below `turnout` by its words, groups and their members alike."""
    context = click.Context(cli.turnout)
    found: dict[tuple[str, ...], click.Command] = {}
    for name in cli.turnout.list_commands(context):
        command = cli.turnout.get_command(context, name)
        assert command is not None
        found[name,] = command
        if isinstance(command, click.Group):
            found |= {(name, one): inner for one, inner in command.commands.items()}
    return found


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


# ------------------------------------------------------------------------- streams of the process


def in_a_shell(line: str, at: FakeCoordinator) -> subprocess.CompletedProcess[str]:
    """A command line of bash, as an operator types it; ``turnout`` stands for the command."""
    command = f'turnout() {{ {sys.executable} -m turnout.cli.main "$@"; }}; set -o pipefail; {line}'
    return subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, "TURNOUT_COORDINATORS": at.url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("turnout status | true", 0),
        ("turnout services >&-", 0),
        ("turnout services -o json >&-", 0),
        ("turnout services 2>&-", 0),
        ("turnout nonsense 2>&-", 2),
        ("turnout services > /dev/full", 1),
        ("PYTHONIOENCODING=ascii turnout services", 0),
        ("turnout status -w --interval 100ms -o json | head -1", 1),
        ("turnout status -w --interval 100ms | head -1", 1),
    ],
)
def test_closed_or_odd_stream_costs_nobody_a_traceback(
    domain: FakeCoordinator, line: str, code: int
) -> None:
    domain.answer("GET", "/v1/status", *(STATUS | {"term": term} for term in range(20)))
    done = in_a_shell(line, domain)
    assert done.returncode == code, done
    for word in ("Traceback", "Exception ignored", "Broken pipe", "fault in turnout"):
        assert word not in done.stderr


def test_switch_whose_talk_nobody_hears_ends_by_its_outcome(domain: FakeCoordinator) -> None:
    domain.answer("POST", "/v1/switches", switch())
    domain.tell(7, [switch()], [switch(phase="committed")], [live(outcome="partial")])
    done = in_a_shell("turnout switch checkout --to green 2>&1 | head -1", domain)
    assert done.returncode == 6, done
    assert done.stdout.startswith("Accepted as epoch 7")


def test_watching_that_is_interrupted_exits_with_130(domain: FakeCoordinator) -> None:
    command = [sys.executable, "-m", "turnout.cli.main", "status", "-w", "-o", "json"]
    with subprocess.Popen(
        [*command, "--coordinator", domain.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said == "Interrupted.\n"
