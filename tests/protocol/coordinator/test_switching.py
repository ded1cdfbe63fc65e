"""Prepare, votes, and the one decision: what it waits for, and what it says."""

from __future__ import annotations

from attrs import evolve

from tests.protocol.coordinator.bench import (
    AGENTS,
    GREEN,
    apply,
    enrolled,
    of,
    rollback,
    settled,
    switch,
    switched,
    told,
)
from turnout.protocol import keys
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.codec import decode
from turnout.protocol.effects import Accepted, Tell, Transact
from turnout.protocol.events import AgentGone
from turnout.protocol.identifiers import AgentId, Digest, Epoch, Term
from turnout.protocol.limits import MAX_TABLE_BYTES, MAX_TEXT
from turnout.protocol.messages import No, Prepare, Sync
from turnout.protocol.records import (
    HistoryEntry,
    Intent,
    Mode,
    OutcomeKind,
    Prepared,
    Status,
    Verdict,
)


def test_prepare_goes_out_beside_accept_with_the_table_to_who_lacks_it() -> None:
    bench = settled()
    bench.hear("a1", 1, tables=(GREEN.digest,))
    bench.hold = ("accept",)
    assert bench.ask(switch()) is None
    (bare,) = told(bench.effects, "a1")
    (whole,) = told(bench.effects, "a0")
    assert isinstance(bare, Prepare)
    assert isinstance(whole, Prepare)
    assert bare.table is None
    assert whole.table is not None
    assert bare.head.decided == 1


def test_commit_waits_for_the_accept_and_then_is_sent_at_once() -> None:
    bench = settled()
    bench.hold = ("accept",)
    bench.ask(switch())
    bench.all_say_yes()
    assert not [t for t in of(bench.effects, Transact) if t.transaction.name == "decide-commit"]
    bench.release()
    assert bench.decision(2).verdict is Verdict.COMMIT


def test_nothing_is_announced_before_the_store_has_the_decision() -> None:
    bench = settled()
    bench.hold = ("decide",)
    bench.ask(switch())
    bench.all_say_yes()
    assert not of(bench.effects, Tell)
    bench.release()
    heads = [m.head for m in told(bench.effects, "a0") if isinstance(m, Sync)]
    assert heads[0] is not None
    assert (heads[0].decided, heads[0].committed) == (2, 2)


def test_one_no_aborts_and_its_reason_is_kept() -> None:
    bench = settled()
    bench.ask(switch())
    bench.vote("a0")
    bench.vote("a1", No.UNHEALTHY, reason="x" * 5000)
    decision = bench.decision(2)
    assert decision.verdict is Verdict.ABORT
    assert decision.reason.startswith("a1: unhealthy: x")
    assert len(decision.reason) == MAX_TEXT
    outcome = bench.outcome(2)
    assert outcome is not None
    assert outcome.outcome is OutcomeKind.ABORTED


def test_first_answer_stands_and_one_after_the_decision_is_not_counted() -> None:
    bench = settled()
    bench.ask(switch())
    bench.vote("a0")
    bench.vote("a0", No.REFUSED)
    assert bench.state.attempt is not None
    assert not bench.state.attempt.no
    bench.hold = ("decide",)
    bench.vote("a1")
    bench.vote("a2")
    bench.vote("a2", No.REFUSED)
    bench.release()
    assert bench.decision(2).verdict is Verdict.COMMIT


def test_silence_until_t_prep_aborts_naming_who() -> None:
    bench = settled()
    bench.ask(switch())
    bench.vote("a0")
    bench.wait(4_900 * MS)
    assert bench.state.attempt is not None
    bench.wait(200 * MS)
    assert bench.decision(2).reason == "no vote in time from a1, a2"


def test_t_prep_over_before_the_accept_is_known_aborts_after_it() -> None:
    bench = settled()
    bench.hold = ("accept",)
    bench.ask(switch())
    bench.wait(6 * SECOND)
    assert keys.decision(Epoch(2)) not in bench.store.items
    bench.release()
    assert bench.decision(2).verdict is Verdict.ABORT


def test_prepare_is_repeated_to_who_has_not_answered() -> None:
    bench = settled()
    bench.ask(switch())
    bench.vote("a0")
    bench.wait(1_100 * MS)
    asked = [t.agents for t in of(bench.effects, Tell) if isinstance(t.message, Prepare)]
    assert asked == [("a1", "a2")]


def test_promise_lost_before_the_decision_aborts() -> None:
    bench = settled()
    bench.ask(switch())
    bench.vote("a0")
    prepared = Prepared(epoch=Epoch(2), digest=GREEN.digest, term=bench.state.term)
    bench.hear("a0", 1, staged_lost="port in use", prepared=prepared)
    assert bench.decision(2).reason == "a0: staged table lost: port in use"


def test_promise_lost_for_another_epoch_changes_nothing() -> None:
    bench = settled()
    bench.ask(switch())
    old = Prepared(epoch=Epoch(1), digest=GREEN.digest, term=Term(1))
    bench.hear("a0", 1, staged_lost="port in use", prepared=old)
    assert bench.state.attempt is not None
    assert bench.state.attempt.deciding is None


def test_promise_lost_after_the_decision_was_sent_changes_nothing() -> None:
    bench = settled()
    bench.hold = ("decide",)
    bench.ask(switch())
    bench.all_say_yes()
    bench.hear("a0", 1, opened=True, journal_id="another")
    bench.release()
    assert bench.decision(2).verdict is Verdict.COMMIT


def test_journal_lost_during_prepare_aborts() -> None:
    bench = settled()
    bench.ask(switch())
    bench.hear("a1", 1, opened=True, journal_id="another")
    assert bench.decision(2).reason == "a1: its journal is another one"


def test_agent_that_reconnects_without_an_answer_is_asked_again() -> None:
    bench = settled()
    bench.ask(switch())
    bench.hear("a1", 1, opened=True)
    assert [type(m) for m in told(bench.effects, "a1")] == [Sync, Prepare]


# --- rollbacks ----------------------------------------------------------------------------------


def test_rollback_commits_over_a_no_and_names_the_agent_absent_and_stale() -> None:
    bench = switched()
    bench.ask(rollback())
    bench.vote("a0")
    bench.vote("a1", No.REFUSED)
    assert bench.state.attempt is not None
    bench.wait(2_100 * MS)
    decision = bench.decision(3)
    assert (decision.verdict, decision.absent) == (Verdict.COMMIT, ("a1", "a2"))
    assert bench.state.fleet.with_status(Status.STALE) == ("a1", "a2")
    bench.hear("a0", 3)
    outcome = bench.outcome(3)
    assert outcome is not None
    assert outcome.outcome is OutcomeKind.PARTIAL
    assert [lag.agent for lag in outcome.laggards] == ["a1", "a2"]


def test_rollback_with_every_answer_decides_before_t_undo() -> None:
    bench = switched()
    bench.ask(rollback())
    bench.all_say_yes()
    assert bench.decision(3).absent == ()


def test_rollback_refused_by_everybody_aborts() -> None:
    bench = switched()
    bench.ask(rollback())
    for agent in AGENTS:
        bench.vote(agent, No.REFUSED)
    assert bench.decision(3).reason.startswith("every agent refused the rollback: a0: refused")


def test_rollback_without_a_yes_waits_for_one_until_t_prep() -> None:
    bench = switched()
    bench.ask(rollback())
    bench.wait(3 * SECOND)
    assert bench.state.attempt is not None
    bench.vote("a2")
    assert bench.decision(3).absent == ("a0", "a1")


def test_rollback_without_a_yes_at_t_prep_aborts() -> None:
    bench = switched()
    bench.ask(rollback())
    bench.wait(6 * SECOND)
    assert bench.decision(3).reason == "no agent said yes to the rollback"


def test_rollback_that_loses_its_only_yes_goes_on_without_it() -> None:
    bench = switched()
    bench.hold = ("accept",)
    bench.ask(rollback())
    bench.vote("a0")
    bench.wait(6 * SECOND)
    bench.hear("a0", 2, opened=True, journal_id="another")
    bench.hear("a1", 2, opened=True, journal_id="another")
    bench.release()
    assert bench.decision(3).reason == "no agent said yes to the rollback"


def test_rollback_marks_who_is_not_connected_in_its_own_intent() -> None:
    bench = switched()
    bench.give(AgentGone(agent=AgentId("a2")))
    bench.ask(rollback())
    assert bench.state.fleet.status(AgentId("a2")) is Status.STALE
    assert bench.state.fleet.revision == bench.store.items[keys.STANDING].mod_revision
    bench.all_say_yes()
    bench.hear("a0", 3)
    bench.hear("a1", 3)
    outcome = bench.outcome(3)
    assert outcome is not None
    assert [lag.reason for lag in outcome.laggards] == ["stale: was not asked"]


# --- what is written ----------------------------------------------------------------------------


def test_decisions_form_one_chain_of_history() -> None:
    bench = switched()
    bench.ask(rollback())
    bench.all_say_yes()
    previous = ""
    for epoch in (1, 2, 3):
        raw = bench.store.items[keys.history(Epoch(epoch), "decided")].value
        entry = decode(raw, HistoryEntry, limit=MAX_TABLE_BYTES)
        assert entry.previous == previous
        previous = entry.digest()
        assert bench.decision(epoch).head.history == previous


def test_intent_says_what_is_left_and_for_how_long_it_is_kept() -> None:
    bench = switched()
    raw = bench.store.items[keys.intent(Epoch(2))].value
    intent = decode(raw, Intent, limit=MAX_TABLE_BYTES)
    assert [(s.service, s.colour) for s in intent.sources] == [("checkout", "blue")]
    assert intent.retain_ms == 3_600_000


def test_scheduled_commit_carries_its_instant() -> None:
    bench = settled()
    bench.ask(switch(activation=Mode.SCHEDULED))
    bench.all_say_yes()
    activation = bench.decision(2).head.activation
    assert activation.mode is Mode.SCHEDULED
    assert activation.time_ns == bench.now_ns + activation.g_ns


def test_drain_timeout_and_point_of_no_return_go_with_the_decision() -> None:
    bench = settled()
    bench.ask(switch(drain_timeout_ms=7, point_of_no_return="data"))
    bench.all_say_yes()
    decision = bench.decision(2)
    assert (decision.head.drain_timeout_ms, decision.point_of_no_return) == (7, "data")


def test_first_table_of_a_domain_is_accepted_as_epoch_1() -> None:
    bench = enrolled()
    assert bench.ask(apply()) == Accepted(epoch=Epoch(1))
    bench.all_say_yes()
    assert bench.decision(1).head.base == ""


def test_commit_forgets_the_tables_that_nobody_asks_for() -> None:
    bench = switched()
    unused = evolve(bench.state.tables[GREEN.digest], signature="unused")
    other = Digest(GREEN.digest[::-1])
    bench.state = evolve(bench.state, tables=bench.state.tables.put(other, unused))
    bench.ask(rollback())
    bench.all_say_yes()
    assert other not in bench.state.tables
