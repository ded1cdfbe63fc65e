"""One run: a scenario's world put together, driven to its end, and judged.

    result = run(load_scenario(path), seed=7)

Everything happens on one agenda, all chance comes from one seed, and every node hosts the machines of
``turnout.protocol``. Read this file for what there is, ``agent_node.py`` and ``replica_node.py`` for
what a node does, ``injector.py`` for what befalls it, ``judging/`` for what must hold.
"""

from __future__ import annotations

import gc
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from attrs import evolve

from simulator import matrices
from simulator.agent_node import AgentNode
from simulator.clocks import NodeClock
from simulator.director import Director, Stage
from simulator.disk import Disk, DiskKnobs
from simulator.domain import Domain
from simulator.etcd.client import EtcdClient
from simulator.etcd.cluster import EtcdCluster
from simulator.etcd.knobs import EtcdKnobs
from simulator.etcd.ledger import Committed
from simulator.founder import Founder
from simulator.injector import Injector, Parts
from simulator.judging.judge import Judge
from simulator.judging.story import Storyteller
from simulator.judging.summing_up import summed_up
from simulator.moving import Moments, Whereabouts
from simulator.network import Network
from simulator.network_knobs import NetworkKnobs
from simulator.operators import Operators
from simulator.population import Node, Role
from simulator.process import NodeName, Process
from simulator.proxy import Proxy
from simulator.proxy_knobs import ProxyKnobs
from simulator.randomness import Randomness
from simulator.replica_node import ReplicaNode
from simulator.results import Finding, RunResult, Verdict
from simulator.scenario import Scenario
from simulator.trace import Trace
from simulator.users import MILLION, UserKnobs, Users
from simulator.virtual_time import Agenda
from simulator.world import World
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.identifiers import AgentId, Epoch, Region, ReplicaId
from turnout.protocol.records import Mode

WRITE_TIMEOUT_NS = 5 * SECOND
"""After so long a coordinator closes a stream whose other end acknowledges nothing: its server's write
timeout (``turnout.runtime.http.limits``), which it also sets as TCP_USER_TIMEOUT."""

UPTIME_NS = 1000 * SECOND
"""No two hosts were started at one moment: their monotonic clocks differ by up to so much."""

RARELY = 1_000_000
"""So many more objects are made than freed before Python looks for cycles: a run makes millions, of
which few outlive their event, and hardly any in a cycle."""


def run(
    scenario: Scenario,
    *,
    seed: int | None = None,
    keep_story: bool = True,
    listener: Callable[[str], None] | None = None,
) -> RunResult:
    """Run a scenario to its end, and judge it.

    Args:
        seed: another one than the scenario's.
        keep_story: whether all is kept that is drawn; it changes nothing of what happens.
        listener: is told each line of the trace.
    """
    began_ns, thresholds = time.perf_counter_ns(), gc.get_threshold()
    simulation = Simulation(scenario, seed=seed, keep_story=keep_story)
    simulation.trace.listener = listener
    broke_down = ""
    try:
        gc.set_threshold(RARELY, *thresholds[1:])
        simulation.go(scenario.duration_ns)
    except Exception as error:  # noqa: BLE001 - whatever a machine or a model raises is a finding
        broke_down = f"{type(error).__name__}: {error} (at {_place(error)})"
    finally:
        gc.set_threshold(*thresholds)
    wall_ns = time.perf_counter_ns() - began_ns
    return simulation.result(wall_ns=wall_ns, broke_down=broke_down)


def _place(error: Exception) -> str:
    """Where an error was raised: file and line."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown place"


class Simulation:
    """A world, and those who look on."""

    def __init__(
        self, scenario: Scenario, *, seed: int | None = None, keep_story: bool = True
    ) -> None:
        self.scenario = scenario
        self.agenda = Agenda()
        self.randomness = Randomness(scenario.seed if seed is None else seed)
        self.timing = scenario.timing.timing()
        matrix = matrices.load(scenario.topology.matrix)
        self.nodes = scenario.topology.nodes(matrix.regions)
        self.network = Network(self.agenda, self.randomness, matrix, _network_knobs(scenario))
        self.processes: dict[NodeName, Process] = {}
        for node in self.nodes:
            self._start_host(node)
        regions = [node.region for node in self.nodes if node.role is Role.AGENT]
        self.domain = Domain(regions, scenario.topology.services, self.timing.budget_ns)
        self.users = Users(self.agenda, self.randomness, _user_knobs(scenario))
        self.trace = Trace(self.agenda)
        self.cluster = EtcdCluster(
            self.agenda,
            self.randomness,
            self.network,
            [self.processes[node.name] for node in self._of(Role.ETCD)],
            _etcd_knobs(scenario),
            self._committed,
        )
        story = Storyteller(self.agenda, keeps=keep_story)
        self.judge = Judge(self.agenda, self.users, self.cluster.items, story, self.trace)
        self.etcd_led_from: dict[Epoch, Region] = {}
        self.replicas: dict[NodeName, ReplicaNode] = {}
        self.agents: dict[NodeName, AgentNode] = {}
        self._people()
        self._put_together()
        self._begin()

    def _committed(self, committed: Committed) -> None:
        self.judge.committed(committed)

    def _accepted(self, epoch: Epoch) -> None:
        """The store took an intent: whoever led etcd just then has it written."""
        leader = self.cluster.leader
        if leader is not None:
            self.etcd_led_from[epoch] = leader.region
        self.moments.accepted(epoch)

    def _of(self, role: Role) -> list[Node]:
        return [node for node in self.nodes if node.role is role]

    def _start_host(self, node: Node) -> None:
        """A host with clocks of its own, and a process on it."""
        clocks, chance = self.scenario.clocks, self.randomness.stream(f"clocks of {node.name}")
        bound_ns = round(clocks.bound_ms * MS)
        clock = NodeClock(
            offset_ns=chance.randrange(UPTIME_NS),
            ppm=chance.randint(-clocks.drift_ppm, clocks.drift_ppm),
            wall_error_ns=chance.randint(-bound_ns, bound_ns),
            bound_ns=bound_ns if clocks.claimed else None,
        )
        process = Process(node.name, node.region, clock, self.agenda)
        self.processes[node.name] = process
        self.network.join(process)

    def _people(self) -> None:
        """Whoever is timed and aimed: operators and faults."""
        self.whereabouts = Whereabouts(self.nodes, lambda: self.replicas, lambda: self.cluster)
        self.moments = Moments(self.agenda, self.whereabouts)
        self.judge.cluster = self.cluster

    def _put_together(self) -> None:
        scenario = self.scenario
        members = {member.process.name: member for member in self.cluster.members}
        self.injector = Injector(
            Parts(
                agenda=self.agenda,
                randomness=self.randomness,
                network=self.network,
                cluster=self.cluster,
                judge=self.judge,
                replays=self.judge.replays,
                moments=self.moments,
                whereabouts=self.whereabouts,
                processes=self.processes,
                agents=self.agents,
                replicas=self.replicas,
                members=members,
                services=scenario.topology.services,
            )
        )
        self.world = World(
            agenda=self.agenda,
            randomness=self.randomness,
            network=self.network,
            timing=self.timing,
            trace=self.trace,
            domain=self.domain.signer,
            observer=self.judge,
            faults=self.injector,
            doors={},
        )
        for node in self._of(Role.COORDINATOR):
            self._add_replica(node)
        for node in self._of(Role.AGENT):
            self._add_agent(node)
        (operator,) = self._of(Role.OPERATOR)
        person = self.processes[operator.name]
        operators = Operators(person, self._by_url(), self.world)
        founder = Founder(
            person,
            EtcdClient(person, self.cluster, self.network, self.randomness),
            {name: replica.process for name, replica in self.replicas.items()},
            self.world,
            lambda: self.judge.highest,
        )
        self.director = Director(
            Stage(
                agenda=self.agenda,
                domain=self.domain,
                operators=operators,
                moments=self.moments,
                whereabouts=self.whereabouts,
                hurts=self.injector.inject,
                founder=founder,
                replicas=self.replicas,
                newest=lambda: self.judge.newest,
                activation=Mode(scenario.timing.activation),
            )
        )

    def _by_url(self) -> dict[str, ReplicaNode]:
        return {replica.url: replica for replica in self.replicas.values()}

    def _add_replica(self, node: Node) -> None:
        process = self.processes[node.name]
        client = EtcdClient(process, self.cluster, self.network, self.randomness)
        name = ReplicaId(node.name.removeprefix(f"{Role.COORDINATOR} ").replace("/", "-"))
        replica = ReplicaNode(name, process, client, self.world)
        self.network.admit(process, self.timing.handshakes_per_s)
        self.network.give_up(process, WRITE_TIMEOUT_NS)
        self.replicas[node.name] = replica
        self.world.doors[replica.url] = replica.door
        process.on_death.append(lambda: self.judge.replica_died(replica))
        process.on_stop.append(lambda: self.judge.replica_stopped(replica))

    def _add_agent(self, node: Node) -> None:
        process = self.processes[node.name]
        agent = AgentId(node.name.removeprefix(f"{Role.AGENT} "))
        disk = Disk(process, self.randomness, _disk_knobs(self.scenario))
        proxy = Proxy(
            agent, process, self.randomness, self.users, disk.table, _proxy_knobs(self.scenario)
        )
        made = AgentNode(agent, process, disk, proxy, self.world)
        self.agents[node.name] = made
        process.on_stop.append(lambda: self.judge.chronicle.stopped(agent))
        proxy.on_flip.append(lambda _proxy, active, _ns: self.judge.flipped(agent, active))
        proxy.on_flip.append(lambda _proxy, active, _ns: self.injector.flipped(made, active.epoch))
        proxy.on_restart.append(lambda _proxy, active, _ns: self.judge.restarted(agent, active))

    def _begin(self) -> None:
        """Everything stands as after a power cut, and starts."""
        scenario = self.scenario
        enrolled = {}
        for node in self.agents.values():
            journal_id = f"journal of {node.agent}"
            enrolled[node.agent] = (node.process.region, node.signer.public_key, journal_id)
            node.disk.install(self.domain.record(journal_id), (self.domain.table,))
            node.proxy.install(self.domain.active, self.domain.table.table)
        self.cluster.preload(self.domain.items(enrolled))
        self.judge.begin({node.agent: node for node in self.agents.values()})
        self.judge.accepted = self._accepted
        self.judge.decided = self.injector.decided
        kinds = {str(fault.kind) for fault in scenario.faults}
        self.judge.replays.listens = "replay" in kinds
        self.judge.keeps_backups = "etcd-restore" in kinds
        for replica in self.replicas.values():
            replica.boot()
        for agent in self.agents.values():
            agent.boot()
        for operation in scenario.operations:
            self.director.arrange(operation)
        for fault in scenario.faults:
            self.injector.arrange(fault)
        core = scenario.core
        if core is not None:
            names = self.whereabouts.of(core.node)
            self.agenda.at(core.at_ns, lambda: self.injector.heal_core(names))

    def go(self, until_ns: int) -> None:
        """Let time pass until this moment."""
        self.agenda.run(until_ns)

    def result(self, *, wall_ns: int, broke_down: str = "") -> RunResult:
        """Judge the whole, and sum it up; one that broke down is unknown, for it was not seen to its end."""
        self.judge.witness.judge(whole=True)
        result = summed_up(self, wall_ns=wall_ns)
        if not broke_down:
            return result
        text = f"at {self.agenda.now_ns / SECOND:.6f} s: the run broke down: {broke_down}"
        finding = Finding(number="run", verdict=Verdict.UNKNOWN, violations=(text,))
        verdict = Verdict.INVALID if result.verdict is Verdict.INVALID else Verdict.UNKNOWN
        return evolve(result, verdict=verdict, findings=(*result.findings, finding))


def _network_knobs(scenario: Scenario) -> NetworkKnobs:
    network = scenario.network
    still = (
        NetworkKnobs() if network.jitter else NetworkKnobs(jitter_median_share=0, jitter_p99_ns=0)
    )
    return evolve(
        still,
        loss=network.loss,
        spikes=network.spikes,
        duplicate_share=network.duplicates,
        straggler_share=network.stragglers,
    )


def _etcd_knobs(scenario: Scenario) -> EtcdKnobs:
    etcd, timing = scenario.etcd, scenario.timing.timing()
    return EtcdKnobs(
        heartbeat_ns=round(etcd.heartbeat_ms * MS),
        election_ns=timing.election_ns,
        timeout_ns=timing.store_timeout_ns,
        fsync_ns=round(etcd.fsync_ms * MS),
        unheard=etcd.unheard,
        late=etcd.late,
    )


def _disk_knobs(scenario: Scenario) -> DiskKnobs:
    return DiskKnobs(sync_ns=round(scenario.disk.fsync_ms * MS))


def _proxy_knobs(scenario: Scenario) -> ProxyKnobs:
    proxy = scenario.proxy
    return ProxyKnobs(
        staging_ns=_span(proxy.staging_ms),
        flip_ns=_span(proxy.flip_ms),
        proof_ns=_span(proxy.probe_ms),
    )


def _span(middle_ms: float) -> tuple[int, int]:
    """Times around a middle: from half of it to half as much again."""
    middle_ns = round(middle_ms * MS)
    return middle_ns // 2, middle_ns + middle_ns // 2


def _user_knobs(scenario: Scenario) -> UserKnobs:
    users = scenario.users
    return UserKnobs(
        per_day=users.requests_per_day,
        long_per_million=round(users.long_share * MILLION),
        long_ns=round(users.long_s * SECOND),
        moves_per_million=users.movers,
    )
