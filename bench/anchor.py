"""How fast this machine is just now: a loop over a heap that drives almost empty machines.

A hundred agents report twice a second to one of three coordinators and are answered after a random
delay, with a timer that is mostly overtaken. It is what any simulator in Python must do at least, so
what a simulator comes to in terms of it says something on every machine, and beside any neighbour.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from typing import Any, Final

from simulator.randomness import Randomness

AGENTS: Final = 100
SECONDS: Final = 30.0
EVERY_S: Final = 0.5
DELAY_S: Final = (0.001, 0.05)

REFERENCE: Final = 681_000
"""Events a second on the machine for which the simulator's bar was set."""


class _Loop:
    """Time, and what is to happen."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.events = 0
        self.chance = Randomness(7).stream("anchor")
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._made = 0

    def after(self, delay_s: float, act: Callable[..., None], *arguments: Any) -> None:
        self._made += 1
        heapq.heappush(self._heap, (self.now_s + delay_s, self._made, act, arguments))

    def send(self, act: Callable[..., None], *arguments: Any) -> None:
        self.after(self.chance.uniform(*DELAY_S), act, *arguments)

    def run(self) -> None:
        heap = self._heap
        while heap and heap[0][0] <= SECONDS:
            self.now_s, _, act, arguments = heapq.heappop(heap)
            self.events += 1
            act(*arguments)


class _Coordinator:
    """Remembers the newest report of each agent, and answers it."""

    def __init__(self) -> None:
        self._heard: dict[_Agent, int] = {}

    def take(self, agent: _Agent, number: int) -> None:
        self._heard[agent] = number
        agent.loop.send(agent.answered, number)


class _Agent:
    """Reports, and reports again once it was answered or has waited long enough."""

    def __init__(self, loop: _Loop, coordinator: _Coordinator) -> None:
        self.loop = loop
        self._coordinator = coordinator
        self._number = 0
        self._waits = False

    def report(self) -> None:
        self._number += 1
        self._waits = True
        self.loop.send(self._coordinator.take, self, self._number)
        self.loop.after(EVERY_S, self.given_up, self._number)

    def answered(self, number: int) -> None:
        if self._waits and number == self._number:
            self._waits = False
            self.loop.after(EVERY_S * self.loop.chance.uniform(0.9, 1.1), self.report)

    def given_up(self, number: int) -> None:
        if self._waits and number == self._number:
            self._waits = False
            self.report()


def events_per_s(runs: int = 5) -> float:
    """Events for a second of CPU time, of several runs the one in the middle."""
    return sorted(_run() for _ in range(runs))[runs // 2]


def _run() -> float:
    loop, coordinators = _Loop(), [_Coordinator() for _ in range(3)]
    for number in range(AGENTS):
        _Agent(loop, coordinators[number % 3]).report()
    began_s = time.process_time()
    loop.run()
    return loop.events / (time.process_time() - began_s)
