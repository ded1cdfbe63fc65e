"""Breadth-first search of every reachable world, judged by the invariants after every step."""

from __future__ import annotations

import time
from collections import deque

from attrs import frozen

from tests.protocol.explore.world import Parcel, Space, World, announced
from turnout.protocol.coordinator_state import Fleet
from turnout.protocol.identifiers import Digest, Epoch
from turnout.protocol.invariants import AgentPicture, Picture, Violation, judge
from turnout.protocol.messages import Prepare, Sync, Vote
from turnout.protocol.takeover import fleet_of
from turnout.protocol.transactions import Range


@frozen(kw_only=True)
class Found:
    """What a search came to; ``path`` leads to the first violation, if there was one."""

    worlds: int
    steps: int
    seconds: float
    complete: bool
    violation: Violation | None = None
    path: tuple[str, ...] = ()


class Judge:
    """Fills the picture of a world and judges it; remembers what it has judged."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._verdicts: dict[tuple[int, tuple[int, ...]], Violation | None] = {}
        self._spoken: dict[int, Violation | None] = {}
        self._fleets: dict[int, Fleet] = {}

    def __call__(self, world: World) -> Violation | None:
        """Return the first violation in a world, or None."""
        key = (world[0], world[2])
        if key not in self._verdicts:
            found = judge(self.picture(world))
            self._verdicts[key] = found[0] if found else None
        return self._verdicts[key] or self._judge_words(world)

    def _judge_words(self, world: World) -> Violation | None:
        """S2 over what was said: it depends on the store and the network only."""
        key = hash((world[0], world[3]))
        if key not in self._spoken:
            parcels = tuple(parcel for _, parcel in self.space.in_network(world[3]))
            picture = Picture(
                rulings=self.space.stores[world[0]].rulings,
                named=_named(parcels),
                told=tuple(sorted({t for p in parcels for t in announced(p.message)})),
            )
            found = [v for v in judge(picture) if v.number == "S2"]
            self._spoken[key] = found[0] if found else None
        return self._spoken[key]

    def picture(self, world: World) -> Picture:
        """The world as the invariants see it."""
        space = self.space
        store = space.stores[world[0]]
        fleet = self._fleet(world[0])
        agents = []
        for host, number in zip(space.agents, world[2], strict=True):
            ghosts = space.nodes[number].ghosts
            agents.append(
                AgentPicture(
                    agent=host.agent,
                    standing=fleet.status(host.agent),
                    served=ghosts.served,
                    unjournalled=ghosts.unjournalled,
                    yes=ghosts.yes,
                    answered=ghosts.answered,
                )
            )
        return Picture(rulings=store.rulings, agents=tuple(agents), foreign_writes=store.foreign)

    def _fleet(self, store: int) -> Fleet:
        if store not in self._fleets:
            ranges = (Range("standing"), Range("agents/", prefix=True))
            self._fleets[store] = fleet_of(self.space.stores[store].read(ranges))
        return self._fleets[store]


def _named(parcels: tuple[Parcel, ...]) -> tuple[tuple[Epoch, Digest], ...]:
    named = set()
    for parcel in parcels:
        message = parcel.message
        if isinstance(message, Prepare | Vote):
            named.add((message.epoch, message.digest))
        if isinstance(message, Prepare | Sync) and message.head is not None:
            named.add((message.head.committed, message.head.digest))
    return tuple(sorted(named))


def explore(space: Space, start: World, *, most: int = 10_000_000, every: int = 0) -> Found:
    """Visit every reachable world, at most ``most``; stop at the first violation.

    Worlds that differ in the network alone are compared: whatever the one with fewer parcels can
    do, the other can too, so it need not be visited. With ``every``, progress is printed.
    """
    check = Judge(space)
    began = time.monotonic()
    came_from: dict[World, tuple[World, str] | None] = {start: None}
    richest: dict[Core, list[int]] = {_core(start): [start[3]]}
    queue = deque([start])
    steps = 0
    violation: Violation | None = None
    last = start
    while queue and violation is None and len(came_from) <= most:
        world = queue.popleft()
        if world[3] not in richest[_core(world)]:
            continue  # one with more parcels was found meanwhile
        for name, after in space.successors(world):
            steps += 1
            if after in came_from or not _is_richer(richest, after):
                continue
            came_from[after] = (world, name)
            last = after
            violation = check(after)
            if violation is not None:
                break
            queue.append(after)
            if every and len(came_from) % every == 0:
                print(f"{len(came_from)} worlds, {len(queue)} to visit", flush=True)
    return Found(
        worlds=len(came_from),
        steps=steps,
        seconds=time.monotonic() - began,
        complete=not queue and violation is None,
        violation=violation,
        path=_path(came_from, last) if violation else (),
    )


Core = tuple[int, tuple[int, ...], tuple[int, ...], tuple[int, ...], int]
"""A world without its network."""


def _core(world: World) -> Core:
    return world[0], world[1], world[2], world[4], world[5]


def _is_richer(richest: dict[Core, list[int]], world: World) -> bool:
    """Whether no known world with the same core has all of its parcels; drop those it covers."""
    core, net = _core(world), world[3]
    known = richest.get(core)
    if known is None:
        richest[core] = [net]
        return True
    if any(net | other == other for other in known):
        return False
    richest[core] = [other for other in known if net | other != net] + [net]
    return True


def _path(came_from: dict[World, tuple[World, str] | None], world: World) -> tuple[str, ...]:
    names = []
    step = came_from[world]
    while step is not None:
        names.append(step[1])
        step = came_from[step[0]]
    return tuple(reversed(names))
