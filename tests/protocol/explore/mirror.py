"""Worlds that differ only in which agent is which are one: the lesser of a world and its mirror image.

The agents of a small world are alike but for their names, regions and keys; so whatever one world
can do, its image can do with the names exchanged, and the invariants judge both alike. An image is
the same value with every name exchanged, down to the bytes in the store, messages signed again,
and lists put back into the order of their names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypeVar

import attrs

from tests.protocol.explore.parcels import Parcel
from tests.protocol.explore.world import Interned, Space, World
from tests.protocol.nodes import agent_key
from turnout.protocol.codec import canonical_json
from turnout.protocol.frozenmap import FrozenMap
from turnout.protocol.identifiers import AgentId
from turnout.protocol.messages import Report, Vote
from turnout.protocol.records import SignedTable, digest_of_ids
from turnout.protocol.signing import signed

T = TypeVar("T")

_CHUNK = 16
_ORDERED_BY = ("agent", "region")


class Mirror:
    """Exchanges the two agents of a space; where there is one, an image is the thing itself."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.is_blind = len(space.agents) != 2
        self._names: dict[str, str] = {}
        if not self.is_blind:
            one, two = (_names_of(host.agent, host.region) for host in space.agents)
            self._names = dict(zip(one + two, two + one, strict=True))
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
        return tuple(self._of(self.space.nodes, number) for number in reversed(numbers))

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
                to = 1 - parcel.to if parcel.to >= 0 else parcel.to
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


def _names_of(agent: AgentId, region: str) -> tuple[str, ...]:
    return agent, region, agent_key(agent).public_key, digest_of_ids((agent,))


def _ordered_as(before: Iterable[Any], after: list[Any]) -> list[Any]:
    """A list in the order of its names, if it was so before."""
    names = [_name(item) for item in before]
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
