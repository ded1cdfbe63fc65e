"""A fleet of real processes for one test, with what an operator and an accident can do to it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import trio
from attrs import define, evolve

from turnout.dev.commands import Command, Ended
from turnout.dev.fleet import Fleet
from turnout.dev.plan import DOMAIN, HOST, PROXIES, FleetPlan, RegionPlan, make_plan, region_names
from turnout.dev.programs import Program
from turnout.dev.running import running_fleet
from turnout.protocol import keys
from turnout.protocol.identifiers import Epoch
from turnout.protocol.transactions import Range
from turnout.runtime.store.errors import StoreError
from turnout.runtime.store.etcd import EtcdStore
from turnout.runtime.store.etcd_options import EtcdOptions

PATIENCE_S = 20.0
_POLL_S = 0.02
_DIAGNOSTIC_LINES = 15


@define
class Answer:
    """What a user of a region got."""

    epoch: int
    colour: str


@define
class Site:
    """A running fleet whose table is in force on blue, and everything to hurt it with."""

    fleet: Fleet
    store: EtcdStore

    @property
    def plan(self) -> FleetPlan:
        return self.fleet.plan

    @property
    def regions(self) -> tuple[RegionPlan, ...]:
        return self.plan.regions

    # ---------------------------------------------------------------- what an operator does

    def begin(self, *arguments: str) -> Command:
        return self.fleet.begin(*arguments)

    async def turnout(self, *arguments: str) -> Ended:
        return await self.fleet.turnout(*arguments)

    # ---------------------------------------------------------------- what users see

    async def ask(self, region: RegionPlan) -> Answer:
        """One request through a region's proxy, on a connection of its own."""
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=10) as client:
            answer = await client.get(f"http://{region.edge}/", headers={"host": HOST})
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-backend"] == answer.headers["x-turnout-colour"]
        return Answer(int(answer.headers["x-turnout-epoch"]), answer.headers["x-backend"])

    async def answers(self) -> list[Answer]:
        return [await self.ask(region) for region in self.regions]

    # ---------------------------------------------------------------- what is in etcd

    async def has(self, key: str) -> bool:
        try:
            return bool((await self.store.read(Range(key))).get(key))
        except StoreError:
            return False

    async def appears(self, key: str) -> None:
        await self.until(lambda: self.has(key), f"{key} in etcd")

    async def next_epoch(self) -> Epoch:
        return Epoch((await self.status())["head"]["decided"] + 1)

    async def status(self) -> dict[str, Any]:
        status = await self.fleet.ask("/v1/status")
        assert status is not None, "nobody answers"
        return status

    async def leader(self) -> Program:
        """The process of the coordinator that holds the leader key."""
        claim = (await self.store.read(Range(keys.LEADER))).get(keys.LEADER)
        assert claim is not None, "nobody leads"
        number = int(json.loads(claim.value)["replica"].removeprefix("c"))
        return self.fleet.coordinators[number]

    # ---------------------------------------------------------------- agents and proxies

    def agent(self, region: RegionPlan) -> Program:
        return self.fleet.agents[region.name]

    async def has_promised(self, region: RegionPlan, epoch: Epoch) -> None:
        """Waits until an agent's journal holds its yes to an epoch."""

        async def promised() -> bool:
            status = await self.fleet.agent_status(region)
            return bool(status and status["prepared"] and status["prepared"]["epoch"] == epoch)

        await self.until(promised, f"{region.agent} votes on epoch {epoch}")

    async def serves(self, region: RegionPlan, epoch: Epoch) -> None:
        """Waits until an agent says that its proxy serves an epoch."""

        async def serving() -> bool:
            status = await self.fleet.agent_status(region)
            return bool(status and status["serving"] and status["serving"]["epoch"] == epoch)

        await self.until(serving, f"{region.agent} serves epoch {epoch}")

    async def all_good(self) -> None:
        async def good() -> bool:
            counts = (await self.status())["fleet"]
            return bool(counts and counts["good"] == counts["connected"] == counts["enrolled"])

        await self.until(good, "all agents good and connected")

    def proxy_pid(self, region: RegionPlan) -> int:
        pid = self.fleet.proxy_pid(region)
        assert pid is not None, f"no {region.proxy} in {region.name}"
        return pid

    async def until(self, condition: Callable[[], Any], what: str) -> None:
        """Waits for something to become true; fails with what the processes said last."""
        with trio.move_on_after(PATIENCE_S):
            while not await condition():  # noqa: ASYNC110 - other processes set no event of ours
                await trio.sleep(_POLL_S)
            return
        raise AssertionError(f"not within {PATIENCE_S:g} s: {what}\n{self._last_words()}")

    def _last_words(self) -> str:
        programs = [*self.fleet.coordinators, *self.fleet.agents.values()]
        return "\n".join(
            f"--- {program.name}:\n" + "\n".join(program.tail().splitlines()[-_DIAGNOSTIC_LINES:])
            for program in programs
        )


def pause(pid: int) -> None:
    """Stops a process in its tracks."""
    os.kill(pid, signal.SIGSTOP)


def resume(pid: int) -> None:
    os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def running_site(
    *, regions: int, coordinators: int, etcd: int, live_timeout_s: float | None = None
) -> AsyncIterator[Site]:
    """Gives a site with every kind of proxy, the first an Envoy.

    Every process of it is ended by its number, whatever becomes of the test.
    """
    # Not below pytest's own folder: a proxy's sockets need a short path.
    folder = Path(tempfile.mkdtemp(prefix="turnout-e2e-"))
    names = region_names(str(regions))
    plan = evolve(
        make_plan(folder, names, coordinators=coordinators, etcd_members=etcd, proxies=PROXIES),
        live_timeout_s=live_timeout_s,
    )
    try:
        async with running_fleet(plan, _nobody) as fleet:
            await fleet.apply_table()
            options = EtcdOptions(endpoints=fleet.etcd.endpoints, domain=DOMAIN, timeout_s=2)
            async with EtcdStore(options) as store:
                yield Site(fleet, store)
                # An agent that was paused would not end in good order.
                fleet.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _nobody(_text: str) -> None:
    pass


def is_within_promise(document: Mapping[str, Any]) -> bool:
    """Whether a switch kept the 30 s, by its own and by the leader's reckoning."""
    return bool(document["sla"]["met"]) and document["known_s"] <= document["sla"]["budget_s"]
