"""A scenario: a world, what operators do in it, what goes wrong, and what should come of it.

``scenario_file.py`` reads one from TOML; ``SCENARIOS.md`` explains every key. The names of keys are
those of the fields, and of the sections those of the fields of :class:`Scenario`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import attrs
from attrs import field, frozen

from simulator.fault_kinds import Fault
from simulator.moments import within
from simulator.operations import Activation, Operation
from simulator.population import Node, Role, Selector, agents_of, placed
from turnout.protocol.clock import SECOND
from turnout.protocol.identifiers import AgentId, Region, ServiceName
from turnout.protocol.timing_settings import TimingSettings

_share = within(0, 1)
_DAY_MS = 86_400_000.0


def _count(low: int, high: int) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    def check(_: object, __: attrs.Attribute[Any], value: tuple[object, ...]) -> None:
        if not low <= len(value) <= high:
            raise ValueError(f"must name {low} to {high}, not {len(value)}")

    return check


def _distinct(_: object, __: attrs.Attribute[Any], value: tuple[str, ...] | None) -> None:
    twice = sorted({one for one in value or () if (value or ()).count(one) > 1})
    if twice:
        raise ValueError(f"names {', '.join(twice)} more than once")


def _said(_: object, __: attrs.Attribute[Any], value: tuple[str, ...] | None) -> None:
    if value is not None and not value:
        raise ValueError("is empty: name at least one, or leave the key out")


@frozen(kw_only=True)
class Topology:
    """Where everything is.

    Attributes:
        matrix: round trips between regions: a shipped matrix's name, or a CSV file's path.
        regions: where agents are; unset: in every region of the matrix.
        coordinators, etcd: the region of each; one may stand there several times.
        operator: where the operators sit; unset: in the first coordinator's region.
        services: what is switched; all of them are blue when a run begins.
    """

    matrix: str
    regions: tuple[Region, ...] | None = field(default=None, validator=[_said, _distinct])
    agents_per_region: int = field(default=1, validator=within(1, 10_000))
    coordinators: tuple[Region, ...] = field(validator=_count(1, 5))
    etcd: tuple[Region, ...] = field(validator=_count(1, 5))
    operator: Region | None = None
    services: tuple[ServiceName, ...] = field(
        default=(ServiceName("checkout"),), validator=[_said, _distinct]
    )

    def nodes(self, all_regions: tuple[Region, ...]) -> tuple[Node, ...]:
        """Every process, agents first; ``all_regions`` are those of the matrix."""
        return (
            *agents_of(self.regions or all_regions, self.agents_per_region),
            *placed(Role.COORDINATOR, self.coordinators),
            *placed(Role.ETCD, self.etcd),
            *placed(Role.OPERATOR, (self.operator or self.coordinators[0],)),
        )


@frozen(kw_only=True)
class TimingSection(TimingSettings):
    """The protocol's times by their names in ``coordinator.toml``, with the same defaults.

    Attributes:
        activation: how operations activate that do not say it themselves.
    """

    activation: Activation = "scheduled"


@frozen(kw_only=True)
class NetworkSection:
    """What the network does by itself; faults come on top.

    Attributes:
        jitter: of each packet: lognormal, median 0.2 % of the round trip, p99 about 8 ms, as in the
            ping runs behind ``aws-19`` (spread 1.2 ms at the median, 8 ms at p90).
        spikes: rare delays of hundreds of milliseconds.
        loss: share of the packets that is lost; 0.1-1 % is a bad day between continents.
        duplicates: share of the requests that an intermediary delivers twice.
        stragglers: share of the requests that arrive up to 90 s late.
    """

    jitter: bool = True
    spikes: bool = False
    loss: float = field(default=0.0, validator=_share)
    duplicates: float = field(default=0.0, validator=_share)
    stragglers: float = field(default=0.0, validator=_share)


@frozen(kw_only=True)
class ClocksSection:
    """Every host's clocks; faults come on top.

    Attributes:
        bound_ms: how far a wall clock may be off, and says so: NTP in a cloud keeps 1-2 ms, over the
            internet 10-20 ms.
        claimed: whether anybody says so: a kernel without chrony's word has no bound.
        drift_ppm: monotonic clocks run up to so much too fast or slow; quartz 78 ppm at the median.
    """

    bound_ms: float = field(default=2.0, validator=within(0, _DAY_MS))
    claimed: bool = True
    drift_ppm: int = field(default=78, validator=within(0, 100_000))


@frozen(kw_only=True)
class DiskSection:
    """Every agent's disk.

    Attributes:
        fsync_ms: of one journal record at the median; 0.25 ms was measured for fdatasync.
    """

    fsync_ms: float = field(default=0.25, validator=within(0, 60_000))


@frozen(kw_only=True)
class ProxySection:
    """Every agent's proxy; a small table in Envoy was measured.

    Attributes:
        staging_ms: to load a table beside the live one and probe it.
        flip_ms: until the first new answer: 2.1 ms quiet, 3.1 ms under load.
        probe_ms: to see the flip through the proxy.
    """

    staging_ms: float = field(default=20.0, validator=within(0, 60_000))
    flip_ms: float = field(default=2.5, validator=within(0, 60_000))
    probe_ms: float = field(default=5.0, validator=within(0, 60_000))


@frozen(kw_only=True)
class EtcdSection:
    """The store; its election timeout is ``election_s`` of ``[timing]``.

    Attributes:
        heartbeat_ms: etcd's own default is 100.
        fsync_ms: of one entry, with all that goes with it: a write took the round trip to the quorum
            and 4-5 ms more, as measured.
        unheard: share of the transactions that are carried out and never answered.
        late: share of the answers that come seconds late.
    """

    heartbeat_ms: float = field(default=100.0, validator=within(1, 60_000))
    fsync_ms: float = field(default=4.0, validator=within(0, 60_000))
    unheard: float = field(default=0.0, validator=_share)
    late: float = field(default=0.0, validator=_share)


@frozen(kw_only=True)
class UsersSection:
    """The users' requests.

    Attributes:
        requests_per_day: all over the world, spread evenly over the regions; by default a large shop's
            or bank's, 1,157 a second.
        long_share: of the requests that are long connections (downloads, streams, upgraded ones), to
            the millionth. Our choice.
        long_s: how long such a connection lasts on the mean. Our choice: below the default drain
            timeout of 30 s, so that most end by themselves, and a fifth outlives it.
        movers: of a million requests, those of users who were in another region before. Our choice:
            anycast routes and resolvers change rarely.
    """

    requests_per_day: int = field(default=100_000_000, validator=within(0, 10**12))
    long_share: float = field(default=0.001, validator=_share)
    long_s: float = field(default=20.0, validator=within(0, 86_400))
    movers: int = field(default=100, validator=within(0, 1_000_000))


@frozen(kw_only=True)
class CoreSection:
    """A part that heals at one moment, for good, while the rest stays broken.

    Attributes:
        at_s: when; every fault that touches one of the core, or what goes between two of it, heals
            then, and none does any more.
        node: who belongs to it: a majority of etcd, a coordinator or more, some agents. Coordinators
            that do not are stopped for good, and so are members of etcd.
    """

    at_s: float = field(validator=within(0, 1e9))
    node: tuple[Selector, ...] = field(validator=_said)

    @property
    def at_ns(self) -> int:
        """``at_s`` in nanoseconds."""
        return round(self.at_s * SECOND)


Outcome = Literal["live", "partial", "aborted", "rolled_back"]
Expected = Literal["valid", "invalid"]
"""Unknown is a run that broke down, which nobody expects."""


@frozen(kw_only=True)
class Expect:
    """What should come of it. What is left out is not looked at; the verdict always is.

    Attributes:
        verdict: of the invariants.
        violated: exactly the invariants that are broken, by number, where the verdict is ``invalid``.
        outcome: of the last operation that began a switch.
        laggards: exactly those agents that its outcome names.
        because: words that stand in the reason that it gives for each of them.
        elapsed_s_max: the longest that a switch took from accepted until live everywhere, or until
            it was over in another way: aborted, rolled back, partial.
        converged_within_s: from the last of: the heal of a fault, the newest commit, the agent's
            own inclusion; until every agent that can serves that commit.
        refused: the name of the problem that the last operation that can begin a switch is refused
            with.
        requests_lost_max: users' requests that failed, were misrouted or cut.
        reached: marks of rare states that must be reached.
    """

    verdict: Expected = "valid"
    violated: tuple[str, ...] = ()
    outcome: Outcome | None = None
    laggards: tuple[AgentId, ...] | None = field(default=None, validator=_distinct)
    because: str | None = None
    elapsed_s_max: float | None = field(default=None, validator=within(0, 1e6))
    converged_within_s: float | None = field(default=None, validator=within(0, 1e6))
    refused: str | None = None
    requests_lost_max: int | None = field(default=None, validator=within(0, 10**12))
    reached: tuple[str, ...] = ()


@frozen(kw_only=True)
class Scenario:
    """A whole scenario; every attribute is a key or a section of the file.

    Attributes:
        seed: where all chance comes from, unless another is asked for.
        duration_s: how long it runs, in virtual seconds.
        operations, faults: ``[[operation]]`` and ``[[fault]]``.
        core: what heals while the rest stays broken; unset: every fault heals by itself, or never.
    """

    name: str
    description: str = ""
    seed: int = field(default=1, validator=within(0, 2**64))
    duration_s: float = field(default=120.0, validator=within(0.001, 1e8))
    topology: Topology
    timing: TimingSection = TimingSection()
    network: NetworkSection = NetworkSection()
    clocks: ClocksSection = ClocksSection()
    disk: DiskSection = DiskSection()
    proxy: ProxySection = ProxySection()
    etcd: EtcdSection = EtcdSection()
    users: UsersSection = UsersSection()
    operations: tuple[Operation, ...] = field(default=(), alias="operation")
    faults: tuple[Fault, ...] = field(default=(), alias="fault")
    core: CoreSection | None = None
    expect: Expect = Expect()

    @property
    def duration_ns(self) -> int:
        """``duration_s`` in nanoseconds."""
        return round(self.duration_s * SECOND)
