"""Faults that last until they are healed: kept in lists, and taken out again by what put them in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

Heal = Callable[[], None]
"""Ends a fault; a second time it does nothing."""


def added(faults: list[T], fault: T) -> Heal:
    """Add a fault (compared by identity); return what takes it away again."""
    faults.append(fault)

    def heal() -> None:
        faults[:] = [other for other in faults if other is not fault]

    return heal
