"""A pytest plugin for CI: a skipped test fails, unless ``allowed_skips.toml`` gives its reason.

A skip is how a missing program, an old kernel or a typo in a condition goes unnoticed for months. Where
CI=true everything is installed, so nothing has a right to be skipped but what is listed with why.
The report itself is turned into a failure, in the process that ran the test, so pytest's own closing
line counts it, with pytest-xdist too. Expected failures (xfail) are not skips and are left alone.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

ALLOWED_SKIPS: Final = Path(__file__).with_name("allowed_skips.toml")
REASONS: Final = pytest.StashKey[dict[str, str]]()


def read_allowed_skips(path: Path) -> dict[str, str]:
    """The reason for each test, by node id (a file's path allows a skip of the whole module).

    Raises ``pytest.UsageError`` for an entry without a test or a reason.
    """
    reasons = {}
    for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("skip", []):
        test, reason = entry.get("test", "").strip(), entry.get("reason", "").strip()
        if not test or not reason:
            raise pytest.UsageError(
                f"{path.name}: each [[skip]] needs a test and a reason: {entry}"
            )
        reasons[test] = reason
    return reasons


def refuse_skip(report: pytest.TestReport | pytest.CollectReport, allowed: dict[str, str]) -> None:
    """Turns a report of a skip that nobody listed into one of a failure."""
    if report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return
    test = report.nodeid.partition("[")[0]
    if test in allowed or test.partition("::")[0] in allowed:
        return
    report.outcome = "failed"
    report.longrepr = (
        f"{report.nodeid} was skipped: {describe(report.longrepr)}\n"
        f"In CI nothing may be skipped. Install what it misses (tools/system-packages.sh), or list the"
        f" test with its reason in tests/{ALLOWED_SKIPS.name}."
    )


def describe(longrepr: object) -> str:
    """The reason of a skip, which pytest keeps as (path, line, reason)."""
    return str(longrepr[2]) if isinstance(longrepr, tuple) else str(longrepr)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[REASONS] = read_allowed_skips(ALLOWED_SKIPS)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    refuse_skip(report, item.config.stash[REASONS])
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    refuse_skip(report, collector.config.stash[REASONS])
    return report
