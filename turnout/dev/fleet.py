"""A running fleet: everything started in order, within reach, and ended in order.

async with running_fleet(plan, say) as fleet:
    await fleet.agents["eu-west-1"].stop()
    fleet.links["eu-west-1"].cut()
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import trio
from attrs import define, field

from turnout.dev.configuration import agent_toml, coordinator_toml, table_toml
from turnout.dev.forwarder import AgentLink
from turnout.dev.plan import COLOURS, FleetPlan, RegionPlan
from turnout.dev.programs import TURNOUT, Program, ProgramFailedError
from turnout.runtime.etcd_server import EtcdCluster
from turnout.runtime.http.client import Coordinators
from turnout.runtime.http.client_errors import CoordinatorError

_POLL_S = 0.05
_START_TIMEOUT_S = 60.0
_CREATED = 201


class FleetError(Exception):
    """The fleet cannot be started, or does not do what it must; the text is for people."""


@define(kw_only=True)
class Fleet:
    """The parts of a fleet by name; ``nursery`` carries the links."""

    plan: FleetPlan
    etcd: EtcdCluster
    nursery: trio.Nursery
    coordinators: list[Program] = field(factory=list)
    agents: dict[str, Program] = field(factory=dict)
    backends: dict[tuple[str, str], Program] = field(factory=dict)
    links: dict[str, AgentLink] = field(factory=dict)

    @property
    def programs(self) -> list[Program]:
        """Everything but etcd, in the order in which to end it."""
        return [*self.agents.values(), *self.coordinators, *self.backends.values()]

    def check(self) -> None:
        """Raises ProgramFailedError if something has ended by itself."""
        for program in self.programs:
            program.check()

    async def agent_status(self, region: RegionPlan) -> dict[str, Any]:
        """What an agent says of itself; empty while it does not answer."""
        async with httpx.AsyncClient(trust_env=False, timeout=2, verify=False) as client:  # noqa: S501 - plain HTTP on loopback; spares loading the CAs
            try:
                answer = await client.get(f"http://127.0.0.1:{region.agent_port}/status")
            except httpx.HTTPError:
                return {}
        return dict(answer.json()) if answer.is_success else {}

    async def ask(self, path: str) -> dict[str, Any] | None:
        """The coordinators' answer to a GET; None while nobody can answer."""
        async with Coordinators(self.plan.coordinators) as coordinators:
            return await _json(coordinators, path)

    async def stop(self) -> None:
        """Ends everything in order; the Envoys, which outlive their agents, are the keeper's."""
        for programs in (self.agents.values(), self.coordinators, self.backends.values()):
            async with trio.open_nursery() as nursery:
                for program in programs:
                    nursery.start_soon(program.stop)
        await self.etcd.stop()

    def kill(self) -> None:
        """Ends everything at once."""
        for program in self.programs:
            program.kill()
        self.etcd.kill()


@asynccontextmanager
async def running_fleet(plan: FleetPlan, say: Callable[[str], None]) -> AsyncIterator[Fleet]:
    """Gives a fleet whose agents are all connected and good; ends it afterwards.

    Raises FleetError, ProgramFailedError, EtcdNotReadyError, OSError.
    """
    plan.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with trio.open_nursery() as nursery:
        etcd = EtcdCluster(_folder(plan, "etcd"), plan.etcd_members)
        fleet = Fleet(plan=plan, etcd=etcd, nursery=nursery)
        try:
            with trio.fail_after(_START_TIMEOUT_S):
                await _start(fleet, say)
            yield fleet
            await fleet.stop()
        except trio.TooSlowError:
            raise FleetError(_too_slow(fleet)) from None
        finally:
            fleet.kill()
        nursery.cancel_scope.cancel()


async def _start(fleet: Fleet, say: Callable[[str], None]) -> None:
    plan = fleet.plan
    say(f"starting {plan.etcd_members} etcd, {len(plan.coordinator_ports)} coordinators ...")
    fleet.etcd.start()
    _start_backends(fleet)
    await fleet.etcd.ready()
    domain_key = await _start_coordinators(fleet)
    say(f"starting {len(plan.regions)} regions: an agent, an Envoy, blue and green backends each")
    async with Coordinators(plan.coordinators) as coordinators:
        await _until(fleet, lambda: _has_leader(coordinators))
        async with trio.open_nursery() as nursery:
            for region in plan.regions:
                nursery.start_soon(_start_agent, fleet, region, coordinators, domain_key)
        await _until(fleet, lambda: _all_good(coordinators, len(plan.regions)))
    plan.table_file.write_text(table_toml(plan), encoding="utf-8")


def _start_backends(fleet: Fleet) -> None:
    logs = _folder(fleet.plan, "backends")
    for region in fleet.plan.regions:
        for colour in COLOURS:
            name = f"{region.name}-{colour}"
            options = ["--name", colour, "--region", region.name]
            options += ["--port", str(region.backend_ports[colour])]
            command = [sys.executable, "-m", "edge_agent.sample_backend", *options]
            program = Program(f"backend {name}", command, logs / f"{name}.log")
            program.start()
            fleet.backends[region.name, colour] = program


async def _start_coordinators(fleet: Fleet) -> str:
    """Starts the coordinators of a new domain; returns the domain's public key."""
    plan = fleet.plan
    folder = _folder(plan, "coordinators")
    configs = []
    for number in range(len(plan.coordinator_ports)):
        config = folder / f"c{number}.toml"
        text = coordinator_toml(plan, number, fleet.etcd.endpoints, folder / "domain.key")
        config.write_text(text, encoding="utf-8")
        configs.append(config)
    init = Program(
        "turnout domain init",
        [*TURNOUT, "domain", "init", "--config", str(configs[0])],
        folder / "init.log",
    )
    init.start()
    domain_key = (await init.result(_START_TIMEOUT_S)).split()[-1]
    for number, config in enumerate(configs):
        program = Program(
            f"coordinator c{number}",
            [*TURNOUT, "serve", "--config", str(config)],
            folder / f"c{number}.log",
        )
        program.start()
        fleet.coordinators.append(program)
    return domain_key


async def _start_agent(
    fleet: Fleet, region: RegionPlan, coordinators: Coordinators, domain_key: str
) -> None:
    """Makes an agent's key, enrols it, and starts it behind a link of its own."""
    folder = _folder(fleet.plan, f"agents/{region.name}")
    fleet.plan.envoy_folder(region).mkdir(parents=True, exist_ok=True)
    link = AgentLink(region.agent, fleet.plan.coordinators)
    await fleet.nursery.start(link.serve)
    fleet.links[region.name] = link
    keygen = Program(
        f"turnout agent keygen ({region.name})",
        [*TURNOUT, "agent", "keygen", str(folder / "agent.key")],
        folder / "keygen.log",
    )
    keygen.start()
    public_key = (await keygen.result(_START_TIMEOUT_S)).split()[-1]
    await _enrol(coordinators, region, public_key)
    config = folder / "agent.toml"
    config.write_text(agent_toml(fleet.plan, region, link.urls, domain_key), encoding="utf-8")
    program = Program(
        f"agent {region.agent}",
        [*TURNOUT, "agent", "run", "--config", str(config)],
        folder / "agent.log",
    )
    program.start()
    fleet.agents[region.name] = program


async def _enrol(coordinators: Coordinators, region: RegionPlan, public_key: str) -> None:
    body = {"agent": region.agent, "region": region.name, "public_key": public_key}
    answer = await coordinators.request(
        "POST",
        "/v1/agents",
        body=json.dumps(body).encode(),
        headers={
            "content-type": "application/json",
            "idempotency-key": secrets.token_hex(8),
            "x-turnout-actor": "turnout dev",
        },
    )
    if answer.status_code != _CREATED:
        raise FleetError(f"enrolling {region.agent}: {answer.text}")


async def _until(fleet: Fleet, condition: Callable[[], Awaitable[bool]]) -> None:
    while not await condition():
        fleet.check()
        await trio.sleep(_POLL_S)


async def _has_leader(coordinators: Coordinators) -> bool:
    return await _json(coordinators, "/v1/agents") is not None


async def _all_good(coordinators: Coordinators, wanted: int) -> bool:
    document = await _json(coordinators, "/v1/agents") or {"agents": []}
    good = [one for one in document["agents"] if one["standing"] == "good" and one["connected"]]
    return len(good) == wanted


async def _json(coordinators: Coordinators, path: str) -> dict[str, Any] | None:
    try:
        answer = await coordinators.request("GET", path)
    except CoordinatorError:
        return None
    return dict(answer.json()) if answer.is_success else None


def _folder(plan: FleetPlan, name: str) -> Path:
    folder = plan.folder / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _too_slow(fleet: Fleet) -> str:
    logs = "\n".join(f"--- {one.name}:\n{one.tail()}" for one in fleet.programs)
    return f"the fleet is not ready after {_START_TIMEOUT_S:g} s:\n{logs}"


__all__ = ["Fleet", "FleetError", "ProgramFailedError", "running_fleet"]
