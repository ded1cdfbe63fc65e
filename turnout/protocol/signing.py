"""Who said it: signatures over canonical bytes, each kind in its own context.

A signed value has a field ``signature`` (hex). Its payload is the kind's name, a newline and the
canonical bytes of the value with that field empty, so that a signature over one kind never passes
for another. Production signs with Ed25519 (RFC 8032); the simulator uses a cheap signer of the
same shape, since Ed25519 would cap it at 6,000 messages a second.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

import attrs
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nacl.bindings import crypto_sign_BYTES, crypto_sign_open
from nacl.exceptions import CryptoError

from turnout.protocol.codec import canonical_json, converter
from turnout.protocol.replacing import replaced


class Signed(attrs.AttrsInstance, Protocol):
    """An attrs value with a signature over everything else in it."""

    @property
    def signature(self) -> str:
        """The signature in hex; empty before signing."""


S = TypeVar("S", bound=Signed)


class Signer(Protocol):
    """Holds one private key."""

    @property
    def public_key(self) -> str:
        """The public key that verifies what this signs, in hex."""

    def sign(self, payload: bytes) -> str:
        """Return the signature over ``payload`` in hex."""


class Verifier(Protocol):
    """Checks signatures of any key."""

    def verify(self, public_key: str, payload: bytes, signature: str) -> bool:
        """Whether ``signature`` over ``payload`` is by ``public_key``; false on nonsense too."""


@attrs.frozen(kw_only=True, slots=False)
class SignedMessage:
    """A signed value that keeps its payload: who signs it, a leader's door and its machine all need it.

    Not slotted, for :func:`signed`: see ``replacing.py``.
    """

    signature: str = ""
    _payload: bytes = attrs.field(default=b"", init=False, eq=False, repr=False)

    @property
    def payload(self) -> bytes:
        """What is signed."""
        if not self._payload:
            object.__setattr__(self, "_payload", payload_of(self))
        return self._payload


def payload_of(value: Signed, **filled: str | int) -> bytes:
    """Return the bytes that are signed for ``value``, with these fields filled in."""
    plain = converter.unstructure(value)
    plain.update(filled, signature="")
    return type(value).__name__.encode() + b"\n" + canonical_json(plain)


def signed(value: S, signer: Signer, **filled: str | int) -> S:
    """Return ``value`` with these fields and its signature filled in."""
    payload = payload_of(value, **filled)
    signature = signer.sign(payload)
    if isinstance(value, SignedMessage):
        return replaced(value, {**filled, "signature": signature, "_payload": payload})
    return attrs.evolve(value, **filled, signature=signature)  # type: ignore[misc]  # S is attrs


def is_signed_by(value: Signed, public_key: str, verifier: Verifier) -> bool:
    """Whether the value's signature is by the holder of ``public_key``."""
    return verifier.verify(public_key, payload_of(value), value.signature)


class Ed25519Signer:
    """Signs with one Ed25519 private key (about 40 us a signature)."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._key = private_key
        self.public_key = private_key.public_key().public_bytes_raw().hex()

    @classmethod
    def from_seed(cls, seed: bytes) -> Ed25519Signer:
        """Make the signer of a 32-byte private seed (RFC 8032 section 5.1.5)."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    def sign(self, payload: bytes) -> str:
        """Return the signature over ``payload`` in hex."""
        return self._key.sign(payload).hex()


class Ed25519Verifier:
    """Verifies Ed25519 signatures, with libsodium: about half of what OpenSSL takes.

    Unlike OpenSSL libsodium also refuses keys of small order, whose signatures fit many payloads.
    """

    def verify(self, public_key: str, payload: bytes, signature: str) -> bool:
        """Whether ``signature`` over ``payload`` is by ``public_key``; false on nonsense too."""
        try:
            mark = bytes.fromhex(signature)
            crypto_sign_open(mark + payload, bytes.fromhex(public_key))
        except (ValueError, CryptoError):
            return False
        # One of another length would end somewhere else in what was put together.
        return len(mark) == crypto_sign_BYTES
