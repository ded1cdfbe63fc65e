"""The keys of a domain in the store, relative to ``/turnout/<domain>/`` (DESIGN.md section 4)."""

from __future__ import annotations

from turnout.protocol.identifiers import AgentId, Digest, Epoch, Term

INCARNATION = "incarnation"
LEADER = "leader"
"""One fixed key, put if absent, on a lease: absent means that nobody's guard holds (H25)."""

HEAD = "head"
STANDING = "standing"
"""One record for all agents that are not good; its mod-revision is the ``fleet`` revision."""

AGENTS = "agents/"
INTENTS = "intents/"
DECISIONS = "decisions/"
OUTCOMES = "outcomes/"
RELEASED = "released/"
FOLLOWING = "following/"
"""Named by the commits that are not over: a new leader takes up these, however long the past is."""

TABLES = "tables/"
REQUESTS = "requests/"
HISTORY = "history/"

REFUSED = "refused"
"""The kind of a refused attempt's history entry."""


def _number(epoch: Epoch) -> str:
    return f"{epoch:012d}"  # so that the store's key order is the epochs' order


def intent(epoch: Epoch) -> str:
    """Key of an epoch's intent."""
    return INTENTS + _number(epoch)


def decision(epoch: Epoch) -> str:
    """Key of an epoch's decision."""
    return DECISIONS + _number(epoch)


def outcome(epoch: Epoch) -> str:
    """Key of an epoch's outcome."""
    return OUTCOMES + _number(epoch)


def released(epoch: Epoch) -> str:
    """Key of an epoch's release."""
    return RELEASED + _number(epoch)


def following(epoch: Epoch) -> str:
    """Key that stands from an epoch's commit until its source is released, or a later epoch's business."""
    return FOLLOWING + _number(epoch)


def table(digest: Digest) -> str:
    """Key of a table."""
    return TABLES + digest


def agent(agent_id: AgentId) -> str:
    """Key of an enrolled agent."""
    return AGENTS + agent_id


def request(key: str) -> str:
    """Key of an idempotency key."""
    return REQUESTS + key


def waiver(epoch: Epoch, agent_id: str) -> str:
    """Key of the history entry that waives an agent; with ``""``, what all of an epoch's begin with."""
    return history(epoch, f"waived-{agent_id}")


def refusal(epoch: Epoch, term: Term, number: int) -> str:
    """Key of a refused attempt's entry; ``number`` is its own within the term."""
    return history(epoch, f"{REFUSED}-{term}-{number}")


def history(epoch: Epoch, kind: str) -> str:
    """Key of a history entry; ``kind`` is unique within its epoch."""
    return f"{HISTORY}{_number(epoch)}/{kind}"


def plain_kind(kind: str) -> str:
    """A history entry's kind as people know it, without what makes it unique within its epoch."""
    return kind.partition("-")[0]
