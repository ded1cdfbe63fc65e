"""An agent for tests: the real machine and the real HTTP, over a disk and a proxy in memory.

What it does wrong is set from outside: ``refuse`` makes its proxy refuse to stage, ``silent`` keeps
its votes back, ``diverge`` makes its proxy refuse to flip.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import trio
from attrs import evolve

from turnout.protocol.effects import (
    Activate,
    AgentEffect,
    CloseSource,
    ForgetTables,
    Persist,
    Prove,
    SaveTable,
    Send,
    Stage,
    StopDrain,
    WatchDrain,
)
from turnout.protocol.events import (
    Activated,
    AgentEvent,
    Booted,
    FromLeader,
    InFlight,
    LinkDown,
    LinkUp,
    Proven,
    Refusal,
    Staged,
)
from turnout.protocol.identifiers import AgentId, Digest, Region
from turnout.protocol.limits import Timing
from turnout.protocol.messages import Down, No, Receipt, Report, Up, Vote
from turnout.protocol.participant import Participant
from turnout.protocol.participant_state import ParticipantConfig, ParticipantState
from turnout.protocol.records import Active, AgentRecord, SignedTable
from turnout.protocol.signing import Ed25519Signer, Ed25519Verifier, signed
from turnout.protocol.wire import decode_down, encode
from turnout.runtime.clock import SystemClock
from turnout.runtime.host import Host
from turnout.runtime.http.client import ClientTimeouts, Coordinators
from turnout.runtime.http.client_errors import CoordinatorError, RefusedStreamError
from turnout.runtime.problems import parse_problem

COUNT_S = 0.05


class FakeAgent:
    """One agent. ``run`` it in a nursery; cancel that to kill it, and run it again to restart."""

    def __init__(
        self, agent: str, region: str, urls: Sequence[str], domain_key: str, timing: Timing
    ) -> None:
        self.agent = AgentId(agent)
        self.region = Region(region)
        self.signer = Ed25519Signer.from_seed(secrets.token_bytes(32))
        self.record = AgentRecord(journal_id=secrets.token_hex(8))
        self.tables: dict[Digest, SignedTable] = {}
        self.serving = Active()
        self.in_flight = 0
        self.refuse = ""
        self.diverge = ""
        self.silent = False
        self.challenge = ""
        self.sent: list[tuple[str, bytes, int]] = []
        """Path, body and status of everything said."""
        self.urls = list(urls)
        self._timing = timing
        self._clock = SystemClock()
        config = ParticipantConfig(
            agent=self.agent, region=self.region, domain_key=domain_key, timing=timing
        )
        self._machine = Participant(config, Ed25519Verifier())
        self._host: Host[ParticipantState, AgentEvent, AgentEffect]
        self._outbox: trio.MemorySendChannel[Up]
        self._to_send: trio.MemoryReceiveChannel[Up]
        self._nursery: trio.Nursery

    @property
    def state(self) -> ParticipantState:
        return self._host.state

    async def run(self) -> None:
        self._host = Host(self._machine, ParticipantState(), self, self._clock)
        self._outbox, self._to_send = trio.open_memory_channel[Up](1024)
        booted = Booted(
            record=self.record, tables=tuple(self.tables.values()), serving=self.serving
        )
        await self._host.tell(booted)
        async with trio.open_nursery() as self._nursery:
            nursery = self._nursery
            nursery.start_soon(self._host.run)
            nursery.start_soon(self._keep_link)

    # ---------------------------------------------------------------- effects

    async def carry_out(self, effect: AgentEffect) -> None:
        now = self._clock.now().monotonic_ns
        match effect:
            case Persist(record=record):
                self.record = record
            case SaveTable(table=table):
                self.tables[table.digest] = table
            case ForgetTables(keep=keep):
                self.tables = {digest: self.tables[digest] for digest in keep}
            case Send(message=message):
                if not (self.silent and isinstance(message, Vote)):
                    self._outbox.send_nowait(message)
            case Stage(epoch=epoch, digest=digest):
                refusal = Refusal(no=No.REFUSED, reason=self.refuse) if self.refuse else None
                await self._host.tell(Staged(epoch=epoch, digest=digest, refusal=refusal))
            case Activate(incarnation=number, epoch=epoch, digest=digest):
                refusal = Refusal(no=No.REFUSED, reason=self.diverge) if self.diverge else None
                if refusal is None:
                    self.serving = Active(incarnation=number, epoch=epoch, digest=digest)
                flipped = Activated(
                    epoch=epoch, digest=digest, refusal=refusal, flipped_ns=None if refusal else now
                )
                await self._host.tell(flipped)
            case Prove(epoch=epoch):
                await self._host.tell(Proven(epoch=epoch, proven_ns=now))
            case WatchDrain():
                self._nursery.start_soon(self._count, effect)
            case _:
                assert isinstance(effect, StopDrain | CloseSource)

    async def _count(self, watch: WatchDrain) -> None:
        """Proxies are asked for their counters now and then, not at the flip itself."""
        await trio.sleep(COUNT_S)
        await self._host.tell(
            InFlight(service=watch.service, colour=watch.colour, count=self.in_flight)
        )

    async def failed(self, reason: str, undone: tuple[AgentEffect, ...]) -> AgentEvent:
        raise AssertionError(f"{undone}: {reason}")

    # ---------------------------------------------------------------- the link

    async def _keep_link(self) -> None:
        timeouts = ClientTimeouts(silence_s=self._timing.silence_ns / 1e9)
        async with Coordinators(self.urls, timeouts=timeouts) as coordinators:
            while True:
                await self._host.tell(LinkUp())
                try:
                    await self._link(coordinators)
                except* CoordinatorError as group:
                    self.sent.append(("link", repr(group.exceptions).encode(), 0))
                await self._host.tell(LinkDown())
                await trio.sleep(0.1)
                while self._to_send.statistics().current_buffer_used:
                    self._to_send.receive_nowait()

    async def _link(self, coordinators: Coordinators) -> None:
        opening = await self._to_send.receive()
        answer = await coordinators.request("GET", "/v1/agent/challenge")
        if answer.status_code != 200:
            raise RefusedStreamError(parse_problem(answer.status_code, answer.content))
        self.challenge = answer.json()["challenge"]
        body = self._encoded(opening)
        async with coordinators.open_lines("POST", "/v1/agent/stream", body=body) as lines:
            self.sent.append(("/v1/agent/stream", body, 200))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._report, coordinators)
                async for line in lines:
                    await self._host.tell(FromLeader(message=decode_down(line)))

    async def _report(self, coordinators: Coordinators) -> None:
        while True:
            message = await self._to_send.receive()
            body = self._encoded(message)
            answer = await coordinators.request("POST", "/v1/agent/reports", body=body)
            self.sent.append(("/v1/agent/reports", body, answer.status_code))
            if answer.status_code == 200:
                heard: Down = decode_down(answer.content.removesuffix(b"\n"))
                if isinstance(heard, Receipt) and heard.echo_ns:
                    await self._host.tell(FromLeader(message=heard))

    def _encoded(self, message: Up) -> bytes:
        if isinstance(message, Report):
            message = evolve(message, challenge=self.challenge)
        return encode(signed(message, self.signer))
