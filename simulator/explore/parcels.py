"""What is in the network: messages with their addressees, and what was said by those that are dead."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from turnout.protocol.identifiers import NO_EPOCH, Digest, Epoch
from turnout.protocol.messages import Message, Prepare, Sync, Vote
from turnout.protocol.records import Verdict

LEADER = -1
NOWHERE = -2


@frozen
class Parcel:
    """A message with its addressee: an agent's index, or whoever leads.

    What a message said stays in the network as a fact, addressed to nobody, when the message itself
    is dead: the invariants judge all that was ever said.
    """

    to: int
    message: Message | Fact


@frozen
class Fact:
    """What a message said: it named an epoch's digest, or announced a decision."""

    epoch: Epoch
    digest: Digest | None = None
    verdict: Verdict | None = None


def facts_of(message: Message) -> Iterator[Fact]:
    """All that a message says about epochs."""
    if isinstance(message, Prepare | Vote):
        yield Fact(message.epoch, digest=message.digest)
    if isinstance(message, Prepare | Sync) and message.head is not None:
        head = message.head
        yield Fact(head.committed, digest=head.digest)
        for epoch in sorted({head.committed, head.decided} - {NO_EPOCH}):
            verdict = head.resolves(epoch)
            if verdict is not None:
                yield Fact(epoch, verdict=verdict)
