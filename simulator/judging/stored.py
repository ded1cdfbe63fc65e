"""What the store holds, as values: several look at each, and each is decoded once."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar, cast

from turnout.protocol.codec import decode
from turnout.protocol.limits import MAX_TABLE_BYTES

T = TypeVar("T")


def value_of(value: bytes, cls: type[T]) -> T:
    """What these bytes of the store say; it cannot change."""
    return cast("T", _decoded(value, cls))  # type: ignore[arg-type]  # every class is hashable


@lru_cache(maxsize=256)
def _decoded(value: bytes, cls: type[object]) -> object:
    return decode(value, cls, limit=MAX_TABLE_BYTES)
