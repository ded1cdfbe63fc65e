"""What the bench of a switch's phases makes of its figures; the figures themselves are no test's."""

from __future__ import annotations

import attrs
import pytest

from bench.phases import Measured, percentile, verdicts
from turnout.dev.observations import Requests

REQUESTS = Requests(sent=40_000, on_new_connections=900, slow=60)


def measured(requests: Requests | None = None, **samples: list[float]) -> Measured:
    made = Measured(requests=requests, rate_per_s=1500.0)
    made.samples.update(samples)
    return made


def held(made: Measured, *, scheduled: bool) -> list[bool]:
    return [is_held for _, is_held in verdicts(made, scheduled=scheduled)]


def test_immediate_is_judged_by_the_99th_percentile_of_elapsed() -> None:
    quick = [100.0] * 197
    assert held(measured(elapsed=[*quick, 1000.0, 2000.0, 2000.0]), scheduled=False) == [True]
    assert held(measured(elapsed=[*quick, 1001.0, 2000.0, 2000.0]), scheduled=False) == [False]


def test_scheduled_is_judged_by_skew_and_shows_the_bound() -> None:
    made = measured(elapsed=[1400.0], skew=[10.1], bound=[2.5])
    ((text, is_held),) = verdicts(made, scheduled=True)
    assert not is_held
    assert text.startswith("skew: p50 10.1")
    assert "bound: p50 2.5" in text


def test_scheduled_without_a_skew_is_not_as_promised() -> None:
    assert held(measured(elapsed=[100.0]), scheduled=True) == [False]


def test_skew_is_not_judged_under_load_but_requests_are() -> None:
    made = measured(REQUESTS, elapsed=[1400.0], skew=[50.0], bound=[2.5])
    assert held(made, scheduled=True) == [True] * 4


@pytest.mark.parametrize("trouble", [{"failed": 1}, {"misrouted": 1}, {"slow": 0}])
def test_request_lost_under_load_breaks_the_promise(trouble: dict[str, int]) -> None:
    made = measured(attrs.evolve(REQUESTS, **trouble), elapsed=[100.0])
    assert not all(held(made, scheduled=False))


def test_percentile_is_the_nearest_rank() -> None:
    values = [float(n) for n in range(1, 201)]
    assert [percentile(values, p) for p in (50, 90, 99)] == [100, 180, 198]
