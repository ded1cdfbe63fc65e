"""Which agent is told what. Level-triggered: repeated at every interval, and harmless when repeated.

An excluded agent is told of no epoch above the newest one it voted yes for (H12, P9): enough to
end its doubt, too little to make it follow the fleet before it is included again.
"""

from __future__ import annotations

from collections.abc import Iterable

from turnout.protocol.coordinator_state import Attempt, Role, Turn
from turnout.protocol.effects import Tell
from turnout.protocol.identifiers import AgentId, Epoch
from turnout.protocol.messages import Prepare, Rebase, Report, Sync
from turnout.protocol.records import Head, SignedTable, Status

SYNC_TIMER = "sync"


def tell_everyone(turn: Turn) -> None:
    """Tell every connected agent the head, and repeat the prepare to who has not answered.

    All who may know the head and speak of this incarnation are told in one go.
    """
    followers: list[AgentId] = []
    others: list[AgentId] = []
    excluded = turn.state.fleet.with_status(Status.EXCLUDED)
    known, reports = turn.state.known_incarnation, turn.state.reports
    for agent in turn.state.connected:
        report = reports.get(agent)
        is_of_now = report is None or report.incarnation == known
        (followers if is_of_now and agent not in excluded else others).append(agent)
    _tell(turn, followers, sync(turn, turn.head))
    for agent in others:
        tell_head(turn, agent)
    if turn.state.attempt is not None:
        tell_prepare(turn, turn.state.attempt, turn.state.attempt.silent)


def tell_head(turn: Turn, agent: AgentId) -> None:
    """Bring one agent up: the head it may know, with the table if it lacks it."""
    if agent not in turn.state.connected or turn.state.role is not Role.LEADING:
        return
    report = turn.state.reports.get(agent)
    incarnation = turn.state.incarnation
    if report is not None and incarnation and report.incarnation != incarnation.incarnation:
        turn.ask(Tell(agents=(agent,), message=Rebase(record=incarnation)))
        return
    head = head_for(turn, agent)
    table = None
    if head is not None and _lacks_table(report, head):
        table = turn.state.tables.get(head.digest)
    _tell(turn, [agent], sync(turn, head, table))


def _lacks_table(report: Report | None, head: Head) -> bool:
    return (
        report is not None
        and report.committed_epoch < head.committed
        and head.digest not in report.tables
    )


def head_for(turn: Turn, agent: AgentId) -> Head | None:
    """The newest head that this agent may know; None where it may know none."""
    if turn.state.fleet.status(agent) is not Status.EXCLUDED:
        return turn.head
    report = turn.state.reports.get(agent)
    if report is None or report.prepared is None:
        return None
    return head_as_of(turn, report.prepared.epoch)


def head_as_of(turn: Turn, epoch: Epoch) -> Head | None:
    """The head that the decision about an epoch made; None if that is not in memory."""
    if turn.head.decided == epoch:
        return turn.head
    decision = turn.state.library.get(epoch)
    return decision.head if decision else None


def tell_prepare(turn: Turn, attempt: Attempt, agents: Iterable[AgentId]) -> None:
    """Ask these agents, if connected, for their vote; with the table where they lack it."""
    connected = [a for a in agents if a in turn.state.connected]
    lacking: list[AgentId] = []
    having: list[AgentId] = []
    for agent in connected:
        report = turn.state.reports.get(agent)
        has = report is not None and attempt.intent.digest in report.tables
        (having if has else lacking).append(agent)
    _tell(turn, having, _prepare(turn, attempt, None))
    _tell(turn, lacking, _prepare(turn, attempt, attempt.table))


def sync(turn: Turn, head: Head | None, table: SignedTable | None = None) -> Sync:
    """The message that carries a head."""
    assert turn.state.incarnation is not None
    return Sync(
        incarnation=turn.state.incarnation.incarnation,
        term=turn.state.term,
        replica=turn.config.replica,
        head=head,
        table=table,
    )


def _prepare(turn: Turn, attempt: Attempt, table: SignedTable | None) -> Prepare:
    intent = attempt.intent
    return Prepare(
        incarnation=intent.incarnation,
        term=turn.state.term,
        replica=turn.config.replica,
        head=turn.head,
        epoch=intent.epoch,
        digest=intent.digest,
        kind=intent.request.kind,
        table=table,
    )


def _tell(turn: Turn, agents: Iterable[AgentId], message: Prepare | Sync) -> None:
    addressees = tuple(agents)
    if addressees:
        turn.ask(Tell(agents=addressees, message=message))
