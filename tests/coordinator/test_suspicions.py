"""What is wrong with agents is logged once, shown while it goes on, and never without bound."""

from __future__ import annotations

import pytest
import structlog
from structlog.testing import LogCapture
from structlog.typing import EventDict

from coordinator.suspicions import LASTS_S, LOGGED_AGAIN_S, MAX_SUSPICIONS, Suspicions
from turnout.protocol.identifiers import AgentId

A, B = AgentId("a"), AgentId("b")


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[EventDict]:
    capture = LogCapture()
    logger = structlog.wrap_logger(structlog.PrintLogger(), processors=[capture])
    monkeypatch.setattr("coordinator.suspicions._log", logger)
    return capture.entries


def test_suspicion_that_comes_again_is_counted_and_logged_once(log: list[EventDict]) -> None:
    clock = Clock()
    suspicions = Suspicions(clock)
    for _ in range(5):
        suspicions.note(A, "signature", "A wrong key.", "10.0.0.1")
        clock.now_s += 1
    (one,) = suspicions.all()
    assert (one.agent, one.reason, one.times, one.address) == ("a", "signature", 5, "10.0.0.1")
    assert [(line["agent"], line["reason"], line["times"]) for line in log] == [
        ("a", "signature", 1)
    ]


def test_suspicion_that_goes_on_is_logged_again_after_a_while(log: list[EventDict]) -> None:
    clock = Clock()
    suspicions = Suspicions(clock)
    for _ in range(round(LOGGED_AGAIN_S) + 1):
        suspicions.note(A, "signature", "A wrong key.", "10.0.0.1")
        clock.now_s += 1
    assert [line["times"] for line in log] == [1, round(LOGGED_AGAIN_S) + 1]


def test_suspicion_that_ended_is_forgotten_and_logged_when_it_begins_again(
    log: list[EventDict],
) -> None:
    clock = Clock()
    suspicions = Suspicions(clock)
    suspicions.note(A, "signature", "A wrong key.", "10.0.0.1")
    clock.now_s += LASTS_S
    assert suspicions.all() == ()
    suspicions.note(A, "signature", "A wrong key.", "10.0.0.1")
    assert [line["times"] for line in log] == [1, 1]


def test_suspicions_of_one_agent_are_one_text_for_it(log: list[EventDict]) -> None:
    suspicions = Suspicions(Clock())
    suspicions.note(B, "stranger", "Who is b?", "10.0.0.2")
    suspicions.note(A, "signature", "A wrong key.", "10.0.0.1")
    suspicions.note(A, "region", "A wrong region.", "10.0.0.1")
    assert suspicions.texts() == {"a": "A wrong region. A wrong key.", "b": "Who is b?"}
    assert len(log) == 3


def test_strangers_with_ever_new_names_fill_neither_memory_nor_log(log: list[EventDict]) -> None:
    suspicions = Suspicions(Clock())
    for number in range(3 * MAX_SUSPICIONS):
        suspicions.note(AgentId(f"x{number}"), "stranger", "Who is that?", "10.0.0.1")
    assert len(suspicions.all()) == len(log) == MAX_SUSPICIONS
