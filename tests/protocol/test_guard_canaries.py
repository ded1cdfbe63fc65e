"""A guard that something else hides: alone it holds, and without both the named number breaks."""

from __future__ import annotations

import re

import pytest

from tests.protocol.fabric import Fabric
from tests.protocol.guard_canaries import GUARD_CANARIES, GuardCanary

every_canary = pytest.mark.parametrize("canary", GUARD_CANARIES, ids=lambda canary: canary.name)


def broken_by(canary: GuardCanary, fabric: Fabric) -> AssertionError | None:
    """What the tale breaks; None if it comes to its end."""
    try:
        canary.tale(fabric)
    except AssertionError as broken:
        return broken
    return None


@every_canary
def test_guard_removed_alone_is_not_missed(
    canary: GuardCanary, monkeypatch: pytest.MonkeyPatch
) -> None:
    fabric = canary.world()
    canary.remove(monkeypatch)
    assert broken_by(canary, fabric) is None


@every_canary
def test_guard_holds_alone(canary: GuardCanary, monkeypatch: pytest.MonkeyPatch) -> None:
    fabric = canary.world()
    canary.uncover(monkeypatch)
    assert broken_by(canary, fabric) is None


@every_canary
def test_guard_and_what_hides_it_removed_together_break_the_named_number(
    canary: GuardCanary, monkeypatch: pytest.MonkeyPatch
) -> None:
    fabric = canary.world()
    canary.uncover(monkeypatch)
    canary.remove(monkeypatch)
    assert re.search(rf"\b{canary.number}: ", str(broken_by(canary, fabric)))
