"""Messages to bytes and back, and tables as the store keeps them.

A message is one line of canonical JSON in a versioned envelope::

    {"body":{...},"type":"Vote","v":1}

Decoding is as strict as the format allows, since whatever decodes differently at two places can be
signed at one and checked at the other: the line must be the *canonical* encoding of what it says, so
that equal messages have equal bytes; the version and type must be known, and every field must be
there with its type, and no other. What is refused is refused with a sentence.

A table travels and is stored compressed (zlib, RFC 1950; base64 inside a message), being mostly
repetition. It is decompressed no further than to ``MAX_TABLE_BYTES``, so that a kilobyte that claims
to be a gigabyte costs no more than a table (a "zip bomb").
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar, get_args

from attrs import evolve

from turnout.protocol.codec import canonical_bytes, canonical_json, converter, structure
from turnout.protocol.errors import MalformedError
from turnout.protocol.limits import (
    MAX_MESSAGE_BYTES,
    MAX_REPORT_BYTES,
    MAX_STORED_TABLE_BYTES,
    MAX_TABLE_BYTES,
)
from turnout.protocol.messages import Down, Message, Prepare, Sync, Up
from turnout.protocol.records import SignedTable

VERSION = 1

M = TypeVar("M")

DOWN_TYPES: Mapping[str, type[Down]] = MappingProxyType({t.__name__: t for t in get_args(Down)})
UP_TYPES: Mapping[str, type[Up]] = MappingProxyType({t.__name__: t for t in get_args(Up)})


def encode(message: Message) -> bytes:
    """Encode a message as one line, without the newline.

    Raises:
        MalformedError: it (or its table) is longer than the receiver would take.
    """
    kind = type(message).__name__
    packed = None
    if isinstance(message, Prepare | Sync) and message.table is not None:
        packed = base64.b64encode(pack_table(message.table)).decode()
        message = evolve(message, table=None)
    body = converter.unstructure(message)
    if packed is not None:
        body["table"] = packed
    line = canonical_json({"v": VERSION, "type": kind, "body": body})
    limit = MAX_REPORT_BYTES if kind in UP_TYPES else MAX_MESSAGE_BYTES
    if len(line) > limit:
        raise MalformedError(
            f"{kind}: a message of {len(line)} bytes is above the limit of {limit}"
        )
    return line


def decode_down(line: bytes) -> Down:
    """Decode what a leader says to an agent.

    Raises:
        MalformedError: it is no such message, or too long.
    """
    kind, body = _opened(line, DOWN_TYPES, MAX_MESSAGE_BYTES)
    packed = body.get("table")
    if packed is None:
        return structure(body, DOWN_TYPES[kind])
    if not isinstance(packed, str):
        raise MalformedError(f"{kind}: a table travels compressed, in base64")
    message = structure({**body, "table": None}, DOWN_TYPES[kind])
    assert isinstance(message, Prepare | Sync)  # no other has the field
    try:
        table = unpack_table(base64.b64decode(packed, validate=True))
    except binascii.Error as error:
        raise MalformedError(f"{kind}: the table is not base64: {error}") from error
    return evolve(message, table=table)


def decode_up(line: bytes) -> Up:
    """Decode what an agent says to a leader.

    Raises:
        MalformedError: it is no such message, or too long.
    """
    kind, body = _opened(line, UP_TYPES, MAX_REPORT_BYTES)
    return structure(body, UP_TYPES[kind])


def pack_table(table: SignedTable) -> bytes:
    """Compress a signed table, as the store keeps it.

    Raises:
        MalformedError: it is above one of the two limits; the message names both.
    """
    raw = canonical_bytes(table)
    packed = zlib.compress(raw) if len(raw) <= MAX_TABLE_BYTES else b""
    if not packed or len(packed) > MAX_STORED_TABLE_BYTES:
        compressed = f", {len(packed)} compressed" if packed else ""
        raise MalformedError(
            f"the table has {len(raw)} bytes{compressed}: at most {MAX_TABLE_BYTES} are allowed, "
            f"and {MAX_STORED_TABLE_BYTES} compressed"
        )
    return packed


def unpack_table(packed: bytes) -> SignedTable:
    """Decompress a signed table. Its signature and consistency are the caller's to check.

    Raises:
        MalformedError: it is above one of the limits, cut off, or no table.
    """
    if len(packed) > MAX_STORED_TABLE_BYTES:
        raise MalformedError(
            f"the table has {len(packed)} bytes compressed: at most {MAX_STORED_TABLE_BYTES} "
            f"are allowed, and {MAX_TABLE_BYTES} decompressed"
        )
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(packed, MAX_TABLE_BYTES + 1)
    except zlib.error as error:
        raise MalformedError(f"the table cannot be decompressed: {error}") from error
    if len(raw) > MAX_TABLE_BYTES:
        raise MalformedError(f"the table has more than {MAX_TABLE_BYTES} bytes decompressed")
    if not inflater.eof or inflater.unused_data:
        raise MalformedError("the table is cut off, or something follows it")
    return structure(_canonical(raw, "the table"), SignedTable)


def _opened(line: bytes, types: Mapping[str, type[M]], limit: int) -> tuple[str, dict[str, object]]:
    """The type and body of an envelope of this version."""
    if len(line) > limit:
        raise MalformedError(f"a message of {len(line)} bytes is above the limit of {limit}")
    envelope = _canonical(line, "the message")
    version = envelope.get("v")
    if type(version) is not int or version != VERSION:
        raise MalformedError(
            f"the message is of version {version!r}, and this program speaks version {VERSION}"
        )
    kind, body = envelope.get("type"), envelope.get("body")
    if set(envelope) != {"v", "type", "body"} or not isinstance(body, dict):
        raise MalformedError("a message has exactly 'v', 'type' and 'body', an object")
    if not isinstance(kind, str) or kind not in types:
        raise MalformedError(f"{kind!r} is no type of message here: known are {', '.join(types)}")
    return kind, body


def _canonical(data: bytes, what: str) -> dict[str, object]:
    """Parse a JSON object whose bytes must be canonical."""
    try:
        plain = json.loads(data)
        canonical = canonical_json(plain) == data
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"{what} is not JSON: {error}") from error
    if not isinstance(plain, dict):
        raise MalformedError(f"{what} is not a JSON object")
    if not canonical:
        raise MalformedError(
            f"{what} is not canonical JSON: keys sorted, once each; no blanks, escapes or fractions "
            "that need not be"
        )
    return plain
