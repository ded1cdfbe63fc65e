"""What a switch would take on a map, with coordinators and etcd in given regions.

The lower bound of a switch in which everybody votes is ``1.5 D + W + staging + flip``: prepare goes
out and the votes come back (D, the round trip to the farthest agent), the leader writes the decision
(W), and that goes out (half of D); the intent is written while prepare is under way. The time to be
expected adds the jitter of an ordinary day and the proof that the new table is served; a scheduled
switch waits for G instead of the decision's way, as ``turnout.protocol.activation`` plans it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import evolve, frozen

from simulator.matrices import Matrix
from simulator.network_knobs import QUIET
from turnout.protocol.activation import plan_activation
from turnout.protocol.clock import MS, SECOND, ZERO
from turnout.protocol.identifiers import Region
from turnout.protocol.limits import RETRANSMISSION_ROOM_NS, Timing, broken_relations
from turnout.protocol.records import Mode


@frozen(kw_only=True)
class Costs:
    """What does not depend on the map.

    Attributes:
        mode: how the flip is timed.
        staging_ns: staging and probing beside the live table: Envoy takes 10 to 30 ms with a service
            or a few, measured on two cores.
        flip_ns: Envoy's file-based routes under load, measured: 3.1 ms.
        proof_ns: probes on new connections, and two looks at the source's counter 20 ms apart.
        commit_ns: what a write costs beside its round trips: 4 to 5 ms, measured with three members
            of etcd, and the least of that, for it goes into a lower bound.
        clock_bound_ns: how far an agent's idea of the leader's clock may be off: NTP inside a cloud
            keeps clocks within 1 to 2 ms.
    """

    mode: Mode = Mode.IMMEDIATE
    staging_ns: int = 20 * MS
    flip_ns: int = 3 * MS
    proof_ns: int = 25 * MS
    commit_ns: int = 4 * MS
    clock_bound_ns: int = 2 * MS


@frozen(kw_only=True)
class Placement:
    """Where they are: the leader first, and etcd's leader first."""

    coordinators: tuple[Region, ...]
    etcd: tuple[Region, ...]

    @property
    def leader(self) -> Region:
        """The coordinator that leads."""
        return self.coordinators[0]

    @property
    def etcd_leader(self) -> Region:
        """The member of etcd that leads: where it serves the leader best, as an operator moves it."""
        return self.etcd[0]


@frozen(kw_only=True)
class Parts:
    """What the expected time to live is made of, in the order of a switch.

    Attributes:
        prepare_ns: prepare goes out, and the last vote comes back.
        decide_ns: the decision is written.
        activate_ns: it goes out, or (scheduled) the activation time comes.
    """

    prepare_ns: int
    staging_ns: int
    decide_ns: int
    activate_ns: int
    flip_ns: int
    proof_ns: int

    @property
    def total_ns(self) -> int:
        """From prepare until live everywhere."""
        return sum(ns for _, ns in self.named())

    def named(self) -> Iterator[tuple[str, int]]:
        """Each part by its name."""
        yield "prepare", self.prepare_ns
        yield "staging", self.staging_ns
        yield "decide", self.decide_ns
        yield "activate", self.activate_ns
        yield "flip", self.flip_ns
        yield "proof", self.proof_ns

    def dominant(self) -> tuple[tuple[str, int], ...]:
        """The largest parts, which together make up three quarters of it, the largest first."""
        chosen: list[tuple[str, int]] = []
        for part in sorted(self.named(), key=lambda part: -part[1]):
            if sum(ns for _, ns in chosen) * 4 >= self.total_ns * 3:
                break
            chosen.append(part)
        return tuple(chosen)


@frozen(kw_only=True)
class Estimate:
    """What one placement comes to.

    Attributes:
        lower_bound_ns: ``1.5 D + W + staging + flip``.
        parts: the time to be expected.
        takeover_ns: the time to be expected once the leader's region is lost, with the worst leaders
            that may follow; None where nothing can be decided any more, and ``takeover_reason`` says
            why. It does not contain the failover itself.
        timing: times that fit this placement; its ``failover_ns`` is F.
        broken: which relations between them do not hold: no promise of 30 s can be given.
    """

    placement: Placement
    lower_bound_ns: int
    parts: Parts
    takeover_ns: int | None
    takeover_reason: str
    timing: Timing
    broken: tuple[str, ...]


class Distances:
    """A map with agents in each of its regions, and what switches on it cost."""

    def __init__(self, matrix: Matrix, costs: Costs) -> None:
        self.matrix, self.costs = matrix, costs
        self._reaches: dict[tuple[Region, Region | None], int] = {}

    def farthest_ns(self, leader: Region, lost: Region | None = None) -> int:
        """D: the round trip to the farthest agent, of those whose region is not lost."""
        return max(
            (self.matrix.round_trip_ns(leader, region) for region in self._but(lost)), default=0
        )

    def _but(self, lost: Region | None) -> Iterator[Region]:
        return (region for region in self.matrix.regions if region != lost)

    def write_ns(self, leader: Region, etcd: Sequence[Region]) -> int:
        """W: one write, as the leader sees it; the first member of etcd leads."""
        trip_ns = self.matrix.round_trip_ns(leader, etcd[0])
        return trip_ns + self.quorum_ns(etcd, len(etcd)) + self.costs.commit_ns

    def quorum_ns(self, etcd: Sequence[Region], size: int) -> int:
        """How long the first member waits for a majority of ``size`` members, lost ones included."""
        trips = sorted(self.matrix.round_trip_ns(etcd[0], region) for region in etcd[1:])
        return trips[size // 2 - 1] if size > 1 else 0

    def slowest_write_ns(self, coordinators: Sequence[Region], etcd: Sequence[Region]) -> int:
        """W of the worst day: any coordinator asks any member of etcd, and any member leads."""
        trips = self.matrix.round_trips_ns
        quorums = {
            one: self.quorum_ns((one, *_without(etcd, place)), len(etcd))
            for place, one in enumerate(etcd)
        }
        ways = (
            trips[coordinator, asked] + trips[asked, leader] + quorum_ns
            for coordinator in coordinators
            for asked in etcd
            for leader, quorum_ns in quorums.items()
        )
        return max(ways) + self.costs.commit_ns

    def lower_bound_ns(self, placement: Placement) -> int:
        """The published formula."""
        costs = self.costs
        return (
            3 * self.farthest_ns(placement.leader) // 2
            + self.write_ns(placement.leader, placement.etcd)
            + costs.staging_ns
            + costs.flip_ns
        )

    def parts(self, leader: Region, write_ns: int, lost: Region | None = None) -> Parts:
        """What is to be expected of a leader whose writes take so long."""
        trip_ns = self.farthest_ns(leader, lost)
        jitter_ns = int(trip_ns * QUIET.jitter_median_share)
        costs = self.costs
        return Parts(
            prepare_ns=trip_ns + 2 * jitter_ns,
            staging_ns=costs.staging_ns,
            decide_ns=write_ns,
            activate_ns=self._activate_ns(trip_ns, jitter_ns),
            flip_ns=costs.flip_ns,
            proof_ns=costs.proof_ns,
        )

    def _activate_ns(self, trip_ns: int, jitter_ns: int) -> int:
        """From the decision until the last agent flips."""
        votes = [(trip_ns + 2 * jitter_ns, self.costs.clock_bound_ns)]
        timing = _roomy(Timing(), trip_ns, 0)
        activation = plan_activation(self.costs.mode, votes, timing, ZERO)
        return activation.g_ns or trip_ns // 2 + jitter_ns

    def reach_ns(self, leader: Region, lost: Region | None = None) -> int:
        """All that is to be expected but the write."""
        known = self._reaches.get((leader, lost))
        if known is None:
            known = self._reaches[leader, lost] = self.parts(leader, 0, lost).total_ns
        return known

    # ------------------------------------------------------------- when the leader's region is lost

    def takeovers_ns(self, lost: Region, etcd: Sequence[Region]) -> dict[Region, int] | None:
        """What is to be expected of a next leader in each region, with the worst leader of etcd.

        None: etcd has no quorum left.
        """
        left = [region for region in etcd if region != lost]
        if len(left) <= len(etcd) // 2:
            return None
        quorums = [
            (one, self.quorum_ns((one, *(r for r in left if r != one)), len(etcd))) for one in left
        ]
        trips, commit_ns = self.matrix.round_trips_ns, self.costs.commit_ns
        return {
            region: self.reach_ns(region, lost)
            + commit_ns
            + max(trips[region, one] + quorum_ns for one, quorum_ns in quorums)
            for region in self._but(lost)
        }

    def estimate(self, placement: Placement) -> Estimate:
        """All that can be said of one placement."""
        leader, etcd = placement.leader, placement.etcd
        write_ns = self.write_ns(leader, etcd)
        takeover_ns, reason = self._worst_takeover(placement)
        slowest_ns = self.slowest_write_ns(placement.coordinators, etcd)
        timing = fitting_timing(self.farthest_ns(leader), slowest_ns, self._spread_ns(etcd))
        return Estimate(
            placement=placement,
            lower_bound_ns=self.lower_bound_ns(placement),
            parts=self.parts(leader, write_ns),
            takeover_ns=takeover_ns,
            takeover_reason=reason,
            timing=timing,
            broken=broken_relations(timing),
        )

    def _worst_takeover(self, placement: Placement) -> tuple[int | None, str]:
        others = [region for region in placement.coordinators if region != placement.leader]
        if not others:
            return None, "no coordinator is left"
        takeovers = self.takeovers_ns(placement.leader, placement.etcd)
        if takeovers is None:
            return None, "etcd has no quorum left"
        return max(takeovers[region] for region in others), ""

    def _spread_ns(self, etcd: Sequence[Region]) -> int:
        pairs = ((a, b) for a in etcd for b in etcd if a != b)
        return max((self.matrix.round_trip_ns(a, b) for a, b in pairs), default=0)


def _without(etcd: Sequence[Region], place: int) -> Sequence[Region]:
    return (*etcd[:place], *etcd[place + 1 :])


# --------------------------------------------------------------------------------- fitting times

ELECTION_ROUND_TRIPS = 10
"""etcd's tuning guide: an election timeout of ten round trips between members."""

HALF_SECOND_NS = SECOND // 2


def fitting_timing(farthest_ns: int, write_ns: int, spread_ns: int) -> Timing:
    """The protocol's times for these distances, and the longest T_prep that keeps the promise.

    The election timeout is ten round trips between members, and not below etcd's default.
    """
    plain = Timing()
    election_ns = max(plain.election_ns, _rounded_up(ELECTION_ROUND_TRIPS * spread_ns, SECOND))
    timing = _roomy(
        Timing(election_ns=election_ns, lease_ttl_ns=_lease_ttl_ns(election_ns)),
        farthest_ns,
        write_ns,
    )
    left_ns = timing.budget_ns - timing.worst_case_ns + 2 * timing.prepare_timeout_ns
    prepare_ns = left_ns // 2 // HALF_SECOND_NS * HALF_SECOND_NS
    return evolve(
        timing,
        prepare_timeout_ns=min(max(prepare_ns, HALF_SECOND_NS), plain.prepare_timeout_ns),
    )


def _lease_ttl_ns(election_ns: int) -> int:
    """The default's, or less where only so a core converges as fast as nearby; etcd's least at least."""
    plain = Timing(election_ns=election_ns)
    least_ns = _rounded_up(3 * election_ns // 2, SECOND)
    over_ns = plain.convergence_ns - Timing().convergence_ns
    shorter_ns = plain.lease_ttl_ns - _rounded_up(over_ns // 2, SECOND)
    return shorter_ns if shorter_ns >= least_ns else max(plain.lease_ttl_ns, least_ns)


def _roomy(timing: Timing, farthest_ns: int, write_ns: int) -> Timing:
    """The ceilings raised to what these distances need."""
    longest_ns = _rounded_up(farthest_ns + farthest_ns // 20, 50 * MS)
    most_g_ns = longest_ns + RETRANSMISSION_ROOM_NS + 2 * timing.max_clock_bound_ns
    return evolve(
        timing,
        max_round_trip_ns=max(timing.max_round_trip_ns, longest_ns),
        max_g_ns=max(timing.max_g_ns, most_g_ns),
        store_write_ns=max(timing.store_write_ns, _rounded_up(write_ns, 50 * MS)),
    )


def _rounded_up(ns: int, step_ns: int) -> int:
    return -(-ns // step_ns) * step_ns
