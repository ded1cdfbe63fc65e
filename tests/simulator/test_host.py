"""The host in virtual time: effects one by one, in order, and a death in any seam between them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from attrs import evolve, frozen

from simulator.clocks import NodeClock
from simulator.host import Host
from simulator.process import NodeName, Process
from simulator.virtual_time import Agenda
from turnout.protocol.clock import Instant, MonotonicNs
from turnout.protocol.events import Wake
from turnout.protocol.identifiers import Region


@frozen
class State:
    """What the machine was told; ``due`` is its deadline."""

    told: tuple[object, ...] = ()
    due: MonotonicNs | None = None


class Machine:
    """Asks for three effects for each text it is told, and for none when it is woken."""

    def step(self, state: State, event: str | Wake, _now: Instant) -> tuple[State, tuple[str, ...]]:
        if isinstance(event, Wake):
            return evolve(state, told=(*state.told, "woken"), due=None), ()
        if event.startswith("due "):
            return evolve(state, due=MonotonicNs(int(event[4:]))), ()
        after = evolve(state, told=(*state.told, event))
        return after, tuple(f"{event}{number}" for number in range(3))

    def next_deadline(self, state: State, /) -> MonotonicNs | None:
        return state.due


class World:
    """A host, what it carried out, and what befalls it in a seam."""

    def __init__(self) -> None:
        self.agenda = Agenda()
        self.process = Process(NodeName("agent eu/1"), Region("eu"), NodeClock(), self.agenda)
        self.done: list[str] = []
        self.durable: set[str] = set()
        self.at_seam: dict[int, Callable[[], None]] = {}
        self.host: Host[State, str, str] = Host(self.process, Machine(), self, self)
        self.host.begin(State())

    def carry_out(self, effect: str) -> bool:
        self.done.append(effect)
        return effect not in self.durable

    def stepped(
        self, _before: State, _event: str | Wake, _after: State, _effects: tuple[str, ...]
    ) -> None:
        """Nobody looks on."""

    def seam(self, _effects: tuple[str, ...], place: int) -> None:
        act = self.at_seam.pop(place, None)
        if act is not None:
            act()


@pytest.fixture
def world() -> World:
    return World()


def test_effects_are_carried_out_before_the_next_event(world: World) -> None:
    world.host.tell("a")
    world.host.tell("b")
    assert world.done == ["a0", "a1", "a2", "b0", "b1", "b2"]


@pytest.mark.parametrize("place", range(4))
def test_death_in_a_seam_leaves_what_was_carried_out_and_no_more(world: World, place: int) -> None:
    world.at_seam[place] = world.process.kill
    world.process.on_death.append(world.host.end)
    world.host.tell("a")
    world.host.tell("b")
    assert world.done == ["a0", "a1", "a2"][:place]


@pytest.mark.parametrize("place", range(4))
def test_process_stopped_in_a_seam_goes_on_just_there(world: World, place: int) -> None:
    world.at_seam[place] = world.process.stop
    world.host.tell("a")
    assert world.done == ["a0", "a1", "a2"][:place]
    world.process.go_on()
    assert world.done == ["a0", "a1", "a2"]


def test_nothing_follows_a_durable_effect_before_it_is_done(world: World) -> None:
    world.durable = {"a1"}
    world.host.tell("a")
    world.host.tell("b")
    assert world.done == ["a0", "a1"]
    world.host.done()
    assert world.done == ["a0", "a1", "a2", "b0", "b1", "b2"]


def test_failure_is_told_first_with_all_that_was_not_done(world: World) -> None:
    world.durable = {"a1"}
    world.host.tell("a")
    world.host.tell("b")
    world.host.failed(lambda undone: f"undone {' '.join(undone)} ")
    assert world.host.state.told == ("a", "undone a1 a2 ", "b")
    assert "a2" not in world.done


def test_machine_is_woken_at_its_deadline_by_its_own_clock(world: World) -> None:
    world.host.tell("due 50")
    world.agenda.run(49)
    assert not world.host.state.told
    world.agenda.run(50)
    assert world.host.state.told == ("woken",)


def test_deadline_that_moves_later_wakes_once_and_not_too_early(world: World) -> None:
    world.host.tell("due 50")
    world.host.tell("due 80")
    world.agenda.run(79)
    assert not world.host.state.told
    world.agenda.run(100)
    assert world.host.state.told == ("woken",)


def test_due_deadline_is_seen_before_the_next_event(world: World) -> None:
    world.host.tell("due 50")
    world.process.stop()
    world.agenda.run(60)
    world.process.deliver(lambda: world.host.tell("a"), world.process.life)
    world.process.go_on()
    assert world.host.state.told == ("woken", "a")


def test_changed_clock_speed_moves_the_alarm(world: World) -> None:
    world.host.tell("due 1000000")
    world.process.drift(100_000)
    world.agenda.run(909_090)
    assert not world.host.state.told
    world.agenda.run(909_091)
    assert world.host.state.told == ("woken",)
