"""Guards that no history misses, since something else comes first: what each is for, by a story.

A canary here removes two things: what hides the guard, and the guard. Three tales are told of it
(``test_guard_canaries.py``): with the guard removed alone nothing breaks, since it is hidden; with
what hides it removed alone nothing breaks, since the guard holds; with both removed the named number
breaks. That each guard is there at all is shown by ``test_writes.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from attrs import evolve, frozen

from simulator.explore.bootstrap import table
from simulator.explore.store import FakeStore
from tests.protocol import fabric_domains as domains
from tests.protocol.fabric import Fabric
from turnout.protocol import coordinator, keys, requesting, standing, storing, voting
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.codec import decode
from turnout.protocol.coordinator_state import Role, Turn
from turnout.protocol.effects import Operation, Transact
from turnout.protocol.identifiers import AgentId, Epoch, Region, ReplicaId, Term
from turnout.protocol.invariants import Course, s9_source_is_left_in_peace
from turnout.protocol.limits import MAX_TABLE_BYTES
from turnout.protocol.messages import Report, Vote
from turnout.protocol.records import AgentRecord, Intent, Request
from turnout.protocol.routing import Colour
from turnout.protocol.storing import ACCEPT, writes_standing
from turnout.protocol.transactions import Lost, Result, Transaction, Unknown, Won

Patch = pytest.MonkeyPatch
R0, R1 = ReplicaId("r0"), ReplicaId("r1")
NEWCOMER = AgentId("a3")


@frozen(kw_only=True)
class GuardCanary:
    """A guard of the store, what hides it, and the story in which both are missed.

    Attributes:
        transaction, keys: which guards are removed.
        hidden_by: in words, what ``uncover`` removes.
        number: the invariant that breaks, or the rule where none is about it.
    """

    name: str
    transaction: str
    keys: tuple[str, ...]
    hidden_by: str
    uncover: Callable[[Patch], None]
    world: Callable[[], Fabric]
    tale: Callable[[Fabric], None]
    number: str

    def remove(self, patch: Patch) -> None:
        """Take the guard away."""
        no_guard(patch, self.transaction, *self.keys)


def no_guard(patch: Patch, transaction: str, *prefixes: str) -> None:
    """The store does not see the guards on such keys of such transactions."""
    whole = FakeStore.apply

    def apply(
        self: FakeStore,
        asked: Transaction,
        term: Term,
        disks: Mapping[AgentId, AgentRecord] | None = None,
    ) -> tuple[FakeStore, Won | Lost]:
        if asked.name.startswith(transaction):
            kept = tuple(g for g in asked.guards if not g.key.startswith(prefixes))
            asked = evolve(asked, guards=kept)
        return whole(self, asked, term, disks)

    patch.setattr(FakeStore, "apply", apply)


def _keep(fabric: Fabric, name: str) -> None:
    """Every such transaction hangs in the store, until its late writes land."""

    def fate(effect: Transact) -> str:
        return "kept" if effect.transaction.name.startswith(name) else ""

    fabric.fate = fate


def _land(fabric: Fabric) -> None:
    """What hung takes effect, if its guards let it."""
    fabric.fate = None
    landing, fabric.late_writes = fabric.late_writes, []
    for write in landing:
        write()


def _in_store(fabric: Fabric, key: str) -> Callable[[], bool]:
    return lambda: key in fabric.store.items


# --- H4: a commit names the very intent that votes were collected for ----------------------------


def _no_reply_taken_for_accepted(patch: Patch) -> None:
    def settle(turn: Turn, operation: Operation, result: Result) -> Won | Lost | None:
        if operation.name == ACCEPT and isinstance(result, Unknown):
            result = Won(revision=turn.state.fleet.revision)
        return storing.settle(turn, operation, result)

    patch.setattr(coordinator, "settle", settle)


def _intent_never_arrives(fabric: Fabric) -> None:
    """1. The intent hangs in the store. 2. All say yes. 3. The commit is sent: of what?"""
    _keep(fabric, "accept")
    fabric.request(domains.switch(Colour.GREEN, "k1"))
    fabric.run_for(5 * SECOND)


# --- H6: nobody becomes good between the computing of the required set and its freezing ----------


def _accept_waits_for_no_mark(patch: Patch) -> None:
    def is_free(turn: Turn) -> bool:
        state = turn.state
        idle = state.attempt is None and state.looking_up is None and not state.doubtful
        return state.role is Role.LEADING and idle

    patch.setattr(requesting, "_is_free", is_free)


def _without_the_newcomer(colour: Colour, key: str) -> Request:
    return evolve(domains.switch(colour, key), allow_stale=(NEWCOMER,))


def _good_overtakes_the_intent(fabric: Fabric) -> None:
    """1. An agent's good mark is on its way. 2. A switch is asked for: it is asked of the others.
    3. The mark is written. 4. The intent is written."""
    fabric.add_agent(NEWCOMER, Region("us"))
    domains.enrol(fabric, NEWCOMER)
    replica = fabric.replicas[R0]

    def is_on_its_way() -> bool:
        return any(t.name == "good" for t in replica.state.pending.values())

    assert fabric.run_until(is_on_its_way, 10 * SECOND)
    fabric.request(_without_the_newcomer(Colour.GREEN, "k1"))
    fabric.run_for(30 * SECOND)


# --- P3, H6: no change of the fleet while an intent is open --------------------------------------


def _fleet_waits_for_no_intent(patch: Patch) -> None:
    def is_free(turn: Turn) -> bool:
        settled = turn.state.role is Role.LEADING and not turn.state.doubtful
        return settled and not writes_standing(turn)

    whole = requesting._is_free
    patch.setattr(requesting, "_is_free", lambda turn: turn.state.attempt is None and whole(turn))
    patch.setattr(standing, "is_free", is_free)
    patch.setattr(voting, "_base_fault", lambda *_: None)


def _good_during_an_intent(fabric: Fabric) -> None:
    """1. A switch is asked of three agents. 2. A fourth becomes good, that was not asked: its proxy
    cannot serve that table. 3. The commit. 4. It says yes to the next one: three tables are live."""
    edge = fabric.add_agent(NEWCOMER, Region("us"))
    domains.enrol(fabric, NEWCOMER)
    fabric.held = lambda agent, message: (
        (agent == NEWCOMER and isinstance(message, Report) and message.live_at_ns is not None)
        or (agent == "a2" and isinstance(message, Vote))
    )
    fabric.run_for(10 * SECOND)
    fabric.request(_without_the_newcomer(Colour.GREEN, "k1"))
    fabric.run_until(_in_store(fabric, keys.intent(Epoch(2))), SECOND)
    fabric.run_for(SECOND)
    edge.refuses.add("Activate")
    fabric.held = None
    box, fabric.box = fabric.box, []
    for arrive in box:
        arrive()
    fabric.run_for(20 * SECOND)
    fabric.request(domains.apply("k2", table(domains.REGIONS, port=81)))
    fabric.run_for(20 * SECOND)


# --- H20: a key is one switch --------------------------------------------------------------------


def _keys_are_not_looked_up(patch: Patch) -> None:
    patch.setattr(requesting, "_answered_by_key", lambda *_: False)


def _key_comes_back(fabric: Fabric) -> None:
    """1. A switch. 2. It is rolled back. 3. Another leader hears the first request once more."""
    fabric.request(domains.switch(Colour.GREEN, "k1"))
    fabric.run_for(5 * SECOND)
    fabric.request(domains.rollback("k2"))
    fabric.run_for(5 * SECOND)
    fabric.crash(fabric.replicas[R0])
    fabric.run_for(20 * SECOND)
    fabric.request(domains.switch(Colour.GREEN, "k1"))
    fabric.run_for(20 * SECOND)
    intents = [
        decode(item.value, Intent, limit=MAX_TABLE_BYTES)
        for key, item in fabric.store.items.items()
        if key.startswith(keys.INTENTS)
    ]
    epochs = sorted(intent.epoch for intent in intents if intent.request.key == "k1")
    assert len(epochs) == 1, f"H20: k1 became the epochs {epochs}"


# --- S2: of racing decisions one wins ------------------------------------------------------------


def _without_the_term(*others: str) -> Callable[[Patch], None]:
    def uncover(patch: Patch) -> None:
        no_guard(patch, "", keys.LEADER)
        no_guard(patch, "decide", *others)

    return uncover


def _late_commit_after_an_abort(fabric: Fabric) -> None:
    """1. A commit hangs in the store, and its leader dies. 2. The next one aborts. 3. It lands."""
    fabric.witness.judged -= {"S4"}  # the term's guard is taken away on purpose
    _keep(fabric, "decide")
    fabric.request(domains.switch(Colour.GREEN, "k1"))
    assert fabric.run_until(lambda: bool(fabric.late_writes), SECOND)
    fabric.crash(fabric.replicas[R0])
    fabric.fate = None
    fabric.held = lambda _, message: isinstance(message, Vote)
    fabric.elect(R1)
    assert fabric.run_until(_in_store(fabric, keys.decision(Epoch(2))), 30 * SECOND)
    _land(fabric)
    fabric.run_for(5 * SECOND)


# --- S9: nothing is released that is wanted again ------------------------------------------------


def _other_guards_of_release(*prefixes: str) -> Callable[[Patch], None]:
    return lambda patch: no_guard(patch, "release", *prefixes)


def _soon_released() -> Fabric:
    fabric = domains.after_a_power_cut(seed=0)
    fabric.elect(R0)
    fabric.run_for(10 * SECOND)
    return fabric


def _late_release_after_a_rollback(fabric: Fabric) -> None:
    """1. Blue is drained everywhere; its release hangs. 2. A rollback to blue. 3. It lands."""
    _keep(fabric, "release")
    fabric.request(domains.switch(Colour.GREEN, "k1"))
    assert fabric.run_until(lambda: bool(fabric.late_writes), 60 * SECOND)
    fabric.request(domains.rollback("k2"))
    fabric.run_for(400 * MS)
    _land(fabric)
    course = Course(
        timing=fabric.timing, until_ns=fabric.now_ns, partings=tuple(fabric.chronicle.partings)
    )
    for text in s9_source_is_left_in_peace(course):
        raise AssertionError(f"S9: {text}")


GUARD_CANARIES = (
    GuardCanary(
        name="commit names its intent (H4)",
        transaction="decide-commit",
        keys=(keys.INTENTS,),
        hidden_by="a leader decides only once it knows that its intent is in the store",
        uncover=_no_reply_taken_for_accepted,
        world=domains.in_good_order,
        tale=_intent_never_arrives,
        number="S3",
    ),
    GuardCanary(
        name="intent of the standing it was computed from (H6)",
        transaction="accept",
        keys=(keys.STANDING,),
        hidden_by="a request waits while a mark is on its way",
        uncover=_accept_waits_for_no_mark,
        world=domains.in_good_order,
        tale=_good_overtakes_the_intent,
        number="S3",
    ),
    GuardCanary(
        name="no mark while an intent is open (P3)",
        transaction="good",
        keys=(keys.INTENTS,),
        hidden_by="a mark waits for the attempt's end; the agent's base gate",
        uncover=_fleet_waits_for_no_intent,
        world=domains.in_good_order,
        tale=_good_during_an_intent,
        number="S7",
    ),
    GuardCanary(
        name="key not used before (H20)",
        transaction="accept",
        keys=(keys.REQUESTS,),
        hidden_by="a leader has all keys in memory",
        uncover=_keys_are_not_looked_up,
        world=domains.in_good_order,
        tale=_key_comes_back,
        number="H20",
    ),
    GuardCanary(
        name="no decision before this one",
        transaction="decide",
        keys=(keys.DECISIONS,),
        hidden_by="the term's guard, and the head's",
        uncover=_without_the_term(keys.HEAD),
        world=domains.in_good_order,
        tale=_late_commit_after_an_abort,
        number="S2",
    ),
    GuardCanary(
        name="decision after the head it was made for",
        transaction="decide",
        keys=(keys.HEAD,),
        hidden_by="the term's guard, and that no decision is there",
        uncover=_without_the_term(keys.DECISIONS),
        world=domains.in_good_order,
        tale=_late_commit_after_an_abort,
        number="S2",
    ),
    GuardCanary(
        name="release under the head it was worked out from",
        transaction="release",
        keys=(keys.HEAD,),
        hidden_by="its guard that no intent is open",
        uncover=_other_guards_of_release(keys.INTENTS),
        world=_soon_released,
        tale=_late_release_after_a_rollback,
        number="S9",
    ),
    GuardCanary(
        name="release while no intent is open",
        transaction="release",
        keys=(keys.INTENTS,),
        hidden_by="its guard on the head",
        uncover=_other_guards_of_release(keys.HEAD),
        world=_soon_released,
        tale=_late_release_after_a_rollback,
        number="S9",
    ),
)
