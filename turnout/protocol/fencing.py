"""One gate for every message, before any other rule (raft's ``Step`` checks the term first).

No handler asks again whether a sender may speak. The rules, in this order:

1. *Incarnation.* A message of another incarnation than the agent's is refused. Only a
   :class:`Rebase`, signed by the domain's key, moves an agent, and only to a higher number: a
   replayed older one, or another history of the same number, changes nothing (H18, S10).
2. *Facts.* A head is true or false, whoever relays it and in whichever term: it is learnt if it is
   signed, even from a leader deposed long ago (H9, S4). One that is older than what is known
   already says nothing new and is passed over.
3. *Commands.* A prepare counts only in a term not below the promise (S4), and only for the epoch
   after the head that it carries, if that is not known to be decided (S10: a late prepare would
   be voted on after its abort). A receipt counts only from a leader not below the promise.
"""

from __future__ import annotations

from typing import assert_never

from attrs import frozen

from turnout.protocol.identifiers import Digest
from turnout.protocol.messages import Down, No, Prepare, Rebase, Receipt, Sync
from turnout.protocol.records import AgentRecord, Head, SignedTable, TableName
from turnout.protocol.routing import inconsistencies
from turnout.protocol.signing import Verifier, is_signed_by


@frozen(kw_only=True)
class Admission:
    """What of a message counts: its head as a fact, the rest as an order; ``reason`` why not.

    Most of what is refused was late, repeated or overtaken, and says nothing about who sent it.
    ``mistrust`` is a reason that does not pass by itself: this agent and the coordinators were set up
    for different domains, or one of the two went back. In the words an operator needs.
    """

    facts: bool = False
    order: bool = False
    reason: str = ""
    mistrust: str = ""


FACTS = Admission(facts=True)
"""All that a sync can be admitted for."""

ORDER = Admission(order=True)
"""All that a receipt or a rebase can be."""


def admit_from_leader(
    message: Down, record: AgentRecord, known: Head | None, domain_key: str, verifier: Verifier
) -> Admission:
    """Judge a message from a coordinator, given the newest head that the agent has verified."""
    match message:
        case Rebase():
            return _admit_rebase(message, record, domain_key, verifier)
        case Receipt():
            reason = _term_fault(message, record)
            return Admission(reason=reason) if reason else ORDER
        case Sync() | Prepare():
            reason = _incarnation_fault(message, record)
            if not reason and message.head is not None:
                reason = _age_fault(message.head, known)
            if reason or message.head is None:
                return Admission(reason=reason)
            if not _is_true(message.head, record, known, domain_key, verifier):
                return _unsigned(f"head {message.head.decided}", domain_key)
            if isinstance(message, Sync):
                return FACTS
            reason = _term_fault(message, record) or _epoch_fault(message, record, known)
            return Admission(facts=True, order=not reason, reason=reason)
        case _ as never:
            assert_never(never)


def table_fault(
    table: SignedTable, digest: Digest, domain_key: str, verifier: Verifier
) -> tuple[No, str] | None:
    """Why a table that came with a message must not be staged; None if it may.

    The agent checks this itself, though leaders do too: an agent serves nothing on the word of a
    coordinator that is broken or taken over.
    """
    if table.digest != digest:
        return No.TABLE, f"the table's digest is {table.digest}, not {digest} as announced"
    name = TableName(digest=digest, signature=table.signature)
    if not is_signed_by(name, domain_key, verifier):
        return No.SIGNATURE, f"table {digest} is not signed by the domain's key"
    faults = inconsistencies(table.table)
    if faults:
        return No.TABLE, "; ".join(faults)
    return None


def _admit_rebase(
    message: Rebase, record: AgentRecord, domain_key: str, verifier: Verifier
) -> Admission:
    ours, theirs = record.incarnation, message.record.incarnation
    if ours == theirs:
        return Admission(reason=f"incarnation {theirs.number} is this agent's own")
    if not is_signed_by(message.record, domain_key, verifier):
        return _unsigned(f"incarnation {theirs.number}", domain_key)
    if ours is None or theirs.number > ours.number:
        return ORDER
    mistrust = (
        f"the coordinators' domain is at incarnation {theirs.number} ({theirs.id}), this agent at "
        f"{ours.number} ({ours.id}): it has served another domain, or etcd holds an older one. Check "
        "'coordinators' in its configuration, or run `turnout domain rebase`"
    )
    return Admission(
        reason=f"incarnation {theirs.number} is not above {ours.number}", mistrust=mistrust
    )


def _unsigned(what: str, domain_key: str) -> Admission:
    """Refuse what is not signed by the key that the agent was given."""
    mistrust = (
        f"what the coordinators say is not signed by this agent's domain_key, {domain_key[:16]}...: it "
        "is another domain's, or its coordinators are. Compare it with what `turnout domain init` "
        "printed"
    )
    return Admission(reason=f"{what} is not signed by the domain's key", mistrust=mistrust)


def _incarnation_fault(message: Sync | Prepare, record: AgentRecord) -> str:
    spoken = (
        message.incarnation,
        message.head.incarnation if message.head else message.incarnation,
    )
    if record.incarnation is None or spoken != (record.incarnation, record.incarnation):
        return "the message is of another incarnation of the domain"
    return ""


def _age_fault(head: Head, known: Head | None) -> str:
    if known is not None and head.decided < known.decided:
        return f"head {head.decided} is older than {known.decided}, which is known"
    return ""


def _is_true(
    head: Head, record: AgentRecord, known: Head | None, domain_key: str, verifier: Verifier
) -> bool:
    """Whether the head is one that was verified before, or is signed."""
    journalled = record.committed.head if record.committed else None
    return head in (known, journalled) or is_signed_by(head, domain_key, verifier)


def _term_fault(message: Prepare | Receipt, record: AgentRecord) -> str:
    if message.term < record.promised:
        return f"term {message.term} is below the promised {record.promised}"
    return ""


def _epoch_fault(message: Prepare, record: AgentRecord, known: Head | None) -> str:
    if message.epoch != message.head.decided + 1:
        return f"epoch {message.epoch} does not follow its head, {message.head.decided}"
    if message.epoch <= _decided(record, known):
        return f"epoch {message.epoch} is known to be decided"
    return ""


def _decided(record: AgentRecord, known: Head | None) -> int:
    """The newest epoch that the agent can tell to be decided.

    That includes all before a prepared one: its prepare came with a head that said so, and only
    the journal remembers it after a restart.
    """
    head, committed, prepared = known, record.committed, record.prepared
    return max(
        head.decided if head else 0,
        committed.head.decided
        if committed and committed.head.incarnation == record.incarnation
        else 0,
        prepared.epoch - 1 if prepared else 0,
    )
