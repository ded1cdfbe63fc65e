"""The best placements on a map, each looked at that could be among them.

Every choice of a leader's region, of regions for etcd and of regions for the other coordinators would be
too many to try: two million for three and three on 19 regions. It is exact all the same, because

- the time to be expected depends on the leader, on etcd's leader and on the farthest member of the
  nearest majority only: such triples are taken up in the order of their time, and the search ends when
  enough placements have been found and the next triple is slower by a millisecond or more;
- the other coordinators matter after a takeover only, and each by itself: the best choice are those with
  the least time then.

Placements whose times differ by less than a millisecond count as equal, and the one that is better off
when the leader's region is lost comes first.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import combinations

from attrs import frozen

from simulator.placement import Distances, Estimate, Placement
from turnout.protocol.clock import MS
from turnout.protocol.identifiers import Region

NEVER_NS = 10**18
"""Longer than anything: what a takeover takes that cannot be."""

Ranked = tuple[int, int, int, tuple[str, ...], Placement]


@frozen(kw_only=True)
class Shape:
    """How many of each."""

    coordinators: int = 3
    etcd: int = 3


def best_placements(distances: Distances, shape: Shape, top: int) -> tuple[Estimate, ...]:
    """The best placements, the best first; no two have both the same leader and the same etcd."""
    ranked: list[Ranked] = []
    seen: set[tuple[Region, frozenset[Region]]] = set()
    last_ms = -1
    for time_ns, leader, etcd in _in_order_of_time(distances, shape.etcd):
        if time_ns // MS != last_ms and len(ranked) >= top:
            break
        last_ms = time_ns // MS
        if (leader, frozenset(etcd)) not in seen:
            seen.add((leader, frozenset(etcd)))
            ranked.append(_ranked(distances, shape, leader, etcd, time_ns))
    best = heapq.nsmallest(top, ranked, key=lambda one: one[:4])
    return tuple(distances.estimate(placement) for *_, placement in best)


def _in_order_of_time(
    distances: Distances, members: int
) -> Iterator[tuple[int, Region, tuple[Region, ...]]]:
    """Each leader with each choice of etcd, its leader first, in the order of the expected time.

    The first time that a leader and a set of members come up is with the best leader of etcd.
    """
    trips = distances.matrix.round_trips_ns
    regions = distances.matrix.regions
    near = {a: sorted((trips[a, b], b) for b in regions if b != a) for a in regions}
    others = members // 2
    heap = [
        (distances.reach_ns(leader) + trips[leader, one] + _trip_ns(near[one], others),
         leader, one, others)
        for leader in regions
        for one in regions
    ]  # fmt: skip
    heapq.heapify(heap)
    while heap:
        time_ns, leader, one, place = heap[0]
        for rest in _memberships([region for _, region in near[one]], members - 1, place):
            yield time_ns + distances.costs.commit_ns, leader, (one, *rest)
        if others and place < len(near[one]):
            step_ns = _trip_ns(near[one], place + 1) - _trip_ns(near[one], place)
            heapq.heapreplace(heap, (time_ns + step_ns, leader, one, place + 1))
        else:
            heapq.heappop(heap)


def _trip_ns(near: Sequence[tuple[int, Region]], place: int) -> int:
    """The round trip to the neighbour at this place, the first being 1; nobody is at 0."""
    return near[place - 1][0] if place else 0


def _memberships(near: Sequence[Region], rest: int, place: int) -> Iterator[tuple[Region, ...]]:
    """Choices of so many neighbours whose majority is complete with the one at this place."""
    majority = (rest + 1) // 2
    if not majority:
        yield from combinations(near, rest)
        return
    for nearer in combinations(near[: place - 1], majority - 1):
        for farther in combinations(near[place:], rest - majority):
            yield (*nearer, near[place - 1], *farther)


def _ranked(
    distances: Distances, shape: Shape, leader: Region, etcd: tuple[Region, ...], time_ns: int
) -> Ranked:
    takeovers = distances.takeovers_ns(leader, etcd)
    by_time = takeovers or {
        region: distances.reach_ns(region, leader)
        for region in distances.matrix.regions
        if region != leader
    }
    others = sorted(by_time, key=lambda region: (by_time[region], region))
    chosen = others[: shape.coordinators - 1]
    worst_ns = by_time[chosen[-1]] if chosen and takeovers else NEVER_NS
    placement = Placement(coordinators=(leader, *chosen), etcd=etcd)
    names = (*placement.coordinators, *etcd)
    return time_ns // MS, worst_ns, time_ns, names, placement
