"""A coordinator, its etcd and a fleet of agents over real HTTP, for measuring what agents cost it.

The agents are whole but for disk and proxy (``agent_host.py``), in processes of their own. Measured is
the leader's process alone: its CPU time from the request until the outcome is in etcd, its memory, and
etcd's revisions.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import click
import trio
from attrs import define, field, frozen

from bench.agent_host import signer_of
from bench.workplace import cpu_ns
from coordinator.config import CoordinatorSettings, load_settings
from turnout.cli.api_client import Api, Patience
from turnout.dev.programs import TURNOUT, Program
from turnout.protocol import keys
from turnout.protocol.codec import converter
from turnout.protocol.identifiers import Epoch, Region, ServiceName
from turnout.protocol.routing import (
    Backends,
    Colour,
    Health,
    RegionBackends,
    RoutingTable,
    Service,
    Weights,
)
from turnout.protocol.transactions import Range
from turnout.runtime.domain_setup import init_domain
from turnout.runtime.etcd_server import EtcdCluster, running_etcd
from turnout.runtime.key_file import make_key
from turnout.runtime.ports import free_ports
from turnout.runtime.store.etcd import EtcdStore

_SERVICE = "checkout"
_REGIONS = ("eu", "us", "ap", "sa")
_AGENTS_A_HOST = 250
_POLL_S = 0.25
_CONNECT_TIMEOUT_S = 300.0
_SWITCH_TIMEOUT_S = 120.0
_SETTLE_S = 3.0
_IDLE_S = 10.0
_PATIENCE = Patience(away_s=60.0, leaderless_s=60.0)

_COORDINATOR = """\
replica = "c0"
domain = "bench"
domain_key = "domain.key"
listen = "127.0.0.1:{port}"

[etcd]
endpoints = {endpoints}

[timing]
# All agents share a core or two with the leader here: they may take their time.
prepare_timeout_s = {patience_s}
live_timeout_s = {patience_s}
store_write_s = 2
budget_s = 1000
streams_per_replica = {agents}
handshakes_per_s = 1000
# What goes on anyway is measured by itself, and kept away from the switches.
sync_interval_s = 10
silence_s = 60

[log]
json_lines = true
"""


@frozen(kw_only=True)
class Cost:
    """One switch: the leader's CPU until the outcome, and from there until all was drained.

    Attributes:
        cpu_ns, drain_cpu_ns: above what the leader uses idle; ``gross_cpu_ns`` with it.
        etcd_writes: revisions until the outcome.
    """

    cpu_ns: float
    gross_cpu_ns: float
    drain_cpu_ns: float
    etcd_writes: int
    elapsed_s: float
    known_s: float


@frozen(kw_only=True)
class Lap:
    """CPU time of a while: with, and without, what a process uses in such a time anyway."""

    gross_ns: float
    net_ns: float


class Meter:
    """CPU time of a process, from lap to lap."""

    def __init__(self, pid: int, idle: float) -> None:
        """``idle``: what it uses when nothing is asked of it, in CPU seconds a second."""
        self._pid, self._idle = pid, idle
        self._cpu_ns, self._time = cpu_ns(pid), trio.current_time()

    def lap(self) -> Lap:
        """What was used since the last lap, or since it was made."""
        used_ns, now = cpu_ns(self._pid), trio.current_time()
        gross_ns, spent_s = float(used_ns - self._cpu_ns), now - self._time
        self._cpu_ns, self._time = used_ns, now
        return Lap(gross_ns=gross_ns, net_ns=gross_ns - self._idle * spent_s * 1e9)


@define(kw_only=True)
class Site:
    """One coordinator, its etcd, and agents in ever more processes."""

    folder: Path
    leader: Program
    store: EtcdStore
    api: Api
    url: str
    domain_key: str
    agents: int = 0
    idle: float = 0.0
    hosts: list[Program] = field(factory=list)

    async def add_agents(self, count: int) -> None:
        """Enrols agents, a host's at a time, and waits until all that there are, are good."""
        _say(f"enrolling {count} agents, and waiting until they are good")
        for first in range(0, count, _AGENTS_A_HOST):
            await self._add_host(min(_AGENTS_A_HOST, count - first))

    async def _add_host(self, count: int) -> None:
        numbers = range(self.agents, self.agents + count)
        region_of = {f"a{number:04d}": _REGIONS[number % len(_REGIONS)] for number in numbers}
        for name, region in region_of.items():
            body = {"agent": name, "region": region, "public_key": signer_of(name).public_key}
            await self.api.post("/v1/agents", body)
        self._start_host(region_of)
        self.agents += count
        with trio.fail_after(_CONNECT_TIMEOUT_S):
            while (await self.api.get("/v1/status"))["fleet"]["good"] < self.agents:  # noqa: ASYNC110 - it is another process that changes
                await trio.sleep(_POLL_S)

    def _start_host(self, region_of: dict[str, str]) -> None:
        order = self.folder / f"order-{next(iter(region_of))}.json"
        document = {
            "coordinators": [self.url],
            "domain_key": self.domain_key,
            "agents": region_of,
        }
        order.write_text(json.dumps(document), encoding="utf-8")
        command = [sys.executable, "-m", "bench.agent_host", str(order)]
        host = Program(order.stem, command, order.with_suffix(".log"))
        host.start()
        self.hosts.append(host)

    async def apply_table(self) -> None:
        """Puts the first table in force."""
        reply = await self.api.post("/v1/tables", {"table": converter.unstructure(_table())})
        await self._outcome(Epoch(reply.body["epoch"]))
        await self._drained(Epoch(reply.body["epoch"]))

    async def switch(self, to: Colour) -> Cost:
        """Switches, and measures what it cost the leader."""
        revision, meter = await self._revision(), Meter(self.leader.pid, self.idle)
        reply = await self.api.post("/v1/switches", {"service": _SERVICE, "to": to.value})
        epoch = Epoch(reply.body["epoch"])
        await self._outcome(epoch)
        until_outcome, writes = meter.lap(), await self._revision() - revision
        await self._drained(epoch)
        until_drained = meter.lap()
        document = await self.api.switch(epoch)
        if document["outcome"] != "live":
            raise click.ClickException(f"epoch {epoch}: {document['outcome']}, not live")
        _say(f"epoch {epoch}: live after {document['elapsed_s']:.2f} s")
        return Cost(
            cpu_ns=until_outcome.net_ns,
            gross_cpu_ns=until_outcome.gross_ns,
            drain_cpu_ns=until_drained.net_ns,
            etcd_writes=writes,
            elapsed_s=document["elapsed_s"],
            known_s=document["known_s"],
        )

    async def measure_idle(self) -> None:
        """Finds out what the leader uses anyway, once the agents have measured their clocks."""
        await trio.sleep(_SETTLE_S)
        meter = Meter(self.leader.pid, idle=0.0)
        await trio.sleep(_IDLE_S)
        self.idle = meter.lap().gross_ns / 1e9 / _IDLE_S

    async def _revision(self) -> int:
        return (await self.store.read(Range(keys.HEAD))).revision

    async def _outcome(self, epoch: Epoch) -> None:
        """Waits for the outcome in etcd itself, which costs the leader nothing.

        Watched, not asked for every now and then: what comes after it is the drain's cost.
        """
        key = keys.outcome(epoch)
        with trio.fail_after(_SWITCH_TIMEOUT_S):
            snapshot = await self.store.read(Range(key))
            if snapshot.get(key) is not None:
                return
            async with self.store.watch(key, from_revision=snapshot.revision + 1) as changes:
                await anext(aiter(changes))

    async def _drained(self, epoch: Epoch) -> None:
        with trio.fail_after(_SWITCH_TIMEOUT_S):
            while (await self.api.switch(epoch))["phase"] not in ("retained", "released"):  # noqa: ASYNC110 - it is another process that changes
                await trio.sleep(_POLL_S)


@asynccontextmanager
async def running_site(folder: Path, agents: int) -> AsyncIterator[Site]:
    """Gives a coordinator that leads a new domain without agents; ends it all afterwards."""
    async with running_etcd(folder) as etcd:
        settings = _settings(folder, etcd, agents)
        config = folder / "coordinator.toml"
        key = make_key(folder / "domain.key")
        url = f"http://{settings.listen}"
        leader = Program(
            "coordinator", [*TURNOUT, "serve", "--config", str(config)], folder / "c0.log"
        )
        async with (
            EtcdStore(settings.etcd_options()) as store,
            Api([url], actor="bench", say=_say, patience=_PATIENCE) as api,
        ):
            await init_domain(store, key)
            leader.start()
            site = Site(
                folder=folder,
                leader=leader,
                store=store,
                api=api,
                url=url,
                domain_key=key.public_key,
            )
            try:
                yield site
            except Exception:
                _say(f"the coordinator's last words:\n{leader.tail()}")
                raise
            finally:
                for program in (*site.hosts, leader):
                    program.kill()


def _say(text: str) -> None:
    click.echo(text, err=True)


def _settings(folder: Path, etcd: EtcdCluster, agents: int) -> CoordinatorSettings:
    config = folder / "coordinator.toml"
    text = _COORDINATOR.format(
        port=free_ports(1)[0],
        endpoints=json.dumps(etcd.endpoints),
        patience_s=_SWITCH_TIMEOUT_S,
        agents=agents,
    )
    config.write_text(text, encoding="utf-8")
    return load_settings(config)


def _table() -> RoutingTable:
    """One service, on blue; nobody asks its backends, for there are none."""
    backends = tuple(
        RegionBackends(
            region=Region(region),
            blue=Backends(addresses=(f"10.{number}.0.1:80",)),
            green=Backends(addresses=(f"10.{number}.1.1:80",)),
        )
        for number, region in sorted(enumerate(_REGIONS), key=lambda pair: pair[1])
    )
    service = Service(
        name=ServiceName(_SERVICE),
        hosts=("checkout.example",),
        weights=Weights.all_to(Colour.BLUE),
        health=Health(min_healthy_percent=0),
        backends=backends,
    )
    return RoutingTable(services=(service,))
