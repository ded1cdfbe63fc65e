"""Values to canonical bytes and back: the one encoding of digests, signatures, store and wire.

Canonical bytes are JSON (RFC 8259) with sorted keys, no white space, UTF-8 and no floats, so that
equal values have equal bytes in every process. Decoding is strict: an unknown field, a missing
one, a wrong type or more than the size limit is refused with a sentence that names it.
"""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Callable
from typing import TypeVar, get_args, get_origin

import orjson
from attrs import has
from cattrs import Converter, transform_error
from cattrs.errors import BaseValidationError
from cattrs.gen import make_dict_structure_fn

from turnout.protocol.errors import MalformedError
from turnout.protocol.identifiers import Digest

T = TypeVar("T")


def _strict_int(value: object, _: type) -> int:
    if type(value) is not int:
        raise TypeError(f"a whole number is needed, not {value!r}")
    return value


def _strict_str(value: object, cls: type) -> str:
    """A string, or the member of a string enum that it names: cattrs asks this hook for both."""
    if type(value) is not str:
        raise TypeError(f"a string is needed, not {value!r}")
    value.encode()  # a lone surrogate passes JSON, but could be neither encoded nor signed
    return cls(value) if isinstance(cls, enum.EnumType) else value


def _strict_bool(value: object, _: type) -> bool:
    if type(value) is not bool:
        raise TypeError(f"true or false is needed, not {value!r}")
    return value


def _is_tuple(cls: object) -> bool:
    return get_origin(cls) is tuple


def make_converter() -> Converter:
    """Make a strict converter: no unknown keys, no coercion, lists and objects where they belong."""
    converter = Converter(forbid_extra_keys=True)
    converter.register_structure_hook(int, _strict_int)
    converter.register_structure_hook(str, _strict_str)
    converter.register_structure_hook(bool, _strict_bool)

    def from_object(cls: type[T]) -> Callable[[object, type[T]], T]:
        fill = make_dict_structure_fn(cls, converter, _cattrs_forbid_extra_keys=True)

        def hook(value: object, cls: type[T]) -> T:
            if not isinstance(value, dict):
                raise TypeError(f"an object is needed, not {value!r}")
            return fill(value, cls)

        return hook

    def from_list(value: object, cls: type) -> tuple[object, ...]:
        if not isinstance(value, list):  # a string can be iterated over, too
            raise TypeError(f"a list is needed, not {value!r}")
        item: type = get_args(cls)[0]
        return tuple(converter.structure(value, list[item]))  # type: ignore[valid-type]

    converter.register_structure_hook_factory(has, from_object)
    converter.register_structure_hook_func(_is_tuple, from_list)
    return converter


converter = make_converter()

_encoder = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def canonical_json(plain: object) -> bytes:
    """Encode dicts, lists, strings, whole numbers, booleans and None canonically.

    orjson writes the same bytes in a tenth of the time, but no number of more than 64 bits and no deep
    nesting; what it will not take the standard library encodes, or refuses.
    """
    try:
        return orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return _encoder.encode(plain).encode()


def canonical_bytes(value: object) -> bytes:
    """Encode an attrs value canonically."""
    return canonical_json(converter.unstructure(value))


def digest_of(data: bytes) -> Digest:
    """Return the SHA-256 of canonical bytes as 64 hex digits."""
    return Digest(hashlib.sha256(data).hexdigest())


def decode(data: bytes, cls: type[T], *, limit: int) -> T:
    """Decode canonical (or any) JSON into ``cls``.

    Raises:
        MalformedError: more than ``limit`` bytes, not JSON, or not the shape of ``cls``.
    """
    if len(data) > limit:
        raise MalformedError(f"{cls.__name__}: {len(data)} bytes are more than {limit} allowed")
    try:
        plain = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"{cls.__name__}: not JSON: {error}") from error
    return structure(plain, cls)


def structure(plain: object, cls: type[T]) -> T:
    """Build ``cls`` from parsed JSON.

    Raises:
        MalformedError: not the shape of ``cls``; the message names every fault.
    """
    try:
        return converter.structure(plain, cls)
    except BaseValidationError as error:
        faults = "; ".join(transform_error(error, path=cls.__name__))
        raise MalformedError(faults) from error
    except (TypeError, ValueError, KeyError) as error:
        raise MalformedError(f"{cls.__name__}: {error}") from error
