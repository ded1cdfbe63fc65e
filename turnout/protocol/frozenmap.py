"""An immutable mapping, so that a machine's whole state is one hashable value.

Iteration is in the order of first insertion: never by hash, which differs between processes.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from typing import TypeVar, overload

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")


class FrozenMap(Mapping[K, V]):
    """A mapping whose changes are new mappings; equal and hashed by content."""

    __slots__ = ("_hash", "_items")

    def __init__(self, items: Mapping[K, V] | None = None) -> None:
        self._items: dict[K, V] = dict(items) if items else {}
        self._hash: int | None = None

    def __getitem__(self, key: K) -> V:
        return self._items[key]

    def __contains__(self, key: object) -> bool:
        return (
            key in self._items
        )  # a leader of a thousand agents asks this for each, at each report

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, /, default: V | D) -> V | D: ...
    def get(self, key: K, /, default: V | D | None = None) -> V | D | None:
        """The entry, or the default; Mapping's own would raise and catch."""
        return self._items.get(key, default)

    def __iter__(self) -> Iterator[K]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def items(self) -> ItemsView[K, V]:
        """All entries; Mapping's own would look up each key."""
        return self._items.items()

    def values(self) -> ValuesView[V]:
        """All values, in the same way."""
        return self._items.values()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FrozenMap) and self._items == other._items

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset(self._items.items()))
        return self._hash

    def __repr__(self) -> str:
        return f"FrozenMap({self._items!r})"

    def put(self, key: K, value: V) -> FrozenMap[K, V]:
        """Return the mapping with this entry."""
        return self._with(self._items | {key: value})

    def drop(self, key: K) -> FrozenMap[K, V]:
        """Return the mapping without this key."""
        if key not in self._items:
            return self
        left = self._items.copy()
        del left[key]
        return self._with(left)

    @staticmethod
    def _with(items: dict[K, V]) -> FrozenMap[K, V]:
        """A mapping over a fresh dictionary that nobody else holds."""
        made: FrozenMap[K, V] = FrozenMap.__new__(FrozenMap)
        made._items, made._hash = items, None
        return made
