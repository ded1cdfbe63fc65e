"""What the coordinator's machine asks for, done: the one place where its effects meet the world."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from coordinator.desk import Desk
from coordinator.dispatch import Dispatch
from coordinator.store_calls import StoreCalls
from turnout.protocol.effects import (
    CoordinatorEffect,
    Read,
    Reply,
    StepDown,
    Tell,
    Transact,
)
from turnout.protocol.events import CoordinatorEvent


class Hands:
    """Carries effects out. None of them waits: what takes long is started, and comes back."""

    def __init__(
        self,
        *,
        calls: StoreCalls,
        dispatch: Dispatch,
        desk: Desk,
        step_down: Callable[[str], None],
    ) -> None:
        self._calls = calls
        self._dispatch = dispatch
        self._desk = desk
        self._step_down = step_down

    async def carry_out(self, effect: CoordinatorEffect) -> None:
        """Do it, or start it."""
        match effect:
            case Tell():
                self._dispatch.tell(effect)
            case Transact():
                self._calls.transact(effect)
            case Read():
                self._calls.read(effect)
            case Reply():
                self._desk.reply(effect)
            case StepDown(reason=reason):
                self._step_down(reason)
            case _:
                assert_never(effect)

    async def failed(self, reason: str, undone: tuple[CoordinatorEffect, ...]) -> CoordinatorEvent:
        """A coordinator has no durable effect: what must survive is in the store."""
        raise AssertionError(f"{undone}: {reason}")
