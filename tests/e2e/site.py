"""A fleet of real processes for one test, with what an operator and an accident can do to it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import trio
from attrs import define, field

from turnout.cli.api_client import Api, Patience
from turnout.cli.switch_view import view_of
from turnout.dev.fleet import Fleet, running_fleet
from turnout.dev.plan import DOMAIN, HOST, SERVICE, FleetPlan, RegionPlan, make_plan, region_names
from turnout.dev.programs import TURNOUT, Program
from turnout.protocol import keys
from turnout.protocol.identifiers import Epoch
from turnout.protocol.transactions import Range
from turnout.runtime.store.errors import StoreError
from turnout.runtime.store.etcd import EtcdStore
from turnout.runtime.store.etcd_options import EtcdOptions

PATIENCE_S = 20.0
_COMMAND_TIMEOUT_S = 60.0
_POLL_S = 0.02
_DIAGNOSTIC_LINES = 15


@define
class Ended:
    """What became of a command: its exit code, its JSON (empty if none), what it said."""

    code: int
    document: dict[str, Any]
    said: str


@define
class Answer:
    """What a user of a region got."""

    epoch: int
    colour: str


class Command:
    """``turnout ...`` as an operator types it, in a process of its own."""

    def __init__(self, site: Site, arguments: tuple[str, ...]) -> None:
        # In files rather than pipes, so that nobody has to read while it runs; closed by end().
        self._out = tempfile.TemporaryFile()  # noqa: SIM115
        self._err = tempfile.TemporaryFile()  # noqa: SIM115
        environment = {
            **os.environ,
            "TURNOUT_COORDINATORS": ",".join(site.plan.coordinators),
            "TURNOUT_ACTOR": "tester",
        }
        self.process = subprocess.Popen(
            [*TURNOUT, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._err,
            env=environment,
        )

    async def ended(self) -> Ended:
        with trio.fail_after(_COMMAND_TIMEOUT_S):
            while self.process.poll() is None:  # noqa: ASYNC110 - a process sets no event
                await trio.sleep(_POLL_S)
        for file in (self._out, self._err):
            file.seek(0)
        document: dict[str, Any] = {}
        with suppress(ValueError):
            document = json.loads(self._out.read())
        return Ended(self.process.returncode, document, self._err.read().decode())

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._out.close()
        self._err.close()


@define
class Site:
    """A running fleet whose table is in force on blue, and everything to hurt it with."""

    fleet: Fleet
    store: EtcdStore
    api: Api
    commands: list[Command] = field(factory=list)

    @property
    def plan(self) -> FleetPlan:
        return self.fleet.plan

    @property
    def regions(self) -> tuple[RegionPlan, ...]:
        return self.plan.regions

    # ---------------------------------------------------------------- what an operator does

    def begin(self, *arguments: str) -> Command:
        """Starts a command whose answer is wanted as JSON."""
        command = Command(self, (*arguments, "-o", "json"))
        self.commands.append(command)
        return command

    async def turnout(self, *arguments: str) -> Ended:
        return await self.begin(*arguments).ended()

    async def switch(self, to: str, *, until: str) -> dict[str, Any]:
        """Switches as a program would; the switch at its outcome, or when it is drained."""
        reply = await self.api.post("/v1/switches", {"service": SERVICE, "to": to})
        document = reply.body
        async with aclosing(self.api.follow(document["epoch"], until=until)) as documents:
            async for document in documents:
                view = view_of(document)
                if view.is_drained or (until == "outcome" and view.outcome is not None):
                    break
        return document

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
        status = await self.api.get("/v1/status")
        return Epoch(status["head"]["decided"] + 1)

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
            counts = (await self.api.get("/v1/status"))["fleet"]
            return bool(counts and counts["good"] == counts["connected"] == counts["enrolled"])

        await self.until(good, "all agents good and connected")

    def envoy_pid(self, region: RegionPlan) -> int:
        """The process of a region's Envoy, which is nobody else's."""
        folder = self.plan.envoy_folder(region)
        pid = int((folder / "envoy.pid").read_text())
        assert os.fsencode(folder) in Path(f"/proc/{pid}/cmdline").read_bytes()
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
async def running_site(*, regions: int, coordinators: int, etcd: int) -> AsyncIterator[Site]:
    """Gives a site; every process of it is ended by its number, whatever becomes of the test."""
    # Not below pytest's own folder: an Envoy's sockets need a short path.
    folder = Path(tempfile.mkdtemp(prefix="turnout-e2e-"))
    plan = make_plan(
        folder, region_names(str(regions)), coordinators=coordinators, etcd_members=etcd
    )
    commands: list[Command] = []
    try:
        async with running_fleet(plan, lambda _: None) as fleet:
            options = EtcdOptions(endpoints=fleet.etcd.endpoints, domain=DOMAIN, timeout_s=2)
            patience = Patience(away_s=PATIENCE_S, leaderless_s=PATIENCE_S)
            async with (
                EtcdStore(options) as store,
                Api(plan.coordinators, actor="test", say=_nobody, patience=patience) as api,
            ):
                site = Site(fleet, store, api, commands)
                ended = await site.turnout("apply", "-f", str(plan.table_file))
                assert ended.code == 0, ended.said
                yield site
                # An agent that was paused would not end in good order.
                fleet.kill()
    finally:
        for command in commands:
            command.end()
        for region in plan.regions:
            _end_envoy(plan.envoy_folder(region))
        shutil.rmtree(folder, ignore_errors=True)


def _nobody(_text: str) -> None:
    pass


def _end_envoy(folder: Path) -> None:
    with suppress(OSError, ValueError):
        pid = int((folder / "envoy.pid").read_text())
        if os.fsencode(folder) in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)


def is_within_promise(document: Mapping[str, Any]) -> bool:
    """Whether a switch kept the 30 s, by its own and by the leader's reckoning."""
    return bool(document["sla"]["met"]) and document["known_s"] <= document["sla"]["budget_s"]
