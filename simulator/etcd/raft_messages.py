"""What members of one cluster say to each other about their log (Raft, section 5, and etcd's additions).

``term`` is the sender's, but in a preliminary vote, which asks about a term that has not begun.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from simulator.etcd.entries import Entry, Proposal


@frozen(eq=False)
class AskVote:
    """Vote for me, or (``preliminary``) say whether you would.

    ``forced``: the leader itself has asked for it, so nobody stands by that one.
    """

    term: int
    last_index: int
    last_term: int
    preliminary: bool
    forced: bool = False


@frozen(eq=False)
class Vote:
    """The answer to :class:`AskVote`; a granted preliminary one repeats the term asked about."""

    term: int
    granted: bool
    preliminary: bool


@frozen(eq=False)
class Append:
    """Entries that follow the one at ``after``, whose term is said; and how far is committed."""

    term: int
    after: int
    after_term: int
    entries: tuple[Entry, ...]
    commit: int


@frozen(eq=False)
class Appended:
    """The log is the leader's up to ``index``, on the disk; or (refused) ends at ``index``."""

    term: int
    index: int
    accepted: bool


@frozen(eq=False)
class Heartbeat:
    """The leader lives. ``round`` numbers it, for reads that wait to know that it leads still."""

    term: int
    commit: int
    round: int


@frozen(eq=False)
class HeartbeatHeard:
    """The answer to :class:`Heartbeat`."""

    term: int
    round: int


@frozen(eq=False)
class Forward:
    """A follower hands on a proposal; nobody tells it what becomes of it but the log."""

    term: int
    proposal: Proposal


@frozen(eq=False)
class AskIndex:
    """A follower asks how far its log must go for a read to be up to date."""

    term: int
    number: int


@frozen(eq=False)
class Index:
    """The answer to :class:`AskIndex`."""

    term: int
    number: int
    index: int


@frozen(eq=False)
class HandOver:
    """The leader lets another stand for election at once."""

    term: int


Message: TypeAlias = (
    AskVote
    | Vote
    | Append
    | Appended
    | Heartbeat
    | HeartbeatHeard
    | Forward
    | AskIndex
    | Index
    | HandOver
)
