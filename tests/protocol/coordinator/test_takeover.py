"""A new leader: what it reads, whom it hears first, what it goes on with and what it uses up."""

from __future__ import annotations

from attrs import evolve

from simulator.signers import CheapSigner
from tests.protocol.coordinator.bench import (
    AGENTS,
    Bench,
    next_leader,
    of,
    reconnect,
    rollback,
    settled,
    stepped_down,
    switch,
    switched,
    told,
)
from turnout.protocol import keys
from turnout.protocol.clock import SECOND
from turnout.protocol.codec import canonical_bytes, decode
from turnout.protocol.coordinator_state import Role, standing_record
from turnout.protocol.effects import Accepted, Read, Refused
from turnout.protocol.events import Deposed, Elected, FromAgent, ReadDone, Requested, Wake
from turnout.protocol.identifiers import AgentId, Epoch, Term
from turnout.protocol.limits import MAX_TABLE_BYTES
from turnout.protocol.messages import Prepare, Progress, Sync
from turnout.protocol.records import IncarnationRecord, OutcomeKind, Status, Verdict
from turnout.protocol.signing import signed
from turnout.protocol.transactions import Put, Transaction


def undecided(*, votes: bool = False) -> Bench:
    """Epoch 2 has an intent and no decision."""
    bench = settled()
    bench.hold = ("decide",)
    bench.ask(switch())
    if votes:
        bench.all_say_yes()
    return bench


def write(bench: Bench, key: str, value: bytes) -> None:
    transaction = Transaction(name="test", guards=(), writes=(Put(key, value),))
    bench.store, _ = bench.store.apply(transaction, bench.state.term)


def test_store_without_a_domain_halts_and_says_what_to_run() -> None:
    bench = Bench()
    bench.store = evolve(bench.store, items=type(bench.store.items)())
    bench.elect()
    assert bench.state.role is Role.HALTED
    assert "turnout domain init" in bench.state.trouble
    answer = bench.ask(switch())
    assert isinstance(answer, Refused)
    assert answer.code == "store-went-back"


def test_domain_of_another_key_halts() -> None:
    bench = Bench()
    raw = bench.store.items[keys.INCARNATION].value
    record = decode(raw, IncarnationRecord, limit=MAX_TABLE_BYTES)
    write(bench, keys.INCARNATION, canonical_bytes(signed(record, CheapSigner("stranger"))))
    bench.elect()
    assert bench.state.role is Role.HALTED
    assert "another key" in bench.state.trouble


def test_first_leader_makes_the_head_and_uses_nothing_up() -> None:
    bench = Bench()
    bench.elect()
    assert bench.state.role is Role.LEADING
    assert bench.state.head is not None
    assert bench.state.head.decided == 0
    assert not bench.store.rulings


def test_head_made_by_a_write_whose_reply_was_lost_is_found() -> None:
    bench = Bench()
    bench.hold = ("create-head",)
    bench.elect()
    bench.hold = ()
    bench.lose_reply()
    assert bench.host.machine.next_deadline(bench.state) is not None
    bench.wait(2 * SECOND)
    assert bench.state.role is Role.LEADING


def test_leader_elected_and_beaten_at_once_steps_down() -> None:
    bench = settled()
    after = next_leader(bench)
    after.store, _ = after.store.elect(after.host.replica)
    assert stepped_down(after.give(Elected(term=Term(5))))
    assert after.state.role is Role.FOLLOWER


def test_number_without_intent_is_used_up_once_the_fleet_was_heard() -> None:
    after = next_leader(settled())
    after.elect()
    assert after.state.role is Role.LEADING
    assert keys.decision(Epoch(2)) not in after.store.items
    assert after.ask(switch()) is None, "it waits"
    after.hear("a0", 1, opened=True)
    after.hear("a1", 1, opened=True)
    assert keys.decision(Epoch(2)) not in after.store.items
    after.hear("a2", 1, opened=True)
    assert after.decision(2).verdict is Verdict.ABORT
    assert after.outcome(2) is None
    assert after.state.attempt is not None
    assert after.state.attempt.epoch == 3


def test_number_without_intent_is_used_up_after_t_prep_at_the_latest() -> None:
    after = next_leader(settled())
    after.elect()
    after.hear("a0", 1, opened=True)
    after.wait(5 * SECOND)
    assert after.decision(2).verdict is Verdict.ABORT
    assert [m.head.decided for m in told(after.effects, "a0") if isinstance(m, Sync) and m.head][
        -1
    ] == 2


def test_use_of_a_number_whose_reply_is_lost_is_not_repeated_with_another_content() -> None:
    """The head in memory must be the one in the store, or every later write is refused."""
    after = next_leader(settled())
    after.hold = ("decide",)
    after.elect()
    reconnect(after, 1)
    after.hold = ()
    after.lose_reply(carried_out=False)
    after.wait(2 * SECOND)
    assert after.state.head == after.decision(2).head
    assert after.ask(switch()) is not None


def test_number_is_used_up_once_however_many_report() -> None:
    after = next_leader(settled())
    after.hold = ("decide",)
    after.elect()
    reconnect(after, 1)
    after.hear("a0", 1)
    assert len(after.held) == 1


def test_store_that_went_back_is_proved_before_the_number_is_used_up() -> None:
    """S11: the backup has lost the commit of 2; the first report shows its signed head."""
    before = settled()
    bench = next_leader(before, "r0")
    bench.elect()
    reconnect(bench, 1)
    bench.ask(switch())
    bench.all_say_yes()
    report = bench.report("a0", 3)
    restored = next_leader(before)
    restored.elect()
    restored.give(FromAgent(message=report, opened=True))
    assert restored.state.role is Role.HALTED
    assert "turnout domain rebase" in restored.state.trouble
    restored.wait(10 * SECOND)
    assert keys.decision(Epoch(2)) not in restored.store.items


# --- an intent without a decision ---------------------------------------------------------------


def test_intent_is_prepared_again_under_the_new_term_and_old_votes_do_not_count() -> None:
    bench = undecided(votes=True)
    after = next_leader(bench)
    after.elect()
    after.hear("a0", 1, opened=True)
    (message,) = [m for m in told(after.effects, "a0") if isinstance(m, Prepare)]
    assert (message.term, message.epoch) == (after.state.term, 2)
    for agent in AGENTS:
        after.vote(agent, term=bench.state.term)
    assert after.state.attempt is not None
    assert not after.state.attempt.yes
    after.all_say_yes()
    assert after.decision(2).verdict is Verdict.COMMIT
    assert after.state.following[Epoch(2)].taken_over


def test_intent_gets_a_fresh_t_prep_on_the_new_leaders_own_clock() -> None:
    bench = undecided()
    after = next_leader(bench)
    after.clock_error_ns = -3600 * SECOND
    after.elect()
    after.wait(4_900_000_000)
    assert keys.decision(Epoch(2)) not in after.store.items
    after.wait(200_000_000)
    outcome = after.outcome(2)
    assert outcome is not None
    assert outcome.outcome is OutcomeKind.ABORTED
    assert outcome.elapsed_ns == 0
    assert outcome.bound_ns > 0


def test_late_decision_of_the_old_leader_is_refused_and_it_steps_down() -> None:
    bench = undecided(votes=True)
    after = next_leader(bench)
    after.elect()
    bench.store = after.store
    assert stepped_down(bench.release())
    assert keys.decision(Epoch(2)) not in bench.store.items
    assert not bench.store.foreign


def test_required_set_is_that_of_the_intent_though_agents_were_marked_since() -> None:
    bench = undecided()
    standing = evolve(
        bench.state.fleet, standing=bench.state.fleet.marked((AgentId("a2"),), Status.STALE, "x")
    )
    write(bench, keys.STANDING, canonical_bytes(standing_record(standing.standing)))
    after = next_leader(bench)
    after.elect()
    assert after.state.attempt is not None
    assert after.state.attempt.required == ("a0", "a1", "a2")


def test_intents_revision_compacted_the_fleet_of_now_is_read() -> None:
    bench = undecided()
    after = next_leader(bench)
    after.deaf = ("takeover-required",)
    after.elect()
    assert after.state.attempt is not None
    assert after.state.attempt.required == ("a0", "a1", "a2")


def test_required_set_that_cannot_be_computed_again_aborts() -> None:
    bench = undecided()
    marked = bench.state.fleet.marked((AgentId("a2"),), Status.STALE, "x")
    write(bench, keys.STANDING, canonical_bytes(standing_record(marked)))
    after = next_leader(bench)
    after.deaf = ("takeover-required",)
    after.elect()
    assert "cannot be computed again" in after.decision(2).reason


def test_key_finds_its_switch_across_leaders_and_with_another_body_is_refused() -> None:
    bench = undecided()
    after = next_leader(bench)
    after.elect()
    assert after.ask(switch()) == Accepted(epoch=Epoch(2))
    answer = after.ask(switch(comment="another"))
    assert isinstance(answer, Refused)
    assert answer.code == "idempotency-conflict"


def test_rollback_goes_on_with_the_agents_that_its_intent_asked() -> None:
    bench = switched()
    bench.hold = ("decide",)
    bench.ask(rollback())
    after = next_leader(bench)
    after.elect()
    reconnect(after, 2)
    after.vote("a1")
    after.wait(3 * SECOND)
    assert after.decision(3).absent == ("a0", "a2")


# --- a commit without an outcome ----------------------------------------------------------------


def unfinished() -> Bench:
    bench = settled()
    bench.ask(switch())
    bench.all_say_yes()
    bench.hear("a0", 2)
    return bench


def test_commit_without_outcome_is_followed_to_its_outcome() -> None:
    after = next_leader(unfinished())
    after.elect()
    assert after.state.unfinished is not None
    reconnect(after, 2)
    outcome = after.outcome(2)
    assert outcome is not None
    assert outcome.outcome is OutcomeKind.LIVE
    assert outcome.bound_ns >= 50_000_000


def test_leader_with_a_fast_clock_does_not_take_the_fleet_for_late() -> None:
    after = next_leader(unfinished())
    after.clock_error_ns = 3600 * SECOND
    after.elect()
    after.wait(4 * SECOND)
    assert after.outcome(2) is None
    after.wait(2 * SECOND)
    outcome = after.outcome(2)
    assert outcome is not None
    assert [lag.agent for lag in outcome.laggards] == ["a0", "a1", "a2"]


def test_commit_and_the_rollback_of_it_both_get_their_outcome() -> None:
    bench = unfinished()
    bench.hold = ("outcome",)
    bench.ask(rollback())
    bench.all_say_yes()
    after = next_leader(bench)
    after.elect()
    reconnect(after, 3)
    outcomes = [after.outcome(2), after.outcome(3)]
    assert [o.outcome for o in outcomes if o] == [OutcomeKind.ROLLED_BACK, OutcomeKind.LIVE]


def test_automatic_rollback_works_after_a_takeover() -> None:
    after = next_leader(unfinished())
    after.elect()
    reconnect(after, 1)
    after.hear(
        "a2",
        2,
        active=after.state.reports[AgentId("a2")].active,
        live_at_ns=None,
        progress=Progress.DIVERGED,
        reason="no",
    )
    assert after.state.attempt is not None
    assert after.state.attempt.intent.request.key == "undo/2"


def test_switch_that_was_released_is_not_followed_again() -> None:
    bench = switched()
    bench.wait(3601 * SECOND)
    after = next_leader(bench)
    after.elect()
    reconnect(after, 2)
    assert not after.state.following


# --- reads --------------------------------------------------------------------------------------


def test_reads_without_an_answer_are_asked_again() -> None:
    for name in ("takeover", "takeover-details"):
        after = next_leader(settled())
        after.deaf = (name,)
        after.elect()
        assert after.state.role is Role.LEADING


def test_answer_to_an_earlier_reign_is_nobodys() -> None:
    after = next_leader(settled())
    after.deaf = ("takeover",)
    seen = after.elect()
    first = of(seen, Read)[0]
    after.elect()
    assert after.give(ReadDone(operation=first.operation, snapshot=None)) == []


def test_deposed_leader_forgets_everything_and_a_follower_is_not_deposed_twice() -> None:
    bench = switched()
    assert stepped_down(bench.give(Deposed(reason="gone")))
    assert not bench.state.reports
    assert bench.give(Deposed(reason="gone")) == []
    assert bench.give(Wake()) == []
    answer = bench.ask(switch("k9"))
    assert isinstance(answer, Refused)
    assert answer.code == "no-leader"


def test_request_during_a_takeover_is_sent_away() -> None:
    bench = Bench()
    bench.hold = ("create-head",)
    bench.elect()
    ticket = bench.ticket()
    answer = bench.reply(ticket, bench.give(Requested(ticket=ticket, request=switch())))
    assert isinstance(answer, Refused)
    assert answer.code == "no-leader"


def test_report_during_a_takeover_is_kept_for_later() -> None:
    after = next_leader(settled())
    after.store, term = after.store.elect(after.host.replica)
    host, state = after.host, after.state
    state, effects = host.step(state, Elected(term=term), after.now)
    (first,) = of(list(effects), Read)
    done = ReadDone(operation=first.operation, snapshot=after.store.read(first.ranges))
    after.state, effects = host.step(state, done, after.now)
    (second,) = of(list(effects), Read)
    assert after.hear("a0", 1, opened=True) == []
    snapshot = after.store.read(second.ranges)
    effects_after = after.give(ReadDone(operation=second.operation, snapshot=snapshot))
    assert told(effects_after, "a0")
