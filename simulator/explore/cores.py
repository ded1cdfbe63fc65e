"""Worlds without their networks, packed into one number each: millions of them are kept."""

from __future__ import annotations

from simulator.explore.mirror import Mirror, mirrors
from simulator.explore.world import Interned, Space, World

Core = int

_BITS = 24
_MASK = (1 << _BITS) - 1


class Cores:
    """Packs worlds, and unpacks them."""

    def __init__(self, space: Space) -> None:
        self._parts: Interned[tuple[int, ...]] = Interned()
        self._images = [_Images(mirror, self._parts) for mirror in mirrors(space)]

    def place(self, world: World) -> tuple[Core, int]:
        """The core and the network of a world or of that of its mirror images which is the least.

        Where several are, as of a core that is its own image, it holds the networks of all: so do
        worlds that differ in them alone.
        """
        store, states, agents, net, calls, budget = world
        parts = (self._parts(states), self._parts(agents), self._parts(calls))
        least = _packed(store, parts, budget)
        found = net
        for images in self._images:
            image = images.core(store, parts, budget)
            if image < least:
                least, found = image, images.mirror.net(net)
            elif image == least:
                found |= images.mirror.net(net)
        return least, found

    def world(self, core: Core, net: int) -> World:
        """The world of a core, with a network."""
        parts = self._parts
        budget, calls, agents = core & _MASK, core >> _BITS & _MASK, core >> 2 * _BITS & _MASK
        store, states = core >> 4 * _BITS, core >> 3 * _BITS & _MASK
        return store, parts[states], parts[agents], net, parts[calls], budget


class _Images:
    """The images of cores in one mirror, by the images of their parts."""

    def __init__(self, mirror: Mirror, parts: Interned[tuple[int, ...]]) -> None:
        self.mirror = mirror
        self._parts = parts
        self._known: tuple[dict[int, int], ...] = ({}, {}, {})
        self._reflect = (mirror.states, mirror.agents, mirror.calls)

    def core(self, store: int, parts: tuple[int, int, int], budget: int) -> Core:
        """The image of a core whose parts are given."""
        states, agents, calls = parts
        mirrored = (self._part(0, states), self._part(1, agents), self._part(2, calls))
        return _packed(self.mirror.store(store), mirrored, self.mirror.budget(budget))

    def _part(self, kind: int, part: int) -> int:
        image = self._known[kind].get(part)
        if image is None:
            image = self._parts(self._reflect[kind](self._parts[part]))
            self._known[kind][part] = image
        return image


def _packed(store: int, parts: tuple[int, int, int], budget: int) -> Core:
    states, agents, calls = parts
    assert max(store, states, agents, calls, budget) <= _MASK
    high = (store << _BITS | states) << 2 * _BITS | agents << _BITS | calls
    return high << _BITS | budget
