"""A source finishes what it has, at this edge: counted down, timed, and never closed by mistake.

Level-triggered, too: a drain runs as long as nothing that may come to be served sends requests to
its colour. A yes or a commit for a table that does pauses it (H21, S9), before the yes is given;
an abort lets it go on with what was left of its time; the flip to such a table ends it for good.
"""

from __future__ import annotations

from attrs import evolve

from turnout.protocol.clock import MS
from turnout.protocol.effects import CloseSource, StopDrain, WatchDrain
from turnout.protocol.events import InFlight
from turnout.protocol.participant_state import Drain, ParticipantState, Turn
from turnout.protocol.records import Active, Draining
from turnout.protocol.routing import (
    AfterDrain,
    RoutingTable,
    Service,
    abandoned_colours,
    unused_colours,
)

EMPTY, TIMEOUT, CLOSED = "empty", "timeout", "closed"


def begin_drains(turn: Turn, flipped: Active) -> None:
    """Begin a drain of every colour that the active table sent to and the one flipped to does not.

    They begin paused with all their time before them; :func:`review_drains` lets them run. A proxy
    that was ahead of its journal, or was given up while it flipped, may have left any colour: all
    drain that get no new requests, and those that are empty end at once.
    """
    before = turn.state.table(turn.state.record.active.digest)
    after = turn.state.table(flipped.digest)
    if after is None:
        return
    changed = abandoned_colours(before, after)
    left = dict.fromkeys(changed)
    if turn.state.ahead:
        left |= dict.fromkeys(unused_colours(after))
    begun = []
    for name, colour in left:
        service = after.service(name) or (before.service(name) if before else None)
        assert service is not None
        timeout_ns = _timeout_ns(turn.state, service, flipped)
        if (name, colour) not in changed:  # perhaps no business of this switch: it shortens nothing
            timeout_ns = max(timeout_ns, service.drain_timeout_ms * MS)
        begun.append(
            Drain(
                epoch=flipped.epoch,
                service=name,
                colour=colour,
                close=service.after_drain is AfterDrain.CLOSE,
                left_ns=timeout_ns,
            )
        )
    again = {(drain.service, drain.colour) for drain in begun}
    kept = [d for d in turn.state.drains if (d.service, d.colour) not in again]
    turn.change(drains=(*kept, *begun))


def unfinished_drains(turn: Turn, active: Active) -> tuple[Draining, ...]:
    """What is still to be drained once this is active, as it is written to the journal."""
    table = turn.state.table(active.digest)
    return tuple(
        Draining(
            epoch=drain.epoch,
            service=drain.service,
            colour=drain.colour,
            close=drain.close,
            left_ms=_left_ns(turn, drain) // MS,
        )
        for drain in turn.state.drains
        if not drain.ended and not _sends_to(table, drain)
    )


def begin_drains_anew(turn: Turn) -> None:
    """After a restart: those of the journal, paused until they are reviewed."""
    drains = (
        Drain(
            epoch=one.epoch,
            service=one.service,
            colour=one.colour,
            close=one.close,
            left_ns=one.left_ms * MS,
        )
        for one in turn.state.record.draining
    )
    turn.change(drains=tuple(drains))


def review_drains(turn: Turn) -> None:
    """Pause, resume and drop drains by what may come to be served, as the record now says."""
    record = turn.state.record
    active = turn.state.table(record.active.digest)
    reviewed = []
    for drain in turn.state.drains:
        if _sends_to(active, drain):
            _stop(turn, drain)
            continue
        wanted = _is_wanted(turn.state, drain)
        if wanted and drain.is_running:
            reviewed.append(_paused(turn, drain))
        elif not wanted and drain.left_ns is not None:
            reviewed.append(_resumed(turn, drain, drain.left_ns))
        else:
            reviewed.append(drain)
    turn.change(drains=tuple(reviewed))


def in_flight(turn: Turn, event: InFlight) -> None:
    """The proxy counted; at none the drain has ended."""
    for drain in turn.state.drains:
        if (drain.service, drain.colour) == (event.service, event.colour) and drain.is_running:
            counted = evolve(drain, in_flight=event.count)
            _replace(turn, drain, counted)
            if event.count == 0:
                _end(turn, counted, EMPTY)


def drain_timed_out(turn: Turn, timer: str) -> None:
    """A drain's time is over. Whether to close is judged by the newest tables, at this moment."""
    for drain in turn.state.drains:
        if drain.timer == timer:
            closes = drain.close and not _is_wanted(turn.state, drain)
            if closes:
                turn.ask(CloseSource(service=drain.service, colour=drain.colour))
            _end(turn, drain, CLOSED if closes else TIMEOUT)


def _timeout_ns(state: ParticipantState, service: Service, flipped: Active) -> int:
    """The switch's own timeout, where it has one and this is it; else the service's."""
    committed = state.record.committed
    override = committed.head.drain_timeout_ms if committed and flipped == state.newest else None
    return (service.drain_timeout_ms if override is None else override) * MS


def _sends_to(table: RoutingTable | None, drain: Drain) -> bool:
    service = table.service(drain.service) if table else None
    return service is not None and service.sends_to(drain.colour)


def _is_wanted(state: ParticipantState, drain: Drain) -> bool:
    """Whether a table that is prepared or committed sends requests to the colour."""
    digests = [state.newest.digest]
    if state.record.prepared is not None:
        digests.append(state.record.prepared.digest)
    return any(_sends_to(state.table(digest), drain) for digest in digests)


def _left_ns(turn: Turn, drain: Drain) -> int:
    """What is left of the time of a drain that has not ended."""
    if drain.left_ns is not None:
        return drain.left_ns
    return max(0, dict(turn.state.timers.due)[drain.timer] - turn.now.monotonic_ns)


def _paused(turn: Turn, drain: Drain) -> Drain:
    left_ns = _left_ns(turn, drain)
    _stop(turn, drain)
    return evolve(drain, left_ns=left_ns)


def _resumed(turn: Turn, drain: Drain, left_ns: int) -> Drain:
    turn.ask(WatchDrain(epoch=drain.epoch, service=drain.service, colour=drain.colour))
    turn.arm(drain.timer, left_ns)
    return evolve(drain, left_ns=None)


def _end(turn: Turn, drain: Drain, how: str) -> None:
    """A drain that ends while probes run is told with what they come to: one report for both."""
    _stop(turn, drain)
    _replace(turn, drain, evolve(drain, ended=how))
    turn.has_news = turn.has_news or turn.state.proof is None


def _stop(turn: Turn, drain: Drain) -> None:
    if drain.is_running:
        turn.ask(StopDrain(service=drain.service, colour=drain.colour))
        turn.disarm(drain.timer)


def _replace(turn: Turn, old: Drain, new: Drain) -> None:
    turn.change(drains=tuple(new if drain == old else drain for drain in turn.state.drains))
