"""Worlds that differ only in which agent is which are one: the least of a world and its mirror images.

The agents of a small world are alike but for their names, regions and keys; so whatever one world
can do, its image can do with the names exchanged, and the invariants judge both alike. An image is
the same value with every name exchanged, down to the bytes in the store, messages signed again,
and lists put back into the order of their names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import combinations, permutations
from typing import Any, TypeVar

import attrs

from simulator.explore.nodes import agent_key
from simulator.explore.parcels import Parcel
from simulator.explore.world import Interned, Space, World
from turnout.protocol.codec import canonical_json
from turnout.protocol.events import QueuedRequest
from turnout.protocol.frozenmap import FrozenMap
from turnout.protocol.messages import Report, Vote
from turnout.protocol.records import SignedTable, digest_of_ids
from turnout.protocol.signing import signed

T = TypeVar("T")

_CHUNK = 16
_ORDERED_BY = ("agent", "region")


class Mirror:
    """Exchanges the agents of a space: agent ``i`` takes the place of agent ``places[i]``."""

    def __init__(self, space: Space, places: tuple[int, ...]) -> None:
        self.space = space
        self._places = places
        self._sources = tuple(places.index(place) for place in range(len(places)))
        self._names = _exchanged(space, places)
        self._known: dict[tuple[int, int], int] = {}
        self._chunks: dict[tuple[int, int], int] = {}

    def world(self, world: World) -> World:
        """The image of a whole world."""
        store, states, agents, net, calls, budget = world
        return (
            self.store(store),
            self.states(states),
            self.agents(agents),
            self.net(net),
            self.calls(calls),
            self.budget(budget),
        )

    def store(self, number: int) -> int:
        """The image of a store."""
        return self._of(self.space.stores, number)

    def budget(self, number: int) -> int:
        """The image of a budget."""
        return self._of(self.space.budgets, number)

    def states(self, numbers: tuple[int, ...]) -> tuple[int, ...]:
        """The images of replicas' states."""
        return tuple(self._of(self.space.states, number) for number in numbers)

    def agents(self, numbers: tuple[int, ...]) -> tuple[int, ...]:
        """The images of agents' nodes, each in the other's place."""
        return tuple(self._of(self.space.nodes, numbers[source]) for source in self._sources)

    def calls(self, numbers: tuple[int, ...]) -> tuple[int, ...]:
        """The images of calls."""
        return tuple(sorted(self._of(self.space.calls, number) for number in numbers))

    def net(self, net: int) -> int:
        """The image of a network, by the images of its pieces."""
        image, place = 0, 0
        while net:
            piece = net & ((1 << _CHUNK) - 1)
            if piece:
                known = self._chunks.get((place, piece))
                if known is None:
                    known = self._chunks[place, piece] = self._image_of_piece(place, piece)
                image |= known
            net >>= _CHUNK
            place += _CHUNK
        return image

    def _image_of_piece(self, place: int, piece: int) -> int:
        parcels = self.space.parcels
        image = 0
        for bit in range(_CHUNK):
            if piece >> bit & 1:
                parcel = parcels[place + bit]
                to = self._places[parcel.to] if parcel.to >= 0 else parcel.to
                image |= 1 << parcels(Parcel(to, self.reflect(parcel.message)))
        return image

    def _of(self, values: Interned[Any], number: int) -> int:
        key = (id(values), number)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = values(self.reflect(values[number]))
        return known

    # --- values ------------------------------------------------------------------------------

    def reflect(self, value: T) -> T:
        """The same value with all names exchanged."""
        return self._reflect(value)  # type: ignore[no-any-return]

    def _reflect(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, bytes):
            return self._bytes(value)
        if isinstance(value, FrozenMap):
            return FrozenMap({self._reflect(k): self._reflect(v) for k, v in value.items()})
        if isinstance(value, tuple):
            return tuple(_ordered_as(value, [self._reflect(item) for item in value]))
        if isinstance(value, SignedTable) or not attrs.has(type(value)):
            return value  # every region of a table has the same backends
        fields = attrs.fields(type(value))
        image = attrs.evolve(
            value, **{f.alias: self._reflect(getattr(value, f.name)) for f in fields if f.init}
        )
        if isinstance(image, Vote | Report) and image.signature:
            return signed(image, agent_key(image.agent))
        return image

    def _text(self, text: str) -> str:
        if "/" in text:  # a key of the store
            return "/".join(self._names.get(part, part) for part in text.split("/"))
        return self._names.get(text, text)

    def _bytes(self, data: bytes) -> bytes:
        if not data.startswith(b"{"):
            return data  # a journal, which names nobody, or a packed table
        return canonical_json(self._json(json.loads(data)))

    def _json(self, plain: Any) -> Any:
        if isinstance(plain, str):
            return self._names.get(plain, plain)
        if isinstance(plain, dict):
            return {key: self._json(value) for key, value in plain.items()}
        if isinstance(plain, list):
            return _ordered_as(plain, [self._json(item) for item in plain])
        return plain


def mirrors(space: Space) -> tuple[Mirror, ...]:
    """Every way to exchange the agents of a space, but to leave all as it is."""
    places = range(len(space.agents))
    return tuple(Mirror(space, way) for way in permutations(places) if way != tuple(places))


def _exchanged(space: Space, places: tuple[int, ...]) -> dict[str, str]:
    """Every name that belongs to agents, with the name that takes its place."""
    names = dict[str, str]()
    for source, place in enumerate(places):
        one, other = space.agents[source], space.agents[place]
        names[one.agent], names[one.region] = other.agent, other.region
        names[agent_key(one.agent).public_key] = agent_key(other.agent).public_key
    for size in range(1, len(places)):
        for some in combinations(range(len(places)), size):
            here = tuple(space.agents[i].agent for i in some)
            there = tuple(sorted(space.agents[places[i]].agent for i in some))
            names[digest_of_ids(here)] = digest_of_ids(there)
    return names


def _ordered_as(before: Iterable[Any], after: list[Any]) -> list[Any]:
    """A list in the order of its names, if it was so before; what waits its turn keeps it."""
    items = list(before)
    if any(isinstance(item, QueuedRequest) for item in items):
        return after
    names = [_name(item) for item in items]
    if None in names or names != sorted(names):
        return after
    return sorted(after, key=_name)


def _name(item: Any) -> Any:
    """By what a list of such items is ordered."""
    if isinstance(item, str):
        return item
    if isinstance(item, tuple) and item:
        return _name(item[0])
    for field in _ORDERED_BY:
        name = item.get(field) if isinstance(item, dict) else getattr(item, field, None)
        if name is not None:
            return name
    return None
