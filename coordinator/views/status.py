"""The JSON of how a domain and this replica are."""

from __future__ import annotations

from attrs import frozen

from coordinator.suspicions import Suspected
from coordinator.views.fleet import counts, exclusions_view
from coordinator.views.values import Json, instant
from turnout.protocol.candidacy import Claim
from turnout.protocol.coordinator_state import CoordinatorState, Role
from turnout.protocol.identifiers import ReplicaId
from turnout.protocol.records import Head
from turnout.protocol.transitions import SwitchPhase


@frozen(kw_only=True)
class Surroundings:
    """What a replica knows beside its machine's state.

    Attributes:
        leader: whose claim stands in the leader key.
        unfit: why this replica cannot lead, whatever happens; empty where it can.
        troubles: what the store last said against this replica.
        streams: how many agents hold a stream here.
        suspicions: what is wrong with those who speak as agents here.
    """

    replica: ReplicaId
    domain: str
    version: str
    leader: Claim | None
    troubles: tuple[str, ...]
    streams: int
    unfit: str = ""
    suspicions: tuple[Suspected, ...] = ()


def status_view(state: CoordinatorState, around: Surroundings) -> Json:
    """What a person looks at first."""
    leader = around.leader
    incarnation = state.known_incarnation
    return {
        "domain": around.domain,
        "replica": around.replica,
        "version": around.version,
        "role": state.role.value,
        "leader": {"replica": leader.replica, "url": leader.url} if leader else None,
        "term": state.term or None,
        "incarnation": {"number": incarnation.number, "id": incarnation.id}
        if incarnation
        else None,
        "head": _head(state.head) if state.head else None,
        "fleet": counts(state) if state.head else None,
        "exclusions": exclusions_view(state)["exclusions"],
        "streams": around.streams,
        "in_progress": in_progress(state),
        "troubles": list(troubles(state, around)),
        "suspicions": [_suspected(one) for one in around.suspicions],
    }


def in_progress(state: CoordinatorState) -> Json | None:
    """The switch that keeps the next one waiting, if any."""
    if state.attempt is not None:
        intent, phase = state.attempt.intent, SwitchPhase.PREPARING
    elif state.unfinished is not None:
        intent, phase = state.unfinished.intent, state.unfinished.phase
    else:
        return None
    request = intent.request
    return {
        "epoch": intent.epoch,
        "kind": request.kind.value,
        "service": request.service,
        "phase": phase.value,
    }


def troubles(state: CoordinatorState, around: Surroundings) -> tuple[str, ...]:
    """What keeps this replica, or one of its agents, from doing its work, in sentences."""
    halted = state.trouble if state.role is Role.HALTED else ""
    own = tuple(trouble for trouble in (halted, around.unfit) if trouble)
    lost = () if around.leader or own else ("no coordinator holds the leader key",)
    agents = (one.text for one in around.suspicions)
    return tuple(dict.fromkeys((*own, *around.troubles, *lost, *agents)))


def _suspected(one: Suspected) -> Json:
    return {
        "agent": one.agent,
        "reason": one.reason,
        "text": one.text,
        "address": one.address,
        "times": one.times,
    }


def _head(head: Head) -> Json:
    return {
        "decided": head.decided,
        "committed": head.committed,
        "digest": head.digest or None,
        "activation": {
            "mode": head.activation.mode.value,
            "time": instant(head.activation.time_ns),
        },
    }
