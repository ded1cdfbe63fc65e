"""Every kind of transaction that a leader sends, held back on its way in a store in which it wins.

They are what the real machine sends on its bench; ``test_writes.py`` has something happen before
they arrive.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from simulator.explore.bootstrap import table
from simulator.explore.nodes import agent_key
from simulator.explore.store import FakeStore
from tests.protocol.coordinator.bench import (
    AGENTS,
    Bench,
    apply,
    next_leader,
    reconnect,
    rollback,
    settled,
    switch,
    switched,
)
from tests.protocol.guards import (
    IF_ASKED,
    IF_FOR_A_ROLLBACK,
    IF_MARKING,
    IF_NEVER_ASKED,
    IF_STORED,
    OF_EVERY_ONE,
    ROWS,
    Rule,
)
from turnout.protocol import keys, writes
from turnout.protocol.clock import SECOND, ClockNs
from turnout.protocol.codec import decode
from turnout.protocol.effects import Operation, Transact
from turnout.protocol.events import (
    AgentGone,
    EnrolRequested,
    ExcludeRequested,
    IncludeRequested,
    RemoveRequested,
    WaiveRequested,
)
from turnout.protocol.identifiers import AgentId, Digest, Epoch, Region, ReplicaId, Term
from turnout.protocol.limits import MAX_TABLE_BYTES, TIDY_INTERVAL_NS
from turnout.protocol.messages import No
from turnout.protocol.records import Head, HistoryEntry, Intent
from turnout.protocol.transactions import Put, Transaction

US = Region("us")


@frozen(kw_only=True)
class Sent:
    """A transaction as a leader sent it, and the store that waits for it."""

    store: FakeStore
    transaction: Transaction
    epoch: Epoch
    term: Term

    @property
    def head(self) -> Head:
        """The head as it stands."""
        return decode(self.store.items[keys.HEAD].value, Head, limit=MAX_TABLE_BYTES)

    def key(self, pattern: str) -> str:
        """The key that a rule speaks of, worked out from anything but the guards."""
        prefix, _, name = pattern.partition("<")
        if not name:
            return pattern
        if name == "next>":
            return keys.intent(Epoch(self.head.decided + 1))
        if prefix in (keys.HISTORY, keys.REQUESTS):
            return next(w.key for w in self.transaction.writes if w.key.startswith(prefix))
        if prefix == keys.TABLES:
            return keys.table(self._intent.digest)
        assert name == "e>"
        return keys.intent(self.epoch).replace(keys.INTENTS, prefix)

    @property
    def _intent(self) -> Intent:
        put = next(w for w in self.transaction.writes if w.key.startswith(keys.INTENTS))
        assert isinstance(put, Put)
        return decode(put.value, Intent, limit=MAX_TABLE_BYTES)


def _held(bench: Bench) -> Sent:
    effect = bench.held[-1]
    return Sent(
        store=bench.store,
        transaction=effect.transaction,
        epoch=effect.operation.epoch,
        term=effect.operation.term,
    )


def _hold(bench: Bench, name: str) -> Bench:
    bench.hold = (name,)
    return bench


def _ask_to_enrol(bench: Bench) -> None:
    agent = AgentId("a3")
    key = agent_key(agent).public_key
    bench.administer(
        EnrolRequested(ticket=bench.ticket(), agent=agent, region=US, public_key=key, actor="op")
    )


def _ask_to_exclude(bench: Bench) -> None:
    bench.administer(
        ExcludeRequested(ticket=bench.ticket(), region=US, actor="op", reason="works there")
    )


def _create_head() -> Sent:
    bench = _hold(Bench(), "create-head")
    bench.elect()
    return _held(bench)


def _accept() -> Sent:
    bench = _hold(settled(), "accept")
    bench.ask(switch())
    return _held(bench)


def _accept_of_a_stored_table() -> Sent:
    bench = _hold(switched(), "accept")
    bench.ask(rollback())
    return _held(bench)


def _accept_that_marks() -> Sent:
    bench = _hold(switched(), "accept")
    bench.give(AgentGone(agent=AgentId("a2")))
    bench.ask(rollback())
    return _held(bench)


def _commit() -> Sent:
    bench = _hold(settled(), "decide")
    bench.ask(switch())
    bench.all_say_yes()
    return _held(bench)


def _commit_without_the_absent() -> Sent:
    bench = _hold(switched(), "decide")
    bench.ask(rollback())
    bench.vote("a0")
    bench.vote("a1")
    bench.vote("a2", no=No.REFUSED)
    return _held(bench)


def _abort() -> Sent:
    bench = _hold(settled(), "decide")
    bench.ask(switch())
    bench.vote("a0", no=No.REFUSED)
    return _held(bench)


def _abort_for_a_rollback() -> Sent:
    bench = _hold(settled(), "decide")
    bench.ask(switch())
    bench.ask(rollback())
    return _held(bench)


def _abort_of_what_was_never_asked() -> Sent:
    bench = _hold(next_leader(settled()), "decide")
    bench.elect()
    reconnect(bench, 1)
    return _held(bench)


def _outcome() -> Sent:
    bench = _hold(settled(), "outcome")
    bench.ask(switch())
    bench.all_say_yes()
    bench.all_live(2)
    return _held(bench)


def _outcome_that_marks() -> Sent:
    bench = _hold(settled(), "outcome")
    bench.ask(switch())
    bench.all_say_yes()
    bench.all_live(2, {"a0": "eu", "a1": "eu"})
    bench.wait(30 * SECOND)
    return _held(bench)


def _mark_stale() -> Sent:
    bench = _hold(settled(), "mark-stale")
    bench.hear("a0", 1, opened=True, journal_id="another")
    return _held(bench)


def _good() -> Sent:
    bench = settled()
    _ask_to_enrol(bench)
    _hold(bench, "good").hear("a3", 1, opened=True)
    return _held(bench)


def _enrol() -> Sent:
    bench = _hold(settled(), "enrol")
    _ask_to_enrol(bench)
    return _held(bench)


def _remove() -> Sent:
    bench = _hold(settled(), "remove")
    bench.administer(RemoveRequested(ticket=bench.ticket(), agent=AgentId("a2"), actor="op"))
    return _held(bench)


def _exclude() -> Sent:
    bench = _hold(settled(), "exclude")
    _ask_to_exclude(bench)
    return _held(bench)


def _include() -> Sent:
    bench = settled()
    _ask_to_exclude(bench)
    _hold(bench, "include")
    bench.administer(IncludeRequested(ticket=bench.ticket(), region=US, actor="op"))
    return _held(bench)


def _release() -> Sent:
    bench = _hold(switched(), "release")
    bench.wait(3601 * SECOND)
    return _held(bench)


def _note() -> Sent:
    bench = _hold(switched(), "note")
    event = WaiveRequested(
        ticket=bench.ticket(), epoch=Epoch(2), agent=AgentId("a2"), actor="op", reason="lost"
    )
    bench.administer(event)
    return _held(bench)


def some_entry(epoch: int, term: int) -> HistoryEntry:
    return HistoryEntry(
        epoch=Epoch(epoch),
        kind="another",
        at_ns=ClockNs(0),
        actor="ada",
        replica=ReplicaId("r1"),
        term=Term(term),
        text="came first",
        previous=Digest(""),
    )


def _refusal() -> Sent:
    """The daemon's own: no machine sends it."""
    bench = switched()
    reign = writes.Reign(
        term=bench.state.term, incarnation=bench.store.items[keys.INCARNATION].value
    )
    transaction = writes.refusal(reign, number=1, history=some_entry(2, bench.state.term))
    operation = Operation("refusal", Epoch(2), bench.state.term)
    bench.held.append(Transact(operation=operation, transaction=transaction))
    return _held(bench)


def _collect_garbage() -> Sent:
    """Two more tables in force, one after another, and the first one is not recent any more."""
    bench = settled()
    for epoch, port in ((2, 81), (3, 82)):
        bench.ask(apply(f"apply {port}", table(("eu", "us"), port=port)))
        bench.all_say_yes()
        for agent in AGENTS:
            bench.hear(agent, epoch, tables=())
    bench.now_ns += 30 * 3600 * SECOND
    bench.wait(2 * SECOND)
    bench.now_ns += TIDY_INTERVAL_NS
    _hold(bench, "collect-garbage").wait(2 * SECOND)
    return _held(bench)


@frozen(kw_only=True)
class Situation:
    """How one of the transactions comes to be sent, and which sometimes-guards it then has."""

    name: str
    make: Callable[[], Sent]
    when: tuple[str, ...] = ()


SITUATIONS = {
    "create-head": Situation(name="create-head", make=_create_head),
    "accept": Situation(name="accept", make=_accept),
    "accept of a stored table": Situation(
        name="accept", make=_accept_of_a_stored_table, when=(IF_STORED,)
    ),
    "accept that marks": Situation(name="accept", make=_accept_that_marks, when=(IF_STORED,)),
    "commit": Situation(name="decide-commit", make=_commit),
    "commit without the absent": Situation(name="decide-commit", make=_commit_without_the_absent),
    "abort": Situation(name="decide-abort", make=_abort, when=(IF_ASKED,)),
    "abort for a rollback": Situation(
        name="decide-abort", make=_abort_for_a_rollback, when=(IF_ASKED, IF_FOR_A_ROLLBACK)
    ),
    "abort of what was never asked": Situation(
        name="decide-abort", make=_abort_of_what_was_never_asked, when=(IF_NEVER_ASKED,)
    ),
    "outcome": Situation(name="outcome", make=_outcome),
    "outcome that marks": Situation(name="outcome", make=_outcome_that_marks, when=(IF_MARKING,)),
    "mark-stale": Situation(name="mark-stale", make=_mark_stale),
    "good": Situation(name="good", make=_good),
    "enrol": Situation(name="enrol", make=_enrol),
    "remove": Situation(name="remove", make=_remove),
    "exclude": Situation(name="exclude", make=_exclude),
    "include": Situation(name="include", make=_include),
    "release": Situation(name="release", make=_release),
    "note": Situation(name="note", make=_note),
    "refusal": Situation(name="refusal", make=_refusal),
    "collect-garbage": Situation(name="collect-garbage", make=_collect_garbage),
}
ROW_OF = {name: row for row in ROWS for name in row.names}


def rules_of(situation: Situation) -> tuple[Rule, ...]:
    """The guards that a transaction must have in this situation."""
    row = ROW_OF[situation.name]
    return tuple(r for r in (*OF_EVERY_ONE, *row.guards) if r.when in ("", *situation.when))
