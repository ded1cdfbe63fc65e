from __future__ import annotations

import pytest
import trio
import trio.testing

from coordinator.desk import MAX_WAITING, PATIENCE_S, Desk
from turnout.protocol.effects import Done, Reply
from turnout.protocol.events import AbortRequested, CoordinatorEvent
from turnout.protocol.identifiers import Epoch
from turnout.runtime import problems
from turnout.runtime.problems import ProblemError


class Machine:
    """Hears what the desk tells, and keeps it."""

    def __init__(self) -> None:
        self.tickets: list[int] = []

    async def hear(self, event: CoordinatorEvent) -> None:
        assert isinstance(event, AbortRequested)
        self.tickets.append(event.ticket)
        await trio.lowlevel.checkpoint()


def question(ticket: int) -> AbortRequested:
    return AbortRequested(ticket=ticket, epoch=Epoch(1), actor="ada")


async def test_desk_gives_each_answer_to_who_has_its_ticket(nursery: trio.Nursery) -> None:
    machine = Machine()
    desk = Desk(machine.hear)
    heard: dict[int, object] = {}

    async def ask(name: int) -> None:
        heard[name] = await desk.ask(question)

    for name in range(3):
        nursery.start_soon(ask, name)
        await trio.testing.wait_all_tasks_blocked()
    for ticket in reversed(machine.tickets):
        desk.reply(Reply(ticket=ticket, answer=Done(text=f"for {ticket}")))
    await trio.testing.wait_all_tasks_blocked()
    expected = {n: Done(text=f"for {t}") for n, t in enumerate(machine.tickets)}
    assert heard == expected
    assert 0 not in machine.tickets, "0 is the machine's own"


async def test_desk_drops_an_answer_that_nobody_waits_for() -> None:
    Desk(Machine().hear).reply(Reply(ticket=7, answer=Done(text="late")))


async def test_desk_sends_all_away_when_leadership_is_lost(nursery: trio.Nursery) -> None:
    desk = Desk(Machine().hear)
    refused: list[ProblemError] = []

    async def ask() -> None:
        with pytest.raises(ProblemError) as caught:
            await desk.ask(question)
        refused.append(caught.value)

    nursery.start_soon(ask)
    nursery.start_soon(ask)
    await trio.testing.wait_all_tasks_blocked()
    desk.send_away("Deposed")
    await trio.testing.wait_all_tasks_blocked()
    assert {error.problem.type for error in refused} == {problems.NO_LEADER}
    assert "same Idempotency-Key" in refused[0].problem.detail


async def test_desk_keeps_an_answer_given_just_before_leadership_was_lost(
    nursery: trio.Nursery,
) -> None:
    machine = Machine()
    desk = Desk(machine.hear)
    heard: list[object] = []

    async def ask() -> None:
        heard.append(await desk.ask(question))

    nursery.start_soon(ask)
    await trio.testing.wait_all_tasks_blocked()
    desk.reply(Reply(ticket=machine.tickets[0], answer=Done(text="done")))
    desk.send_away("Deposed")
    await trio.testing.wait_all_tasks_blocked()
    assert heard == [Done(text="done")]


async def test_desk_says_in_time_that_nothing_is_known(
    autojump_clock: trio.testing.MockClock,
) -> None:
    began = trio.current_time()
    with pytest.raises(ProblemError) as caught:
        await Desk(Machine().hear).ask(question)
    assert caught.value.problem.type is problems.NO_QUORUM
    assert trio.current_time() - began == pytest.approx(PATIENCE_S)


async def test_desk_takes_no_more_than_it_can_hold(nursery: trio.Nursery) -> None:
    desk = Desk(Machine().hear)
    for _ in range(MAX_WAITING):
        nursery.start_soon(desk.ask, question)
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(ProblemError) as caught:
        await desk.ask(question)
    assert caught.value.problem.type is problems.OVERLOADED
    nursery.cancel_scope.cancel()
