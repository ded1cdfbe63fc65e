from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.protocol.strategies import agent_records, downs, tables, ups
from turnout.protocol.codec import canonical_bytes, canonical_json, decode, digest_of, structure
from turnout.protocol.errors import MalformedError
from turnout.protocol.identifiers import Digest, Epoch, ReplicaId, Term
from turnout.protocol.messages import Message
from turnout.protocol.records import AgentRecord, Commitment, Head, Incarnation, Prepared
from turnout.protocol.routing import Backends, Colour, RoutingTable, Service, Weights

plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text("abcdef", max_size=3), st.integers()))
def test_order_in_which_keys_were_set_does_not_show(plain: dict[str, int]) -> None:
    backwards = dict(reversed(plain.items()))
    assert canonical_json(plain) == canonical_json(backwards)


def test_canonical_json_has_sorted_keys_no_blanks_and_utf_8() -> None:
    plain = {"b": [1, None, True], "a": "grün\n"}
    assert canonical_json(plain) == '{"a":"grün\\n","b":[1,null,true]}'.encode()


@given(plain_values)
@example(
    {"\uffff": 1, "\U00010000": 2, "é": '\x00\x1f\x7f\u2028\\/"', "e": 2**64, "": -(2**63) - 1}
)
def test_canonical_json_is_what_the_standard_library_writes(plain: object) -> None:
    written = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert canonical_json(plain) == written.encode()


@pytest.mark.parametrize("plain", ["\ud800", {"a": ["\udfff"]}])
def test_canonical_json_refuses_a_lone_surrogate(plain: object) -> None:
    with pytest.raises(UnicodeEncodeError):
        canonical_json(plain)


def test_digest_is_sha_256_in_hex() -> None:
    assert digest_of(b"abc") == hashlib.sha256(b"abc").hexdigest()


@given(tables)
def test_table_comes_back_from_its_canonical_bytes_with_its_digest(table: RoutingTable) -> None:
    data = canonical_bytes(table)
    assert canonical_json(json.loads(data)) == data
    decoded = decode(data, RoutingTable, limit=len(data))
    assert decoded == table
    assert decoded.digest == table.digest == digest_of(data)


@given(agent_records)
def test_record_comes_back_from_its_canonical_bytes(record: AgentRecord) -> None:
    assert structure(json.loads(canonical_bytes(record)), AgentRecord) == record


@given(downs | ups)
def test_message_comes_back_from_its_canonical_bytes_with_every_type_as_it_was(
    message: Message,
) -> None:
    decoded = structure(json.loads(canonical_bytes(message)), type(message))
    assert decoded == message
    assert repr(decoded) == repr(message)  # an enum equals its string, but does not look like it


def test_digest_of_a_known_table_never_changes() -> None:
    # Signed tables and stored digests outlive releases: another digest here is a broken upgrade.
    assert RoutingTable().digest == digest_of(b'{"services":[]}')
    assert canonical_bytes(Weights.all_to(Colour.GREEN)) == b'{"blue":0,"green":100}'


def test_digest_is_the_same_in_processes_with_other_hash_seeds() -> None:
    program = (
        "from turnout.protocol.routing import *;"
        "print(RoutingTable(services=(Service(name='a', hosts=('h',), backends=(),"
        "weights=Weights.all_to(Colour.GREEN)),)).digest)"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


HEAD = Head(
    incarnation=Incarnation(number=1, id="x"),
    decided=Epoch(3),
    term=Term(4),
    replica=ReplicaId("a"),
)


@pytest.mark.parametrize("name", [field.name for field in attrs.fields(Head)])
def test_every_field_of_a_head_changes_its_digest(name: str) -> None:
    plain = json.loads(canonical_bytes(HEAD))
    plain[name] = None if plain[name] is not None else 1
    assert digest_of(canonical_json(plain)) != digest_of(canonical_bytes(HEAD))


# --- strictness -----------------------------------------------------------------------------------

PREPARED = {"epoch": 7, "digest": "d" * 64, "term": 4}


def test_well_formed_value_is_built() -> None:
    prepared = structure(PREPARED, Prepared)
    assert prepared == Prepared(epoch=Epoch(7), digest=Digest("d" * 64), term=Term(4))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epoch": "7"}, "Prepared.epoch"),
        ({"epoch": 7.0}, "Prepared.epoch"),
        ({"epoch": True}, "Prepared.epoch"),
        ({"epoch": None}, "Prepared.epoch"),
        ({"digest": 1}, "Prepared.digest"),
        ({"digest": None}, "Prepared.digest"),
        ({"extra": 1}, "extra"),
    ],
)
def test_value_of_a_wrong_shape_is_refused_and_its_place_named(
    changes: dict[str, object], said: str
) -> None:
    with pytest.raises(MalformedError, match=re.escape(said)):
        structure({**PREPARED, **changes}, Prepared)


def test_every_fault_is_named_with_its_place() -> None:
    faulty = {"services": [{"name": 1, "hosts": ["h"], "weights": {"blue": 0}, "backends": []}]}
    with pytest.raises(MalformedError) as refusal:
        structure(faulty, RoutingTable)
    assert "services[0].name" in str(refusal.value)
    assert "weights" in str(refusal.value)
    assert "green" in str(refusal.value)


def test_missing_field_is_refused_and_named() -> None:
    with pytest.raises(MalformedError, match="term"):
        structure({"epoch": 7, "digest": ""}, Prepared)


def test_truth_value_must_be_one() -> None:
    with pytest.raises(MalformedError, match=r"Commitment\.late"):
        structure({"head": {}, "due_wall_ns": 0, "late": 1}, Commitment)


@pytest.mark.parametrize(("plain", "cls"), [("perhaps", Colour), (1, str), ("1", int), (1, bool)])
def test_value_that_is_no_object_is_checked_too(plain: object, cls: type) -> None:
    with pytest.raises(MalformedError, match=cls.__name__):
        structure(plain, cls)


def test_unknown_member_of_an_enum_is_refused() -> None:
    service = {"name": "a", "hosts": [], "weights": {"blue": 0, "green": 100}, "backends": []}
    assert structure(service, Service).after_drain == "keep"
    with pytest.raises(MalformedError, match="after_drain"):
        structure({**service, "after_drain": "perhaps"}, Service)


@given(plain_values)
def test_any_json_is_an_incarnation_or_refused(plain: object) -> None:
    if isinstance(plain, dict):
        with pytest.raises(MalformedError):
            structure(plain, Incarnation)


def test_bytes_above_the_limit_are_refused_unread() -> None:
    with pytest.raises(MalformedError, match="Backends: 3 bytes are more than 2 allowed"):
        decode(b"{} ", Backends, limit=2)
    assert decode(b"{}", Backends, limit=2) == Backends()


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000, b"nul"])
def test_bytes_that_are_not_json_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedError, match="Backends: not JSON"):
        decode(data, Backends, limit=10**6)


@pytest.mark.parametrize(
    ("plain", "cls", "place"),
    [
        ([], Weights, "Weights: an object is needed"),
        (None, Weights, "Weights: an object is needed"),
        ({"services": {}}, RoutingTable, "RoutingTable.services"),
        ({"addresses": "abc"}, Backends, "Backends.addresses"),
        ({"addresses": ["a", "\ud800"]}, Backends, "Backends.addresses[1]"),
    ],
)
def test_list_object_or_string_that_is_none_is_refused(
    plain: object, cls: type, place: str
) -> None:
    with pytest.raises(MalformedError, match=re.escape(place)):
        structure(plain, cls)
