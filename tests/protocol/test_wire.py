from __future__ import annotations

import base64
import json
import tracemalloc
import zlib
from collections.abc import Callable
from random import Random

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.strategies import downs, signed_tables, ups
from turnout.protocol.clock import ClockNs, MonotonicNs
from turnout.protocol.codec import canonical_json
from turnout.protocol.errors import MalformedError
from turnout.protocol.identifiers import (
    AgentId,
    Digest,
    Epoch,
    Region,
    ReplicaId,
    ServiceName,
    Term,
)
from turnout.protocol.limits import (
    MAX_MESSAGE_BYTES,
    MAX_REPORT_BYTES,
    MAX_STORED_TABLE_BYTES,
    MAX_TABLE_BYTES,
)
from turnout.protocol.messages import Down, Message, Receipt, Report, Sync, Up, Vote
from turnout.protocol.records import Incarnation, SignedTable
from turnout.protocol.routing import (
    Backends,
    Colour,
    RegionBackends,
    RoutingTable,
    Service,
    Weights,
)
from turnout.protocol.wire import (
    DOWN_TYPES,
    UP_TYPES,
    decode_down,
    decode_up,
    encode,
    pack_table,
    unpack_table,
)

INCARNATION = Incarnation(number=1, id="x")
VOTE = Vote(
    agent=AgentId("edge-1"),
    incarnation=INCARNATION,
    term=Term(4),
    epoch=Epoch(7),
    digest=Digest("d" * 64),
    journal_id="j",
    reason="grün\nist",
)
RECEIPT = Receipt(
    term=Term(4),
    replica=ReplicaId("a"),
    echo_ns=MonotonicNs(5),
    clock_ns=ClockNs(6),
    wall_ns=7,
)


def service(name: str, addresses: tuple[str, ...] = ("10.0.0.1:80",)) -> Service:
    backends = RegionBackends(
        region=Region("eu"),
        blue=Backends(addresses=addresses),
        green=Backends(addresses=addresses),
    )
    return Service(
        name=ServiceName(name),
        hosts=(f"{name}.example",),
        weights=Weights.all_to(Colour.BLUE),
        backends=(backends,),
    )


TABLE = SignedTable(table=RoutingTable(services=(service("a"),)), signature="ab")
SYNC = Sync(incarnation=INCARNATION, term=Term(4), replica=ReplicaId("a"), head=None, table=TABLE)


def changed(message: Message, change: Callable[[dict[str, object]], object]) -> bytes:
    """The message's line with its envelope changed."""
    envelope = json.loads(encode(message))
    change(envelope)
    return canonical_json(envelope)


# --- what is sent arrives -----------------------------------------------------------------------


@given(downs)
def test_message_down_arrives_as_it_was_sent_on_one_line(message: Down) -> None:
    line = encode(message)
    assert b"\n" not in line
    assert decode_down(line) == message


@given(ups)
def test_message_up_arrives_as_it_was_sent_on_one_line(message: Up) -> None:
    line = encode(message)
    assert b"\n" not in line
    assert decode_up(line) == message


@given(signed_tables)
def test_table_is_unpacked_as_it_was_packed(table: SignedTable) -> None:
    unpacked = unpack_table(pack_table(table))
    assert unpacked == table
    assert unpacked.digest == table.digest


def test_envelope_of_a_vote_is_as_the_specification_shows_it() -> None:
    assert encode(evolve(VOTE, reason="grün")).startswith(
        b'{"body":{"agent":"edge-1","bound_ns":null,"digest":"ddd'
    )
    assert encode(VOTE).endswith(b'},"type":"Vote","v":1}')


# --- what is refused ----------------------------------------------------------------------------


@given(st.binary(max_size=200))
def test_garbage_is_malformed(garbage: bytes) -> None:
    for decode in (decode_down, decode_up, unpack_table):
        with pytest.raises(MalformedError):
            decode(garbage)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def decode_either(line: bytes, message: Message) -> Message:
    return decode_up(line) if type(message).__name__ in UP_TYPES else decode_down(line)


@given(downs | ups, st.data())
def test_message_with_any_field_replaced_decodes_to_what_it_says_or_is_malformed(
    message: Message, data: st.DataObject
) -> None:
    envelope = json.loads(encode(message))
    place = envelope
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if not (isinstance(place[key], dict) and place[key] and data.draw(st.booleans())):
            break
        place = place[key]
    place[key] = data.draw(json_values)
    try:
        line = json.dumps(envelope, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        decoded = decode_either(line.encode("utf-8", "surrogatepass"), message)
    except MalformedError:
        return
    assert decode_either(encode(decoded), decoded) == decoded


@given(downs | ups, st.data())
def test_message_cut_off_is_malformed(message: Message, data: st.DataObject) -> None:
    line = encode(message)
    with pytest.raises(MalformedError):
        decode_either(line[: data.draw(st.integers(0, len(line) - 1))], message)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"9" * 5000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"v":1, "type":"Vote","body":{}}', "not canonical JSON"),
        (b'{"body":{},"type":"Vote","v":1,"v":1}', "not canonical JSON"),
        ('{"body":{},"type":"Vote","v":1}'.encode("utf-16"), "not canonical JSON"),
        (b'{"body":{"a":"\\ud800"},"type":"Vote","v":1}', "not JSON"),
        (b"{}", "of version None, and this program speaks version 1"),
        (b'{"body":{},"type":"Vote","v":2}', "of version 2"),
        (b'{"body":{},"type":"Vote","v":true}', "of version True"),
        (b'{"body":{},"type":"Vote","v":1,"x":1}', "exactly 'v', 'type' and 'body'"),
        (b'{"body":[],"type":"Vote","v":1}', "exactly 'v', 'type' and 'body'"),
        (b'{"body":{},"type":"Sync","v":1}', "'Sync' is no type of message here: known are Vote"),
        (b'{"body":{},"type":[],"v":1}', "is no type of message here"),
        (b'{"body":{},"type":"Vote","v":1}', "agent"),
    ],
)
def test_line_that_is_no_message_is_refused_with_its_reason(line: bytes, said: str) -> None:
    with pytest.raises(MalformedError, match=said):
        decode_up(line)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epoch", 7.0),
        ("epoch", float("nan")),
        ("epoch", "7"),
        ("epoch", True),
        ("epoch", None),
        ("agent", 1),
        ("no", "maybe"),
        ("incarnation", []),
        ("incarnation", {"number": 1, "id": "x", "more": 1}),
        ("unknown", 1),
    ],
)
def test_vote_with_a_wrong_or_unknown_field_is_refused_and_the_field_named(
    field: str, value: object
) -> None:
    def change(envelope: dict[str, object]) -> None:
        body = envelope["body"]
        assert isinstance(body, dict)
        body[field] = value

    with pytest.raises(MalformedError, match=field):
        decode_up(changed(VOTE, change))


def test_messages_go_one_way_only() -> None:
    assert set(DOWN_TYPES) == {"Prepare", "Sync", "Receipt", "Rebase"}
    assert set(UP_TYPES) == {"Vote", "Report"}
    with pytest.raises(MalformedError, match="'Vote' is no type of message here"):
        decode_down(encode(VOTE))


def test_table_in_a_message_that_has_none_is_refused() -> None:
    def change(envelope: dict[str, object]) -> None:
        body = envelope["body"]
        assert isinstance(body, dict)
        body["table"] = "eJw="

    with pytest.raises(MalformedError, match="table"):
        decode_down(changed(RECEIPT, change))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"table": {"services": []}, "signature": ""}, "travels compressed"),
        (1, "travels compressed"),
        ("%%%", "not base64"),
        (base64.b64encode(b"no zlib").decode(), "cannot be decompressed"),
        (base64.b64encode(zlib.compress(b"{}")).decode(), "table"),
    ],
)
def test_table_that_is_none_is_refused(table: object, said: str) -> None:
    def change(envelope: dict[str, object]) -> None:
        body = envelope["body"]
        assert isinstance(body, dict)
        body["table"] = table

    with pytest.raises(MalformedError, match=said):
        decode_down(changed(SYNC, change))


# --- limits -------------------------------------------------------------------------------------


def test_line_above_its_limit_is_refused_unread() -> None:
    with pytest.raises(MalformedError, match=f"limit of {MAX_REPORT_BYTES}"):
        decode_up(b"x" * (MAX_REPORT_BYTES + 1))
    with pytest.raises(MalformedError, match=f"limit of {MAX_MESSAGE_BYTES}"):
        decode_down(b"x" * (MAX_MESSAGE_BYTES + 1))


def test_message_above_its_limit_is_not_sent() -> None:
    report = Report(
        agent=AgentId("a"),
        region=Region("eu"),
        incarnation=None,
        journal_id="j",
        promised=Term(0),
        reason="x" * MAX_REPORT_BYTES,
    )
    with pytest.raises(MalformedError, match=f"Report: .* above the limit of {MAX_REPORT_BYTES}"):
        encode(report)
    with pytest.raises(MalformedError, match=f"limit of {MAX_MESSAGE_BYTES}"):
        encode(evolve(RECEIPT, replica=ReplicaId("x" * MAX_MESSAGE_BYTES)))


def test_largest_table_that_is_stored_fits_a_message() -> None:
    assert MAX_STORED_TABLE_BYTES * 4 // 3 + 64 * 1024 < MAX_MESSAGE_BYTES


def test_bomb_is_not_decompressed_further_than_a_table_may_be_long() -> None:
    bomb = zlib.compress(bytes(4 * MAX_TABLE_BYTES), level=9)
    assert len(bomb) < 70_000
    tracemalloc.start()
    try:
        with pytest.raises(MalformedError, match=f"more than {MAX_TABLE_BYTES} bytes"):
            unpack_table(bomb)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 3 * MAX_TABLE_BYTES


def test_table_cut_off_or_followed_by_something_is_refused() -> None:
    packed = pack_table(TABLE)
    for wrong in (packed[:-1], packed + b"x"):
        with pytest.raises(MalformedError, match="cut off, or something follows"):
            unpack_table(wrong)


def test_packed_table_above_the_limit_is_refused_with_both_limits() -> None:
    with pytest.raises(MalformedError) as refusal:
        unpack_table(bytes(MAX_STORED_TABLE_BYTES + 1))
    assert str(MAX_STORED_TABLE_BYTES) in str(refusal.value)
    assert str(MAX_TABLE_BYTES) in str(refusal.value)


def test_table_above_a_limit_is_not_packed_and_both_limits_are_named() -> None:
    long = RoutingTable(services=(service("a", addresses=("x" * MAX_TABLE_BYTES,)),))
    noise = Random(1).randbytes(MAX_STORED_TABLE_BYTES).hex()
    dense = RoutingTable(services=(service("a", addresses=(noise,)),))
    for table, sizes in ((long, "bytes: at most"), (dense, "compressed: at most")):
        with pytest.raises(MalformedError, match=sizes) as refusal:
            pack_table(SignedTable(table=table))
        assert str(MAX_STORED_TABLE_BYTES) in str(refusal.value)
        assert str(MAX_TABLE_BYTES) in str(refusal.value)
