"""switch, rollback, abort and watch: what they ask for, print, and exit with."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

import pytest
from starlette.responses import JSONResponse

from tests.cli.conftest import Run
from tests.cli.fake_coordinator import FakeCoordinator, agent, live, serving, switch
from turnout.runtime import problems

SWITCH = ("switch", "checkout", "--to", "green")


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (live(), 0),
        (live(phase="draining", outcome="partial", laggards=[{"agent": "us-a"}]), 6),
        (switch(phase="aborted", outcome="aborted", reason="eu-a: unhealthy"), 4),
        (live(phase="retained", outcome="rolled_back"), 5),
    ],
)
def test_exit_code_is_that_of_the_outcome(
    run: Run, fake: FakeCoordinator, document: dict[str, Any], code: int
) -> None:
    fake.answer("POST", "/v1/switches", switch())
    fake.tell(7, [switch(), document])
    assert run(*SWITCH, "--wait-for", "live", at=fake).exit_code == code


def test_json_is_the_document_as_it_came_and_all_of_stdout(run: Run, fake: FakeCoordinator) -> None:
    fake.answer("POST", "/v1/switches", switch())
    document = live(something_newer=[1, 2])
    fake.tell(7, [switch(), document])
    result = run(*SWITCH, "-o", "json", at=fake)
    assert json.loads(result.stdout) == document
    assert "Accepted as epoch 7" in result.stderr


def test_table_shows_every_region_and_how_long_it_took(run: Run, fake: FakeCoordinator) -> None:
    fake.answer("POST", "/v1/switches", switch())
    fake.tell(7, [live()])
    out = run(*SWITCH, at=fake).stdout
    assert "checkout from blue to green" in out
    assert "live everywhere in 300 ms of 30 s" in out
    assert "skew 0.40 ms" in out
    assert [line.split()[0] for line in out.splitlines()[-2:]] == ["eu", "us"]


def test_report_names_who_is_behind_and_who_was_left_out(run: Run, fake: FakeCoordinator) -> None:
    fake.answer("POST", "/v1/switches", switch())
    agents = [
        agent("eu-a", "eu", standing="excluded", reason="maintenance", asked=False),
        agent("us-a", "us", standing="stale", reason="behind after epoch 7", vote="yes"),
    ]
    late = [{"agent": "us-a", "region": "us", "reason": "unconfirmed: not heard in time"}]
    partial = {"outcome": "partial", "phase": "draining", "reason": "not live everywhere in time"}
    fake.tell(7, [live(**partial, agents=agents, laggards=late)])
    result = run(*SWITCH, "--wait-for", "live", at=fake)
    assert result.exit_code == 6
    assert "partial after 310 ms: committed, not live everywhere in time" in result.stdout
    assert "excluded: maintenance" in result.stdout
    assert "unconfirmed: not heard in time" in result.stdout


def test_switch_of_long_ago_is_shown_by_its_timeline(run: Run, fake: FakeCoordinator) -> None:
    moment = {"at": "2026-01-31T09:05:07.000000Z", "event": "decided", "text": "commit"}
    late = [{"agent": "us-a", "region": "us", "reason": "diverged"}]
    told = live(outcome="partial", agents=[], laggards=late, timeline=[moment])
    fake.tell(7, [told])
    result = run("watch", "7", at=fake)
    assert result.exit_code == 6
    for line in ("us         us-a   diverged", "decided  commit"):
        assert line in result.stdout


def test_waits_for_the_drain_unless_told_otherwise(run: Run, fake: FakeCoordinator) -> None:
    fake.answer("POST", "/v1/switches", switch())
    fake.tell(7, [live(phase="draining")], [live(phase="draining"), live()])
    assert json.loads(run(*SWITCH, "-o", "json", at=fake).stdout)["phase"] == "retained"


def test_options_become_the_body_and_headers(run: Run, fake: FakeCoordinator) -> None:
    fake.answer("POST", "/v1/switches", switch())
    options = ["--activation", "scheduled", "--exclude", "eu", "--allow-stale", "us-b"]
    options += ["--override", "freeze", "--drain-timeout", "1m", "--reason", "why", "-m", "note"]
    options += ["--point-of-no-return", "migration", "--no-wait", "--as", "ada"]
    result = run(*SWITCH, *options, "--idempotency-key", "k1", at=fake)
    assert result.exit_code == 0
    assert fake.seen[0].body == {
        "service": "checkout",
        "to": "green",
        "activation": "scheduled",
        "exclude": ["eu"],
        "allow_stale": ["us-b"],
        "override": ["freeze"],
        "drain_timeout_s": 60.0,
        "reason": "why",
        "comment": "note",
        "point_of_no_return": "migration",
    }
    assert fake.seen[0].headers["idempotency-key"] == "k1"
    assert fake.seen[0].headers["x-turnout-actor"] == "ada"


def test_allow_stale_takes_a_count(run: Run, fake: FakeCoordinator) -> None:
    fake.answer("POST", "/v1/switches", switch())
    run(*SWITCH, "--allow-stale", "2", "--no-wait", at=fake)
    assert fake.seen[0].body["allow_stale"] == 2
    assert run(*SWITCH, "--allow-stale", "2", "--allow-stale", "us-b", at=fake).exit_code == 2


def test_time_out_says_how_to_resume_and_exits_with_7(run: Run, fake: FakeCoordinator) -> None:
    fake.answer("POST", "/v1/switches", switch())
    fake.tell(7, [switch()])
    result = run(*SWITCH, "--timeout", "300ms", at=fake)
    assert result.exit_code == 7
    assert f"turnout watch 7 --coordinator {fake.url}" in result.stderr
    assert "turnout abort 7" in result.stderr


def test_time_out_while_draining_keeps_the_exit_code_of_the_outcome(
    run: Run, fake: FakeCoordinator
) -> None:
    fake.answer("POST", "/v1/switches", switch())
    fake.tell(7, [live(phase="draining")])
    result = run(*SWITCH, "--timeout", "300ms", at=fake)
    assert result.exit_code == 0
    assert "still draining" in result.stderr


def test_what_is_in_force_already_is_nothing_to_do(run: Run, fake: FakeCoordinator) -> None:
    fake.answer("POST", "/v1/switches", live(noop=True))
    result = run(*SWITCH, at=fake)
    assert result.exit_code == 0
    assert "Nothing to do" in result.stdout
    assert len(fake.seen) == 1


def test_refusal_is_told_with_its_reason_and_exits_with_3(run: Run, fake: FakeCoordinator) -> None:
    fake.answer(
        "POST",
        "/v1/switches",
        problems.STALE_AGENTS.problem("Some agents are behind.", agents=["us-a", "us-b"]),
    )
    result = run(*SWITCH, at=fake)
    assert result.exit_code == 3
    assert "Some agents are behind." in result.stderr
    assert "agents: us-a, us-b" in result.stderr
    assert result.stdout == ""


def test_unknown_service_is_answered_with_near_names(run: Run, fake: FakeCoordinator) -> None:
    fake.answer("POST", "/v1/switches", problems.UNKNOWN_SERVICE.problem("No service 'chekout'."))
    fake.answer("GET", "/v1/services", {"services": [{"service": "checkout"}]})
    result = run("switch", "chekout", "--to", "green", at=fake)
    assert result.exit_code == 3
    assert "Did you mean checkout?" in result.stderr


def test_nobody_there_exits_with_8(run: Run) -> None:
    result = run("status", "--coordinator", "http://127.0.0.1:1")
    assert result.exit_code == 8
    assert "no coordinator answered" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("kind", [problems.NO_LEADER, problems.NO_QUORUM])
def test_no_leader_or_quorum_exits_with_8_after_trying_again(
    run: Run, fake: FakeCoordinator, kind: problems.ProblemType
) -> None:
    fake.answer("POST", "/v1/switches", kind.problem("Not at the moment."))
    result = run(*SWITCH, at=fake)
    assert result.exit_code == 8
    assert "trying again" in result.stderr
    assert len({one.headers["idempotency-key"] for one in fake.seen}) == 1
    assert len(fake.seen) > 1


def test_request_goes_on_under_the_next_leader_with_the_same_key(
    run: Run, fake: FakeCoordinator
) -> None:
    fake.answer("POST", "/v1/switches", problems.NO_LEADER.problem("Being elected."), switch())
    fake.tell(7, [live()])
    assert run(*SWITCH, at=fake).exit_code == 0
    posts = [one for one in fake.seen if one.method == "POST"]
    assert len(posts) == 2
    assert len({one.headers["idempotency-key"] for one in posts}) == 1


def test_watching_follows_over_to_another_coordinator(run: Run, fake: FakeCoordinator) -> None:
    with serving() as other:
        fake.answer("POST", "/v1/switches", switch())
        fake.answer(
            "GET", "/v1/switches/7/events", problems.SHUTTING_DOWN.problem("Another leads now.")
        )
        other.tell(7, [switch()], [live()])
        result = run(*SWITCH, "--coordinator", fake.url, "--coordinator", other.url)
    assert result.exit_code == 0, result.output
    assert [one.method for one in other.seen] == ["GET", "GET"]


def test_dry_run_shows_each_region_and_waits_for_nothing(run: Run, fake: FakeCoordinator) -> None:
    side = {"weights": {"blue": 100, "green": 0}, "hosts": [], "path_prefix": "/"}
    side |= {"active": "blue", "blue": ["a:1"], "green": ["b:1"]}
    after = side | {"weights": {"blue": 0, "green": 100}, "active": "green"}
    change = {"service": "checkout", "before": side, "after": after}
    eu = {"agent": "eu-a", "asked": True, "standing": "good"}
    plan = {
        "dry_run": True,
        "noop": False,
        "kind": "switch",
        "service": "checkout",
        "epoch": 8,
        "passed_over": ["us-b"],
        "excluded_regions": ["us"],
        "removed_services": [],
        "regions": [
            {"region": "eu", "agents": [eu], "changes": [change]},
            {"region": "us", "agents": [], "changes": []},
        ],
    }
    fake.answer("POST", "/v1/switches", JSONResponse(plan))
    result = run(*SWITCH, "--dry-run", at=fake)
    assert result.exit_code == 0
    assert fake.bodies("POST", "/v1/switches")[0]["dry_run"] is True
    assert "nothing has been changed" in result.stdout
    assert "blue -> green" in result.stdout
    assert "us      excluded      -         keeps what it serves" in result.stdout
    assert "us-b" in result.stdout


def test_abort_exits_with_0_once_the_switch_is_aborted(run: Run, fake: FakeCoordinator) -> None:
    fake.answer("POST", "/v1/switches/7/abort", switch())
    fake.tell(7, [switch(phase="aborted", outcome="aborted")])
    assert run("abort", "7", at=fake).exit_code == 0


def test_abort_that_comes_too_late_exits_with_3_and_names_the_rollback(
    run: Run, fake: FakeCoordinator
) -> None:
    fake.answer("POST", "/v1/switches/7/abort", switch())
    fake.tell(7, [live()])
    result = run("abort", "7", at=fake)
    assert result.exit_code == 3
    assert "turnout rollback checkout --undo 7" in result.stderr


def test_abort_of_what_is_aborted_already_exits_with_0(run: Run, fake: FakeCoordinator) -> None:
    aborted = switch(phase="aborted", outcome="aborted")
    fake.answer("POST", "/v1/switches/7/abort", problems.ALREADY_DECIDED.problem("Decided."))
    fake.answer("GET", "/v1/switches/7", aborted)
    fake.tell(7, [aborted])
    assert run("abort", "7", at=fake).exit_code == 0


def test_watch_prints_a_line_of_json_for_every_change(run: Run, fake: FakeCoordinator) -> None:
    fake.tell(7, [switch(), switch()], [switch(phase="committed"), live()])
    result = run("watch", "7", "-o", "json", at=fake)
    phases = [json.loads(line)["phase"] for line in result.stdout.splitlines()]
    assert phases == ["preparing", "committed", "retained"]
    assert result.exit_code == 0


def test_watching_an_epoch_that_does_not_exist_exits_with_3(
    run: Run, fake: FakeCoordinator
) -> None:
    fake.answer(
        "GET", "/v1/switches/9/events", problems.UNKNOWN_EPOCH.problem("There is no epoch 9.")
    )
    result = run("watch", "9", at=fake)
    assert result.exit_code == 3
    assert "There is no epoch 9." in result.stderr


def test_ctrl_c_stops_watching_and_says_that_the_switch_goes_on(fake: FakeCoordinator) -> None:
    fake.answer("POST", "/v1/switches", switch())
    fake.tell(7, [switch()])
    command = [sys.executable, "-m", "turnout.cli.main", *SWITCH, "--coordinator", fake.url]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        while "checkout from blue to green" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        process.send_signal(signal.SIGINT)
        said += process.stderr.read()
    assert process.returncode == 130
    assert "switch 7 goes on" in said
    assert "turnout watch 7" in said
    assert "turnout abort 7" in said
    assert not any(one.target.endswith("/abort") for one in fake.seen)
