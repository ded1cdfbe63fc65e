"""Users: what they sent while each proxy served what, and whom a flip hurt. A flip costs, not a request.

Every edge gets requests at a steady rate from its first table on, and what becomes of them is known
from its history of tables alone:

- **sent, failed, misrouted, regressed are exact**: rate times time, kept as whole numbers of
  request-nanoseconds and divided once, when asked. *Failed*: nothing was served, or a table without
  a service that this edge once had. *Misrouted*: sent on by a table below one that this edge served
  before, to a colour to which that one sends nothing (S9: a proxy that forgot does this). *Regressed*:
  of users who come from another edge, ``move_ns`` after their last request there, those who had been
  sent on by a newer table, to another colour; so at most the skew between the two edges can hurt.
- **In flight, and so cut, is sampled**: how many requests a colour has is its rate times their mean
  length (ramping up from its first request); how long each of them still takes when its colour is left
  is drawn, as of exponential lengths. *Cut* are those that ``CloseSource`` finds; those that die with
  their proxy's process are *failed*.
- **Around each flip single requests are sampled**: one of each changed service just before, the others
  ``sample_after_ns`` later, answered by the proxy itself. They are told to ``on_sample`` and counted
  only where they show more than the books do: a proxy that does not what it says.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Callable
from typing import TypeAlias

from attrs import define, field, frozen

from simulator.randomness import Randomness, Stream
from simulator.results import Requests
from simulator.stays import Stay
from simulator.virtual_time import Agenda
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.identifiers import AgentId, Epoch, Region, ServiceName
from turnout.protocol.records import Active
from turnout.protocol.routing import (
    FULL_WEIGHT,
    Colour,
    RoutingTable,
    Service,
    abandoned_colours,
    changed_services,
)

Source: TypeAlias = tuple[ServiceName, Colour]
Ask: TypeAlias = Callable[[ServiceName, int], Colour | None]
"""A proxy's answer to a request of a service: the colour that it is sent on to (a percentage below
100 chooses by weight), or None."""

DAY_NS = 86_400 * SECOND
MILLION = 1_000_000
_THOUSAND = 1000

_STEPS = 64
_LEFT = tuple(round(-_THOUSAND * math.log(1 - (i + 0.5) / _STEPS)) for i in range(_STEPS))
"""What is left of an exponential length, in thousandths of its mean: as likely one as another."""


@frozen(kw_only=True)
class UserKnobs:
    """Who the users are. What has no default here is ``[users]`` of a scenario, with its reasons.

    Attributes:
        per_day: requests a day over all regions, each of which has as many: then no region's trouble
            is hidden by its size.
        long_per_million, long_ns: so many are long, and how long on the mean.
        moves_per_million: of a million requests, those of users who were at another edge before.
        request_ns: mean length of an ordinary request. Our choice: a page's call to a service.
        move_ns: from such a user's last answer there to the first request here. Our choice: a page
            that goes on loading.
        sample_after_ns: when, after a flip, single requests are sent: at once, and when an old
            worker that nginx leaves behind for 100 ms would be found, were it three times slower.
    """

    per_day: int
    long_per_million: int
    long_ns: int
    moves_per_million: int
    request_ns: int = 50 * MS
    move_ns: int = 200 * MS
    sample_after_ns: tuple[int, ...] = (0, 300 * MS)


@frozen(kw_only=True)
class Sample:
    """One request that crossed a flip; ``colour`` None: it failed.

    ``is_misrouted``: it was sent to a colour to which this edge's newest table sends nothing.
    """

    at_ns: int
    agent: AgentId
    epoch: Epoch
    service: ServiceName
    colour: Colour | None
    is_misrouted: bool = False


@define(eq=False)
class _Edge:
    """One proxy's users."""

    agent: AgentId
    region: Region
    ask: Ask
    active: Active = Active()
    table: RoutingTable | None = None
    since_ns: int = 0
    newest: Active = Active()
    newest_table: RoutingTable | None = None
    services: list[ServiceName] = field(factory=list)
    sent_to_since_ns: dict[Source, int] = field(factory=dict)
    left: dict[Source, list[int]] = field(factory=dict)
    """When each request ends that is in flight at a colour since it was last left, sorted."""


@define
class _Books:
    """Request-nanoseconds a day, times 100; ``regressed`` also times a million and the other edges."""

    sent: int = 0
    failed: int = 0
    misrouted: int = 0
    regressed: int = 0


Rank: TypeAlias = tuple[int, Epoch]


class Users:
    """All users of all edges. Every edge joins before time runs.

    Attributes:
        on_sample: called with each sampled request.
    """

    def __init__(self, agenda: Agenda, randomness: Randomness, knobs: UserKnobs) -> None:
        self.on_sample: Callable[[Sample], None] | None = None
        self._agenda = agenda
        self._knobs = knobs
        self._chance: Stream = randomness.stream("users")
        self._edges: dict[AgentId, _Edge] = {}
        self._rates: dict[AgentId, int] = {}
        self._ranks: list[Rank] = []
        self._stays: dict[Rank, Stay] = {}
        self._books = _Books()
        self._cut = 0
        self._lost = 0
        self._sampled_failed = 0
        self._sampled_misrouted = 0

    def join(self, agent: AgentId, region: Region, ask: Ask) -> None:
        """Another edge; the users of its region are shared out anew among its edges."""
        self._edges[agent] = _Edge(agent, region, ask)
        self._rates.clear()

    # --- what proxies serve ------------------------------------------------------------------------

    def serve(self, agent: AgentId, active: Active, table: RoutingTable) -> None:
        """From now on a proxy serves this; told of every flip and every restart."""
        edge, now_ns = self._edges[agent], self._agenda.now_ns
        self._close_interval(edge, now_ns)
        before = edge.table
        if before is not None:
            self._stays[edge.active.rank].ended.add(now_ns)
            self._sample_before(edge, changed_services(before, table))
            for source in abandoned_colours(before, table):
                self._leave(edge, source, now_ns)
        edge.active, edge.table = active, table
        if active.rank > edge.newest.rank or edge.newest_table is None:
            edge.newest, edge.newest_table = active, table
        self._enter(edge, now_ns)
        self._sample_after(edge, changed_services(before, table))

    def crash(self, agent: AgentId) -> None:
        """A proxy's process ends: what is in flight is lost, and what comes fails."""
        edge, now_ns = self._edges[agent], self._agenda.now_ns
        self._close_interval(edge, now_ns)
        sources = dict.fromkeys([*edge.left, *edge.sent_to_since_ns])
        self._lost += sum(self.in_flight(agent, *source, now_ns) for source in sources)
        if edge.table is not None:
            self._stays[edge.active.rank].ended.add(now_ns)
        edge.active, edge.table = Active(), None
        edge.left.clear()
        edge.sent_to_since_ns.clear()

    # --- in flight ---------------------------------------------------------------------------------

    def in_flight(self, agent: AgentId, service: ServiceName, colour: Colour, now_ns: int) -> int:
        """Requests that an edge has at a colour's backends: those left there, and those that come."""
        edge, source = self._edges[agent], (service, colour)
        left = edge.left.get(source, [])
        return len(left) - bisect_right(left, now_ns) + sum(self._coming(edge, source, now_ns))

    def empty_at_ns(self, agent: AgentId, service: ServiceName, colour: Colour) -> int:
        """When the last request ends that was left at a colour; 0 where none was."""
        left = self._edges[agent].left.get((service, colour))
        return left[-1] if left else 0

    def close(self, agent: AgentId, service: ServiceName, colour: Colour) -> int:
        """Cut what is in flight at a colour that was left; return how many."""
        edge, now_ns = self._edges[agent], self._agenda.now_ns
        left = edge.left.pop((service, colour), [])
        count = len(left) - bisect_right(left, now_ns)
        self._cut += count
        return count

    # --- what came of it ---------------------------------------------------------------------------

    def requests(self) -> Requests:
        """All requests until now."""
        for edge in self._edges.values():
            self._close_interval(edge, self._agenda.now_ns)
        books = self._books
        unit = DAY_NS * FULL_WEIGHT
        moved = unit * MILLION * max(1, len(self._edges) - 1)
        return Requests(
            sent=books.sent // unit,
            failed=max(books.failed // unit + self._lost, self._sampled_failed),
            misrouted=max(books.misrouted // unit, self._sampled_misrouted),
            cut=self._cut,
            regressed=books.regressed // moved,
        )

    # --- by intervals ------------------------------------------------------------------------------

    def _enter(self, edge: _Edge, now_ns: int) -> None:
        table, rank = edge.table, edge.active.rank
        assert table is not None
        if rank not in self._stays:
            self._stays[rank] = Stay(table)
            insort(self._ranks, rank)
        self._stays[rank].entered.add(now_ns)
        for service in table.services:
            if service.name not in edge.services:
                edge.services.append(service.name)
            for colour in Colour:
                if service.sends_to(colour):
                    edge.sent_to_since_ns.setdefault((service.name, colour), now_ns)

    def _close_interval(self, edge: _Edge, now_ns: int) -> None:
        """Write into the books what came since the last change, all under one table."""
        since_ns, edge.since_ns = edge.since_ns, now_ns
        if edge.newest_table is None or since_ns == now_ns:
            return
        rate = self._rate(edge)
        weight = rate * (now_ns - since_ns)
        books = self._books
        books.sent += weight * FULL_WEIGHT * len(edge.services)
        for name in edge.services:
            service = edge.table.service(name) if edge.table else None
            if service is None:
                books.failed += weight * FULL_WEIGHT
            elif edge.table is not edge.newest_table:
                books.misrouted += weight * _astray(service, edge.newest_table)
        self._note_moves(edge, rate, since_ns, now_ns)

    def _note_moves(self, edge: _Edge, rate: int, since_ns: int, now_ns: int) -> None:
        """Of those who came from edges with newer tables, who saw another colour there."""
        if edge.table is None:
            return
        rate *= self._knobs.moves_per_million
        move_ns = self._knobs.move_ns
        for rank in self._ranks[bisect_right(self._ranks, edge.active.rank) :]:
            stay = self._stays[rank]
            spent_ns = stay.between(since_ns - move_ns, now_ns - move_ns)
            for service in edge.table.services if spent_ns else ():
                self._books.regressed += rate * spent_ns * _astray(service, stay.table)

    def _rate(self, edge: _Edge) -> int:
        """Requests a day of each service of an edge."""
        if not self._rates:
            self._rates = _rates(self._knobs, [(e.agent, e.region) for e in self._edges.values()])
        return self._rates[edge.agent] // max(1, len(edge.services))

    # --- connections -------------------------------------------------------------------------------

    def _leave(self, edge: _Edge, source: Source, now_ns: int) -> None:
        """A colour gets no more requests: draw how long those in flight there still take."""
        counts = self._coming(edge, source, now_ns)
        old = [end_ns for end_ns in edge.left.get(source, []) if end_ns > now_ns]
        for count, mean_ns in zip(counts, self._lengths_ns(), strict=True):
            for _ in range(count):
                left_ns = mean_ns * _LEFT[self._chance.randrange(_STEPS)] // _THOUSAND
                old.append(now_ns + left_ns)
        edge.left[source] = sorted(old)
        edge.sent_to_since_ns.pop(source, None)

    def _lengths_ns(self) -> tuple[int, int]:
        return self._knobs.request_ns, self._knobs.long_ns

    def _coming(self, edge: _Edge, source: Source, now_ns: int) -> tuple[int, int]:
        """How many ordinary and long requests a colour has that new ones are sent to."""
        since_ns = edge.sent_to_since_ns.get(source)
        service = edge.table.service(source[0]) if edge.table else None
        if since_ns is None or service is None:
            return 0, 0
        rate = self._rate(edge) * service.weights.of(source[1])
        served_ns = now_ns - since_ns
        long_ppm = self._knobs.long_per_million
        short_ns, long_ns = (min(length_ns, served_ns) for length_ns in self._lengths_ns())
        unit = DAY_NS * FULL_WEIGHT * MILLION
        short = rate * (MILLION - long_ppm) * short_ns // unit
        return short, rate * long_ppm * long_ns // unit

    # --- one by one --------------------------------------------------------------------------------

    def _sample_before(self, edge: _Edge, services: tuple[Service, ...]) -> None:
        """Requests that were sent on just before the flip, by what was served then."""
        for service in services:
            old = edge.table.service(service.name) if edge.table else None
            if old is not None:
                self._sampled(edge, service.name, old.active)

    def _sample_after(self, edge: _Edge, services: tuple[Service, ...]) -> None:
        for delay_ns in self._knobs.sample_after_ns if services else ():
            self._agenda.after(delay_ns, lambda: self._ask(edge, services))

    def _ask(self, edge: _Edge, services: tuple[Service, ...]) -> None:
        for service in services:
            percent = self._chance.randrange(FULL_WEIGHT)
            self._sampled(edge, service.name, edge.ask(service.name, percent))

    def _sampled(self, edge: _Edge, name: ServiceName, colour: Colour | None) -> None:
        newest = edge.newest_table.service(name) if edge.newest_table else None
        astray = colour is not None and newest is not None and not newest.sends_to(colour)
        self._sampled_failed += colour is None
        self._sampled_misrouted += astray
        if self.on_sample is not None:
            self.on_sample(
                Sample(
                    at_ns=self._agenda.now_ns,
                    agent=edge.agent,
                    epoch=edge.active.epoch,
                    service=name,
                    colour=colour,
                    is_misrouted=astray,
                )
            )


def _astray(service: Service, newer: RoutingTable) -> int:
    """Percent of a service's requests that go to colours to which a newer table sends none."""
    after = newer.service(service.name)
    if after is None:
        return 0
    return sum(service.weights.of(colour) for colour in Colour if not after.sends_to(colour))


def _rates(knobs: UserKnobs, edges: list[tuple[AgentId, Region]]) -> dict[AgentId, int]:
    """Requests a day of each edge."""
    regions: dict[Region, int] = {}
    for _, region in edges:
        regions[region] = regions.get(region, 0) + 1
    return {agent: knobs.per_day // (len(regions) * regions[region]) for agent, region in edges}
