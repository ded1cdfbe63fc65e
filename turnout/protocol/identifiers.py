"""Small types that cannot be mixed up, and what their names may look like."""

from __future__ import annotations

import re
from typing import NewType

Epoch = NewType("Epoch", int)
"""Number of a routing table in force in a domain; only rises. Epoch 0 is the empty head."""

Term = NewType("Term", int)
"""Number of a leader's reign: create-revision of the leader key; the fencing token."""

Digest = NewType("Digest", str)
"""SHA-256 of canonical bytes, 64 lower-case hex digits."""

AgentId = NewType("AgentId", str)
ReplicaId = NewType("ReplicaId", str)
Region = NewType("Region", str)
ServiceName = NewType("ServiceName", str)

NO_EPOCH = Epoch(0)
NO_TERM = Term(0)
NO_DIGEST = Digest("")
"""Digest of epoch 0: nothing was ever committed."""

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
_DIGEST = re.compile(r"[0-9a-f]{64}")

NAME_RULE = (
    "1 to 63 characters: lower-case letters, digits, '.', '_' and '-', "
    "beginning and ending with a letter or digit"
)


def is_name(text: str) -> bool:
    """Whether ``text`` can name a service, region, agent, replica or domain (``NAME_RULE``)."""
    return _NAME.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Whether ``text`` has the shape of a digest."""
    return _DIGEST.fullmatch(text) is not None
