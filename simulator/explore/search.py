"""Breadth-first search of every reachable world, judged by the invariants after every step."""

from __future__ import annotations

import enum
from array import array
from collections import deque
from collections.abc import Callable, Iterator

from attrs import frozen

from simulator.explore.cores import Core, Cores
from simulator.explore.judging import Judge
from simulator.explore.settling import Settling
from simulator.explore.steps import Step, Steps
from simulator.explore.world import Space, World
from turnout.protocol.invariants import Violation

Moment = tuple[World, Step, World]
"""A world, what happened in it, and what it came to, before that was settled."""


class Ended(enum.StrEnum):
    """Why a search ended."""

    EXHAUSTED = "exhausted"
    VIOLATION = "violation"
    WORLDS = "limit-worlds"
    STOPPED = "stopped"


@frozen(kw_only=True)
class Count:
    """How far a search is: worlds found, steps taken, and worlds of the frontier, to visit yet."""

    worlds: int
    steps: int
    waiting: int


@frozen(kw_only=True)
class Found:
    """What a search came to.

    Attributes:
        depth: steps on the way to the violation, to the first world of the frontier, or, where
            there is neither, to the world that was found last.
        history: how the violation comes about, from the first world on.
        is_history: whether one cluster can go through it as it stands: see :func:`explore`.
    """

    ended: Ended
    count: Count
    depth: int
    violation: Violation | None = None
    history: tuple[Moment, ...] = ()
    is_history: bool = True


def explore(
    space: Space,
    start: World,
    *,
    most: int = 10_000_000,
    watch: Callable[[Count], bool] = lambda _: True,
    every: int = 1000,
) -> Found:
    """Visit every reachable world, at most ``most``; stop at the first violation.

    Worlds that differ in the network alone are one: it holds whatever was sent on any way to it, and
    is visited again when that grows. Messages stay for ever and may be lost for ever anyway, so this
    only adds behaviour; nothing found is a proof (the idea is Guerraoui and Yabandeh's, "Model
    Checking a Networked System Without the Network", NSDI 2011). A violation may rest on a message
    of another way to the same world: then a history of one cluster is looked for among worlds that
    keep their own networks, and ``is_history`` says whether there was one.

    ``watch`` is told the count after every so many visits; where it says no, the search ends.
    """
    search = _Search(space, start)
    ended = search.run(most, watch, every)
    if search.violation is None:
        return Found(ended=ended, count=search.count(), depth=search.depth())
    history = search.relived() or _Exact(space, start, search.violation.number).history(most)
    return Found(
        ended=ended,
        count=search.count(),
        depth=len(history) or search.depth(),
        violation=search.violation,
        history=history or search.as_kept(),
        is_history=bool(history),
    )


class _Search:
    """Worlds by their numbers, in the order in which they were found."""

    def __init__(self, space: Space, start: World) -> None:
        self._check, self._steps_of = Judge(space), Steps(space)
        self._settled, self._cores = Settling(space), Cores(space)
        self._start = start
        core, net = self._cores.place(start)
        self._numbers: dict[Core, int] = {core: 0}
        self._found = [core]
        self._nets = [net]
        self._before = array("I", [0])
        self._queue = deque([0])
        self._is_queued = bytearray(b"\1")
        self._steps = 0
        self._at = 0
        self._last: Step | None = None
        self.violation: Violation | None = None

    def count(self) -> Count:
        """How far it is."""
        return Count(worlds=len(self._found), steps=self._steps, waiting=len(self._queue))

    def run(self, most: int, watch: Callable[[Count], bool], every: int) -> Ended:
        """Visit what is to be visited, until there is nothing left or a limit is met."""
        visits = 0
        while self._queue:
            if len(self._found) > most:
                return Ended.WORLDS
            visits += 1
            if visits % every == 0 and not watch(self.count()):
                return Ended.STOPPED
            self._at = self._queue.popleft()
            self._is_queued[self._at] = 0
            if not self._visit(self._at):
                return Ended.VIOLATION
        return Ended.EXHAUSTED

    def _visit(self, number: int) -> bool:
        """Take every step from a world; False if one of them breaks an invariant."""
        check, settled, place = self._check, self._settled, self._cores.place
        for step, after in self._steps_of(self._world(number)):
            self._steps += 1
            violation = check(after)
            if violation is not None:
                self.violation, self._last = violation, step
                return False
            self._reach(number, *place(settled(after)))
        return True

    def _reach(self, source: int, core: Core, net: int) -> None:
        number = self._numbers.get(core)
        if number is None:
            number = self._numbers[core] = len(self._found)
            self._found.append(core)
            self._nets.append(net)
            self._before.append(source)
            self._is_queued.append(0)
        elif self._nets[number] | net == self._nets[number]:
            return
        else:
            self._nets[number] |= net
        if not self._is_queued[number]:
            self._is_queued[number] = 1
            self._queue.append(number)

    def _world(self, number: int) -> World:
        return self._cores.world(self._found[number], self._nets[number])

    # --- how it came about -------------------------------------------------------------------

    def depth(self) -> int:
        """Steps to the first world of the frontier; to the violation; or to what was found last."""
        if self.violation is not None:
            return len(self._way(self._at)) + 1
        return len(self._way(self._queue[0] if self._queue else len(self._found) - 1))

    def _way(self, number: int) -> list[int]:
        """The worlds on the way to one, without the first."""
        way = []
        while number:
            way.append(number)
            number = self._before[number]
        return way[::-1]

    def relived(self) -> tuple[Moment, ...] | None:
        """The way to the violation, gone by one cluster; None if it needs another's message."""
        world, moments = self._start, list[Moment]()
        for number in self._way(self._at):
            core = self._found[number]
            taken = self._steps_of(world)
            moment = next((m for m in taken if self._is_at(core, m[1])), None)
            if moment is None:
                return None
            moments.append((world, *moment))
            world = self._settled(moment[1])
        for step, after in self._steps_of(world):
            if self._check(after) is not None:
                return (*moments, (world, step, after))
        return None

    def _is_at(self, core: Core, after: World) -> bool:
        return self._check(after) is None and self._cores.place(self._settled(after))[0] == core

    def as_kept(self) -> tuple[Moment, ...]:
        """The way as it was found: each world with all messages, and maybe in a mirror's image."""
        return tuple(self._as_kept())

    def _as_kept(self) -> Iterator[Moment]:
        before = 0
        for number in self._way(self._at):
            core, world = self._found[number], self._world(before)
            for step, after in self._steps_of(world):
                if self._is_at(core, after):
                    yield world, step, after
                    break
            before = number
        world = self._world(before)
        yield from ((world, s, a) for s, a in self._steps_of(world) if s == self._last)


class _Exact:
    """The same search where worlds that differ in the network are two: each is a true history."""

    def __init__(self, space: Space, start: World, number: str) -> None:
        self._check, self._steps_of, self._settled = Judge(space), Steps(space), Settling(space)
        self._start = start
        self._number = number

    def history(self, most: int) -> tuple[Moment, ...]:
        """The shortest way to a violation of that number, among so many worlds; else nothing."""
        came_from: dict[World, Moment | None] = {self._start: None}
        queue = deque([self._start])
        while queue and len(came_from) <= most:
            world = queue.popleft()
            for step, after in self._steps_of(world):
                violation = self._check(after)
                if violation is not None and violation.number == self._number:
                    return (*_ways(came_from, world), (world, step, after))
                reached = self._settled(after)
                if reached not in came_from and violation is None:
                    came_from[reached] = (world, step, after)
                    queue.append(reached)
        return ()


def _ways(came_from: dict[World, Moment | None], world: World) -> tuple[Moment, ...]:
    moments = list[Moment]()
    moment = came_from[world]
    while moment is not None:
        moments.append(moment)
        moment = came_from[moment[0]]
    return tuple(reversed(moments))
