"""A process lives, is stopped, dies and starts again; what is meant for one life is not another's."""

from __future__ import annotations

import pytest

from simulator.clocks import NodeClock
from simulator.process import NodeName, Process
from simulator.virtual_time import Agenda, Appointment
from turnout.protocol.identifiers import Region


@pytest.fixture
def agenda() -> Agenda:
    return Agenda()


@pytest.fixture
def process(agenda: Agenda) -> Process:
    return Process(NodeName("agent eu/1"), Region("eu"), NodeClock(), agenda)


def test_timer_of_a_life_that_is_over_does_not_ring(agenda: Agenda, process: Process) -> None:
    rung: list[str] = []
    process.after(10, lambda: rung.append("old"))
    process.kill()
    process.start()
    process.after(20, lambda: rung.append("new"))
    agenda.run(100)
    assert rung == ["new"]


def test_stopped_process_gets_all_that_came_when_it_goes_on(
    agenda: Agenda, process: Process
) -> None:
    got: list[str] = []
    process.stop()
    process.after(10, lambda: got.append("timer"))
    agenda.at(20, lambda: process.deliver(lambda: got.append("message"), process.life))
    agenda.run(30)
    assert got == []
    process.go_on()
    assert got == ["timer", "message"]


def test_timer_that_rang_in_vain_can_still_be_cancelled(agenda: Agenda, process: Process) -> None:
    rung: list[str] = []
    process.stop()
    timers: list[Appointment] = []

    def cancel() -> None:
        timers[0].cancel()

    process.after(5, cancel)
    timers.append(process.after(10, lambda: rung.append("late")))
    agenda.run(30)
    process.go_on()
    assert rung == []


def test_process_killed_while_it_was_stopped_gets_nothing(agenda: Agenda, process: Process) -> None:
    got: list[str] = []
    process.stop()
    process.deliver(lambda: got.append("lost"), process.life)
    process.kill()
    process.start()
    agenda.run(10)
    assert got == []


def test_process_that_is_stopped_again_while_it_catches_up_keeps_the_rest(
    process: Process,
) -> None:
    got: list[int] = []
    process.stop()
    process.deliver(process.stop, process.life)
    process.deliver(lambda: got.append(1), process.life)
    process.go_on()
    assert got == []
    process.go_on()
    assert got == [1]


def test_timer_by_the_monotonic_clock_rings_when_that_shows_it(agenda: Agenda) -> None:
    clock = NodeClock(ppm=100_000)
    process = Process(NodeName("agent eu/1"), Region("eu"), clock, agenda)
    rung: list[int] = []
    process.at_monotonic(1100, lambda: rung.append(agenda.now_ns))
    agenda.run(5000)
    assert rung == [1000]


def test_whoever_models_a_process_hears_of_its_death_start_and_clock(process: Process) -> None:
    heard: list[str] = []
    process.on_death.append(lambda: heard.append("death"))
    process.on_start.append(lambda: heard.append("start"))
    process.on_drift.append(lambda: heard.append("drift"))
    process.kill()
    process.kill()
    process.start()
    process.start()
    process.drift(50)
    assert heard == ["death", "start", "drift"]
