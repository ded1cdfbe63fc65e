"""Deliberately broken machines, each with the world that shows it and the invariant it breaks.

Several mistakes are masked by a second guard; a canary then says which guards it removes together.
(TigerBeetle's ``fuzz_tests.zig`` is where the idea of canaries for the harness itself comes from.)
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve, frozen

from simulator.explore.nodes import DOMAIN, AgentHost
from simulator.explore.world import Budget
from simulator.explore.worlds import ONE_SWITCH, SmallWorld, requests
from simulator.patches import Patches
from turnout.protocol import (
    coordinator,
    fencing,
    gate,
    landing,
    serving,
    storing,
    switching,
    telling,
    voting,
)
from turnout.protocol.coordinator_state import Attempt, CoordinatorState, Turn
from turnout.protocol.effects import Activate, AgentEffect, Operation, Persist, Send, Tell
from turnout.protocol.events import ExcludeRequested, FromLeader, Wake
from turnout.protocol.identifiers import NO_TERM, AgentId, Region
from turnout.protocol.messages import Sync, Vote
from turnout.protocol.participant import Participant
from turnout.protocol.participant_state import RETRY, ParticipantState
from turnout.protocol.records import AgentEntry, Verdict
from turnout.protocol.signing import signed
from turnout.protocol.storing import DECIDE
from turnout.protocol.telling import sync
from turnout.protocol.transactions import Result, Unknown
from turnout.protocol.transitions import TransitionTable
from turnout.protocol.writes import Reign

Outcome = tuple[ParticipantState, tuple[AgentEffect, ...]]

SWITCH = SmallWorld(name="switch", budget=Budget(requests=ONE_SWITCH))
TAKEOVER = SmallWorld(
    name="takeover", replicas=2, budget=Budget(requests=ONE_SWITCH, elections=(1,))
)
DEATH = SmallWorld(
    name="takeover and death",
    replicas=2,
    budget=Budget(requests=ONE_SWITCH, elections=(1,), agent_crashes=1),
)
LOST_REPLY = SmallWorld(name="lost reply", budget=Budget(requests=ONE_SWITCH, lost_replies=1))
TWO_APPLIES = SmallWorld(
    name="two applies",
    budget=Budget(requests=requests("apply", "apply"), refusals=1),
)
EXCLUDED = SmallWorld(
    name="one region excluded",
    budget=Budget(
        requests=(
            ExcludeRequested(
                ticket=9, region=Region("region-1"), actor="test", reason="its backends are broken"
            ),
            *ONE_SWITCH,
        )
    ),
)


@frozen(kw_only=True)
class Canary:
    """A mistake: how to make it, the invariant that catches it, and where it shows."""

    name: str
    breaks: Callable[[Patches], None]
    number: str
    world: SmallWorld


def _wrap_agent(patch: Patches, change: Callable[[ParticipantState, Outcome], Outcome]) -> None:
    whole = Participant.step

    def step(self, state, event, now):  # type: ignore[no-untyped-def]
        return change(state, whole(self, state, event, now))

    patch.setattr(Participant, "step", step)


def vote_before_fsync(patch: Patches) -> None:
    """The vote leaves, then the promise is written."""

    def change(_: ParticipantState, outcome: Outcome) -> Outcome:
        state, effects = outcome
        return state, tuple(sorted(effects, key=lambda e: not isinstance(e, Send)))

    _wrap_agent(patch, change)


def _doubt_ends(patch: Patches, verdict: Verdict) -> None:
    """An agent in doubt waits for a while and then decides for itself."""
    whole = Participant.step

    def step(self, state, event, now):  # type: ignore[no-untyped-def]
        prepared = state.record.prepared
        if isinstance(event, Wake) and prepared is not None and state.head is not None:
            head = evolve(state.head, decided=prepared.epoch)
            if verdict is Verdict.COMMIT:
                head = evolve(
                    head,
                    committed=prepared.epoch,
                    digest=prepared.digest,
                    base=head.digest,
                    base_epoch=head.committed,
                )
            message = Sync(
                incarnation=head.incarnation,
                term=prepared.term,
                replica=head.replica,
                head=signed(head, DOMAIN),
            )
            event = FromLeader(message=message)
        after, effects = whole(self, state, event, now)
        if after.record.prepared is not None:
            after = evolve(after, timers=after.timers.arm(RETRY, now.monotonic_ns + 1))
        return after, effects

    patch.setattr(Participant, "step", step)


def doubt_times_out_into_commit(patch: Patches) -> None:
    """In doubt for too long: it takes its own yes for a decision."""
    _doubt_ends(patch, Verdict.COMMIT)


def doubt_times_out_into_abort(patch: Patches) -> None:
    """In doubt for too long: it takes silence for an abort."""
    _doubt_ends(patch, Verdict.ABORT)


def announced_before_the_reply(patch: Patches) -> None:
    """The leader tells the decision while the store is still being asked."""
    whole = switching.decide_now

    def decide_now(turn, attempt, verdict, reason, **more):  # type: ignore[no-untyped-def]
        whole(turn, attempt, verdict, reason, **more)
        deciding = turn.state.attempt.deciding
        turn.ask(Tell(agents=attempt.required, message=sync(turn, deciding.head)))

    patch.setattr(switching, "decide_now", decide_now)


def flips_to_an_equal_epoch(patch: Patches) -> None:
    """``>=`` at the flip; the used-up staging slot and the table of legal phases mask it."""
    patch.setattr(TransitionTable, "check", lambda self, source, cause, target: None)

    def flip(state: ParticipantState) -> Activate | None:
        wanted = state.wanted
        staged = serving._is_staged(state, wanted) or wanted == state.serving
        if wanted.epoch == 0 or wanted.rank < state.serving.rank or not staged:
            return None
        return Activate(incarnation=wanted.incarnation, epoch=wanted.epoch, digest=wanted.digest)

    patch.setattr(serving, "_flip", flip)


def excluded_agent_counted(patch: Patches) -> None:
    """Everybody is asked, whoever votes is let in, and votes are counted, not called by name."""

    def silent(attempt: Attempt) -> tuple[AgentId, ...]:
        answered = len(attempt.yes) + len(attempt.no)
        return attempt.required[answered:]

    patch.setattr(Attempt, "silent", property(silent))

    def tell_prepare(turn, attempt, agents):  # type: ignore[no-untyped-def]
        telling.tell_prepare(turn, attempt, tuple(turn.state.fleet.agents))

    patch.setattr(switching, "tell_prepare", tell_prepare)
    patch.setattr(gate, "_admit_vote", _admit_anybody)


def _admit_anybody(vote: Vote, state: CoordinatorState, entry: AgentEntry) -> object:
    attempt = state.attempt
    named = attempt is not None and vote.epoch == attempt.epoch
    return None if named else gate.Suspicion.NOT_ASKED


def old_term_prepares_count(patch: Patches) -> None:
    """A late prepare of a deposed leader is voted on."""
    patch.setattr(fencing, "_term_fault", lambda message, record: "")


def no_term_guard(patch: Patches) -> None:
    """A leader's writes are not guarded by the leader key."""
    whole = vars(Reign)["guards"].fget
    patch.setattr(Reign, "guards", property(lambda reign: whole(reign)[1:]))


def flip_before_the_journal(patch: Patches) -> None:
    """A commit is acted upon from memory; only the flip is journalled."""

    def change(_: ParticipantState, outcome: Outcome) -> Outcome:
        state, effects = outcome
        kept = tuple(e for e in effects if not _is_pending_commit(e))
        return state, kept

    _wrap_agent(patch, change)


def _is_pending_commit(effect: AgentEffect) -> bool:
    if not isinstance(effect, Persist):
        return False
    return effect.record.committed_epoch > effect.record.active.epoch


def no_base_check(patch: Patches) -> None:
    """An agent votes for a table whatever it serves, and nobody is ever marked stale."""
    patch.setattr(voting, "_base_fault", lambda state, message: None)
    patch.setattr(landing, "_behind", lambda turn, following: ())
    patch.setattr(landing, "_missing", lambda turn, following: ())


def promise_forgotten(patch: Patches) -> None:
    """A restarted agent knows of no promise and no yes."""
    step = AgentHost.step

    def forgetful(self, node, event, *more, **options):  # type: ignore[no-untyped-def]
        if hasattr(event, "serving") and hasattr(event, "tables"):
            record = evolve(event.record, promised=NO_TERM, prepared=None)
            event = evolve(event, record=record)
        return step(self, node, event, *more, **options)

    patch.setattr(AgentHost, "step", forgetful)


def lost_reply_taken_for_abort(patch: Patches) -> None:
    """No reply to the commit: the leader says that it was aborted."""

    def settle(turn: Turn, operation: Operation, result: Result) -> object:
        attempt = turn.state.attempt
        if isinstance(result, Unknown) and operation.name == DECIDE and attempt is not None:
            head = evolve(turn.head, decided=attempt.epoch)
            told = sync(turn, signed(head, DOMAIN))
            turn.ask(Tell(agents=attempt.required, message=told))
        return storing.settle(turn, operation, result)

    patch.setattr(coordinator, "settle", settle)


CANARIES = (
    Canary(name="vote before fsync", breaks=vote_before_fsync, number="S3", world=SWITCH),
    Canary(
        name="in-doubt times out into commit",
        breaks=doubt_times_out_into_commit,
        number="S1",
        world=SWITCH,
    ),
    Canary(
        name="in-doubt times out into abort",
        breaks=doubt_times_out_into_abort,
        number="S3",
        world=SWITCH,
    ),
    Canary(
        name="decision announced before the store's reply",
        breaks=announced_before_the_reply,
        number="S2",
        world=SWITCH,
    ),
    Canary(name="epoch >=", breaks=flips_to_an_equal_epoch, number="S5", world=SWITCH),
    Canary(
        name="excluded agent counted", breaks=excluded_agent_counted, number="S3", world=EXCLUDED
    ),
    Canary(
        name="late prepare of an old term",
        breaks=old_term_prepares_count,
        number="S4",
        world=TAKEOVER,
    ),
    Canary(name="no term guard on the decision", breaks=no_term_guard, number="S4", world=TAKEOVER),
    Canary(
        name="flip before the journalled commit",
        breaks=flip_before_the_journal,
        number="S1",
        world=SWITCH,
    ),
    Canary(name="no base check", breaks=no_base_check, number="S7", world=TWO_APPLIES),
    Canary(name="promise forgotten at restart", breaks=promise_forgotten, number="S4", world=DEATH),
    Canary(
        name="lost reply taken for abort",
        breaks=lost_reply_taken_for_abort,
        number="S2",
        world=LOST_REPLY,
    ),
)
