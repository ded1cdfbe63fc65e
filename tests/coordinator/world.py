"""A small domain for tests: real etcd, real coordinators in tasks, agents that speak real HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import trio
from attrs import define, evolve, field

from coordinator.config import CoordinatorSettings, EtcdSettings
from coordinator.daemon import Running, prepare, run_daemon
from tests.coordinator.fake_agent import FakeAgent
from turnout.protocol.codec import converter
from turnout.protocol.coordinator_state import CoordinatorState, Role
from turnout.protocol.routing import (
    Backends,
    Colour,
    RegionBackends,
    RoutingTable,
    Service,
    Weights,
)
from turnout.protocol.timing_settings import TimingSettings
from turnout.runtime.domain_setup import init_domain
from turnout.runtime.http.client import Coordinators
from turnout.runtime.http.client_errors import UnreachableError
from turnout.runtime.key_file import load_signer, make_key
from turnout.runtime.store.etcd import EtcdStore

TIMING = TimingSettings(
    prepare_timeout_s=2,
    undo_timeout_s=1,
    live_timeout_s=2,
    lease_ttl_s=2,
    election_s=0.5,
    store_write_s=0.9,
    sync_interval_s=0.2,
    silence_s=2,
    retry_s=0.2,
)
PATIENCE_S = 10.0


@define
class Coordinator:
    """A coordinator that runs in this process."""

    running: Running
    scope: trio.CancelScope
    ended: trio.Event

    @property
    def url(self) -> str:
        return self.running.url

    @property
    def state(self) -> CoordinatorState:
        return self.running.replica.host.state

    async def kill(self) -> None:
        """End it without a word, as SIGKILL would."""
        self.scope.cancel()
        await self.ended.wait()

    async def stop(self) -> None:
        """End it as SIGTERM would."""
        self.running.stop()
        await self.ended.wait()


@define
class World:
    """Everything that one test runs."""

    folder: Path
    endpoints: tuple[str, ...]
    domain: str
    nursery: trio.Nursery
    timing: TimingSettings = TIMING
    coordinators: list[Coordinator] = field(factory=list)
    agents: dict[str, FakeAgent] = field(factory=dict)
    links: dict[str, trio.CancelScope] = field(factory=dict)
    domain_key: str = ""

    def settings(self, replica: str) -> CoordinatorSettings:
        return CoordinatorSettings(
            replica=replica,
            domain=self.domain,
            domain_key=self.folder / "domain.key",
            listen="127.0.0.1:0",
            etcd=EtcdSettings(endpoints=self.endpoints),
            timing=self.timing,
        )

    def store(self) -> EtcdStore:
        return EtcdStore(self.settings("looker").etcd_options())

    async def init(self) -> None:
        signer = make_key(self.folder / "domain.key")
        self.domain_key = signer.public_key
        async with self.store() as store:
            await init_domain(store, load_signer(self.folder / "domain.key"))

    async def start_coordinator(self, **changes: object) -> Coordinator:
        settings = evolve(self.settings(f"c{len(self.coordinators)}"), **changes)  # type: ignore[arg-type]
        parts = await prepare(settings)
        started = trio.Event()
        made: list[Coordinator] = []

        async def run() -> None:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    running = await nursery.start(run_daemon, settings, parts)
                    made.append(Coordinator(running, scope, trio.Event()))
                    started.set()
            for listener in parts.listeners:
                await listener.aclose()
            made[0].ended.set()

        self.nursery.start_soon(run)
        await started.wait()
        self.coordinators.append(made[0])
        return made[0]

    async def leader(self) -> Coordinator:
        await until(lambda: any(c.state.role is Role.LEADING for c in self.alive()))
        return next(c for c in self.alive() if c.state.role is Role.LEADING)

    def alive(self) -> list[Coordinator]:
        return [c for c in self.coordinators if not c.ended.is_set()]

    @property
    def urls(self) -> list[str]:
        return [c.url for c in self.alive()]

    def make_agent(self, name: str, region: str | None = None) -> FakeAgent:
        timing = self.timing.timing()
        agent = FakeAgent(name, region or f"region-{name}", self.urls, self.domain_key, timing)
        self.agents[name] = agent
        return agent

    async def enrol(self, agent: FakeAgent) -> None:
        body = {
            "agent": agent.agent,
            "region": agent.region,
            "public_key": agent.signer.public_key,
        }
        answer = await self.post("/v1/agents", body)
        assert answer.status_code == 201, answer.text

    def start_agent(self, name: str) -> None:
        scope = self.links[name] = trio.CancelScope()

        async def run() -> None:
            with scope:
                await self.agents[name].run()

        self.nursery.start_soon(run)

    def kill_agent(self, name: str) -> None:
        self.links.pop(name).cancel()

    async def populate(self, *names: str) -> None:
        """Enrol and start agents, each in a region of its own, and wait until they are good."""
        for name in names:
            await self.enrol(self.make_agent(name))
            self.start_agent(name)
        await self.all_good()

    async def all_good(self) -> None:
        leader = await self.leader()
        await until(lambda: len(leader.state.fleet.good) == len(leader.state.fleet.agents))

    async def apply_first(self) -> None:
        """Put a first table in force: checkout and search, on blue."""
        answer = await self.apply(self.table())
        assert answer.status_code == 202, answer.text
        document = await self.finished(answer.json()["epoch"])
        assert document["outcome"] == "live", document
        await self.all_good()

    def table(self) -> RoutingTable:
        regions = sorted(agent.region for agent in self.agents.values())
        return RoutingTable(services=tuple(service(name, *regions) for name in SERVICES))

    async def apply(self, table: RoutingTable, **options: object) -> httpx.Response:
        return await self.post("/v1/tables", {"table": converter.unstructure(table), **options})

    async def switch(self, to: str, service: str = "checkout", **options: object) -> httpx.Response:
        key = options.pop("key", None)
        body = {"service": service, "to": to, **options}
        return await self.post("/v1/switches", body, key=key)

    async def post(
        self, path: str, body: object, *, key: object = None, content: bytes | None = None
    ) -> httpx.Response:
        headers = {"content-type": "application/json", "x-turnout-actor": "ada"}
        if key is not None:
            headers["idempotency-key"] = str(key)
        content = json.dumps(body).encode() if content is None else content
        return await self.request("POST", path, content=content, headers=headers)

    async def get(self, path: str) -> Any:
        answer = await self.request("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Ask the leader, wherever it is."""
        async with Coordinators(self.urls) as client:
            content, headers = options.get("content"), options.get("headers")
            with trio.fail_after(PATIENCE_S):
                while True:
                    # A follower may still point to a leader that is dead.
                    with suppress(UnreachableError):
                        answer = await client.request(method, path, body=content, headers=headers)
                        if answer.status_code != 503:
                            return answer
                    await trio.sleep(0.05)

    async def finished(self, epoch: int, until_phase: str = "") -> dict[str, Any]:
        """The switch once it has its outcome (and has come to a phase)."""
        with trio.fail_after(PATIENCE_S):
            while True:
                document: dict[str, Any] = await self.get(f"/v1/switches/{epoch}")
                if document["outcome"] and until_phase in ("", document["phase"]):
                    return document
                await trio.sleep(0.02)


SERVICES = ("checkout", "search")


def service(name: str, *regions: str) -> Service:
    """A service that has backends of both colours in these regions."""
    backends = tuple(
        RegionBackends(
            region=region,  # type: ignore[arg-type]
            blue=Backends(addresses=("127.0.0.1:8001",)),
            green=Backends(addresses=("127.0.0.1:8002",)),
        )
        for region in regions
    )
    return Service(
        name=name,  # type: ignore[arg-type]
        hosts=(f"{name}.example",),
        weights=Weights.all_to(Colour.BLUE),
        backends=backends,
    )


async def until(condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    """Wait until it is so."""
    with trio.fail_after(patience_s):
        while True:
            if condition():
                return
            await trio.sleep(0.01)
