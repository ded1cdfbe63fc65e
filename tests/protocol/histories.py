"""Random histories over the fabric: what may befall it.

First anything happens, and S1-S7 are judged at each change (``simulator/judging``). How it ends,
and how S8-S11 and L1-L3 are judged, is in ``history_ends.py``.
"""

from __future__ import annotations

import os
import random

from attrs import evolve, frozen
from hypothesis import settings
from hypothesis import strategies as st

from simulator.explore.nodes import Disk
from tests.protocol.fabric import Fabric
from tests.protocol.fabric_domains import after_a_power_cut, apply, enrol, rollback, switch
from tests.protocol.fabric_nodes import Edge, Replica
from tests.protocol.fabric_weather import CALM, Weather
from turnout.protocol import keys
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.codec import decode
from turnout.protocol.events import (
    AbortRequested,
    ExcludeRequested,
    IncludeRequested,
    RemoveRequested,
    WaiveRequested,
)
from turnout.protocol.identifiers import NO_EPOCH, AgentId, Epoch, Region, ReplicaId
from turnout.protocol.limits import DRIFT_PPM, MAX_TABLE_BYTES
from turnout.protocol.records import (
    Head,
    Mode,
)
from turnout.protocol.routing import AfterDrain, Colour, RoutingTable

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
BREEZE = Weather(
    delay_ns=(5 * MS, 120 * MS),
    drop=0.05,
    repeat=0.1,
    store_ns=(2 * MS, 60 * MS),
    unheard=0.05,
    belated=0.02,
    proxy_ns=(1 * MS, 100 * MS),
    zombie_ns=(0, 5 * SECOND),
)
"""Round trips that a common instant can be kept over, and messages that come late for it."""
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


@frozen
class Step:
    """One thing that befalls the cluster, after a pause."""

    pause_ms: int
    name: str
    number: int
    flag: bool


OPERATORS = ("switch", "switch", "switch", "rollback", "rollback", "undo", "abort", "apply")
FLEET = ("exclude", "include", "remove", "enrol", "waive", "new-disk", "refuse", "hang", "obey")
AGENT_FAULTS = (
    "reboot", "doom-agent", "die-at-flip", "proxy-restart", "cut", "cut-up", "heal", "clock",
    "busy", "quiet",
)  # fmt: skip
REPLICA_FAULTS = (
    "crash-replica", "doom-replica", "start-replicas", "elect", "cut-store", "join-store", "weather",
    "leader-clock",
)  # fmt: skip
INTRUSIONS = ("replay-to-agent", "replay-to-replica", "forge-to-agent", "forge-to-replica")
FAULTS = (*AGENT_FAULTS, *REPLICA_FAULTS, *INTRUSIONS)


PAUSES_MS = (0, 3, 11, 27, 60, 150, 400, 1100, 2100, 5200)


def examples(count: int) -> settings:
    """So many examples a run; ``TURNOUT_THOROUGH`` times as many in ``make histories``."""
    return settings(max_examples=count * int(os.environ.get("TURNOUT_THOROUGH", "1")))


def scripts(*kinds: tuple[str, ...], most: int = 25) -> st.SearchStrategy[list[Step]]:
    """Between a few and a few dozen things that happen."""
    names = [name for kind in kinds for name in kind]
    step = st.builds(
        Step, st.sampled_from(PAUSES_MS), st.sampled_from(names), st.integers(0, 5), st.booleans()
    )
    return st.lists(step, min_size=3, max_size=most)


def drawn_script(chance: random.Random, *kinds: tuple[str, ...], most: int = 25) -> list[Step]:
    """One such script by a seed alone: the same on every machine, and nothing is shrunk."""
    names = [name for kind in kinds for name in kind]
    return [
        Step(
            chance.choice(PAUSES_MS),
            chance.choice(names),
            chance.randint(0, 5),
            chance.random() < 0.5,
        )
        for _ in range(chance.randint(3, most))
    ]


def tell(script: list[Step], seed: int, weather: Weather) -> Fabric:
    """Let it all happen; safety is judged on the way."""
    fabric = after_a_power_cut(seed)
    set_clocks(fabric)
    fabric.elect(ReplicaId("r0"))
    fabric.run_for(SECOND)
    fabric.weather = weather
    go_through(fabric, script)
    return fabric


def go_through(fabric: Fabric, script: list[Step], *, first: int = 0) -> None:
    """Let these things befall a fabric, one after another."""
    for number, step in enumerate(script, start=first):
        fabric.run_for(step.pause_ms * MS)
        _befall(fabric, step, number)
    fabric.run_for(SECOND)


def set_clocks(fabric: Fabric) -> None:
    """Every clock runs at a rate of its own; some hosts say how well their wall clock is set."""
    half = DRIFT_PPM // 2
    clocks = [edge.clock for edge in fabric.edges.values()]
    clocks += [replica.clock for replica in fabric.replicas.values()]
    for clock in clocks:
        clock.ppm = fabric.random.randint(-half, half)
        if fabric.random.random() < 0.5:
            clock.bound_ns = 10 * MS


def _befall(fabric: Fabric, step: Step, place: int) -> None:
    edge = list(fabric.edges.values())[step.number % 3]
    replica = list(fabric.replicas.values())[step.number % 2]
    if step.name in OPERATORS:
        _operate(fabric, step, f"key-{place}")
    elif step.name in FLEET:
        _change_fleet(fabric, step, edge)
    elif step.name in AGENT_FAULTS:
        _hurt_agent(fabric, step, edge)
    elif step.name in INTRUSIONS:
        _intrude(fabric, step, edge if step.name.endswith("agent") else replica)
    else:
        _hurt_replica(fabric, step, replica)


def _operate(fabric: Fabric, step: Step, key: str) -> None:
    mode = Mode.SCHEDULED if step.flag else Mode.IMMEDIATE
    newest = head_of(fabric)
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
    changed = evolve(
        service,
        drain_timeout_ms=1000 * number,
        retain_ms=500 * number,
        after_drain=AfterDrain.CLOSE if number % 2 else AfterDrain.KEEP,
    )
    return RoutingTable(services=(changed,))


def _change_fleet(fabric: Fabric, step: Step, edge: Edge) -> None:
    agent, region = edge.agent, Region("us" if step.flag else "eu")
    epoch = Epoch(head_of(fabric).committed)
    match step.name:
        case "exclude":
            fabric.ask(
                f"exclude {region}",
                lambda t: ExcludeRequested(ticket=t, region=region, actor="op", reason="why"),
            )
        case "include":
            include(fabric, region)
        case "remove":
            if step.number < 2:
                fabric.ask(
                    "remove a2", lambda t: RemoveRequested(ticket=t, agent=AgentId("a2"), actor="")
                )
        case "enrol":
            enrol(fabric, AgentId("a2"))
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
            # A yes that was lost with its disk while the commit was on its way was durable; no flip
            # that was asked for is still to come.
            fabric.witness.robbed.add(agent)
            fabric.witness.ghosts[agent].committed = NO_EPOCH
            edge.node = evolve(edge.node, disk=disk)
            fabric.boot(edge)
        case "refuse":
            edge.refuses = {"Activate"} if step.flag else {"Stage"}
        case "hang":
            edge.hangs = {"Activate"} if step.flag else {"Stage"}
        case _:
            obey(fabric, edge)


def include(fabric: Fabric, region: Region) -> None:
    fabric.ask(f"include {region}", lambda t: IncludeRequested(ticket=t, region=region, actor="op"))


def obey(fabric: Fabric, edge: Edge) -> None:
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
        case "busy":
            edge.in_flight = step.number + 1
        case "quiet":
            edge.grow_quiet()
        case _:
            unit = 15 * MS if step.flag else 600 * SECOND
            edge.clock.error_ns += (step.number - 2) * unit


def _intrude(fabric: Fabric, step: Step, node: Edge | Replica) -> None:
    if step.name.startswith("replay"):
        fabric.intruder.replay(node)
    else:
        fabric.intruder.forge(node, step.number)


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
                fabric.elect(replica.replica)
        case "cut-store":
            fabric.cut_store(replica)
        case "join-store":
            fabric.cut_store(replica, cut=False)
        case "leader-clock":
            replica.clock.error_ns += (step.number - 2) * 300 * MS
        case _:
            fabric.weather = (CALM, BREEZE, ROUGH, STORM)[step.number % 4]


def head_of(fabric: Fabric) -> Head:
    """The head as the store has it."""
    return decode(fabric.store.items[keys.HEAD].value, Head, limit=MAX_TABLE_BYTES)
