"""A fleet within reach: its programs, what an operator may do to it, and what it says of itself."""

from __future__ import annotations

import json
import os
import secrets
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import httpx
import trio
from attrs import define, field

from turnout.dev.commands import Command, Ended
from turnout.dev.forwarder import AgentLink
from turnout.dev.plan import SERVICE, FleetPlan, RegionPlan
from turnout.dev.processes import programs_below
from turnout.dev.programs import Program
from turnout.runtime.etcd_server import EtcdCluster
from turnout.runtime.http.client import Coordinators
from turnout.runtime.http.client_errors import CoordinatorError

_ACTOR: Final = "turnout dev"
_POLL_S: Final = 0.05
_DRAINED: Final = frozenset({"retained", "released", "aborted"})


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
    commands: list[Command] = field(factory=list)

    @property
    def programs(self) -> list[Program]:
        """Everything but etcd, in the order in which to end it."""
        return [*self.agents.values(), *self.coordinators, *self.backends.values()]

    def check(self) -> None:
        """Raises ProgramFailedError if something has ended by itself."""
        for program in self.programs:
            program.check()

    def begin(self, *arguments: str) -> Command:
        """Starts ``turnout ...`` against this fleet; it ends with the fleet at the latest."""
        command = Command(arguments, coordinators=self.plan.coordinators, actor=_ACTOR)
        self.commands.append(command)
        return command

    async def turnout(self, *arguments: str) -> Ended:
        """Runs ``turnout ...`` against this fleet."""
        command = self.begin(*arguments)
        try:
            return await command.ended()
        finally:
            command.end()

    async def apply_table(self) -> None:
        """Puts the sample service's table in force. Raises FleetError."""
        ended = await self.turnout("apply", "-f", str(self.plan.table_file))
        if ended.code != 0:
            raise FleetError(f"the first table was not taken:\n{ended.said}")

    def proxy_pid(self, region: RegionPlan) -> int | None:
        """The process of a region's proxy, its master if it has several; None while there is none."""
        for pid in programs_below(self.plan.proxy_folder(region), region.proxy):
            with suppress(ProcessLookupError):
                if os.getsid(pid) == pid:
                    return pid
        return None

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
            try:
                answer = await coordinators.request("GET", path)
            except CoordinatorError:
                return None
        return dict(answer.json()) if answer.is_success else None

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The coordinators' answer to a POST, as a program makes it. Raises FleetError."""
        headers = {
            "content-type": "application/json",
            "idempotency-key": secrets.token_hex(8),
            "x-turnout-actor": _ACTOR,
        }
        content = json.dumps(body).encode()
        async with Coordinators(self.plan.coordinators) as coordinators:
            try:
                answer = await coordinators.request("POST", path, body=content, headers=headers)
            except CoordinatorError as error:
                raise FleetError(f"{path}: {error}") from error
        if not answer.is_success:
            raise FleetError(f"{path}: {answer.text}")
        return dict(answer.json())

    async def switch(
        self, to: str, *, activation: str = "immediate", is_drained: bool = False
    ) -> dict[str, Any]:
        """Moves the sample service; its JSON at the outcome, or once it ``is_drained``."""
        body = {"service": SERVICE, "to": to, "activation": activation}
        epoch = (await self.post("/v1/switches", body))["epoch"]
        while True:
            document = await self.ask(f"/v1/switches/{epoch}") or {"outcome": None}
            outcome = document["outcome"]
            has_drained = outcome == "rolled_back" or document.get("phase") in _DRAINED
            if outcome is not None and (has_drained or not is_drained):
                return document
            await trio.sleep(_POLL_S)

    async def stop(self) -> None:
        """Ends everything in order but the proxies, which outlive their agents: :meth:`kill` ends them."""
        for programs in (self.agents.values(), self.coordinators, self.backends.values()):
            async with trio.open_nursery() as nursery:
                for program in programs:
                    nursery.start_soon(program.stop)
        await self.etcd.stop()

    def kill(self) -> None:
        """Ends everything at once; again is no error."""
        for command in self.commands:
            command.end()
        for program in self.programs:
            program.kill()
        self.etcd.kill()
        for proxy in {region.proxy for region in self.plan.regions}:
            for pid in programs_below(self.plan.proxies_folder, proxy):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
