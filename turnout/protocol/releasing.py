"""After the outcome: drain, retain, release (steps 6 and 7). Nothing here is ever in a hurry.

That a source may be scaled down is said once everybody enrolled has drained it, after ``retain``, and
never of one that a later commit made its own business.
"""

from __future__ import annotations

from typing import TypeVar

from attrs import evolve

from turnout.protocol.clock import MS, ClockNs
from turnout.protocol.coordinator_state import Fleet, Following, Turn
from turnout.protocol.frozenmap import FrozenMap
from turnout.protocol.identifiers import AgentId, Epoch
from turnout.protocol.routing import RoutingTable
from turnout.protocol.standing import is_free
from turnout.protocol.storing import RELEASE, transact, under_way
from turnout.protocol.switching import history_entry
from turnout.protocol.transitions import SwitchInput, SwitchPhase, advance_switch
from turnout.protocol.writes import release

T = TypeVar("T")

RETAIN_TIMER = "retain"


def release_when_drained(turn: Turn) -> None:
    """Move finished switches on: draining, retained, released."""
    turn.disarm(RETAIN_TIMER)
    for following in tuple(turn.state.following.values()):
        if following.outcome is not None and not _is_taken_back(turn, following):
            _drain_on(turn, following)


def _is_taken_back(turn: Turn, following: Following) -> bool:
    """Whether a later commit made this epoch's source another's business: it is never released.

    1. Epoch 7 leaves blue. 2. Epoch 8 rolls back to blue. 3. Epoch 7's time is up: "blue may be
    scaled down" would take the colour away that serves (S9). With the later one's outcome it is over.
    """
    later = (f for f in turn.state.following.values() if f.epoch > following.epoch)
    if any(is_taken_over(following, f) for f in later):
        return True
    held = turn.state.tables.get(turn.head.digest)
    serving = held.table if held else RoutingTable()
    return any(
        service is not None and service.sends_to(source.colour)
        for source in following.intent.sources
        for service in [serving.service(source.service)]
    )


def _drain_on(turn: Turn, following: Following) -> None:
    phase = following.phase
    if phase is SwitchPhase.LIVE:
        phase = advance_switch(phase, SwitchInput.DRAIN)
    if phase is SwitchPhase.DRAINING and not _is_draining(turn.state.fleet, following):
        phase = advance_switch(phase, SwitchInput.DRAINED)
    if phase is not following.phase:
        following = evolve(following, phase=phase)
        turn.change(following=turn.state.following.put(following.epoch, following))
    if phase is not SwitchPhase.RETAINED or under_way(turn, RELEASE, following.epoch):
        return
    if _is_draining(turn.state.fleet, following):
        return  # an agent was enrolled since, and may send to the source
    if not is_free(turn):
        return  # what is under way may want the source; its end comes by here again
    left = release_due_ns(following) - turn.now.clock_ns
    if left > 0:
        turn.arm_earlier(RETAIN_TIMER, left)
        return
    entry = history_entry(
        turn, following.epoch, "released", "the source may be scaled down", intent=following.intent
    )
    transaction = release(
        turn.reign,
        epoch=following.epoch,
        head=turn.head,
        fleet=turn.fleet_guard,
        history=entry,
    )
    transact(turn, RELEASE, transaction, following.epoch)


def forget_the_removed(turn: Turn) -> None:
    """What an agent said that is not enrolled any more says nothing of who has its name next."""
    agents = turn.state.fleet.agents

    def kept(said: FrozenMap[AgentId, T]) -> FrozenMap[AgentId, T]:
        return FrozenMap({agent: what for agent, what in said.items() if agent in agents})

    for following in turn.state.following.values():
        updated = evolve(
            following,
            live=kept(following.live),
            diverged=kept(following.diverged),
            drained=kept(following.drained),
        )
        if updated != following:
            turn.change(following=turn.state.following.put(following.epoch, updated))


def _is_draining(fleet: Fleet, following: Following) -> bool:
    """Whether any enrolled agent has neither confirmed nor been waived; counted first, as above."""
    done = len(following.drained) + len(following.waived)
    if done < len(fleet.agents):
        return True
    return any(a not in following.drained and a not in following.waived for a in fleet.agents)


def release_due_ns(following: Following) -> ClockNs:
    """Until when a rollback finds the source loaded: the longest ``retain`` of what changed."""
    return ClockNs(following.decision.decided_at_ns + following.intent.retain_ms * MS)


def released(turn: Turn, epoch: Epoch) -> None:
    """The release is in the store: the switch is over.

    It may be so already: the reply was lost, and a later epoch's outcome came meanwhile.
    """
    following = turn.state.following.get(epoch)
    if following is not None:
        advance_switch(following.phase, SwitchInput.RELEASE)
        turn.change(following=turn.state.following.drop(epoch))


def release_refused(turn: Turn) -> None:
    """A switch or a change of the fleet was before it in the store: look again a little later."""
    turn.arm_earlier(RETAIN_TIMER, turn.config.timing.retry_ns)


def is_taken_over(earlier: Following, later: Following) -> bool:
    """Whether a later commit ends what an earlier one still waits for.

    It does if it leaves a source of the same service; and of one that left none there is nothing to
    drain, nor to say.
    """
    services = {source.service for source in earlier.intent.sources}
    return not services or any(source.service in services for source in later.intent.sources)
