"""A guard that something else hides: alone it holds, and without both the named number breaks."""

from __future__ import annotations

import pytest

from tests.protocol.guard_canaries import GUARD_CANARIES, GuardCanary

every_canary = pytest.mark.parametrize("canary", GUARD_CANARIES, ids=lambda canary: canary.name)


@every_canary
def test_guard_removed_alone_is_not_missed(
    canary: GuardCanary, monkeypatch: pytest.MonkeyPatch
) -> None:
    fabric = canary.world()
    canary.remove(monkeypatch)
    canary.tale(fabric)


@every_canary
def test_guard_holds_alone(canary: GuardCanary, monkeypatch: pytest.MonkeyPatch) -> None:
    fabric = canary.world()
    canary.uncover(monkeypatch)
    canary.tale(fabric)


@every_canary
def test_guard_and_what_hides_it_removed_together_break_the_named_number(
    canary: GuardCanary, monkeypatch: pytest.MonkeyPatch
) -> None:
    fabric = canary.world()
    canary.uncover(monkeypatch)
    canary.remove(monkeypatch)
    with pytest.raises(AssertionError, match=rf"\b{canary.number}: "):
        canary.tale(fabric)
