"""Starts a fleet in order, gives it, and ends it in order.

async with running_fleet(plan, say) as fleet:
    await fleet.agents["eu-west-1"].stop()
    fleet.links["eu-west-1"].cut()
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from turnout.dev.configuration import agent_toml, coordinator_toml, table_toml
from turnout.dev.fleet import Fleet, FleetError
from turnout.dev.forwarder import AgentLink
from turnout.dev.plan import COLOURS, FleetPlan, RegionPlan
from turnout.dev.programs import TURNOUT, Program
from turnout.protocol.wording import counted
from turnout.runtime.etcd_server import EtcdCluster

_POLL_S = 0.05
_START_TIMEOUT_S = 60.0


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
    coordinators = counted(len(plan.coordinator_ports), "coordinator")
    say(f"starting etcd ({counted(plan.etcd_members, 'member')}) and {coordinators} ...")
    fleet.etcd.start()
    _start_backends(fleet)
    await fleet.etcd.ready()
    domain_key = await _start_coordinators(fleet)
    regions = counted(len(plan.regions), "region")
    say(f"starting {regions} (agent, proxy, blue and green backends) ...")
    await _until(fleet, lambda: _has_leader(fleet))
    async with trio.open_nursery() as nursery:
        for region in plan.regions:
            nursery.start_soon(_start_agent, fleet, region, domain_key)
    await _until(fleet, lambda: _all_good(fleet))
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


async def _start_agent(fleet: Fleet, region: RegionPlan, domain_key: str) -> None:
    """Makes an agent's key, enrols it, and starts it behind a link of its own."""
    folder = _folder(fleet.plan, f"agents/{region.name}")
    fleet.plan.proxy_folder(region).mkdir(parents=True, exist_ok=True)
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
    enrolment = {"agent": region.agent, "region": region.name, "public_key": public_key}
    await fleet.post("/v1/agents", enrolment)
    config = folder / "agent.toml"
    config.write_text(agent_toml(fleet.plan, region, link.urls, domain_key), encoding="utf-8")
    program = Program(
        f"agent {region.agent}",
        [*TURNOUT, "agent", "run", "--config", str(config)],
        folder / "agent.log",
    )
    program.start()
    fleet.agents[region.name] = program


async def _until(fleet: Fleet, condition: Callable[[], Awaitable[bool]]) -> None:
    while not await condition():
        fleet.check()
        await trio.sleep(_POLL_S)


async def _has_leader(fleet: Fleet) -> bool:
    return await fleet.ask("/v1/agents") is not None


async def _all_good(fleet: Fleet) -> bool:
    document = await fleet.ask("/v1/agents") or {"agents": []}
    good = [one for one in document["agents"] if one["standing"] == "good" and one["connected"]]
    return len(good) == len(fleet.plan.regions)


def _folder(plan: FleetPlan, name: str) -> Path:
    folder = plan.folder / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _too_slow(fleet: Fleet) -> str:
    logs = "\n".join(f"--- {one.name}:\n{one.tail()}" for one in fleet.programs)
    return f"the fleet is not ready after {_START_TIMEOUT_S:g} s:\n{logs}"
