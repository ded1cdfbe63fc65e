"""What a member's Raft is made of: its role, what it knows of the others, and whom it asks to act."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol, TypeAlias

from attrs import define

from simulator.etcd.raft_messages import Message


class Role(enum.Enum):
    """What a member is to the others."""

    FOLLOWER = "follower"
    PRECANDIDATE = "precandidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class Outside(Protocol):
    """What a member's Raft asks of the member."""

    def send(self, peer: int, message: Message) -> None:
        """Send to another member, if a connection is there."""

    def committed(self) -> None:
        """The commit index has risen."""

    def may_rest(self) -> bool:
        """Let all members rest if all is well, as leader; say whether they do (``quiet.py``)."""

    def leader_changed(self) -> None:
        """Another leads, or nobody, as far as this member knows; perhaps it is this one."""

    def index_told(self, number: int, index: int) -> None:
        """The leader has answered :class:`AskIndex`."""


@define(eq=False)
class Progress:
    """What a leader knows of another member.

    Attributes:
        match: up to where its log is known to be the leader's.
        next: the first entry to send it next.
        was_heard: whether it was heard since the quorum was last checked.
        round: the newest heartbeat that it answered.
    """

    next: int
    match: int = 0
    was_heard: bool = True
    round: int = 0


Read: TypeAlias = tuple[int, int, Callable[[int], None]]
"""The round that must be answered, the index to tell then, and whom."""
