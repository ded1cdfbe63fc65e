"""A leader for agents under test: the real HTTP protocol, real signatures, and no rules.

It says what a test tells it to say, right or wrong, and remembers what agents said. Only messages
that are signed by the agent's enrolled key are remembered.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio
from attrs import evolve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from turnout.protocol.clock import ClockNs, MonotonicNs
from turnout.protocol.identifiers import (
    AgentId,
    Digest,
    Epoch,
    Region,
    ReplicaId,
    ServiceName,
    Term,
)
from turnout.protocol.messages import Down, Prepare, Rebase, Receipt, Report, Sync, Up, Vote
from turnout.protocol.records import (
    Activation,
    Head,
    Incarnation,
    IncarnationRecord,
    Kind,
    SignedTable,
    TableName,
)
from turnout.protocol.routing import (
    Backends,
    Colour,
    Health,
    RegionBackends,
    RoutingTable,
    Service,
    Weights,
)
from turnout.protocol.signing import Ed25519Signer, Ed25519Verifier, is_signed_by, signed
from turnout.protocol.wire import decode_up, encode
from turnout.runtime import problems
from turnout.runtime.http.limits import HttpLimits
from turnout.runtime.http.lines import line
from turnout.runtime.http.server import Server, open_listeners, serve
from turnout.runtime.http.streams import HeldResponse, OutboundStream

REGION = Region("eu")
HOST = "checkout.example"
CHECKOUT = ServiceName("checkout")
DOMAIN = Ed25519Signer.from_seed(bytes(31) + b"d")


def table_of(
    active: Colour,
    *,
    blue: tuple[str, ...] = ("10.0.0.1:80",),
    green: tuple[str, ...] = ("10.0.1.1:80",),
    min_healthy_percent: int = 0,
) -> RoutingTable:
    """One service, all of it sent to one colour."""
    backends = RegionBackends(
        region=REGION, blue=Backends(addresses=blue), green=Backends(addresses=green)
    )
    service = Service(
        name=CHECKOUT,
        hosts=(HOST,),
        weights=Weights.all_to(active),
        health=Health(min_healthy_percent=min_healthy_percent),
        backends=(backends,),
        drain_timeout_ms=60_000,
    )
    return RoutingTable(services=(service,))


def sealed(table: RoutingTable, signer: Ed25519Signer = DOMAIN) -> SignedTable:
    """The table with the domain's signature (or another's)."""
    name = signed(TableName(digest=table.digest), signer)
    return SignedTable(table=table, signature=name.signature)


async def until(condition: Callable[[], object], *, within_s: float = 10) -> None:
    """Wait for a condition; the test fails where it does not come true."""
    with trio.fail_after(within_s):
        while not condition():  # noqa: ASYNC110 - what others do in their processes sets no event
            await trio.sleep(0.005)


class FakeCoordinator:
    """One replica. ``start`` it, enrol agents, then say things."""

    def __init__(self, *, term: int = 1, replica: str = "c1") -> None:
        self.term = Term(term)
        self.replica = ReplicaId(replica)
        self.incarnation = Incarnation(number=1, id="first")
        self.head = signed(Head(incarnation=self.incarnation), DOMAIN)
        self.keys: dict[AgentId, str] = {}
        self.votes: list[Vote] = []
        self.reports: list[Report] = []
        self.opened: list[Report] = []
        self.forged: list[Up] = []
        self.challenges: list[str] = []
        self.nonsense: object = None
        """Given in place of a challenge."""
        self.streams: dict[AgentId, OutboundStream] = {}
        self.answers_votes = trio.Event()
        self.answers_votes.set()
        self.leader_url: str | None = None
        self.refuse: problems.Problem | None = None
        self.url = ""
        self._tables: dict[Digest, SignedTable] = {}
        self._server: Server | None = None

    async def start(self, nursery: trio.Nursery, port: int = 0) -> str:
        """Serve; the address."""
        app = Starlette(
            routes=[
                Route("/v1/agent/challenge", self._challenge, methods=["GET"]),
                Route("/v1/agent/stream", self._open, methods=["POST"]),
                Route("/v1/agent/reports", self._take, methods=["POST"]),
            ],
            exception_handlers=problems.exception_handlers(),
        )
        listeners = await open_listeners("127.0.0.1", port)
        self._server = await nursery.start(serve, app, listeners, HttpLimits())
        self.url = f"http://127.0.0.1:{self._server.addresses[0][1]}"
        return self.url

    def stop(self) -> None:
        """End; streams are closed."""
        assert self._server is not None
        self._server.shut_down()

    # ------------------------------------------------------------------------ what agents said

    def newest(self, agent: AgentId) -> Report:
        """The agent's newest report; a test that asks before there is one is wrong."""
        return next(report for report in reversed(self.reports) if report.agent == agent)

    def votes_of(self, epoch: int) -> list[Vote]:
        """Every vote on an epoch, oldest first."""
        return [vote for vote in self.votes if vote.epoch == epoch]

    def is_live(self, epoch: int) -> bool:
        """Whether every connected agent has reported the epoch live."""
        return bool(self.streams) and all(
            any(r.agent == a and r.active.epoch == epoch and r.live_at_ns for r in self.reports)
            for a in self.streams
        )

    # ------------------------------------------------------------------------ what it says

    def tell(self, message: Down, *agents: AgentId) -> None:
        """Say something to these agents, or to all."""
        frame = line(encode(message))
        for agent in agents or tuple(self.streams):
            self.streams[agent].send_nowait(frame)

    def sync(self, table: SignedTable | None = None) -> Sync:
        """The head as it stands."""
        return Sync(
            incarnation=self.incarnation,
            term=self.term,
            replica=self.replica,
            head=self.head,
            table=table,
        )

    def prepare(self, table: RoutingTable) -> Prepare:
        """Ask for a vote on the next epoch."""
        held = self._tables[table.digest] = sealed(table)
        return Prepare(
            incarnation=self.incarnation,
            term=self.term,
            replica=self.replica,
            head=self.head,
            epoch=Epoch(self.head.decided + 1),
            digest=table.digest,
            kind=Kind.SWITCH,
            table=held,
        )

    def commit(self, table: RoutingTable, activation: Activation | None = None) -> Head:
        """Decide the next epoch for a table."""
        self._tables[table.digest] = sealed(table)
        self.head = signed(
            evolve(
                self.head,
                decided=Epoch(self.head.decided + 1),
                committed=Epoch(self.head.decided + 1),
                digest=table.digest,
                base=self.head.digest,
                base_epoch=self.head.committed,
                term=self.term,
                replica=self.replica,
                activation=activation or Activation(),
            ),
            DOMAIN,
        )
        return self.head

    def abort(self) -> Head:
        """Decide the next epoch against."""
        decided = Epoch(self.head.decided + 1)
        self.head = signed(evolve(self.head, decided=decided), DOMAIN)
        return self.head

    async def switch(self, table: RoutingTable) -> Epoch:
        """Prepare, count every connected agent's yes, commit, and wait until all are live."""
        message = self.prepare(table)
        self.tell(message)
        await until(lambda: {v.agent for v in self._yes(message.epoch)} >= self.streams.keys())
        self.commit(table)
        self.tell(self.sync())
        await until(lambda: self.is_live(message.epoch))
        return message.epoch

    @contextmanager
    def heartbeats(self, nursery: trio.Nursery, every_s: float = 0.05) -> Iterator[None]:
        """Repeat the head meanwhile."""
        scope = trio.CancelScope()

        async def beat() -> None:
            with scope:
                for _ in itertools.count():
                    self.tell(self.sync())
                    await trio.sleep(every_s)

        nursery.start_soon(beat)
        try:
            yield
        finally:
            scope.cancel()

    def _yes(self, epoch: int) -> list[Vote]:
        return [vote for vote in self.votes_of(epoch) if vote.no is None]

    # ------------------------------------------------------------------------ HTTP

    async def _challenge(self, _request: Request) -> Response:
        if self.leader_url is not None:
            return Response(status_code=307, headers={"location": self.leader_url})
        self.challenges.append(f"challenge {len(self.challenges)}")
        given = {"challenge": self.challenges[-1]} if self.nonsense is None else self.nonsense
        return JSONResponse(given)

    async def _open(self, request: Request) -> Response:
        report = decode_up(await request.body())
        assert isinstance(report, Report)
        if answer := self._turned_away(report):
            return answer
        assert report.challenge == self.challenges[-1]
        self.opened.append(report)
        self.reports.append(report)
        stream = OutboundStream(max_frames=256, max_bytes=8 * 1024 * 1024)
        self.streams[report.agent] = stream
        if report.incarnation != self.incarnation:
            record = signed(IncarnationRecord(incarnation=self.incarnation), DOMAIN)
            self.tell(Rebase(record=record), report.agent)
        lacking = self.head.digest not in ("", *report.tables)
        table = self._tables[self.head.digest] if lacking else None
        self.tell(self.sync(table), report.agent)
        return HeldResponse(stream, on_end=lambda _: self._ended(report.agent, stream))

    def _ended(self, agent: AgentId, stream: OutboundStream) -> None:
        if self.streams.get(agent) is stream:
            del self.streams[agent]

    async def _take(self, request: Request) -> Response:
        message = decode_up(await request.body())
        if answer := self._turned_away(message):
            return answer
        (self.votes if isinstance(message, Vote) else self.reports).append(message)  # type: ignore[arg-type]
        if isinstance(message, Vote):
            await self.answers_votes.wait()
        receipt = Receipt(
            term=self.term,
            replica=self.replica,
            echo_ns=message.sent_ns if isinstance(message, Report) else MonotonicNs(0),
            clock_ns=ClockNs(time.time_ns()),
            wall_ns=time.time_ns(),
        )
        return Response(encode(receipt) + b"\n")

    def _turned_away(self, message: Up) -> Response | None:
        if self.refuse is not None:
            return self.refuse.response()
        if self.leader_url is not None:
            return Response(status_code=307, headers={"location": self.leader_url})
        if not is_signed_by(message, self.keys.get(message.agent, ""), Ed25519Verifier()):
            self.forged.append(message)
            return problems.BAD_SIGNATURE.problem("not signed by the enrolled key").response()
        return None
