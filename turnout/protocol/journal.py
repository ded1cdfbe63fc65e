r"""An agent's journal: its record as bytes, and back from whatever a crash or a bad disk left.

**Each journal record is the whole** :class:`AgentRecord`. It is about a kilobyte, appended a few
times a switch; a log of changes would save nothing, and would need every change before it to be
whole. So the last record that can be read is the truth, damage before it does no harm, recovery has
nothing to replay, and compaction is to write :func:`encode` of the record in force to a new file.

A record is one line::

    LLLLLLLL PPPPPPPP HHHHHHHH {"record":{...},"v":1}\n

``L`` is the payload's length, ``P`` its CRC-32, ``H`` the CRC-32 of the 17 bytes before it, all in
eight lower-case hex digits. The header has a checksum of its own to tell two things apart that look
alike without it, a record cut short and a length that rotted:

- **Torn tail**: the file ends before its last record does. A crash interrupted the append, so its
  fsync never returned and nothing depends on it (effects are carried out in order): it is cut off.
- **Damage**: bytes that are all there and wrong. They were once synced, and may have been a yes
  (H13). Damage that a later record follows is only reported. Damage at the end
  means that what this agent promised may be lost: its journal is no longer *trusted*, so the agent
  takes a new journal id and does not vote until it is resynchronised (S3).

What a failed write can leave that looks like damage (a block of zeros, say) is taken for damage:
that costs one resynchronisation, and the opposite mistake would break a promise.
"""

from __future__ import annotations

import json
import re
from zlib import crc32

from attrs import frozen

from turnout.protocol.codec import canonical_bytes, structure
from turnout.protocol.errors import MalformedError
from turnout.protocol.records import AgentRecord

VERSION = 1

MAX_RECORD_BYTES = 64 * 1024
"""Payload of one record: a head and a few numbers are 1 to 2 KiB, and most of that is reasons."""

COMPACT_ABOVE_BYTES = 1024 * 1024
"""A journal longer than this is compacted: hundreds of switches, read back in under 0.1 s."""

_HEADER = re.compile(rb"([0-9a-f]{8}) ([0-9a-f]{8}) ([0-9a-f]{8}) ")
_HEADER_BYTES = 27
_CHECKED_BYTES = 17
_END = b"\n"


@frozen(kw_only=True)
class Recovered:
    """What a journal says.

    Attributes:
        record: the newest record that can be read; None where there is none.
        keep: bytes of the file to keep; what follows is a torn tail and is cut before appending.
        damaged: what was found wrong, for people; empty if nothing. A damaged file is compacted.
        trusted: whether ``record`` is the last that was ever synced. If not (and so for an empty
            journal too) the agent takes a new journal id.
    """

    record: AgentRecord | None
    keep: int
    damaged: str = ""
    trusted: bool


@frozen(kw_only=True)
class _Payload:
    """What one line holds, with the version of its shape."""

    v: int
    record: AgentRecord


@frozen
class _Line:
    """A complete stretch of the file: one payload whose checksums are right, or damage."""

    end: int
    payload: bytes = b""
    fault: str = ""


def encode(record: AgentRecord) -> bytes:
    """Encode one record as the line to append; alone in a file it is a compacted journal.

    Raises:
        MalformedError: it would be longer than ``MAX_RECORD_BYTES``.
    """
    payload = canonical_bytes(_Payload(v=VERSION, record=record))
    if len(payload) > MAX_RECORD_BYTES:
        raise MalformedError(
            f"a journal record of {len(payload)} bytes is above the limit of {MAX_RECORD_BYTES}"
        )
    checked = b"%08x %08x" % (len(payload), crc32(payload))
    return b"%b %08x %b%b" % (checked, crc32(checked), payload, _END)


def recover(data: bytes) -> Recovered:
    """Read a whole journal file; see the rules above. Never raises."""
    record, trusted, keep = None, False, 0
    faults: list[str] = []
    while (line := _line_at(data, keep)) is not None:
        try:
            record, trusted = _record_of(line), True
        except MalformedError as error:
            trusted = False
            faults.append(f"byte {keep}: {error}")
        keep = line.end
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    damaged = faults[0] + more if faults else ""
    return Recovered(record=record, keep=keep, damaged=damaged, trusted=trusted)


def _line_at(data: bytes, start: int) -> _Line | None:
    """The line that begins at ``start``; None at the end of the file or at a torn tail.

    After damage the next line begins after the next newline: a payload has none of its own, and
    one that rot has put there only makes the rest of that line damage too.
    """
    begin = start + _HEADER_BYTES
    if len(data) < begin:
        return None
    after_damage = data.find(_END, start) + 1 or len(data)
    header = _HEADER.fullmatch(data, start, begin)
    if not header or int(header[3], 16) != crc32(data[start : start + _CHECKED_BYTES]):
        return _Line(after_damage, fault="the header does not match its checksum")
    length = int(header[1], 16)
    if length > MAX_RECORD_BYTES:
        return _Line(after_damage, fault=f"a length of {length} bytes is above the limit")
    end = begin + length
    if len(data) <= end:
        return None
    payload = data[begin:end]
    if int(header[2], 16) != crc32(payload):
        return _Line(after_damage, fault="the record does not match its checksum")
    if data[end : end + 1] != _END:
        return _Line(end + 1, fault="the record's newline has rotted")
    return _Line(end + 1, payload=payload)


def _record_of(line: _Line) -> AgentRecord:
    if line.fault:
        raise MalformedError(line.fault)
    try:
        plain = json.loads(line.payload)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"the record is not JSON: {error}") from error
    version = plain.get("v") if isinstance(plain, dict) else None
    if version != VERSION:
        raise MalformedError(
            f"the record is of version {version}, and this program reads version {VERSION}"
        )
    return structure(plain, _Payload).record
