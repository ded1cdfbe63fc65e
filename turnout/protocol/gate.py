"""The coordinator's fencing gate: every vote and report passes it before any other rule.

What it keeps out: whoever is not enrolled, whoever is not who they say (S10), another incarnation,
a vote of another term, epoch or digest (H11: only votes given in the deciding term count), and
one under a journal id that is not the registered one: the promise behind it may be lost (H13).
A report passes with another journal id or incarnation, since it is how the leader learns of them.
"""

from __future__ import annotations

import enum

from turnout.protocol.coordinator_state import CoordinatorState, Role
from turnout.protocol.messages import Report, Up, Vote
from turnout.protocol.records import AgentEntry, Head
from turnout.protocol.signing import Verifier, is_signed_by


class Suspicion(enum.StrEnum):
    """Why a message is not taken; nothing but the last has any effect."""

    STRANGER = "stranger"
    SIGNATURE = "signature"
    INCARNATION = "incarnation"
    TERM = "term"
    NOT_ASKED = "not-asked"
    JOURNAL = "journal"
    STORE_WENT_BACK = "store-went-back"


def admit_from_agent(
    message: Up, state: CoordinatorState, verifier: Verifier, domain_key: str
) -> Suspicion | None:
    """Return why the message is refused, or None."""
    entry = state.fleet.agents.get(message.agent)
    if entry is None:
        return Suspicion.STRANGER
    if not verifier.verify(entry.public_key, message.payload, message.signature):
        return Suspicion.SIGNATURE
    if isinstance(message, Vote):
        return _admit_vote(message, state, entry)
    return _admit_report(message, state, verifier, domain_key)


def _admit_vote(vote: Vote, state: CoordinatorState, entry: AgentEntry) -> Suspicion | None:
    if vote.incarnation != state.known_incarnation:
        return Suspicion.INCARNATION
    if vote.term != state.term:
        return Suspicion.TERM
    attempt = state.attempt
    if attempt is None or not attempt.asks(vote.agent):
        return Suspicion.NOT_ASKED
    if (vote.epoch, vote.digest) != (attempt.epoch, attempt.intent.digest):
        return Suspicion.NOT_ASKED
    if vote.journal_id != entry.journal_id:
        return Suspicion.JOURNAL
    return None


def _admit_report(
    report: Report, state: CoordinatorState, verifier: Verifier, domain_key: str
) -> Suspicion | None:
    """A report of a commit that the store does not know, with the decision's signature, is proof (S11).

    Without the signature it is one agent's word, by which nobody may freeze a domain (P6).
    """
    proof = report.committed
    if state.role is not Role.LEADING or proof is None or state.head is None:
        return None
    if not _is_unknown(proof, state, state.head) or proof.incarnation != state.known_incarnation:
        return None
    if is_signed_by(proof, domain_key, verifier):
        return Suspicion.STORE_WENT_BACK
    return Suspicion.SIGNATURE


def _is_unknown(proof: Head, state: CoordinatorState, head: Head) -> bool:
    return head.contradicts(proof) or proof.term > state.term
