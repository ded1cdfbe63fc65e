from __future__ import annotations

import pytest
from attrs import evolve
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.strategies import heads, votes
from turnout.protocol.identifiers import AgentId, Digest, Epoch, Term
from turnout.protocol.messages import Vote
from turnout.protocol.records import Head, Incarnation, IncarnationRecord, TableName
from turnout.protocol.signing import (
    Ed25519Signer,
    Ed25519Verifier,
    is_signed_by,
    payload_of,
    signed,
)

SIGNER = Ed25519Signer.from_seed(b"1" * 32)
OTHER = Ed25519Signer.from_seed(b"2" * 32)
VERIFIER = Ed25519Verifier()
VOTE = Vote(
    agent=AgentId("edge-1"),
    incarnation=Incarnation(number=1, id="x"),
    term=Term(4),
    epoch=Epoch(7),
    digest=Digest("d" * 64),
    journal_id="j",
)


def test_key_pair_of_rfc_8032_signs_as_the_rfc_says() -> None:
    # RFC 8032 section 7.1, test 2.
    seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
    signer = Ed25519Signer.from_seed(bytes.fromhex(seed))
    assert signer.public_key == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    assert signer.sign(b"\x72") == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )


@given(votes)
def test_signature_holds_for_its_value_and_key_only(vote: Vote) -> None:
    done = signed(vote, SIGNER)
    assert is_signed_by(done, SIGNER.public_key, VERIFIER)
    assert not is_signed_by(done, OTHER.public_key, VERIFIER)
    assert not is_signed_by(evolve(done, epoch=Epoch(done.epoch + 1)), SIGNER.public_key, VERIFIER)
    assert evolve(done, signature=vote.signature) == vote


@given(votes)
def test_fields_that_are_filled_in_are_signed_with_the_rest(vote: Vote) -> None:
    filled = evolve(vote, reason="filled", staging_ns=7)
    assert signed(vote, SIGNER, reason="filled", staging_ns=7) == signed(filled, SIGNER)


@given(heads)
def test_payload_does_not_depend_on_the_signature(head: Head) -> None:
    assert payload_of(head) == payload_of(evolve(head, signature="ab"))


@pytest.mark.parametrize(
    "change",
    [
        {"agent": AgentId("edge-2")},
        {"incarnation": Incarnation(number=2, id="x")},
        {"term": Term(5)},
        {"digest": Digest("e" * 64)},
        {"journal_id": "k"},
        {"bound_ns": 1},
    ],
)
def test_signature_covers_every_field(change: dict[str, object]) -> None:
    changed: Vote = evolve(signed(VOTE, SIGNER), **change)  # type: ignore[arg-type]
    assert not is_signed_by(changed, SIGNER.public_key, VERIFIER)


def test_signature_over_one_kind_never_passes_for_another() -> None:
    record = IncarnationRecord(incarnation=Incarnation(number=1, id="x"))
    name = TableName(digest=Digest("d" * 64))
    assert payload_of(record).startswith(b"IncarnationRecord\n{")
    assert payload_of(name).startswith(b"TableName\n{")


@pytest.mark.parametrize(
    ("key", "signature"),
    [
        ("", "ab"),
        ("zz", "ab"),
        ("ab", "ab"),
        (SIGNER.public_key, ""),
        (SIGNER.public_key, "nonsense"),
        (SIGNER.public_key, "ab" * 64),
        ("ff" * 32, "ab" * 64),
    ],
)
def test_nonsense_verifies_as_false(key: str, signature: str) -> None:
    assert not VERIFIER.verify(key, b"payload", signature)


@given(st.binary(max_size=200), st.integers(0, 63), st.integers(1, 255), st.booleans())
def test_verifier_says_what_openssl_says(payload: bytes, at: int, flip: int, spoilt: bool) -> None:
    mark = bytearray.fromhex(SIGNER.sign(payload))
    mark[at] ^= flip if spoilt else 0
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(SIGNER.public_key))
    try:
        key.verify(bytes(mark), payload)
        is_good = True
    except InvalidSignature:
        is_good = False
    assert VERIFIER.verify(SIGNER.public_key, payload, mark.hex()) == is_good == (not spoilt)


def test_signature_of_another_length_is_none_wherever_it_is_cut() -> None:
    payload = b"payload"
    mark = SIGNER.sign(payload)
    longer, shorter = mark + payload[:1].hex(), mark[:-2]
    assert not VERIFIER.verify(SIGNER.public_key, payload[1:], longer)
    assert not VERIFIER.verify(SIGNER.public_key, bytes.fromhex(mark[-2:]) + payload, shorter)


def test_key_of_small_order_signs_nothing() -> None:
    # The neutral point: with it as the key, R = [S]B holds for whatever payload.
    neutral = "01" + "00" * 31
    zero = neutral + "00" * 32
    assert not VERIFIER.verify(neutral, b"payload", zero)
