"""A cheap signer of Ed25519's shape: anyone could forge it, but nobody here does so unless told to.

The real one would cap a run at 6,000 messages a second, and says nothing about the protocol.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b


class CheapSigner:
    """Signs with a name instead of a key."""

    def __init__(self, name: str) -> None:
        self.public_key = blake2b(name.encode(), digest_size=32).hexdigest()

    def sign(self, payload: bytes) -> str:
        """The signature of these bytes."""
        return _signature(self.public_key, payload)


class CheapVerifier:
    """Verifies what :class:`CheapSigner` signed."""

    def verify(self, public_key: str, payload: bytes, signature: str) -> bool:
        """Whether the key's owner signed these bytes."""
        return signature == _signature(public_key, payload)


@lru_cache(maxsize=256)
def _signature(public_key: str, payload: bytes) -> str:
    """Worked out once for who signs, a leader's door and its machine."""
    return blake2b(payload, key=public_key.encode()[:64], digest_size=32).hexdigest()
