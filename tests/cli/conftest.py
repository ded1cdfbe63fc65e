"""Fake coordinators, and the command run as a user would, but in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import click.testing
import pytest

from tests.cli.fake_coordinator import FakeCoordinator, serving
from turnout.cli import api_client
from turnout.cli.main import turnout

Run = Callable[..., click.testing.Result]


@pytest.fixture
def fake() -> Iterator[FakeCoordinator]:
    with serving() as fake:
        yield fake


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command; what a coordinator that is away costs is made short."""
    short = partial(api_client.Patience, away_s=0.5, leaderless_s=1.0)
    monkeypatch.setattr(api_client, "Patience", short)
    monkeypatch.delenv("TURNOUT_COORDINATORS", raising=False)
    runner = click.testing.CliRunner()

    def run_one(*arguments: object, at: FakeCoordinator | None = None) -> click.testing.Result:
        where = ["--coordinator", at.url] if at is not None else []
        return runner.invoke(turnout, [*map(str, arguments), *where])

    return run_one
