"""Who is in the fleet, and in which standing. Changes wait while an intent is open (H6, P3).

An agent becomes good only by its own report, under its journal id, of exactly head's committed
epoch and digest, in a transaction that is guarded by that head and by no intent being open: so
between the report and the mark nothing can be committed that it was not asked about.
"""

from __future__ import annotations

from attrs import evolve

from turnout.protocol.coordinator_state import Fleet, FleetChange, Role, Turn, standing_record
from turnout.protocol.effects import Done, Refused, Reply
from turnout.protocol.events import (
    CoordinatorEvent,
    EnrolRequested,
    ExcludeRequested,
    IncludeRequested,
    RemoveRequested,
    WaiveRequested,
)
from turnout.protocol.identifiers import NAME_RULE, AgentId, Epoch, Region, is_name
from turnout.protocol.limits import MAX_AGENTS_PER_TRANSACTION, MAX_TEXT
from turnout.protocol.messages import Report
from turnout.protocol.records import AgentEntry, HistoryEntry, Status
from turnout.protocol.storing import FLEET, NOTE, transact, writes_standing
from turnout.protocol.switching import history_entry
from turnout.protocol.writes import change_fleet, mark_stale, note

PUBLIC_KEY_BYTES = 32
"""An Ed25519 public key (RFC 8032)."""


def is_free(turn: Turn) -> bool:
    """Whether the fleet may be changed now: leading, no intent open, no other change under way.

    An accept waits for that too: it is guarded by the standing that its required set is of.
    """
    state = turn.state
    settled = state.role is Role.LEADING and not state.doubtful
    return settled and state.attempt is None and not writes_standing(turn)


def enrol(turn: Turn, event: EnrolRequested) -> None:
    """Enrol an agent: stale until it reports head's committed epoch."""
    fleet = turn.state.fleet
    for name in (event.agent, event.region):
        if not is_name(name):
            _refuse(turn, event.ticket, "malformed-request", f"'{name}': a name has {NAME_RULE}")
            return
    if not _is_public_key(event.public_key):
        text = f"the public key must be {2 * PUBLIC_KEY_BYTES} hex digits (turnout agent keygen)"
        _refuse(turn, event.ticket, "malformed-request", text)
        return
    known = fleet.agents.get(event.agent)
    if known is not None:
        if (known.region, known.public_key) == (event.region, event.public_key):
            turn.ask(Reply(ticket=event.ticket, answer=Done(text=f"{event.agent} is enrolled")))
            return
        text = f"'{event.agent}' is enrolled with another key or region: remove it first"
        _refuse(turn, event.ticket, "agent-exists", text)
        return
    entry = AgentEntry(agent=event.agent, region=event.region, public_key=event.public_key)
    in_excluded = event.region in fleet.excluded_regions
    status = Status.EXCLUDED if in_excluded else Status.STALE
    reason = f"{event.region} is excluded" if in_excluded else "new: has not reported yet"
    after = evolve(
        fleet,
        agents=fleet.agents.put(event.agent, entry),
        standing=fleet.marked((event.agent,), status, reason),
    )
    text = f"enrolled {event.agent} in {event.region}"
    _change(turn, "enrol", after, event, text, entries=(entry,))


def remove(turn: Turn, event: RemoveRequested) -> None:
    """Take an agent out of the fleet."""
    fleet = turn.state.fleet
    if event.agent not in fleet.agents:
        text = f"there is no agent '{event.agent}'"
        _refuse(turn, event.ticket, "unknown-agent", text)
        return
    after = evolve(
        fleet,
        agents=fleet.agents.drop(event.agent),
        standing=fleet.standing.drop(event.agent),
    )
    _change(turn, "remove", after, event, f"removed {event.agent}", removed=(event.agent,))


def exclude(turn: Turn, event: ExcludeRequested) -> None:
    """Exclude every agent of a region, with a reason, until it is included."""
    agents = _in_region(turn, event.ticket, event.region)
    if not agents:
        return
    if not _has_reason(turn, event.ticket, event.reason, f"{event.region} is excluded"):
        return
    fleet = turn.state.fleet
    after = evolve(fleet, standing=fleet.marked(agents, Status.EXCLUDED, event.reason))
    text = f"excluded {event.region}: {event.reason}"
    _change(turn, "exclude", after, event, text)


def include(turn: Turn, event: IncludeRequested) -> None:
    """Include a region again: its agents become stale, and good by their own reports."""
    agents = _in_region(turn, event.ticket, event.region)
    if not agents:
        return
    fleet = turn.state.fleet
    excluded = tuple(a for a in agents if fleet.status(a) is Status.EXCLUDED)
    if not excluded:
        text = f"{event.region} is not excluded"
        turn.ask(Reply(ticket=event.ticket, answer=Done(text=text)))
        return
    after = evolve(fleet, standing=fleet.marked(excluded, Status.STALE, "included again"))
    _change(turn, "include", after, event, f"included {event.region}")


def waive(turn: Turn, event: WaiveRequested) -> None:
    """Count an agent's drain of an epoch's source as ended, on an operator's word.

    Its history entry is the waiver: the next leader reads it there.
    """
    if event.epoch not in turn.state.following or event.agent not in turn.state.fleet.agents:
        text = f"epoch {event.epoch} does not wait for '{event.agent}'"
        _refuse(turn, event.ticket, "unknown-agent", text)
        return
    if not _has_reason(turn, event.ticket, event.reason, f"{event.agent} is waived"):
        return
    turn.change(waiving=(*turn.state.waiving, event))
    if len(turn.state.waiving) == 1:
        _write_waiver(turn)


def waived(turn: Turn) -> None:
    """The first waiver is in the store: it counts, and so it does where it was there before."""
    event, *rest = turn.state.waiving
    turn.change(waiving=tuple(rest))
    following = turn.state.following.get(event.epoch)
    if following is not None and event.agent not in following.waived:
        updated = evolve(following, waived=(*following.waived, event.agent))
        turn.change(following=turn.state.following.put(event.epoch, updated))
    turn.ask(Reply(ticket=event.ticket, answer=Done(text=_waiver_text(event))))
    _write_waiver(turn)


def _write_waiver(turn: Turn) -> None:
    """Write the first waiver that waits; one that counts already needs no second entry."""
    if not turn.state.waiving:
        return
    event = turn.state.waiving[0]
    following = turn.state.following.get(event.epoch)
    if following is None or event.agent in following.waived:
        waived(turn)
        return
    entry = _entry(turn, event, f"waived-{event.agent}", _waiver_text(event), epoch=event.epoch)
    transact(turn, NOTE, note(turn.reign, history=entry), event.epoch)


def _waiver_text(event: WaiveRequested) -> str:
    return f"waived {event.agent} for epoch {event.epoch}"


def make_good(turn: Turn) -> None:
    """Make good every stale agent whose report allows it, many in one transaction."""
    fleet = turn.state.fleet
    if not fleet.standing or not is_free(turn):
        return
    ready = tuple(a for a in fleet.with_status(Status.STALE) if _is_current(turn, a))
    ready = ready[:MAX_AGENTS_PER_TRANSACTION]
    if not ready:
        return
    entries = []
    agents = fleet.agents
    replaced = []
    for agent in ready:
        before, journal_id = agents[agent].journal_id, turn.state.reports[agent].journal_id
        if before != journal_id:
            agents = agents.put(agent, evolve(agents[agent], journal_id=journal_id))
            entries.append(agents[agent])
            replaced += [f"{agent} has journal {journal_id} in place of {before}"] if before else []
    after = evolve(fleet, agents=agents, standing=fleet.marked(ready, Status.GOOD, ""))
    text = "; ".join([f"good: {', '.join(ready)}", *replaced])[:MAX_TEXT]
    _change(turn, "good", after, None, text, entries=tuple(entries))


def _is_current(turn: Turn, agent: AgentId) -> bool:
    """Whether the agent is connected and reports head's committed epoch and digest, in force."""
    report = turn.state.reports.get(agent)
    if report is None or agent not in turn.state.connected:
        return False
    head = turn.head
    if report.active.epoch > 0 and report.active.incarnation != head.incarnation.number:
        return False
    return (
        report.incarnation == turn.state.known_incarnation
        and (report.committed_epoch, report.committed_digest) == (head.committed, head.digest)
        and (report.active.epoch, report.active.digest) == (head.committed, head.digest)
        and (head.committed == 0 or report.live_at_ns is not None)
    )


def mark_fallen(turn: Turn, report: Report) -> None:
    """Mark a good agent stale whose report shows that it lost its journal, or a commit."""
    fleet = turn.state.fleet
    entry = fleet.agents[report.agent]
    if fleet.status(report.agent) is not Status.GOOD:
        return
    if entry.journal_id != report.journal_id:
        reason = (
            f"its journal is another one, {report.journal_id}, not {entry.journal_id}: it must catch "
            "up before it votes"
        )
    elif report.committed_epoch < turn.head.committed and turn.state.unfinished is None:
        reason = f"its journal ends at epoch {report.committed_epoch}"
    else:
        return
    if not is_free(turn):
        return
    after = evolve(fleet, standing=fleet.marked((report.agent,), Status.STALE, reason))
    text = f"stale: {report.agent}: {reason}"
    turn.change(fleet_change=FleetChange(fleet=after, text=text))
    entry_ = _entry(turn, None, f"stale-{turn.fleet_guard}", text)
    standing = standing_record(after.standing)
    transact(
        turn,
        FLEET,
        mark_stale(turn.reign, standing=standing, fleet=turn.fleet_guard, history=entry_),
    )


def changed(turn: Turn, revision: int) -> None:
    """The fleet's change is in the store, at this revision.

    Of an agent that was removed nothing is kept: whoever is enrolled under its name next, with
    another key, is known by its own reports only.
    """
    change = turn.state.fleet_change
    assert change is not None
    turn.change(fleet=evolve(change.fleet, revision=revision), fleet_change=None)
    for agent in [a for a in turn.state.reports if a not in change.fleet.agents]:
        reports, connected = turn.state.reports.drop(agent), turn.state.connected.drop(agent)
        turn.change(reports=reports, connected=connected)
    if change.ticket is not None:
        turn.ask(Reply(ticket=change.ticket, answer=Done(text=change.text)))


def _change(
    turn: Turn,
    name: str,
    after: Fleet,
    event: CoordinatorEvent | None,
    text: str,
    *,
    entries: tuple[AgentEntry, ...] = (),
    removed: tuple[AgentId, ...] = (),
) -> None:
    ticket = getattr(event, "ticket", None)
    turn.change(fleet_change=FleetChange(fleet=after, text=text, ticket=ticket))
    transaction = change_fleet(
        turn.reign,
        name=name,
        head=turn.head,
        standing=standing_record(after.standing),
        fleet=turn.fleet_guard,
        entries=entries,
        removed=removed,
        history=_entry(turn, event, f"{name}-{turn.fleet_guard}", text),
    )
    transact(turn, FLEET, transaction)


def _entry(
    turn: Turn, event: CoordinatorEvent | None, kind: str, text: str, epoch: Epoch | None = None
) -> HistoryEntry:
    """A history entry of head's epoch; the fleet revision makes its kind unique there."""
    entry = history_entry(turn, turn.head.decided if epoch is None else epoch, kind, text)
    if event is None:
        return entry
    return evolve(
        entry,
        actor=getattr(event, "actor", entry.actor),
        reason=getattr(event, "reason", ""),
    )


def _has_reason(turn: Turn, ticket: int, reason: str, what: str) -> bool:
    if not reason.strip():
        _refuse(turn, ticket, "reason-required", f"say why {what} (--reason)")
    elif len(reason) > MAX_TEXT:
        _refuse(turn, ticket, "malformed-request", f"reason is longer than {MAX_TEXT} characters")
    else:
        return True
    return False


def _in_region(turn: Turn, ticket: int, region: Region) -> tuple[AgentId, ...]:
    fleet = turn.state.fleet
    agents = tuple(a for a in sorted(fleet.agents) if fleet.agents[a].region == region)
    if not agents:
        known = ", ".join(sorted({e.region for e in fleet.agents.values()})) or "none"
        text = f"no agent is enrolled in a region '{region}'; known: {known}"
        _refuse(turn, ticket, "unknown-region", text)
    return agents


def _refuse(turn: Turn, ticket: int, code: str, text: str) -> None:
    turn.ask(Reply(ticket=ticket, answer=Refused(code=code, text=text[:MAX_TEXT])))


def _is_public_key(text: str) -> bool:
    try:
        return len(bytes.fromhex(text)) == PUBLIC_KEY_BYTES and text == text.lower()
    except ValueError:
        return False
