from __future__ import annotations

from zlib import crc32

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.strategies import agent_records
from turnout.protocol.errors import MalformedError
from turnout.protocol.identifiers import Digest, Epoch, ReplicaId, Term
from turnout.protocol.journal import MAX_RECORD_BYTES, Recovered, encode, recover
from turnout.protocol.records import (
    Activation,
    Active,
    AgentRecord,
    Commitment,
    Head,
    Incarnation,
    Prepared,
)

INCARNATION = Incarnation(number=1, id="x")
FRESH = AgentRecord(journal_id="j1", incarnation=INCARNATION, promised=Term(4))
VOTED = evolve(FRESH, prepared=Prepared(epoch=Epoch(7), digest=Digest("d" * 64), term=Term(4)))
COMMITTED = evolve(
    VOTED,
    prepared=None,
    committed=Commitment(
        head=Head(
            incarnation=INCARNATION,
            decided=Epoch(7),
            committed=Epoch(7),
            digest=Digest("d" * 64),
            term=Term(4),
            replica=ReplicaId("a"),
            activation=Activation(reason="a reason\nof two lines"),
        ),
        due_wall_ns=5,
    ),
    active=Active(epoch=Epoch(6), digest=Digest("c" * 64)),
)
RECORDS = (FRESH, VOTED, COMMITTED)
LINES = tuple(encode(record) for record in RECORDS)
JOURNAL = b"".join(LINES)
ENDS = (0, len(LINES[0]), len(LINES[0] + LINES[1]), len(JOURNAL))


def framed(payload: bytes, length: int | None = None) -> bytes:
    """A line with right checksums, whatever it holds."""
    checked = b"%08x %08x" % (len(payload) if length is None else length, crc32(payload))
    return b"%b %08x %b\n" % (checked, crc32(checked), payload)


def test_journal_says_its_last_record() -> None:
    assert recover(JOURNAL) == Recovered(record=COMMITTED, keep=len(JOURNAL), trusted=True)


@given(st.lists(agent_records, min_size=1, max_size=4))
def test_any_records_come_back_from_one_line_each(records: list[AgentRecord]) -> None:
    data = b"".join(encode(record) for record in records)
    assert data.count(b"\n") == len(records)
    assert recover(data) == Recovered(record=records[-1], keep=len(data), trusted=True)


def test_empty_journal_says_nothing_and_is_not_trusted() -> None:
    assert recover(b"") == Recovered(record=None, keep=0, trusted=False)


def test_compacted_journal_says_the_same() -> None:
    assert recover(encode(COMMITTED)).record == recover(JOURNAL).record


def test_journal_cut_at_any_byte_says_the_last_whole_record() -> None:
    for cut in range(len(JOURNAL)):
        whole = max(number for number, end in enumerate(ENDS) if end <= cut)
        assert recover(JOURNAL[:cut]) == Recovered(
            record=RECORDS[whole - 1] if whole else None, keep=ENDS[whole], trusted=whole > 0
        ), f"cut at byte {cut}"


def test_journal_with_a_torn_tail_cut_off_can_be_appended_to() -> None:
    torn = JOURNAL[:-1]
    kept = torn[: recover(torn).keep]
    assert recover(kept + LINES[2]) == recover(JOURNAL)


def test_torn_tail_that_was_not_cut_off_hides_no_later_record() -> None:
    torn = LINES[0] + LINES[1][:60] + LINES[1] + LINES[2]
    recovered = recover(torn)
    assert (recovered.record, recovered.trusted) == (COMMITTED, True)
    assert "checksum" in recovered.damaged


def test_journal_with_any_bit_flipped_is_never_untrue_nor_silently_forgetful() -> None:
    for place in range(len(JOURNAL)):
        in_the_last = place >= ENDS[2]
        for bit in range(8):
            rotten = bytearray(JOURNAL)
            rotten[place] ^= 1 << bit
            recovered = recover(bytes(rotten))
            said = (recovered.record, recovered.trusted, recovered.keep)
            expected = VOTED if in_the_last else COMMITTED
            assert said == (expected, not in_the_last, len(JOURNAL)), f"bit {bit} of byte {place}"
            assert recovered.damaged


@given(st.data())
def test_journal_with_any_bytes_overwritten_never_says_what_was_not_recorded(
    data: st.DataObject,
) -> None:
    start = data.draw(st.integers(0, len(JOURNAL) - 1))
    junk = data.draw(st.binary(min_size=1, max_size=200))
    rotten = JOURNAL[:start] + junk + JOURNAL[start + len(junk) :]
    recovered = recover(rotten)
    assert recovered.record in (None, *RECORDS)
    assert 0 <= recovered.keep <= len(rotten)
    if recovered.trusted and recovered.record != COMMITTED:
        # Only a torn tail may hide the last record, and this is one: the junk reaches the end.
        assert start + len(junk) >= len(JOURNAL)


@given(st.binary(max_size=400))
def test_garbage_says_nothing(garbage: bytes) -> None:
    recovered = recover(garbage)
    assert recovered.record is None
    assert not recovered.trusted
    assert bool(recovered.damaged) == (recovered.keep > 0)


def test_damage_between_good_records_is_reported_with_its_place_and_number() -> None:
    recovered = recover(LINES[0] + b"x" * 40 + b"\n" + b"y" * 40 + b"\n" + LINES[2])
    assert recovered.record == COMMITTED
    assert recovered.trusted
    assert recovered.damaged == (
        f"byte {ENDS[1]}: the header does not match its checksum (and 1 more)"
    )


def test_block_of_zeros_at_the_end_is_damage_not_a_torn_tail() -> None:
    recovered = recover(JOURNAL + bytes(512))
    assert recovered.record == COMMITTED
    assert not recovered.trusted
    assert recovered.keep == len(JOURNAL) + 512


def test_damage_before_a_torn_tail_is_not_trusted() -> None:
    rotten = bytearray(JOURNAL + LINES[2][:40])
    rotten[ENDS[3] - 5] ^= 1
    recovered = recover(bytes(rotten))
    assert (recovered.record, recovered.trusted, recovered.keep) == (VOTED, False, len(JOURNAL))


def test_record_written_twice_is_the_same_record() -> None:
    assert recover(JOURNAL + LINES[2]).record == COMMITTED


def test_record_of_another_version_is_named_and_not_trusted() -> None:
    newer = framed(LINES[2][27:-1].replace(b'"v":1}', b'"v":2}'))
    recovered = recover(LINES[0] + newer)
    assert (recovered.record, recovered.trusted) == (FRESH, False)
    assert "version 2, and this program reads version 1" in recovered.damaged


@pytest.mark.parametrize(
    "payload", [b"", b"{}", b"[1]", b"[" * 60_000, b"not JSON", b'{"record":{},"v":1}']
)
def test_record_of_another_shape_is_not_trusted(payload: bytes) -> None:
    recovered = recover(LINES[0] + framed(payload))
    assert (recovered.record, recovered.trusted) == (FRESH, False)


def test_length_above_the_limit_is_damage_not_a_torn_tail() -> None:
    recovered = recover(LINES[0] + framed(b"{}", length=MAX_RECORD_BYTES + 1) + LINES[2])
    assert recovered.record == COMMITTED
    assert "above the limit" in recovered.damaged


def test_record_above_the_limit_is_not_written() -> None:
    with pytest.raises(MalformedError, match="above the limit of 65536"):
        encode(evolve(FRESH, journal_id="j" * MAX_RECORD_BYTES))
