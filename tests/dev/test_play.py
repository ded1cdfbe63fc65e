"""The demo's judgement of an act: what users saw, and whether enough of them asked."""

from __future__ import annotations

import attrs
import pytest

from turnout.dev.demo.play import judge
from turnout.dev.demo.stage import ActReport
from turnout.dev.observations import Requests

GOOD = Requests(sent=9000, on_new_connections=500, slow=3)


def report_of(requests: Requests, rate_per_s: float = 1500.0) -> ActReport:
    report = ActReport(name="switch", requests={"eu": requests, "us": GOOD}, rate_per_s=rate_per_s)
    judge(report)
    return report


def test_act_whose_users_were_served_is_as_promised() -> None:
    report = report_of(GOOD)
    assert report.ok
    assert report.notes == []


@pytest.mark.parametrize("trouble", [{"failed": 1}, {"misrouted": 1}])
def test_one_request_lost_fails_the_act(trouble: dict[str, int]) -> None:
    assert not report_of(attrs.evolve(GOOD, **trouble)).ok


def test_act_without_slow_requests_is_not_as_promised() -> None:
    report = ActReport(name="switch", requests={"eu": Requests(sent=9000)}, rate_per_s=1500.0)
    judge(report)
    assert [text for text, held in report.checks if not held] == [
        "on new connections and slow ones too"
    ]


def test_too_little_load_fails_the_act_and_says_that_the_machine_is_why() -> None:
    report = report_of(GOOD, rate_per_s=1199.0)
    assert not report.ok
    assert [text for text, held in report.checks if not held] == ["at least 1,200 requests/s"]
    (note,) = report.notes
    assert "Only 1,199 requests/s" in note
    assert "too small or too busy" in note
    assert "End what else runs" in note
