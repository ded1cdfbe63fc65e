"""A new leader's first reads and writes (DESIGN.md section 5, "New leader").

Decisions first: what is decided reaches the agents with the head. An intent without a decision is
prepared again under this leader's own term. Without an intent the next number is aborted before
anything else is done, since a prepare may be out under it: so no number ever has two digests, and
every doubt gets an answer (H3). The fleet is heard first, since the store may have gone back (S11).
A leader that finds no head creates it and aborts nothing.
"""

from __future__ import annotations

from attrs import evolve

from turnout.protocol import keys
from turnout.protocol.codec import decode
from turnout.protocol.coordinator_state import (
    Attempt,
    CoordinatorState,
    Fleet,
    Following,
    Role,
    Turn,
)
from turnout.protocol.effects import StepDown
from turnout.protocol.frozenmap import FrozenMap
from turnout.protocol.identifiers import AgentId, Digest, Epoch
from turnout.protocol.landing import follow
from turnout.protocol.limits import MAX_TABLE_BYTES
from turnout.protocol.records import (
    AgentEntry,
    Decision,
    Head,
    IncarnationRecord,
    Intent,
    Outcome,
    RequestRecord,
    SignedTable,
    Standing,
    Status,
    Verdict,
    digest_of_ids,
)
from turnout.protocol.releasing import release_when_drained
from turnout.protocol.signing import is_signed_by, signed
from turnout.protocol.storing import (
    CREATE_HEAD,
    DECIDE,
    DETAILS,
    REQUIRED,
    TAKEOVER,
    is_led_by_us,
    read,
    transact,
)
from turnout.protocol.switching import PREPARE_TIMER, abort, history_entry, prepare
from turnout.protocol.telling import SYNC_TIMER, tell_everyone
from turnout.protocol.transactions import Snapshot
from turnout.protocol.transitions import SwitchInput, SwitchPhase, advance_switch
from turnout.protocol.wire import unpack_table
from turnout.protocol.writes import create_head, decide

ANOTHER_LEADS = "another replica holds the leader key"

ALONE = "no agent reaches this replica: another one may be reached"


def begin(turn: Turn) -> None:
    """Read what there is, and again where no answer came; only who is connected is known before."""
    state = turn.state
    turn.state = CoordinatorState(
        role=Role.TAKING_OVER, term=state.term, reports=state.reports, connected=state.connected
    )
    read(
        turn,
        TAKEOVER,
        keys.LEADER,
        keys.INCARNATION,
        keys.HEAD,
        keys.STANDING,
        prefixes=(keys.AGENTS, keys.REQUESTS),
        listed=(keys.FOLLOWING,),
    )


def took_stock(turn: Turn, snapshot: Snapshot) -> None:
    """The first read's answer: the domain, its head and its fleet."""
    if not is_led_by_us(turn, snapshot):
        depose(turn, ANOTHER_LEADS)
        return
    stored = snapshot.get(keys.INCARNATION)
    if stored is None:
        halt(turn, "the store holds no domain here: run `turnout domain init` first")
        return
    incarnation = decode(stored.value, IncarnationRecord, limit=MAX_TABLE_BYTES)
    if not is_signed_by(incarnation, turn.config.signer.public_key, turn.config.verifier):
        halt(turn, "the domain's incarnation is signed by another key than this replica's")
        return
    requests = {
        item.key.removeprefix(keys.REQUESTS): decode(
            item.value, RequestRecord, limit=MAX_TABLE_BYTES
        )
        for item in snapshot.below(keys.REQUESTS)
    }
    turn.change(incarnation=incarnation, fleet=fleet_of(snapshot), requests=FrozenMap(requests))
    stored_head = snapshot.get(keys.HEAD)
    if stored_head is None:
        first = Epoch(incarnation.first_epoch - 1)
        head = signed(Head(incarnation=incarnation.incarnation, decided=first), turn.config.signer)
        turn.change(head=head)
        transact(turn, CREATE_HEAD, create_head(turn.reign, head))
        return
    turn.change(head=decode(stored_head.value, Head, limit=MAX_TABLE_BYTES))
    _read_details(turn, snapshot)


def created_head(turn: Turn, revision: int) -> None:
    """The first head is in the store; there is no number to use up."""
    turn.change(fleet=evolve(turn.state.fleet, revision=revision))
    lead(turn)


def fleet_of(snapshot: Snapshot) -> Fleet:
    """The fleet as a snapshot of ``standing`` and ``agents/`` shows it."""
    agents = {}
    for item in snapshot.below(keys.AGENTS):
        entry = decode(item.value, AgentEntry, limit=MAX_TABLE_BYTES)
        agents[entry.agent] = entry
    stored = snapshot.get(keys.STANDING)
    if stored is None:
        return Fleet(agents=FrozenMap(agents))
    standing = decode(stored.value, Standing, limit=MAX_TABLE_BYTES)
    return Fleet(
        revision=stored.mod_revision,
        agents=FrozenMap(agents),
        standing=FrozenMap({entry.agent: entry for entry in standing.entries}),
    )


def _read_details(turn: Turn, snapshot: Snapshot) -> None:
    """Read the open intent, the head's table and the one before, and the commits that are not over."""
    head = turn.head
    followed = [_epoch_of(item.key) for item in snapshot.below(keys.FOLLOWING)]
    wanted = [keys.intent(Epoch(head.decided + 1)), keys.decision(head.decided)]
    wanted += [keys.table(d) for d in (head.digest, head.base) if d]
    for epoch in followed:
        wanted += [keys.intent(epoch), keys.decision(epoch), keys.outcome(epoch)]
    waivers = tuple(keys.waiver(epoch, "") for epoch in followed)
    read(turn, DETAILS, *dict.fromkeys(wanted), prefixes=waivers)


def _epoch_of(key: str) -> Epoch:
    return Epoch(int(key.rpartition("/")[2]))


def got_details(turn: Turn, snapshot: Snapshot) -> None:
    """The second read's answer: go on with an intent, or use its number up."""
    tables: dict[Digest, SignedTable] = {}
    for item in snapshot.below(keys.TABLES):
        held = unpack_table(item.value)
        tables[held.digest] = held
    library = {}
    for item in snapshot.below(keys.DECISIONS):
        decision = decode(item.value, Decision, limit=MAX_TABLE_BYTES)
        library[decision.epoch] = decision
    turn.change(tables=FrozenMap(tables), library=FrozenMap(library))
    _follow_on(turn, snapshot, library)
    stored = snapshot.get(keys.intent(Epoch(turn.head.decided + 1)))
    if stored is None:
        turn.change(doubtful=True)
        turn.arm(PREPARE_TIMER, turn.config.timing.prepare_timeout_ns)
        lead(turn)
        burn_if_heard(turn)
        return
    intent = decode(stored.value, Intent, limit=MAX_TABLE_BYTES)
    turn.change(continuing=intent)
    _read_required(turn, intent, at=stored.create_revision)


def _read_required(turn: Turn, intent: Intent, at: int) -> None:
    table = keys.table(intent.digest)
    read(turn, REQUIRED, keys.STANDING, table, prefixes=(keys.AGENTS,), at=at)


def required_gone(turn: Turn) -> None:
    """The intent's revision cannot be read any more: the fleet as it is now may still be the same.

    While an intent is open nobody becomes good, so the digest tells whether anybody was marked.
    """
    assert turn.state.continuing is not None
    _read_required(turn, turn.state.continuing, at=0)


def _follow_on(turn: Turn, snapshot: Snapshot, library: dict[Epoch, Decision]) -> None:
    """Take up the committed epochs that are not over; T_live starts anew."""
    for epoch, decision in sorted(library.items()):
        stored = snapshot.get(keys.intent(epoch))
        is_old = decision.head.incarnation != turn.head.incarnation
        if decision.verdict is Verdict.ABORT or stored is None or is_old:
            continue
        intent = decode(stored.value, Intent, limit=MAX_TABLE_BYTES)
        ended = snapshot.get(keys.outcome(epoch))
        outcome = decode(ended.value, Outcome, limit=MAX_TABLE_BYTES) if ended else None
        phase = SwitchPhase.COMMITTED
        if outcome is not None:
            phase = advance_switch(phase, SwitchInput.TIME_OVER)
        following = Following(
            intent=intent,
            decision=decision,
            required=_still_required(turn, decision),
            phase=phase,
            outcome=outcome,
            waived=_waived(snapshot, epoch),
            taken_over=True,
        )
        turn.change(following=turn.state.following.put(epoch, following))


def _waived(snapshot: Snapshot, epoch: Epoch) -> tuple[AgentId, ...]:
    prefix = keys.waiver(epoch, "")
    return tuple(AgentId(item.key.removeprefix(prefix)) for item in snapshot.below(prefix))


def _still_required(turn: Turn, decision: Decision) -> tuple[AgentId, ...]:
    """Whom a commit still waits for: an open outcome keeps the fleet's good as they were asked.

    Between an intent and its outcome an agent can only leave good standing, and whoever does is
    named a laggard anyway; nobody joins that was not asked, except by having reported the commit.
    """
    return tuple(a for a in turn.state.fleet.good if a not in decision.absent)


def got_required(turn: Turn, snapshot: Snapshot) -> None:
    """The fleet at the intent's own revision: prepare again under this leader's own term.

    Where the required set cannot be computed again as it was frozen, the number is aborted:
    nobody could say any more whose yes a commit would need.
    """
    assert turn.state.continuing is not None
    attempt = _attempt_of(snapshot, turn.state.continuing)
    turn.change(attempt=attempt, continuing=None)
    table = attempt.table
    turn.change(tables=turn.state.tables.put(table.digest, table))
    lead(turn)
    required = attempt.intent.required
    if (required.count, required.digest) != (
        len(attempt.required),
        digest_of_ids(attempt.required),
    ):
        abort(turn, "the required set cannot be computed again as the intent froze it")
        return
    prepare(turn)


def _attempt_of(snapshot: Snapshot, intent: Intent) -> Attempt:
    packed = snapshot.get(keys.table(intent.digest))
    fleet = fleet_of(snapshot)
    assert packed is not None, "the accept transaction requires its table"
    return Attempt(
        intent=intent,
        body=intent.request.body_digest(),
        table=unpack_table(packed.value),
        stored=True,
        required=fleet.good,
        accepted_at_ns=intent.requested_at_ns,
    )


def burn_if_heard(turn: Turn) -> None:
    """Use the number up as soon as every good agent has reported to this leader; see :func:`burn`."""
    state = turn.state
    if state.doubtful and all(agent in state.connected for agent in state.fleet.good):
        burn(turn)


def burn(turn: Turn) -> None:
    """Write the abort of a number that has no intent, after T_prep at the latest.

    Not at once: 1. The store is restored from a backup, and has lost the commit of 7. 2. A new
    leader finds no intent for 7. 3. Before any agent could show it the signed commit, it writes the
    abort of 7 (S2, S11).
    """
    if turn.state.burning is not None or turn.state.proof is not None:
        return
    turn.disarm(PREPARE_TIMER)
    head = turn.head
    epoch = Epoch(head.decided + 1)
    reason = "no intent at takeover: the number is used up"
    entry = history_entry(turn, epoch, "decided", f"abort: {reason}")
    after = evolve(head, decided=epoch, history=entry.digest(), signature="")
    decision = Decision(
        epoch=epoch,
        verdict=Verdict.ABORT,
        head=signed(after, turn.config.signer),
        term=turn.state.term,
        replica=turn.config.replica,
        reason=reason,
        decided_at_ns=turn.now.clock_ns,
    )
    turn.change(burning=decision)
    transaction = decide(
        turn.reign,
        before=head,
        decision=decision,
        intent=None,
        standing=None,
        outcome=None,
        request=None,
        history=entry,
    )
    transact(turn, DECIDE, transaction, epoch)


def burnt(turn: Turn) -> None:
    """The abort is in the store: every doubt about that number has its answer."""
    decision = turn.state.burning
    assert decision is not None
    library = turn.state.library.put(decision.epoch, decision)
    turn.change(burning=None, doubtful=False, head=decision.head, library=library)
    tell_everyone(turn)
    release_when_drained(turn)


def lead(turn: Turn) -> None:
    """The takeover is done: announce the head and take requests."""
    turn.change(role=Role.LEADING)
    turn.arm(SYNC_TIMER, turn.config.timing.sync_interval_ns)
    tell_everyone(turn)
    newest = turn.state.newest
    if newest is not None:
        follow(turn, newest)
    release_when_drained(turn)


def halt(turn: Turn, reason: str) -> None:
    """Decide nothing any more, and say why."""
    state = turn.state
    turn.state = CoordinatorState(
        role=Role.HALTED, term=state.term, incarnation=state.incarnation, trouble=reason
    )


def hand_over_if_alone(turn: Turn, *, was_unanswered: bool = False) -> None:
    """Let another replica lead if no agent is left here, and one waits for what a leader would tell.

    Or (``was_unanswered``) if nobody at all has answered what was prepared. A leader that somebody has
    told of the newest commit was reached, and is not given up because all streams broke for once.

    1. A leader is cut off from all agents, and not from the store: it keeps its lease. 2. What it
    decided last stays in doubt everywhere (L2, L3), and every later switch is aborted, for good. Another
    replica may be reached. If none is, no harm is done: whoever leads without ever having had a stream
    stays, so a fleet that is down does not drive the lead in circles.
    """
    state = turn.state
    busy = state.attempt is not None or state.burning is not None or state.unfinished is not None
    if state.role is not Role.LEADING or busy or state.connected:
        return
    is_behind = bool(state.fleet.with_status(Status.STALE)) and not any(
        report.committed_epoch >= turn.head.committed for report in state.reports.values()
    )
    if was_unanswered or is_behind:
        depose(turn, ALONE)


def depose(turn: Turn, reason: str) -> None:
    """This replica leads no more: forget everything and close the agents' streams."""
    turn.state = CoordinatorState(trouble=reason)
    turn.ask(StepDown(reason=reason))
