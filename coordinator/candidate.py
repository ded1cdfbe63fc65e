"""This replica's part in the election, carried out: the leader key's lease, and what is seen of it.

``turnout.protocol.election`` decides; here its calls go to the store, and its answers come back.
What fails is not answered: the machine asks again by itself.

A replica that could not decide anything, since its key is not the domain's, gives the leader key up
whenever it gets it: another one may have the right key. (A leader that halts because the store went
back keeps it, S11: the next one may not hear of what was lost, and would decide it anew.)
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import structlog
import trio

from turnout.protocol import keys
from turnout.protocol.candidacy import (
    Announce,
    AskLease,
    Campaign,
    Campaigned,
    Claim,
    ElectionEffect,
    ElectionEvent,
    Follow,
    GrantLease,
    KeepAlive,
    KeptAlive,
    LeaderSeen,
    LeaseGone,
    LeaseGranted,
    LeaseSeen,
    ReadLeader,
    Resign,
    Retired,
    RevokeLease,
    StoreCall,
)
from turnout.protocol.clock import SECOND, MonotonicNs
from turnout.protocol.election import Election, step
from turnout.protocol.events import Deposed, Elected
from turnout.protocol.identifiers import Term
from turnout.protocol.transactions import KeyValue, Range, Result, Unknown
from turnout.runtime.host import Clock, Host
from turnout.runtime.store.contract import Batch, Store
from turnout.runtime.store.errors import LeaseExpired, StoreError

Announced = Callable[[Elected | Deposed], Awaitable[None]]
Notice = Callable[[int, KeyValue | None], Awaitable[None]]

WhyUnfit = Callable[[bytes], str]

_PAUSE_S = 0.5
"""Before the store is asked again to be watched."""

_log = structlog.get_logger(__name__)


def _everybody_is_fit(_incarnation: bytes) -> str:
    return ""


class ElectionMachine:
    """The election in the form that a host drives."""

    step = staticmethod(step)

    def next_deadline(self, state: Election, /) -> MonotonicNs | None:
        """When to wake it."""
        return state.next_deadline


class Candidate:
    """Campaigns, leads and follows, for as long as ``run`` runs."""

    def __init__(
        self,
        store: Store,
        begin: Election,
        announced: Announced,
        clock: Clock,
        *,
        why_unfit: WhyUnfit = _everybody_is_fit,
    ) -> None:
        """``why_unfit`` says, of a domain's incarnation, why this replica cannot lead it, or nothing."""
        self._store = store
        self._announced = announced
        self._why_unfit = why_unfit
        self._nursery: trio.Nursery | None = None
        self._host: Host[Election, ElectionEvent, ElectionEffect] = Host(
            ElectionMachine(), begin, self, clock
        )
        self.leader: Claim | None = None
        """Whose claim stands in the leader key, as far as is known."""
        self.retired = trio.Event()
        self.trouble = ""
        self.unfit = ""
        """Why this replica cannot lead the domain, for people; empty where it can."""

    def hand_over(self, reason: str, *, of_term: Term | None = None) -> None:
        """Let another lead for a while; only if ``of_term`` is still the reign, where given."""
        if of_term is None or self._host.state.term == of_term:
            self._host.tell_nowait(Resign(reason=reason, for_good=False))

    async def retire(self, reason: str) -> None:
        """Let another lead for good, and return when nothing is held any more."""
        await self._host.tell(Resign(reason=reason, for_good=True))
        await self.retired.wait()

    async def run(self) -> None:
        """Take part until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._host.run)
            nursery.start_soon(self._watch_leader)
            nursery.start_soon(self._watch_incarnation)

    # ---------------------------------------------------------------- effects

    async def carry_out(self, effect: ElectionEffect) -> None:
        """Do what the machine asks for; calls to the store are only started."""
        match effect:
            case Announce(event=Elected()) if self.unfit:
                self.hand_over(self.unfit)
            case Announce(event=event):
                _tell_log(event)
                await self._announced(event)
            case Follow(leader=leader):
                self.leader = leader
            case Retired():
                self.retired.set()
            case _:
                assert self._nursery is not None, "run() carries effects out"
                self._nursery.start_soon(self._call, effect)

    async def failed(self, reason: str, undone: tuple[ElectionEffect, ...]) -> ElectionEvent:
        """No effect of an election is durable."""
        raise AssertionError(f"{undone}: {reason}")

    async def _call(self, effect: StoreCall) -> None:
        try:
            answer = await self._answer(effect)
            self.trouble = ""
        except LeaseExpired as error:
            if isinstance(effect, AskLease):
                return
            assert isinstance(effect, Campaign | KeepAlive | RevokeLease)
            _log.warning("lease is gone", lease=effect.lease, reason=str(error))
            answer = LeaseGone(lease=effect.lease)
        except StoreError as error:
            self.trouble = f"the store does not answer: {error}"
            return
        await self._host.tell(answer)

    async def _answer(self, effect: StoreCall) -> ElectionEvent:
        match effect:
            case ReadLeader(floor=floor):
                snapshot = await self._store.read(Range(keys.LEADER))
                entry = snapshot.get(keys.LEADER)
                return LeaderSeen(revision=snapshot.revision, entry=entry, floor=floor)
            case GrantLease(ttl_ns=ttl_ns, asked_ns=asked_ns):
                lease = await self._store.grant(math.ceil(ttl_ns / SECOND))
                return LeaseGranted(lease=lease, asked_ns=asked_ns)
            case Campaign(lease=lease):
                return Campaigned(lease=lease, result=await self._campaign(effect))
            case KeepAlive(lease=lease, asked_ns=asked_ns):
                await self._store.keep_alive(lease)
                return KeptAlive(lease=lease, asked_ns=asked_ns)
            case RevokeLease(lease=lease):
                await self._store.revoke(lease)
                return LeaseGone(lease=lease)
            case AskLease(lease=lease, asked_ns=asked_ns):
                time = await self._store.lease_time(lease)
                granted_ns, left_ns = time.granted_s * SECOND, time.left_s * SECOND
                return LeaseSeen(
                    lease=lease, asked_ns=asked_ns, granted_ns=granted_ns, left_ns=left_ns
                )

    async def _campaign(self, effect: Campaign) -> Result:
        """Always a result: a campaign may have been carried out though the call failed."""
        try:
            return await self._store.transact(effect.transaction, lease=effect.lease)
        except LeaseExpired:
            raise
        except StoreError as error:
            return Unknown(reason=str(error))

    # ---------------------------------------------------------------- watching

    async def _watch_leader(self) -> None:
        """Bring every change of the key to the machine: a free one is noticed at once."""

        async def notice(revision: int, entry: KeyValue | None) -> None:
            await self._host.tell(LeaderSeen(revision=revision, entry=entry))

        await self._follow(keys.LEADER, notice)

    async def _watch_incarnation(self) -> None:
        """A new incarnation is led by one who read it, and who can: whoever else leads hands over."""
        known: list[bytes | None] = []

        async def notice(_revision: int, entry: KeyValue | None) -> None:
            value = entry.value if entry else None
            self._judge(value)
            if self.unfit:
                self.hand_over(self.unfit)
            elif known and known[-1] != value:
                self.hand_over("the domain has a new incarnation")
            known[:] = [value]

        await self._follow(keys.INCARNATION, notice)

    def _judge(self, incarnation: bytes | None) -> None:
        unfit = self._why_unfit(incarnation) if incarnation is not None else ""
        if unfit and unfit != self.unfit:
            _log.error("this replica cannot lead", reason=unfit)
        self.unfit = unfit

    async def _follow(self, key: str, notice: Notice) -> None:
        """Read a key and watch it from there; again from the beginning whenever that breaks."""
        while True:
            try:
                snapshot = await self._store.read(Range(key))
                await notice(snapshot.revision, snapshot.get(key))
                await self._follow_from(snapshot.revision + 1, key, notice)
            except StoreError as error:
                self.trouble = f"the store does not answer: {error}"
            await trio.sleep(_PAUSE_S)

    async def _follow_from(self, revision: int, key: str, notice: Notice) -> None:
        async with self._store.watch(key, from_revision=revision) as events:
            async for event in events:
                if isinstance(event, Batch):
                    put = next((p for p in event.puts if p.key == key), None)
                    if put is not None or key in event.deletes:
                        await notice(event.revision, put)


def _tell_log(event: Elected | Deposed) -> None:
    if isinstance(event, Elected):
        _log.info("elected", term=event.term)
    else:
        _log.warning("deposed", reason=event.reason)
