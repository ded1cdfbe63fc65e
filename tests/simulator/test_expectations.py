"""What a scenario expects is looked at: each key fails a run that comes to something else."""

from __future__ import annotations

import pytest

from tests.simulator.small_world import SWITCH, broken, simulated

CUT = """
[[fault]]
when = "decision-write"
kind = "partition"
between = [["eu-west-1"], ["*"]]
"""
LATER = """
[[operation]]
at_s = 30.0
do = "switch"
service = "checkout"
to = "blue"
"""


def failed(expectation: str, *parts: str) -> str:
    """Why it failed: one expectation, and nothing else."""
    found = broken(simulated(*parts, f"[expect]\n{expectation}\n", until_s=60.0))
    (number, (text, *_)) = found.popitem() if found else ("", ("",))
    assert number == f"expect.{expectation.split(maxsplit=1)[0]}" or not number
    assert not found
    return text


@pytest.mark.parametrize(
    ("expectation", "text"),
    [
        ('outcome = "aborted"', "live, not aborted"),
        ('laggards = ["eu-west-1/1"]', "laggards are none, not eu-west-1/1"),
        ('because = "unconfirmed"', "there is no laggard"),
        ("elapsed_s_max = 1.0", "epoch 3 took 1."),
        ("converged_within_s = 0.1", "us-east-1/1 served epoch 3 1."),
        ('refused = "stale-agents"', "not refused, not stale-agents"),
        ('reached = ["halted", "commit-scheduled"]', "not reached: halted"),
    ],
)
def test_expectation_of_a_switch_that_went_well_fails(expectation: str, text: str) -> None:
    assert text in failed(expectation, SWITCH)


@pytest.mark.parametrize(
    "expectation",
    [
        'outcome = "partial"',
        'laggards = ["eu-west-1/1"]',
        'because = "unconfirmed"',
        "elapsed_s_max = 8.0",
        "converged_within_s = 3.0",
    ],
)
def test_region_that_is_cut_off_for_good_is_expected_to_be_behind(expectation: str) -> None:
    assert failed(expectation, SWITCH, CUT) == ""


def test_reason_of_a_laggard_is_compared() -> None:
    text = failed('because = "diverged"', SWITCH, CUT)
    assert text == "of eu-west-1/1 is said: unconfirmed: not heard in time"


def test_everybody_else_must_converge_though_a_region_is_cut_off_from_all() -> None:
    """The others are not excused by being on the other side of the cut."""
    assert "us-east-1/1" in failed("converged_within_s = 0.1", SWITCH, CUT)


def breaking(*numbers: str) -> tuple[str, dict[str, tuple[str, ...]]]:
    """Verdict and findings where S7 is expected to break, and these do."""
    expect = '[expect]\nverdict = "invalid"\nviolated = ["S7"]\n'
    simulation = simulated(SWITCH, expect, until_s=10.0)
    for number in numbers:
        simulation.judge.breaks(number, "as the test says")
    return simulation.result(wall_ns=0).verdict, broken(simulation)


def test_run_in_which_what_should_break_does_is_valid() -> None:
    verdict, found = breaking("S7")
    assert verdict == "valid"
    assert set(found) == {"S7"}


@pytest.mark.parametrize(
    ("numbers", "said"),
    [((), "broken is nothing, not S7"), (("S9", "S7"), "broken is S7, S9, not S7")],
)
def test_run_in_which_something_else_breaks_says_what(numbers: tuple[str, ...], said: str) -> None:
    verdict, found = breaking(*numbers)
    assert verdict == "invalid"
    assert found["expect.verdict"] == (said,)


def test_refusal_is_expected_by_its_code() -> None:
    assert failed('refused = "no-good-agent"', SWITCH, CUT, LATER) != failed(
        'refused = "stale-agents"', SWITCH, CUT, LATER
    )


def test_requests_that_died_with_a_proxy_are_counted() -> None:
    restart = '[[fault]]\nat_s = 20.0\nkind = "proxy-restart"\nnode = "eu-west-1"\n'
    assert "requests were lost" in failed("requests_lost_max = 0", SWITCH, restart)
