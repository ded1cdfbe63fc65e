"""What the election's machine is told and what it asks for, and the claim that it puts in the key."""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from turnout.protocol.clock import MonotonicNs
from turnout.protocol.events import Deposed, Elected, Wake
from turnout.protocol.identifiers import ReplicaId
from turnout.protocol.transactions import KeyValue, Result, Transaction


@frozen(kw_only=True)
class Claim:
    """Value of the leader key: who leads, under which lease, and where it is reached."""

    replica: ReplicaId
    url: str
    lease: int


MAX_CLAIM_BYTES = 4096
"""A name, an address and a number."""


# --- what it is told ----------------------------------------------------------------------------


@frozen(kw_only=True)
class LeaderSeen:
    """The leader key as it stood at a revision; ``entry`` is None where it was absent.

    Attributes:
        floor: of an answer to :class:`ReadLeader`, the effect's: such an answer is up to date.
            None from the watch, which may be running late.
    """

    revision: int
    entry: KeyValue | None
    floor: int | None = None


@frozen(kw_only=True)
class LeaseGranted:
    """Answer to :class:`GrantLease`, with its ``asked_ns``; no shorter a lease than was asked."""

    lease: int
    asked_ns: MonotonicNs


@frozen(kw_only=True)
class Campaigned:
    """Result of :class:`Campaign`."""

    lease: int
    result: Result


@frozen(kw_only=True)
class KeptAlive:
    """Answer to :class:`KeepAlive`, with its ``asked_ns``."""

    lease: int
    asked_ns: MonotonicNs


@frozen(kw_only=True)
class LeaseGone:
    """The store says that there is no such lease: it expired, or was revoked as asked."""

    lease: int


@frozen(kw_only=True)
class LeaseSeen:
    """Answer to :class:`AskLease`, with its ``asked_ns``: the whole seconds that the lease has left."""

    lease: int
    asked_ns: MonotonicNs
    granted_ns: int
    left_ns: int


@frozen(kw_only=True)
class Resign:
    """Hand over at once: for good (the process ends), or until a lease time has passed."""

    reason: str
    for_good: bool


ElectionEvent: TypeAlias = (
    Wake | LeaderSeen | LeaseGranted | Campaigned | KeptAlive | LeaseGone | LeaseSeen | Resign
)

# --- what it asks for. What is not answered is asked again: the host reports answers only ---------


@frozen(kw_only=True)
class ReadLeader:
    """Read the leader key linearizably; ``floor`` goes back with the answer."""

    floor: int


@frozen(kw_only=True)
class GrantLease:
    """Have the store grant a lease."""

    ttl_ns: int
    asked_ns: MonotonicNs


@frozen(kw_only=True)
class Campaign:
    """Send the transaction, its leased put tied to ``lease``; always answered by a result."""

    lease: int
    transaction: Transaction


@frozen(kw_only=True)
class KeepAlive:
    """Have the store renew the lease."""

    lease: int
    asked_ns: MonotonicNs


@frozen(kw_only=True)
class RevokeLease:
    """Have the store end the lease and delete what is tied to it; answered by ``LeaseGone``."""

    lease: int


@frozen(kw_only=True)
class AskLease:
    """Ask how long the lease has left; of one that is gone nothing is answered."""

    lease: int
    asked_ns: MonotonicNs


@frozen(kw_only=True)
class Announce:
    """Tell the coordinator's machine; when deposed, also close the agents' streams."""

    event: Elected | Deposed


@frozen(kw_only=True)
class Follow:
    """Redirect to this leader from here on; None: nobody is known to lead."""

    leader: Claim | None


@frozen(kw_only=True)
class Retired:
    """Nothing is held any more, and nothing will be: the process may end."""


StoreCall: TypeAlias = ReadLeader | GrantLease | Campaign | KeepAlive | RevokeLease | AskLease
ElectionEffect: TypeAlias = StoreCall | Announce | Follow | Retired
