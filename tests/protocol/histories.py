"""Random histories over the fabric: what may befall it, and what must hold when all is well again.

First anything happens, and safety is judged after each step. Then everything heals, time passes,
and liveness is judged: who is in doubt, who is behind, which switch has no outcome.
"""

from __future__ import annotations

from attrs import evolve, frozen
from hypothesis import strategies as st

from tests.protocol.fabric import Fabric
from tests.protocol.fabric_domains import after_a_power_cut, apply, rollback, switch
from tests.protocol.fabric_nodes import Edge, Replica
from tests.protocol.fabric_weather import CALM, Weather
from tests.protocol.nodes import Disk
from turnout.protocol import keys
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.codec import decode
from turnout.protocol.effects import Accepted
from turnout.protocol.events import (
    AbortRequested,
    ExcludeRequested,
    IncludeRequested,
    RemoveRequested,
    WaiveRequested,
)
from turnout.protocol.identifiers import AgentId, Epoch, Region, ReplicaId
from turnout.protocol.limits import MAX_TABLE_BYTES
from turnout.protocol.records import (
    Decision,
    Head,
    HistoryEntry,
    Intent,
    Mode,
    Outcome,
    OutcomeKind,
    Status,
    Verdict,
)
from turnout.protocol.routing import Colour, RoutingTable

ROUGH = Weather(
    delay_ns=(1 * MS, 400 * MS),
    drop=0.05,
    repeat=0.1,
    store_ns=(2 * MS, 300 * MS),
    unheard=0.08,
    belated=0.05,
    deafness=0.05,
    proxy_ns=(1 * MS, 600 * MS),
    zombie_ns=(0, 5 * SECOND),
)
STORM = Weather(
    delay_ns=(1 * MS, 2 * SECOND),
    drop=0.25,
    repeat=0.3,
    store_ns=(2 * MS, 2 * SECOND),
    unheard=0.2,
    belated=0.2,
    deafness=0.2,
    proxy_ns=(1 * MS, 2 * SECOND),
    zombie_ns=(0, 20 * SECOND),
)

LIMIT_NS = 60 * SECOND
"""By then all is well: a lease may have to run out, two takeovers to be made, T_prep to pass twice,
T_live to pass, and a proxy that refused is tried again after 5 s."""


@frozen
class Step:
    """One thing that befalls the cluster, after a pause."""

    pause_ms: int
    name: str
    number: int
    flag: bool


OPERATORS = ("switch", "switch", "switch", "rollback", "rollback", "undo", "abort", "apply")
FLEET = ("exclude", "include", "remove", "waive", "new-disk", "refuse", "hang", "obey")
AGENT_FAULTS = (
    "reboot", "doom-agent", "die-at-flip", "proxy-restart", "cut", "cut-up", "heal", "clock",
)  # fmt: skip
REPLICA_FAULTS = (
    "crash-replica", "doom-replica", "start-replicas", "elect", "cut-store", "join-store", "weather",
)  # fmt: skip
FAULTS = (*AGENT_FAULTS, *REPLICA_FAULTS)


def scripts(*kinds: tuple[str, ...]) -> st.SearchStrategy[list[Step]]:
    """Between a few and a few dozen things that happen."""
    names = [name for kind in kinds for name in kind]
    step = st.builds(
        Step,
        st.sampled_from([0, 3, 11, 27, 60, 150, 400, 1100, 2100, 5200]),
        st.sampled_from(names),
        st.integers(0, 5),
        st.booleans(),
    )
    return st.lists(step, min_size=3, max_size=25)


def tell(script: list[Step], seed: int, weather: Weather) -> Fabric:
    """Let it all happen; safety is judged on the way."""
    fabric = after_a_power_cut(seed)
    fabric.elect(ReplicaId("r0"))
    fabric.run_for(SECOND)
    fabric.weather = weather
    for number, step in enumerate(script):
        fabric.run_for(step.pause_ms * MS)
        _befall(fabric, step, number)
    fabric.run_for(SECOND)
    return fabric


def _befall(fabric: Fabric, step: Step, place: int) -> None:
    edge = list(fabric.edges.values())[step.number % 3]
    replica = list(fabric.replicas.values())[step.number % 2]
    if step.name in OPERATORS:
        _operate(fabric, step, f"key-{place}")
    elif step.name in FLEET:
        _change_fleet(fabric, step, edge)
    elif step.name in AGENT_FAULTS:
        _hurt_agent(fabric, step, edge)
    else:
        _hurt_replica(fabric, step, replica)


def _operate(fabric: Fabric, step: Step, key: str) -> None:
    mode = Mode.SCHEDULED if step.flag else Mode.IMMEDIATE
    newest = _head(fabric)
    match step.name:
        case "switch":
            fabric.request(switch(list(Colour)[step.number % 2], key, mode))
        case "rollback":
            fabric.request(rollback(key))
        case "undo":
            fabric.request(rollback(key, Epoch(max(1, newest.decided + 1 - step.number))))
        case "apply":
            fabric.request(apply(key, _another_table(step.number)))
        case _:
            epoch = Epoch(newest.decided + (1 if step.flag else 2))
            fabric.ask(key, lambda t: AbortRequested(ticket=t, epoch=epoch, actor="op"))


def _another_table(number: int) -> RoutingTable:
    table = apply("").table
    assert table is not None
    (service,) = table.services
    return RoutingTable(services=(evolve(service, drain_timeout_ms=1000 * number),))


def _change_fleet(fabric: Fabric, step: Step, edge: Edge) -> None:
    agent, region = edge.node.agent, Region("us" if step.flag else "eu")
    epoch = Epoch(_head(fabric).committed)
    match step.name:
        case "exclude":
            fabric.ask(
                f"exclude {region}",
                lambda t: ExcludeRequested(ticket=t, region=region, actor="op", reason="why"),
            )
        case "include":
            _include(fabric, region)
        case "remove":
            if step.number == 0:
                fabric.ask(
                    "remove a2", lambda t: RemoveRequested(ticket=t, agent=AgentId("a2"), actor="")
                )
        case "waive":
            fabric.ask(
                "waive",
                lambda t: WaiveRequested(
                    ticket=t, epoch=epoch, agent=agent, actor="op", reason="gone"
                ),
            )
        case "new-disk":
            disk = Disk(replaced=edge.node.disk.replaced + 1)
            fabric.kill(edge)
            edge.node = evolve(edge.node, disk=disk)
            fabric.boot(edge)
        case "refuse":
            edge.refuses = {"Activate"} if step.flag else {"Stage"}
        case "hang":
            edge.hangs = {"Activate"} if step.flag else {"Stage"}
        case _:
            _obey(fabric, edge)


def _include(fabric: Fabric, region: Region) -> None:
    fabric.ask(f"include {region}", lambda t: IncludeRequested(ticket=t, region=region, actor="op"))


def _obey(fabric: Fabric, edge: Edge) -> None:
    """A proxy that works again; one that hung is noticed by its agent's restart."""
    hung = bool(edge.hangs)
    edge.refuses, edge.hangs = set(), set()
    if hung or not edge.alive:
        fabric.boot(edge)


def _hurt_agent(fabric: Fabric, step: Step, edge: Edge) -> None:
    match step.name:
        case "reboot":
            fabric.boot(edge)
        case "proxy-restart":
            fabric.boot(edge, proxy_too=True)
        case "doom-agent":
            edge.dies_after = step.number % 4
        case "die-at-flip":
            edge.dies_at = "Activate"
        case "cut":
            fabric.cut(edge)
        case "cut-up":
            fabric.cut(edge, up=step.flag, down=not step.flag)
        case "heal":
            fabric.heal(edge)
        case _:
            edge.clock.error_ns += (step.number - 2) * 600 * SECOND


def _hurt_replica(fabric: Fabric, step: Step, replica: Replica) -> None:
    match step.name:
        case "crash-replica":
            fabric.crash(replica)
        case "doom-replica":
            replica.dies_after = step.number
        case "start-replicas":
            for other in fabric.replicas.values():
                fabric.start(other)
        case "elect":
            if replica.can_hold:
                fabric.elect(replica.name)
        case "cut-store":
            fabric.cut_store(replica)
        case "join-store":
            fabric.cut_store(replica, cut=False)
        case _:
            fabric.weather = (CALM, ROUGH, STORM)[step.number % 3]


# --- when all is well again ---------------------------------------------------------------------


def heal(fabric: Fabric) -> None:
    """From here on everything works, and operators take back what they took out."""
    fabric.weather = CALM
    for replica in fabric.replicas.values():
        replica.dies_after = None
        fabric.start(replica)
        fabric.cut_store(replica, cut=False)
    for edge in fabric.edges.values():
        fabric.heal(edge)
        edge.dies_after, edge.dies_at = None, ""
        _obey(fabric, edge)
    fabric.elect()


def ends_well(fabric: Fabric) -> None:
    """Judge what must hold a while after everything has healed."""
    heal(fabric)
    _settle(fabric)
    for region in ("eu", "us"):
        _include(fabric, Region(region))
    fabric.run_for(SECOND)
    _settle(fabric)
    assert not fabric.witness.fleet(fabric.store).standing
    _check_records(fabric)


def _settle(fabric: Fabric) -> None:
    end = fabric.now_ns + LIMIT_NS
    while complaints(fabric) and fabric.now_ns < end:
        fabric.run_for(SECOND)
    assert not complaints(fabric), complaints(fabric)


def complaints(fabric: Fabric) -> list[str]:
    """What liveness still misses."""
    found = [f"L1: {w.name} has no answer" for w in fabric.operators.wishes if w.answer is None]
    head, items = _head(fabric), fabric.store.items
    if not any(replica.leads for replica in fabric.replicas.values()):
        found.append("L2: nobody leads")
    if keys.intent(Epoch(head.decided + 1)) in items:
        found.append(f"L2: intent {head.decided + 1} has no decision")
    for ruling in fabric.store.rulings:
        epoch = ruling.decision.epoch
        if ruling.decision.verdict is Verdict.COMMIT and keys.outcome(epoch) not in items:
            found.append(f"L1: epoch {epoch} has no outcome")
    fleet = fabric.witness.fleet(fabric.store)
    for agent, edge in fabric.edges.items():
        if agent not in fleet.agents:
            continue
        prepared = edge.node.disk.record.prepared
        if prepared is not None and prepared.epoch <= head.decided:
            found.append(f"L2: {agent} is in doubt about epoch {prepared.epoch}")
        excluded = fleet.status(agent) is Status.EXCLUDED
        if not excluded and edge.node.serving.epoch != head.committed:
            found.append(f"L3: {agent} serves {edge.node.serving.epoch}, not {head.committed}")
        if fleet.status(agent) is Status.STALE:
            found.append(f"L3: {agent} is stale: {fleet.standing[agent].reason}")
    return found


def _head(fabric: Fabric) -> Head:
    return decode(fabric.store.items[keys.HEAD].value, Head, limit=MAX_TABLE_BYTES)


def _check_records(fabric: Fabric) -> None:
    """The records tell one story: no gap, a whole chain, an outcome that fits each decision."""
    items = fabric.store.items
    decisions = {r.decision.epoch: r.decision for r in fabric.store.rulings}
    assert sorted(decisions) == list(range(1, _head(fabric).decided + 1))
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
            assert wish.answer.epoch <= _head(fabric).decided


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
