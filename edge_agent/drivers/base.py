"""The driver contract: what an agent asks of its proxy, and what it may rely on.

    start -> stage -> activate -> in_flight ... -> close
                ^________|

Promises that hold for every driver:

- **The proxy outlives the agent.** ``aclose`` lets go of it, ``start`` finds it again and never
  starts a second one. It comes back from its own restart with the active table, agent or no agent.
- **What it serves never falls** (S5): ``activate`` refuses what does not rank, by incarnation and
  then by epoch, above everything the proxy was told before, by this driver or an earlier one.
- **It remembers what it was told**, all of it: incarnation, epoch and digest are the proxy's own
  answer to the next driver. Staged tables have no incarnation: whoever flips says which.
- **All or nothing** (S6): whatever is refused leaves the table being served as it was.
- **Evidence, not sleeps**: a method returns when the proxy itself shows that it is so.

Errors::

    Refused     the proxy, its disk or this contract says no: nothing user-visible changed
    AskError    (ask only) no answer came through the proxy
"""

from __future__ import annotations

import abc
import enum
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from attrs import frozen

from edge_agent.drivers.matching import owner
from edge_agent.request import Answer, Request
from turnout.protocol.identifiers import Epoch, ServiceName
from turnout.protocol.records import Active
from turnout.protocol.routing import (
    Colour,
    OnIsolation,
    RoutingTable,
    Service,
    inconsistencies,
)

EPOCH_HEADER = "x-turnout-epoch"
SERVICE_HEADER = "x-turnout-service"
COLOUR_HEADER = "x-turnout-colour"

PROBE = "turnout-probe"
"""How the agent's own requests call themselves (``user-agent``): what is withdrawn answers them."""

RETRY_INTERVAL_S = 0.25
"""The longest that a proxy of ours pauses before it tries a request again that reached no backend."""


class RefusalCode(enum.StrEnum):
    """Why a driver or a check says no; part of votes and reports, so stable."""

    INCONSISTENT = "inconsistent-table"
    REJECTED = "proxy-rejected"
    UNCONFIRMED = "proxy-unconfirmed"
    PROXY_DOWN = "proxy-down"
    PROBE = "probe-failed"
    UNHEALTHY = "backends-unhealthy"
    DRIFT = "version-drift"
    NOT_STAGED = "not-staged"
    STALE_EPOCH = "stale-epoch"
    DISK = "disk"
    IN_USE = "in-use"
    NOT_PERMITTED = "not-permitted"


class Refused(Exception):  # noqa: N818 - an answer of the proxy's, named as votes name it
    """A no, with a code for programs and a text for people."""

    def __init__(self, code: RefusalCode, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


@frozen(kw_only=True)
class Finding:
    """One thing that a check of the host has found; ``mend``: what to do about it, if anything."""

    what: str
    found: str
    is_well: bool = True
    mend: str = ""


@frozen(kw_only=True)
class ProxyStatus:
    """What the proxy is and really serves, by its own answers.

    ``started_id`` changes with every start of the proxy's process. ``serving`` is of epoch 0 while
    it serves nothing of ours. ``restart_needed``: it runs with older settings than the agent has;
    they take effect when it is next started.
    """

    running: bool
    started_id: str | None = None
    serving: Active = Active()
    restart_needed: bool = False


@frozen(kw_only=True)
class FlipEvidence:
    """The proxy was seen to serve this at ``flipped_at_ns`` (monotonic clock)."""

    serving: Active
    flipped_at_ns: int


class Driver(abc.ABC):
    """One proxy, as its agent sees it. Methods may be called concurrently unless they say not."""

    @abc.abstractmethod
    async def check(self) -> Sequence[Finding]:
        """What there is on this host for it to work with. Nothing is started, changed or raised."""

    @abc.abstractmethod
    async def start(self) -> ProxyStatus:
        """Find the running proxy or start it, and return once it answers.

        Idempotent. Also to be called when :meth:`wait_stopped` returned. Whatever was staged is
        forgotten: stage it again. Not concurrent with other methods.

        Raises:
            Refused: PROXY_DOWN with the proxy's last words, DISK, NOT_PERMITTED.
        """

    @abc.abstractmethod
    async def wait_stopped(self) -> None:
        """Return when the proxy's process has ended; at once if there is none."""

    @abc.abstractmethod
    async def aclose(self) -> None:
        """Let go of the proxy, which keeps running and serving. Idempotent."""

    @abc.abstractmethod
    async def stop_proxy(self) -> None:
        """End the proxy's process and return when it is gone. Idempotent. For teardown."""

    @abc.abstractmethod
    async def status(self) -> ProxyStatus:
        """What the proxy serves now, asked of the proxy. Never raises for a proxy that is down."""

    @abc.abstractmethod
    async def stage(self, epoch: Epoch, table: RoutingTable, changed: Sequence[Service]) -> None:
        """Load a table beside the one being served, and probe ``changed`` on its staged routes.

        Nothing a user could see changes. Replaces what was staged before once it succeeds; until
        then, and when refused, the earlier one can still be activated. Idempotent.

        Raises:
            Refused: INCONSISTENT, REJECTED (in the proxy's words), UNCONFIRMED (no evidence in
                time), PROBE, PROXY_DOWN, DISK.
        """

    @abc.abstractmethod
    async def activate(self, target: Active) -> FlipEvidence:
        """Serve the staged table of ``target``'s epoch and digest from now on: the flip.

        Idempotent: for what the proxy was told already, it waits for the same evidence again.
        After UNCONFIRMED the proxy has been told and may yet flip: repeat, or read the status.

        Raises:
            Refused: STALE_EPOCH (ranks not above what it was told, or the same with another
                digest), NOT_STAGED, REJECTED, UNCONFIRMED, PROXY_DOWN, DISK.
        """

    @abc.abstractmethod
    async def ask(self, request: Request, *, staged: bool = False) -> Answer:
        """Send one request through the proxy on a new connection; ``staged``: on staged routes.

        Raises:
            AskError: no complete answer.
        """

    @abc.abstractmethod
    async def in_flight(self, service: Service, colour: Colour) -> int:
        """Requests (upgraded streams included) that the proxy has at a colour's backends now.

        A request that pauses between two tries is not counted: none left is two readings of 0,
        ``RETRY_INTERVAL_S`` apart.

        Raises:
            Refused: PROXY_DOWN: there is nobody to ask.
        """

    @abc.abstractmethod
    async def requests_total(self, service: Service, colour: Colour) -> int:
        """Requests ever sent to a colour's backends, since the proxy's start.

        Raises:
            Refused: PROXY_DOWN.
        """

    @abc.abstractmethod
    async def withdraw(self, names: AbstractSet[ServiceName]) -> None:
        """Fail the health endpoints of these services, and no others any more. Idempotent.

        From now on the live listener answers the endpoint (:func:`health_endpoint`) with 503, whatever
        the backends say, so that whoever stands before the edges sends users elsewhere; all other
        requests are served. For services that ask for it (``on_isolation``); others are left alone, and
        so are probes. A proxy that restarts has forgotten it.

        Raises:
            Refused: REJECTED, PROXY_DOWN.
        """

    @abc.abstractmethod
    async def close(self, service: Service, colour: Colour) -> int:
        """Cut what is left at a colour's backends; return how many requests that were. Idempotent.

        Raises:
            Refused: IN_USE (the table being served sends to that colour, or another one shares its
                addresses), NOT_PERMITTED, PROXY_DOWN.
        """


def health_endpoint(table: RoutingTable, service: Service) -> str:
    """Where a service's health is asked for through a proxy; empty where no such path is its own.

    The health path where that lies below the service's prefix, else the health path appended to it;
    checked against the whole table, so that it is no neighbour's with a longer prefix.
    """
    prefix = service.path_prefix.rstrip("/")
    host = service.hosts[0].replace("*", PROBE)
    for path in (service.health.path, prefix + service.health.path):
        plain = path.partition("?")[0]
        if owner(table, host, plain) == service:
            return plain
    return ""


def withdrawable(table: RoutingTable, service: Service) -> str:
    """The health endpoint of a service that asks to be withdrawn; empty for any other."""
    is_asked = service.on_isolation is OnIsolation.WITHDRAW
    return health_endpoint(table, service) if is_asked else ""


def refuse_inconsistent(table: RoutingTable) -> None:
    """Raise Refused (INCONSISTENT), naming every fault, unless the table may be published."""
    faults = inconsistencies(table)
    if faults:
        raise Refused(RefusalCode.INCONSISTENT, "; ".join(faults))


def refuse_stale(target: Active, told: Active) -> None:
    """Raise Refused (STALE_EPOCH) unless ``target`` ranks above what the proxy was told (S5)."""
    if target.rank <= told.rank:
        raise Refused(
            RefusalCode.STALE_EPOCH,
            f"epoch {target.epoch} of incarnation {target.incarnation} is not above epoch "
            f"{told.epoch} of incarnation {told.incarnation}, which this proxy was told to serve",
        )
