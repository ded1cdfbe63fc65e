"""--timeout bounds all that a command does, and the exit code says how far it had come."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.fake_coordinator import FakeCoordinator, live, switch
from turnout.runtime import problems
from turnout.runtime.table_file import EXAMPLE

SWITCH = ("switch", "checkout", "--to", "green", "--timeout", "400ms")
UNREACHABLE, TIMED_OUT = 8, 7


@contextmanager
def listening(talk: Callable[[socket.socket], None] | None = None) -> Iterator[str]:
    """An address at which connections are taken; ``talk`` has the listener, in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=talk, args=(listener,)) if talk else None
        if thread:
            thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        if thread:
            thread.join(20)


def answering_once(document: dict[str, Any]) -> Callable[[socket.socket], None]:
    """Accepts one request, and is dead afterwards: nobody listens any more."""

    def talk(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            body = json.dumps(document).encode()
            head = f"HTTP/1.1 202 Accepted\r\ncontent-length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
        listener.close()

    return talk


def test_coordinator_that_takes_the_connection_and_is_silent_is_given_up_in_time(run: Run) -> None:
    with listening() as url:
        result = run(*SWITCH, "--idempotency-key", "k1", "--coordinator", url)
    assert result.exit_code == UNREACHABLE
    assert "No coordinator answered within 0.4 s." in result.stderr
    assert "may have been accepted or not" in result.stderr
    assert "--idempotency-key k1" in result.stderr
    assert result.stdout == ""


def test_no_leader_all_the_time_is_given_up_in_time(run: Run, fake: FakeCoordinator) -> None:
    fake.answer("POST", "/v1/switches", problems.NO_LEADER.problem("Nobody leads."))
    result = run(*SWITCH, at=fake)
    assert result.exit_code == UNREACHABLE
    assert re.search(r"Nobody leads; trying again for 0\.[1-4] s", result.stderr)
    assert "Nobody leads; that was so for 0.4 s." in result.stderr
    assert "No coordinator answered" not in result.stderr


def test_store_that_went_back_is_not_waited_for(run: Run, fake: FakeCoordinator) -> None:
    """An operator has to end that (turnout domain rebase): no patience does."""
    went_back = problems.STORE_WENT_BACK.problem("The store went back: run domain rebase.")
    fake.answer("POST", "/v1/switches", went_back)
    result = run(*SWITCH, at=fake)
    assert result.exit_code == UNREACHABLE
    assert "domain rebase" in result.stderr
    assert "trying again" not in result.stderr
    assert len(fake.bodies("POST", "/v1/switches")) == 1


def test_nobody_there_is_given_up_in_time(run: Run) -> None:
    result = run(*SWITCH, "--coordinator", "http://127.0.0.1:1")
    assert result.exit_code == UNREACHABLE
    assert "--idempotency-key" in result.stderr


def test_patience_that_ends_before_the_time_says_how_to_find_out(
    run: Run, fake: FakeCoordinator
) -> None:
    fake.answer("POST", "/v1/switches", problems.NO_QUORUM.problem("No quorum."))
    result = run(*SWITCH, "--timeout", "60s", "--idempotency-key", "k1", at=fake)
    assert result.exit_code == UNREACHABLE
    assert "Error: No quorum." in result.stderr
    assert "--idempotency-key k1 to find out" in result.stderr


def test_coordinator_that_dies_after_accepting_leaves_the_outcome_unknown(run: Run) -> None:
    with listening(answering_once(switch())) as url:
        result = run(*SWITCH, "-o", "json", "--coordinator", url)
    assert result.exit_code == TIMED_OUT
    assert json.loads(result.stdout)["epoch"] == 7
    assert "The outcome of switch 7 is not known after 0.4 s; it goes on." in result.stderr
    assert f"turnout watch 7 --coordinator {url}" in result.stderr


def test_dry_run_that_nobody_answers_leaves_nothing_to_find_out(run: Run) -> None:
    with listening() as url:
        result = run(*SWITCH, "--dry-run", "--coordinator", url)
    assert result.exit_code == UNREACHABLE
    assert "It was to change nothing." in result.stderr


def test_rollback_that_is_not_sent_yet_says_so(run: Run) -> None:
    with listening() as url:
        result = run("rollback", "checkout", "--timeout", "300ms", "--coordinator", url)
    assert result.exit_code == UNREACHABLE
    assert "Nothing was asked for yet." in result.stderr


def test_table_that_nobody_takes_is_given_up_in_time(run: Run, tmp_path: Path) -> None:
    table = tmp_path / "table.toml"
    table.write_text(EXAMPLE)
    with listening() as url:
        result = run("apply", "-f", table, "--timeout", "300ms", "--coordinator", url)
    assert result.exit_code == UNREACHABLE
    assert "Nothing was asked for yet." in result.stderr


def test_abort_that_nobody_answers_is_not_known_to_be_one(run: Run) -> None:
    with listening() as url:
        result = run("abort", "7", "--timeout", "300ms", "--coordinator", url)
    assert result.exit_code == UNREACHABLE
    assert "Whether switch 7 is aborted is not known" in result.stderr


@pytest.mark.parametrize("timeout", [("--timeout", "300ms"), ()])
def test_watching_where_nobody_ever_answers_comes_to_an_end(
    run: Run, timeout: tuple[str, ...]
) -> None:
    result = run("watch", "7", *timeout, "--coordinator", "http://127.0.0.1:1")
    assert result.exit_code == UNREACHABLE
    assert "no coordinator answered" in result.stderr.lower()


def test_time_that_ends_while_it_drains_is_told_with_the_outcome(
    run: Run, fake: FakeCoordinator
) -> None:
    fake.answer("POST", "/v1/switches", switch())
    fake.tell(7, [live(phase="draining")])
    result = run(*SWITCH, at=fake)
    assert result.exit_code == 0
    assert "Switch 7 is live everywhere, and still draining after 0.4 s." in result.stderr
    assert "undo it: turnout rollback checkout --undo 7" in result.stderr
