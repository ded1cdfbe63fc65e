"""What can go wrong in a run: a class for each set of keys, and a table with every kind.

``between`` are two groups of processes, what goes between them is meant; ``node`` are processes.
Without ``for_s`` a fault that lasts never heals. What each kind does to the model that it touches is
said there (``network.py``, ``disk.py``, ...); here is how it is written.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import attrs
from attrs import field, frozen

from simulator.moments import Moment, within
from simulator.population import ETCD_LEADER, EVERYONE, LEADER, Role, Selector
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.identifiers import ServiceName
from turnout.protocol.routing import Colour

_HOUR_MS = 3_600_000.0
_GROUPS = 2


class FaultKind(enum.StrEnum):
    """Every kind of fault."""

    PARTITION = "partition"
    ONE_WAY = "one-way"
    PARTIAL_PARTITION = "partial-partition"
    CLOG = "clog"
    SWIZZLE = "swizzle"
    LOSS = "loss"
    LATENCY = "latency"
    CRASH = "crash"
    RESTART = "restart"
    PAUSE = "pause"
    CLOCK_STEP = "clock-step"
    CLOCK_DRIFT = "clock-drift"
    CLOCK_LIE = "clock-lie"
    DISK_FAIL = "disk-fail"
    DISK_FULL = "disk-full"
    DISK_SLOW = "disk-slow"
    DISK_TORN = "disk-torn"
    DISK_ROT = "disk-rot"
    DISK_REPLACE = "disk-replace"
    ETCD_LEADER_CRASH = "etcd-leader-crash"
    ETCD_MEMBER_CRASH = "etcd-member-crash"
    ETCD_MEMBER_PAUSE = "etcd-member-pause"
    ETCD_QUORUM_LOSS = "etcd-quorum-loss"
    ETCD_SLOW_FSYNC = "etcd-slow-fsync"
    ETCD_COMPACT = "etcd-compact"
    ETCD_MOVE_LEADER = "etcd-move-leader"
    ETCD_RESTORE = "etcd-restore"
    PROXY_SLOW = "proxy-slow"
    PROXY_REFUSE_STAGE = "proxy-refuse-stage"
    PROXY_REFUSE_FLIP = "proxy-refuse-flip"
    PROXY_DIE_AFTER_FLIP = "proxy-die-after-flip"
    PROXY_RESTART = "proxy-restart"
    PROXY_FORGET = "proxy-forget"
    PROXY_UNHEALTHY = "proxy-unhealthy"
    REPLAY = "replay"
    HERD = "herd"


def _two_groups(_: object, __: attrs.Attribute[Any], value: tuple[tuple[str, ...], ...]) -> None:
    if len(value) != _GROUPS or not all(value):
        raise ValueError('must be two groups, none of them empty, such as [["eu-west-1"], ["*"]]')


def _not_empty(_: object, __: attrs.Attribute[Any], value: tuple[object, ...]) -> None:
    if not value:
        raise ValueError('is empty: name at least one process, region or role, or "*"')


@frozen(kw_only=True)
class Fault(Moment):
    """One fault: its kind, and when it begins."""

    kind: FaultKind

    @property
    def lasts_ns(self) -> int | None:
        """For how long it lasts; None: for ever, or it is over at once."""
        for_s: float | None = getattr(self, "for_s", None)
        return None if for_s is None else round(for_s * SECOND)

    @property
    def selectors(self) -> tuple[Selector, ...]:
        """Whom it touches."""
        node: tuple[Selector, ...] = getattr(self, "node", ())
        between: tuple[tuple[Selector, ...], ...] = getattr(self, "between", ())
        return (*node, *(selector for group in between for selector in group))

    @property
    def text(self) -> str:
        """The fault in a line, for reports."""
        said = attrs.asdict(self, recurse=False)
        extras = [
            f"{name} {_shown(value)}"
            for name, value in said.items()
            if name not in _SAID_APART and value is not None
        ]
        whom = ", ".join(getattr(self, "node", ()))
        if isinstance(self, LinkFault):
            whom = " | ".join(", ".join(group) for group in self.between)
        lasts = f"for {self.lasts_ns / SECOND:g} s" if self.lasts_ns is not None else ""
        return " ".join(part for part in (self.kind, whom, *extras, lasts) if part)


_SAID_APART = frozenset(
    {"at_s", "when", "after_ms", "switch", "kind", "node", "between", "for_s", "down_ms"}
)


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


@frozen(kw_only=True)
class Lasting(Fault):
    """A fault that lasts ``for_s`` seconds, or for ever."""

    for_s: float | None = field(default=None, validator=within(0, 1e9))


@frozen(kw_only=True)
class LinkFault(Lasting):
    """Something between two groups, both ways unless the kind says otherwise."""

    between: tuple[tuple[Selector, ...], ...] = field(validator=_two_groups)


@frozen(kw_only=True)
class SharedLinkFault(LinkFault):
    """``share``: of the pairs of processes, or of the packets."""

    share: float = field(validator=within(0, 1))


@frozen(kw_only=True)
class SlowLinkFault(LinkFault):
    """``add_ms``: what every packet takes longer, each way."""

    add_ms: float = field(validator=within(0, _HOUR_MS))


@frozen(kw_only=True)
class NodeFault(Lasting):
    """Something that some processes suffer for a while."""

    node: tuple[Selector, ...] = field(validator=_not_empty)


@frozen(kw_only=True)
class InstantFault(Fault):
    """Something that befalls some processes in one instant."""

    node: tuple[Selector, ...] = field(validator=_not_empty)


@frozen(kw_only=True)
class RestartFault(InstantFault):
    """``down_ms``: until the process is there again. A supervisor takes a fraction of a second."""

    down_ms: float = field(default=200.0, validator=within(0, _HOUR_MS))

    @property
    def lasts_ns(self) -> int:
        """Until it is there again."""
        return round(self.down_ms * MS)


@frozen(kw_only=True)
class SwizzleFault(Lasting):
    """``every_ms``: between one process's links and the next one's, clogging and letting go."""

    node: tuple[Selector, ...] = field(validator=_not_empty)
    every_ms: float = field(default=100.0, validator=within(0, _HOUR_MS))


@frozen(kw_only=True)
class ClockStepFault(NodeFault):
    """``by_ms``: how far the wall clock is set forward, or below zero back; at heal it returns."""

    by_ms: float = field(validator=within(-24 * _HOUR_MS, 24 * _HOUR_MS))


@frozen(kw_only=True)
class ClockDriftFault(NodeFault):
    """``ppm``: how fast the monotonic clock runs; quartz is rarely off by more than 500."""

    ppm: int = field(validator=within(-100_000, 100_000))


@frozen(kw_only=True)
class ClockLieFault(NodeFault):
    """``by_ms``: how far the wall clock is off; ``bound_ms``: how far it says that it may be."""

    by_ms: float = field(validator=within(-24 * _HOUR_MS, 24 * _HOUR_MS))
    bound_ms: float = field(validator=within(0, _HOUR_MS))


@frozen(kw_only=True)
class SlowFault(NodeFault):
    """``add_ms``: what each fsync takes longer."""

    add_ms: float = field(validator=within(0, _HOUR_MS))


class ProxyStep(enum.StrEnum):
    """What a slow proxy is slow at."""

    STAGE = "stage"
    FLIP = "flip"


@frozen(kw_only=True)
class SlowProxyFault(SlowFault):
    """``add_ms``: what the proxy's ``step`` takes longer."""

    step: ProxyStep = ProxyStep.STAGE


@frozen(kw_only=True)
class UnhealthyFault(NodeFault):
    """``colour``: whose backends no health check from this edge finds; ``service``: of which one."""

    colour: Colour
    service: ServiceName | None = None


@frozen(kw_only=True)
class EtcdLeaderFault(Lasting):
    """What hits whichever member of etcd leads when it begins."""

    @property
    def selectors(self) -> tuple[Selector, ...]:
        """The member that leads."""
        return (ETCD_LEADER,)


@frozen(kw_only=True)
class EtcdQuorumFault(Lasting):
    """What hits a majority of etcd's members, its leader among them."""


@frozen(kw_only=True)
class EtcdInstantFault(Fault):
    """What befalls the whole store in one instant."""


@frozen(kw_only=True)
class EtcdRestoreFault(Fault):
    """``epochs_back``: the store becomes what it was just before so many of its last decisions."""

    epochs_back: int = field(default=1, validator=within(1, 1000))


@frozen(kw_only=True)
class ReplayFault(Fault):
    """``node``: who gets every protocol message of the switch before once more."""

    node: tuple[Selector, ...] = field(default=(EVERYONE,), validator=_not_empty)


@frozen(kw_only=True)
class HerdFault(Fault):
    """``handshakes``: so many other agents dial ``node`` at once, and it admits them one by one."""

    handshakes: int = field(validator=within(1, 1_000_000))
    node: tuple[Selector, ...] = field(default=(LEADER,), validator=_not_empty)


HOSTS = frozenset(Role) - {Role.OPERATOR}
"""Whatever runs all the time, and so can stop."""


@frozen(kw_only=True)
class KindRule:
    """How one kind is written, whom it can touch, and what it means."""

    cls: type[Fault]
    roles: frozenset[Role]
    text: str


_ALL = frozenset(Role)
_AGENTS = frozenset({Role.AGENT})
_CLOCKED = frozenset({Role.AGENT, Role.COORDINATOR})
_ETCD = frozenset({Role.ETCD})


def _rule(cls: type[Fault], roles: frozenset[Role], text: str) -> KindRule:
    return KindRule(cls=cls, roles=roles, text=text)


# fmt: off
KINDS: Mapping[FaultKind, KindRule] = {
    FaultKind.PARTITION: _rule(LinkFault, _ALL, "packets between the two groups vanish, both ways"),
    FaultKind.ONE_WAY: _rule(LinkFault, _ALL, "packets from the first group to the second vanish"),
    FaultKind.PARTIAL_PARTITION: _rule(SharedLinkFault, _ALL, "a share of the pairs between the groups is cut, both ways"),
    FaultKind.CLOG: _rule(LinkFault, _ALL, "packets between the groups are held back, in order, and let go at heal"),
    FaultKind.SWIZZLE: _rule(SwizzleFault, HOSTS, "the links of each process are clogged one after another, and let go in another order"),
    FaultKind.LOSS: _rule(SharedLinkFault, _ALL, "a share of the packets is lost; TCP sends them again"),
    FaultKind.LATENCY: _rule(SlowLinkFault, _ALL, "every packet takes longer"),
    FaultKind.CRASH: _rule(NodeFault, HOSTS, "the process dies, and starts again at heal"),
    FaultKind.RESTART: _rule(RestartFault, HOSTS, "the process dies, and its supervisor starts it again"),
    FaultKind.PAUSE: _rule(NodeFault, HOSTS, "the process stands still, and gets all that came when it goes on"),
    FaultKind.CLOCK_STEP: _rule(ClockStepFault, _CLOCKED, "the wall clock is set"),
    FaultKind.CLOCK_DRIFT: _rule(ClockDriftFault, _CLOCKED, "the monotonic clock runs at another speed"),
    FaultKind.CLOCK_LIE: _rule(ClockLieFault, _CLOCKED, "the wall clock is further off than it says"),
    FaultKind.DISK_FAIL: _rule(NodeFault, _AGENTS, "every fsync fails"),
    FaultKind.DISK_FULL: _rule(NodeFault, _AGENTS, "nothing can be written"),
    FaultKind.DISK_SLOW: _rule(SlowFault, _AGENTS, "every fsync takes longer"),
    FaultKind.DISK_TORN: _rule(InstantFault, _AGENTS, "the agent's next death leaves half of its last write"),
    FaultKind.DISK_ROT: _rule(InstantFault, _AGENTS, "bits of what was written are flipped"),
    FaultKind.DISK_REPLACE: _rule(InstantFault, _AGENTS, "the agent starts anew on an empty disk"),
    FaultKind.ETCD_LEADER_CRASH: _rule(EtcdLeaderFault, _ETCD, "the member that leads dies, and starts again at heal"),
    FaultKind.ETCD_MEMBER_CRASH: _rule(NodeFault, _ETCD, "a member dies, and starts again at heal"),
    FaultKind.ETCD_MEMBER_PAUSE: _rule(NodeFault, _ETCD, "a member stands still"),
    FaultKind.ETCD_QUORUM_LOSS: _rule(EtcdQuorumFault, _ETCD, "a majority of the members dies, and starts again at heal"),
    FaultKind.ETCD_SLOW_FSYNC: _rule(SlowFault, _ETCD, "every fsync of a member takes longer"),
    FaultKind.ETCD_COMPACT: _rule(EtcdInstantFault, _ETCD, "the history up to now is compacted, and watches from there are lost"),
    FaultKind.ETCD_MOVE_LEADER: _rule(EtcdInstantFault, _ETCD, "the member that leads has another stand at once, as for its maintenance"),
    FaultKind.ETCD_RESTORE: _rule(EtcdRestoreFault, _ETCD, "the store is restored from a backup of before the last decisions"),
    FaultKind.PROXY_SLOW: _rule(SlowProxyFault, _AGENTS, "the proxy takes longer to stage or to flip"),
    FaultKind.PROXY_REFUSE_STAGE: _rule(NodeFault, _AGENTS, "the proxy refuses to stage a table"),
    FaultKind.PROXY_REFUSE_FLIP: _rule(NodeFault, _AGENTS, "the proxy refuses the flip"),
    FaultKind.PROXY_DIE_AFTER_FLIP: _rule(InstantFault, _AGENTS, "the proxy dies after its next flip, before it answers"),
    FaultKind.PROXY_RESTART: _rule(InstantFault, _AGENTS, "the proxy restarts with what it serves, and without what was staged"),
    FaultKind.PROXY_FORGET: _rule(InstantFault, _AGENTS, "the proxy restarts and has forgotten what it served"),
    FaultKind.PROXY_UNHEALTHY: _rule(UnhealthyFault, _AGENTS, "a colour's backends fail every health check from there"),
    FaultKind.REPLAY: _rule(ReplayFault, _CLOCKED, "every protocol message of the switch before arrives once more"),
    FaultKind.HERD: _rule(HerdFault, frozenset({Role.COORDINATOR}), "thousands of other agents connect at once"),
}
"""Every kind; SCENARIOS.md has an example of each."""
# fmt: on
