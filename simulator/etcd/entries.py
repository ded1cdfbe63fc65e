"""What members agree on: commands, each in its place in the log, and what each came to."""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from turnout.protocol.transactions import Transaction


@frozen
class Nothing:
    """What a new leader begins with: it cannot tell what is committed before an entry of its own is."""


@frozen
class Carry:
    """Carry out a guarded transaction. ``sender`` is the client's own word for who sends it."""

    transaction: Transaction
    lease: int
    sender: int | None


@frozen
class Grant:
    """Make a lease."""

    lease: int
    ttl_s: int


@frozen
class Revoke:
    """End a lease and delete its keys: asked for, or because its time is over."""

    lease: int


@frozen
class Compact:
    """Forget what only revisions below this one need."""

    revision: int


Command: TypeAlias = Nothing | Carry | Grant | Revoke | Compact


@frozen(eq=False)
class Proposal:
    """A command, and who waits for it.

    Attributes:
        origin: the member that a client asked, by its place.
        number: by which that member knows the question; 0: nobody waits.
    """

    command: Command
    origin: int = -1
    number: int = 0


@frozen(eq=False)
class Entry:
    """One place in the log, as the leader of a term filled it."""

    term: int
    proposal: Proposal
