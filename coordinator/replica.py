"""One replica's parts, joined: machine, store, election, streams, and what watches them."""

from __future__ import annotations

import secrets
from functools import partial
from importlib.metadata import version

import structlog
import trio

from coordinator.api.context import Context, CoordinatorHost
from coordinator.archive import Archive
from coordinator.candidate import Candidate
from coordinator.config import CoordinatorSettings
from coordinator.departures import Departures
from coordinator.desk import Desk
from coordinator.dispatch import Dispatch
from coordinator.feed import Feed
from coordinator.hands import Hands
from coordinator.metrics import Metrics
from coordinator.narrator import Narrator
from coordinator.recent import Recent
from coordinator.refusal_book import RefusalBook
from coordinator.registry import Registry
from coordinator.store_calls import StoreCalls
from coordinator.suspicions import Suspicions
from coordinator.twins import Twins
from coordinator.verifying import RememberingVerifier
from coordinator.views.status import Surroundings
from turnout.protocol.codec import decode
from turnout.protocol.coordinator import Coordinator
from turnout.protocol.coordinator_state import CoordinatorConfig, CoordinatorState, Role
from turnout.protocol.election import Election
from turnout.protocol.errors import MalformedError
from turnout.protocol.events import CoordinatorEvent, Deposed, Elected
from turnout.protocol.identifiers import NO_TERM, AgentId, Term
from turnout.protocol.limits import MAX_TABLE_BYTES
from turnout.protocol.openings import Openings
from turnout.protocol.records import IncarnationRecord
from turnout.protocol.signing import Ed25519Verifier, Signer, is_signed_by
from turnout.protocol.wire import encode
from turnout.runtime.clock import SystemClock
from turnout.runtime.host import Host
from turnout.runtime.store.contract import Store
from turnout.runtime.store.errors import StoreError
from turnout.runtime.wall_bound import WallBound

_QUOTA_S = 10.0
"""Between two looks at how full the store is."""

_log = structlog.get_logger(__name__)


class Replica:
    """Everything of a replica but its HTTP server."""

    def __init__(
        self,
        settings: CoordinatorSettings,
        signer: Signer,
        store: Store,
        nursery: trio.Nursery,
        url: str,
    ) -> None:
        self._settings = settings
        self._store = store
        self._nursery = nursery
        self._version = version("turnout")
        self._quota_used = 0.0
        self._term: Term = NO_TERM
        timing = settings.timing.timing()
        self._wall_bound = WallBound()
        clock = SystemClock(self._wall_bound)
        self.metrics = Metrics(self._version)
        self.registry = Registry()
        self._suspicions = Suspicions()
        self._twins, self._openings = Twins(), Openings(secrets.token_bytes(32))
        self._departures = Departures(self._part_with)
        self._feed, self._recent, self._narrator = Feed(), Recent(), Narrator()
        self._refusals = RefusalBook(store, lambda: self.host.state, settings.replica_id)
        config = CoordinatorConfig(
            replica=settings.replica_id,
            timing=timing,
            signer=signer,
            verifier=RememberingVerifier(Ed25519Verifier()),
        )
        self._desk = Desk(self._tell)
        self._calls = StoreCalls(store, nursery, self._tell, self.metrics, pause_ns=timing.retry_ns)
        hands = Hands(
            calls=self._calls,
            dispatch=Dispatch(self.registry, encode),
            desk=self._desk,
            step_down=self._step_down,
        )
        self.host: CoordinatorHost = Host(
            Coordinator(config), CoordinatorState(), hands, clock, after_step=self._stepped
        )
        begin = _begun_election(config, url, clock)
        why_unfit = partial(_why_unfit, config)
        self.candidate = Candidate(store, begin, self._announced, clock, why_unfit=why_unfit)
        self.metrics.show(lambda: self.host.state, lambda: len(self.registry))
        self.context = Context(
            settings=settings,
            config=config,
            host=self.host,
            clock=clock,
            desk=self._desk,
            registry=self.registry,
            archive=Archive(store),
            recent=self._recent,
            feed=self._feed,
            metrics=self.metrics,
            refusals=self._refusals,
            suspicions=self._suspicions,
            twins=self._twins,
            openings=self._openings,
            nursery=nursery,
            around=self._around,
            quota_used=lambda: self._quota_used,
        )

    def start(self) -> None:
        """Start all that runs by itself."""
        for task in (
            self.host.run,
            self.candidate.run,
            self._wall_bound.keep,
            self._watch_quota,
            self._refusals.keep,
        ):
            self._nursery.start_soon(task)

    async def _tell(self, event: CoordinatorEvent) -> None:
        await self.host.tell(event)

    # ---------------------------------------------------------------- leadership

    async def _announced(self, event: Elected | Deposed) -> None:
        """The election's news, for the machine."""
        self.metrics.announced(event)
        if isinstance(event, Elected):
            self._term = event.term
        await self.host.tell(event)

    def _step_down(self, reason: str) -> None:
        """The machine gives up: agents look for another leader, and the key is free at once."""
        self.registry.close_all(reason)
        self._desk.send_away(f"This replica does not lead any more: {reason}")
        self.candidate.hand_over(reason, of_term=self._term)

    def _stepped(self, before: CoordinatorState, after: CoordinatorState) -> None:
        """Show a step to all who watch."""
        if after is before:
            return
        if before.role is Role.LEADING and after.role is not Role.LEADING:
            self._desk.send_away(f"This replica has to begin anew: {after.trouble or after.role}")
        if before.role is not Role.HALTED and after.role is Role.HALTED:
            _log.error("halted", reason=after.trouble)
            self.registry.close_all(after.trouble)
        self._departures.stepped(before, after)
        self.metrics.stepped(before, after)
        self._narrator.stepped(before, after)
        self._recent.stepped(before, after)
        self._feed.stepped(before, after)

    def _part_with(self, agent: AgentId) -> None:
        """Drop what is kept of an agent that was removed."""
        stream = self.registry.get(agent)
        if stream is not None:
            stream.close("the agent was removed from the fleet")
        self._twins.forget(agent)
        self._openings.forget(agent)
        self._suspicions.forget(agent)
        self.metrics.forget(agent)

    # ---------------------------------------------------------------- surroundings

    def _around(self) -> Surroundings:
        troubles = (self.candidate.trouble, self._calls.trouble)
        return Surroundings(
            replica=self._settings.replica_id,
            domain=self._settings.domain,
            version=self._version,
            leader=self.candidate.leader,
            unfit=self.candidate.unfit,
            troubles=tuple(trouble for trouble in troubles if trouble),
            streams=len(self.registry),
            suspicions=self._suspicions.all(),
        )

    async def _watch_quota(self) -> None:
        while True:
            try:
                self._quota_used = await self._store.quota()
            except StoreError as error:
                _log.warning("the store does not tell how full it is", reason=str(error))
            await trio.sleep(_QUOTA_S)


def _begun_election(config: CoordinatorConfig, url: str, clock: SystemClock) -> Election:
    return Election.begin(
        replica=config.replica,
        url=url,
        timing=config.timing,
        seed=secrets.randbits(64),
        now=clock.now(),
    )


def _why_unfit(config: CoordinatorConfig, incarnation: bytes) -> str:
    """Why a replica cannot lead a domain with this incarnation; empty where it can."""
    try:
        record = decode(incarnation, IncarnationRecord, limit=MAX_TABLE_BYTES)
    except MalformedError as error:
        return f"the domain's incarnation cannot be read: {error}"
    if is_signed_by(record, config.signer.public_key, config.verifier):
        return ""
    return (
        "the domain's incarnation is signed by another key than this replica's: its domain_key file "
        "is another domain's, or the domain's was made anew"
    )
