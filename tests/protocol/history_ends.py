"""How a random history ends: a core heals, then everything does, and all that was recorded is judged.

A *core* is a store, a replica that can hold the leader key, and some agents, each able to reach the
others (DESIGN.md section 6). What is not in it stays as broken as it was, while L2 and L3 are
judged for the core; then the rest heals, a last switch is asked for, and L1 is judged too.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve

from simulator.judging.course import Core, course_of
from tests.protocol.fabric import Fabric
from tests.protocol.fabric_domains import switch
from tests.protocol.fabric_nodes import Edge, Replica
from tests.protocol.fabric_weather import CALM
from tests.protocol.histories import head_of, include, obey
from turnout.protocol import keys
from turnout.protocol.clock import SECOND
from turnout.protocol.codec import decode
from turnout.protocol.effects import Accepted
from turnout.protocol.events import Deposed
from turnout.protocol.identifiers import NO_EPOCH, Epoch, Region
from turnout.protocol.invariants import Course, Violation, judge_course
from turnout.protocol.limits import MAX_TABLE_BYTES
from turnout.protocol.records import (
    Decision,
    HistoryEntry,
    Intent,
    Outcome,
    OutcomeKind,
    Status,
    Verdict,
)
from turnout.protocol.routing import Colour

JITTER_NS = 10
"""The fabric's timers ring to the nanosecond; some of its arithmetic rounds, less than a simulation's."""

LIMIT_NS = 60 * SECOND
"""By then everything has come to rest, whatever was asked meanwhile; each thing's own limit is in
the invariants."""


def ends_well(fabric: Fabric) -> Course:
    """Let a core heal, then everything, and judge what must hold; returns all that was recorded.

    Raises:
        AssertionError: an invariant is broken on the way, or something never came to rest.
    """
    judge_history(fabric, _heal_a_core(fabric))
    core = _heal_everything(fabric)
    _settle(fabric, core)
    for region in ("eu", "us"):
        include(fabric, Region(region))
    fabric.run_for(SECOND)
    _settle(fabric, core)
    wish = fabric.request(switch(_other_colour(fabric), "the last one"))
    _settle(fabric, core)
    assert isinstance(wish.answer, Accepted), wish.answer
    course = judge_history(fabric, core)
    assert course.switches
    assert not fabric.witness.fleet.standing
    _check_records(fabric)
    return course


# --- healing ------------------------------------------------------------------------------------


def _heal_a_core(fabric: Fabric) -> Core:
    """Let some agents and at least one replica reach each other; the rest stays as it is."""
    fabric.weather = CALM
    chance = fabric.random
    replicas = [r for r in fabric.replicas.values() if chance.random() < 0.5]
    if not replicas and not any(r.can_hold for r in fabric.replicas.values()):
        replicas = [chance.choice(list(fabric.replicas.values()))]
    for edge in fabric.edges.values():
        if chance.random() < 0.7:
            _heal_edge(fabric, edge)
    _heal_replicas(fabric, replicas)
    agents = [agent for agent, edge in fabric.edges.items() if _is_well(edge)]
    core = Core(agents=agents, healed_ns=fabric.now_ns, is_whole=False)
    _settle(fabric, core)
    return core


def _heal_everything(fabric: Fabric) -> Core:
    """From here on everything works."""
    for edge in fabric.edges.values():
        _heal_edge(fabric, edge)
        edge.grow_quiet()
    _heal_replicas(fabric, fabric.replicas.values())
    return Core(agents=tuple(fabric.edges), healed_ns=fabric.now_ns, is_whole=True)


def _heal_edge(fabric: Fabric, edge: Edge) -> None:
    fabric.heal(edge)
    edge.dies_after, edge.dies_at = None, ""
    obey(fabric, edge)


def _heal_replicas(fabric: Fabric, replicas: Iterable[Replica]) -> None:
    """They reach the store; and whoever lost the key learns it, as a lease time would teach it."""
    for replica in replicas:
        fabric.start(replica)
        fabric.cut_store(replica, cut=False)
    for replica in fabric.replicas.values():
        replica.dies_after = None
    fabric.elect()
    for replica in fabric.replicas.values():
        if replica.alive and replica.replica != fabric.holder:
            fabric.tell_replica(replica, Deposed(reason="the lease ran out"))


def _is_well(edge: Edge) -> bool:
    is_cut = edge.cut_up or edge.cut_down
    is_doomed = edge.dies_after is not None or edge.dies_at
    return edge.alive and not (is_cut or is_doomed or edge.refuses or edge.hangs)


# --- judging ------------------------------------------------------------------------------------


def judge_history(fabric: Fabric, core: Core) -> Course:
    """Judge S1-S7 once more, and S8-S11 and L1-L3 over all that was recorded.

    Raises:
        AssertionError: one is broken; it begins with the number.
    """
    fabric.witness.judge(whole=True)
    recorded = course_of(fabric.chronicle, core, fabric.timing, fabric.now_ns)
    course = evolve(recorded, jitter_ns=JITTER_NS, requests=tuple(fabric.proxies.requests))
    found = judge_course(course)
    assert not found, _told(found)
    return course


def _told(found: Iterable[Violation]) -> str:
    return "; ".join(f"{violation.number}: {violation.text}" for violation in found)


def _settle(fabric: Fabric, core: Core) -> None:
    """Let time pass until nothing is under way in the core."""
    end = fabric.now_ns + LIMIT_NS
    while complaints(fabric, core) and fabric.now_ns < end:
        fabric.run_for(SECOND)
    judge_history(fabric, core)
    assert not complaints(fabric, core), complaints(fabric, core)


def complaints(fabric: Fabric, core: Core) -> list[str]:
    """What is still under way in the core, or in the whole."""
    found = []
    leaders = [replica for replica in fabric.replicas.values() if replica.leads]
    if not leaders:
        found.append("nobody leads")
    if any(leader.state.unfinished for leader in leaders):
        found.append("a leader does not know of an outcome")
    head, items = head_of(fabric), fabric.store.items
    if keys.intent(Epoch(head.decided + 1)) in items:
        found.append(f"intent {head.decided + 1} has no decision")
    for epoch, chronicled in fabric.chronicle.of_now():
        if chronicled.is_commit and keys.outcome(epoch) not in items:
            found.append(f"epoch {epoch} has no outcome")
    fleet = fabric.witness.fleet
    for agent in core.agents:
        status = fleet.status(agent) if agent in fleet.agents else Status.EXCLUDED
        edge = fabric.edges[agent]
        prepared = edge.record.prepared
        if status is Status.EXCLUDED:
            continue
        if prepared is not None and prepared.epoch <= head.decided:
            found.append(f"{agent} is in doubt about epoch {prepared.epoch}")
        if edge.serving.epoch != head.committed:
            found.append(f"{agent} serves {edge.serving.epoch}, not {head.committed}")
        if status is Status.STALE:
            found.append(f"{agent} is stale: {fleet.standing[agent].reason}")
    if core.is_whole:
        wishes = fabric.operators.wishes
        found += [f"{w.name} has no answer" for w in wishes if w.answer is None]
    return found


def _other_colour(fabric: Fabric) -> Colour:
    (service,) = fabric.chronicle.tables[head_of(fabric).digest].services
    return Colour.BLUE if service.active is Colour.GREEN else Colour.GREEN


# --- records ------------------------------------------------------------------------------------


def _check_records(fabric: Fabric) -> None:
    """The records tell one story: no gap, a whole chain, an outcome that fits each decision."""
    items, founded = fabric.store.items, fabric.witness.founded
    decisions = {r.decision.epoch: r.decision for r in fabric.witness.rulings_of_now()}
    first = founded.epoch if founded else NO_EPOCH
    assert sorted(decisions) == list(range(first + 1, head_of(fabric).decided + 1))
    previous = None
    for epoch, decision in sorted(decisions.items()):
        raw = items[keys.history(epoch, "decided")].value
        entry = decode(raw, HistoryEntry, limit=MAX_TABLE_BYTES)
        assert decision.head.history == entry.digest()
        assert previous is None or entry.previous == previous
        previous = entry.digest()
        _check_outcome(fabric, decision)
    for wish in fabric.operators.wishes:
        if isinstance(wish.answer, Accepted):
            assert wish.answer.epoch <= head_of(fabric).decided


def _check_outcome(fabric: Fabric, decision: Decision) -> None:
    items = fabric.store.items
    stored = items.get(keys.outcome(decision.epoch))
    intent = items.get(keys.intent(decision.epoch))
    if stored is None:
        assert intent is None, "an abort without intent has no outcome, and every other one has"
        return
    outcome = decode(stored.value, Outcome, limit=MAX_TABLE_BYTES)
    aborted = decision.verdict is Verdict.ABORT
    assert (outcome.outcome is OutcomeKind.ABORTED) == aborted
    assert intent is not None
    asked = decode(intent.value, Intent, limit=MAX_TABLE_BYTES)
    assert asked.digest == decision.digest
    if decision.absent:
        assert outcome.outcome is not OutcomeKind.LIVE
