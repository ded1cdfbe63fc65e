"""Breadth-first search of every reachable world, judged by the invariants after every step."""

from __future__ import annotations

import time
from collections import deque

from attrs import frozen

from tests.protocol.explore.mirror import Mirror
from tests.protocol.explore.parcels import Fact
from tests.protocol.explore.settling import Settling
from tests.protocol.explore.steps import Steps
from tests.protocol.explore.world import Interned, Space, World
from turnout.protocol.coordinator_state import Fleet
from turnout.protocol.invariants import AgentPicture, Picture, Violation, judge
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
        self._spoken: dict[tuple[int, int], Violation | None] = {}
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
        said = world[3] & self.space.fact_bits()
        key = (world[0], said)
        if key not in self._spoken:
            parcels = (p.message for _, p in self.space.in_network(said))
            facts = [fact for fact in parcels if isinstance(fact, Fact)]
            picture = Picture(
                rulings=self.space.stores[world[0]].rulings,
                named=tuple((f.epoch, f.digest) for f in facts if f.digest is not None),
                told=tuple((f.epoch, f.verdict) for f in facts if f.verdict is not None),
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


def explore(space: Space, start: World, *, most: int = 10_000_000, every: int = 0) -> Found:
    """Visit every reachable world, at most ``most``; stop at the first violation.

    Worlds that differ in the network alone are one: it holds whatever was sent on any way to it, and
    is visited again when that grows. Messages stay for ever and may be lost for ever anyway, so this
    only adds behaviour; nothing found is a proof, and a violation must be read with its path (the
    idea is Guerraoui and Yabandeh's, "Model Checking a Networked System Without the Network",
    NSDI 2011). With ``every``, progress is printed.
    """
    check, steps_of, settled, cores = Judge(space), Steps(space), Settling(space), Cores(space)
    began = time.monotonic()
    first, net = cores.place(start)
    came_from: dict[Core, Core] = {}
    nets: dict[Core, int] = {first: net}
    queue, queued = deque([first]), {first}
    steps = 0
    while queue and len(nets) <= most:
        core = queue.popleft()
        queued.discard(core)
        for name, after in steps_of(cores.world(core, nets[core])):
            steps += 1
            violation = check(after)
            if violation is not None:
                path = (*_path(steps_of, settled, cores, nets, came_from, core), name)
                return _found(nets, steps, began, violation=violation, path=path)
            reached, net = cores.place(settled(after))
            known = nets.get(reached)
            if known is None:
                came_from[reached] = core
                if every and len(nets) % every == 0:
                    print(f"{len(nets)} worlds, {len(queue)} to visit", flush=True)
            elif known | net == known:
                continue
            else:
                net |= known
            nets[reached] = net
            if reached not in queued:
                queue.append(reached)
                queued.add(reached)
    return _found(nets, steps, began, complete=not queue)


def _found(
    nets: dict[Core, int],
    steps: int,
    began: float,
    *,
    complete: bool = False,
    violation: Violation | None = None,
    path: tuple[str, ...] = (),
) -> Found:
    return Found(
        worlds=len(nets),
        steps=steps,
        seconds=time.monotonic() - began,
        complete=complete,
        violation=violation,
        path=path,
    )


Core = int
"""A world without its network, packed into one number: millions of them are kept."""

_BITS = 24
_MASK = (1 << _BITS) - 1


class Cores:
    """Packs worlds, and unpacks them."""

    def __init__(self, space: Space) -> None:
        self._parts: Interned[tuple[int, ...]] = Interned()
        self._mirror = Mirror(space)
        self._images: dict[tuple[int, int], int] = {}

    def place(self, world: World) -> tuple[Core, int]:
        """The core and the network of a world, or of its mirror image: whichever is the lesser.

        A core that is its own image holds both networks, as worlds do that differ in them alone.
        """
        store, states, agents, net, calls, budget = world
        parts = (self._parts(states), self._parts(agents), self._parts(calls))
        core = _packed(store, parts, budget)
        if self._mirror.is_blind:
            return core, net
        images = tuple(
            self._images.get((kind, part)) or self._image(kind, part)
            for kind, part in enumerate(parts)
        )
        image = _packed(self._mirror.store(store), images, self._mirror.budget(budget))
        if image > core:
            return core, net
        mirrored = self._mirror.net(net)
        return image, (mirrored | net if image == core else mirrored)

    def _image(self, kind: int, part: int) -> int:
        mirror = self._mirror
        reflect = (mirror.states, mirror.agents, mirror.calls)[kind]
        image = self._images[kind, part] = self._parts(reflect(self._parts[part]))
        return image

    def world(self, core: Core, net: int) -> World:
        """The world of a core, with a network."""
        parts = self._parts
        budget, calls, agents = core & _MASK, core >> _BITS & _MASK, core >> 2 * _BITS & _MASK
        store, states = core >> 4 * _BITS, core >> 3 * _BITS & _MASK
        return store, parts[states], parts[agents], net, parts[calls], budget


def _packed(store: int, parts: tuple[int, ...], budget: int) -> Core:
    states, agents, calls = parts
    assert max(store, states, agents, calls, budget) <= _MASK
    high = (store << _BITS | states) << 2 * _BITS | agents << _BITS | calls
    return high << _BITS | budget


def _path(
    steps: Steps,
    settled: Settling,
    cores: Cores,
    nets: dict[Core, int],
    came_from: dict[Core, Core],
    core: Core,
) -> tuple[str, ...]:
    """The names of the steps that led to a world: each is looked for once more.

    Each speaks of the world before it as it was kept: it may be the image of what the one before
    led to, with the agents exchanged.
    """
    names = []
    while core in came_from:
        before = came_from[core]
        taken = steps(cores.world(before, nets[before]))
        names.append(next(n for n, after in taken if cores.place(settled(after))[0] == core))
        core = before
    return tuple(reversed(names))
