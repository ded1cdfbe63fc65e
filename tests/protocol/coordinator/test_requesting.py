"""What operators ask for: taken, made to wait, refused; keys, aborts, and rollbacks of what is undecided."""

from __future__ import annotations

from attrs import evolve

from tests.protocol.coordinator.bench import (
    FIRST,
    GREEN,
    Bench,
    of,
    rollback,
    settled,
    stepped_down,
    switch,
    switched,
)
from turnout.protocol import keys
from turnout.protocol.clock import SECOND
from turnout.protocol.effects import Accepted, Read, Refused, Reply, Transact
from turnout.protocol.events import AbortRequested, RemoveRequested, Requested
from turnout.protocol.identifiers import AgentId, Epoch, ReplicaId, ServiceName
from turnout.protocol.messages import No
from turnout.protocol.records import Request, Verdict
from turnout.protocol.routing import Colour
from turnout.protocol.transactions import Delete, Put, Transaction


def abort(bench: Bench, epoch: int, reason: str = "") -> Accepted | Refused | None:
    event = AbortRequested(ticket=bench.ticket(), epoch=Epoch(epoch), actor="op", reason=reason)
    answer = bench.administer(event)
    assert answer is None or isinstance(answer, Accepted | Refused)
    return answer


def code(answer: object) -> str:
    assert isinstance(answer, Refused)
    return answer.code


def drop(bench: Bench, *names: str) -> None:
    """The store loses keys."""
    writes = tuple(Delete(name) for name in names)
    transaction = Transaction(name="test", guards=(), writes=writes)
    bench.store, _ = bench.store.apply(transaction, bench.state.term)


# --- keys ---------------------------------------------------------------------------------------


def test_key_repeated_gets_the_same_switch_and_with_another_body_is_refused() -> None:
    bench = switched()
    assert bench.ask(switch()) == Accepted(epoch=Epoch(2))
    assert bench.ask(switch(actor="somebody else")) == Accepted(epoch=Epoch(2))
    assert code(bench.ask(switch(to=Colour.BLUE))) == "idempotency-conflict"


def test_key_repeated_before_the_accept_is_known_is_answered_with_it() -> None:
    bench = settled()
    bench.hold = ("accept",)
    assert bench.ask(switch()) is None
    assert bench.ask(switch()) is None
    assert code(bench.ask(switch(comment="other"))) == "idempotency-conflict"
    replies = of(bench.release(), Reply)
    assert [r.answer for r in replies] == [Accepted(epoch=Epoch(2))] * 2


def test_accept_whose_reply_is_lost_is_accepted_once() -> None:
    bench = settled()
    bench.hold = ("accept",)
    bench.ask(switch())
    bench.hold = ()
    bench.lose_reply()
    assert not of(bench.effects, Reply)
    replies = of(bench.wait(2 * SECOND), Reply)
    assert [r.answer for r in replies] == [Accepted(epoch=Epoch(2))]


def test_commit_whose_reply_is_lost_is_never_taken_for_an_abort() -> None:
    bench = settled()
    bench.hold = ("decide",)
    bench.ask(switch())
    bench.all_say_yes()
    bench.hold = ()
    bench.lose_reply()
    bench.wait(2 * SECOND)
    assert bench.decision(2).verdict is Verdict.COMMIT
    assert bench.state.head == bench.decision(2).head


def test_store_that_is_not_as_it_was_left_ends_the_reign() -> None:
    for name in ("accept", "decide"):
        bench = settled()
        bench.hold = (name,)
        bench.ask(switch())
        bench.all_say_yes()
        value = bench.store.items[keys.HEAD].value + b" "
        tampered = Transaction(name="test", guards=(), writes=(Put(keys.HEAD, value),))
        bench.store, _ = bench.store.apply(tampered, bench.state.term)
        effects = bench.release()
        assert stepped_down(effects)
        assert "not as this leader left it" in bench.state.trouble
        assert not bench.state.pending


def test_key_repeated_while_it_waits_becomes_one_switch() -> None:
    bench = settled()
    bench.hold = ("remove",)
    bench.give(RemoveRequested(ticket=bench.ticket(), agent=AgentId("a2"), actor="op"))
    assert bench.ask(switch()) is None
    assert bench.ask(switch()) is None
    seen = bench.release()
    for agent in ("a0", "a1"):
        seen += bench.vote(agent)
    answers = [r.answer for r in of(seen, Reply)]
    assert answers[1:] == [Accepted(epoch=Epoch(2))] * 2


# --- in progress --------------------------------------------------------------------------------


def test_switch_while_one_runs_is_refused_and_one_after_a_commit_too() -> None:
    bench = settled()
    bench.ask(switch())
    assert code(bench.ask(switch("k2", Colour.BLUE))) == "switch-in-progress"
    bench.all_say_yes()
    assert code(bench.ask(switch("k2", Colour.BLUE))) == "switch-in-progress"
    bench.all_live(2)
    assert bench.ask(switch("k2", Colour.BLUE)) == Accepted(epoch=Epoch(3))


def test_abort_is_for_one_epoch_only() -> None:
    bench = settled()
    bench.ask(switch())
    assert code(abort(bench, 1)) == "already-decided"
    assert code(abort(bench, 3)) == "unknown-epoch"
    assert abort(bench, 2, "a hunch") == Accepted(epoch=Epoch(2))
    assert bench.decision(2).reason == "aborted by op: a hunch"
    again = abort(bench, 2)
    assert again == Refused(code="already-decided", text="epoch 2 is aborted already")
    assert code(abort(bench, 3)) == "unknown-epoch"


def test_abort_of_what_is_being_decided_is_refused() -> None:
    bench = settled()
    bench.hold = ("decide",)
    bench.ask(switch())
    bench.all_say_yes()
    assert code(abort(bench, 2)) == "already-decided"
    bench.release()
    assert bench.decision(2).verdict is Verdict.COMMIT


def test_abort_before_the_accept_is_known_waits_for_it() -> None:
    bench = settled()
    bench.hold = ("accept",)
    bench.ask(switch())
    assert abort(bench, 2) == Accepted(epoch=Epoch(2))
    bench.all_say_yes()
    bench.release()
    assert bench.decision(2).reason == "aborted by op"


# --- a rollback of what is undecided ------------------------------------------------------------


def test_rollback_of_an_undecided_switch_aborts_it_and_its_key_finds_that() -> None:
    bench = settled()
    bench.ask(switch())
    assert bench.ask(rollback(undo=2)) == Accepted(epoch=Epoch(2))
    assert bench.decision(2).verdict is Verdict.ABORT
    assert bench.ask(rollback(undo=2)) == Accepted(epoch=Epoch(2))
    assert keys.request("back") in bench.store.items


def test_malformed_rollback_of_an_undecided_switch_is_refused_and_aborts_nothing() -> None:
    bench = settled()
    bench.ask(switch())
    for malformed in (rollback(" "), rollback(override=("freeze",))):
        assert code(bench.ask(malformed)) == "malformed-request"
    assert bench.state.attempt is not None
    assert bench.state.attempt.deciding is None


def test_rollback_sent_again_while_it_waits_gets_the_same_answer() -> None:
    bench = settled()
    bench.hold = ("decide",)
    bench.ask(switch())
    assert bench.ask(rollback()) is None
    assert bench.ask(rollback()) is None
    assert code(bench.ask(rollback(comment="other"))) == "idempotency-conflict"
    assert code(bench.ask(rollback("another"))) == "switch-in-progress"
    replies = of(bench.release(), Reply)
    assert [r.answer for r in replies] == [Accepted(epoch=Epoch(2))] * 2


def test_rollback_of_a_switch_that_is_being_aborted_is_refused_for_the_moment() -> None:
    """H20: answered 202 and forgotten, the same key would undo an older switch at the next leader.

    Nor is it told that all is undone: the abort may never arrive, and the next leader may commit.
    """
    bench = settled()
    bench.ask(switch())
    bench.hold = ("decide",)
    bench.vote("a0", No.REFUSED)
    answer = bench.ask(rollback("too late"))
    assert isinstance(answer, Refused)
    assert (answer.code, "epoch 2 is being aborted" in answer.text) == ("switch-in-progress", True)
    refused = abort(bench, 2)
    assert isinstance(refused, Refused)
    assert refused.text == "epoch 2 is being aborted already"
    bench.release()
    assert keys.request("too late") not in bench.store.items


def test_rollback_that_loses_to_the_commit_goes_on_as_the_next_epoch() -> None:
    bench = settled()
    bench.hold = ("decide",)
    bench.ask(switch())
    bench.all_say_yes()
    assert bench.ask(rollback()) is None
    bench.release()
    assert bench.state.attempt is not None
    assert bench.state.attempt.epoch == 3
    bench.all_say_yes()
    assert bench.state.head is not None
    assert bench.state.head.digest == FIRST.digest


def test_rollback_that_does_not_mean_what_runs_is_refused() -> None:
    bench = switched()
    bench.ask(switch("k3", Colour.BLUE))
    assert code(bench.ask(rollback(undo=2))) == "switch-in-progress"
    assert code(bench.ask(rollback(service=ServiceName("search")))) == "switch-in-progress"
    bench.all_say_yes()
    bench.all_live(3)
    bench.ask(rollback("b1"))
    assert code(bench.ask(rollback("b2"))) == "switch-in-progress"


# --- what must be read first --------------------------------------------------------------------


def forget(bench: Bench) -> None:
    """The leader's memory of tables and decisions is empty, as after a takeover."""
    state = bench.state
    bench.state = evolve(state, tables=type(state.tables)(), library=type(state.library)())


def test_rollback_reads_what_it_needs() -> None:
    bench = switched()
    forget(bench)
    ticket = bench.ticket()
    effects = bench.give(Requested(ticket=ticket, request=rollback()))
    assert len(of(effects, Read)) > 1
    assert bench.reply(ticket, effects) == Accepted(epoch=Epoch(3))


def test_rollback_whose_read_has_no_answer_asks_again() -> None:
    bench = switched()
    forget(bench)
    bench.deaf = ("lookup",)
    ticket = bench.ticket()
    effects = bench.give(Requested(ticket=ticket, request=rollback()))
    assert bench.reply(ticket, effects) == Accepted(epoch=Epoch(3))


def test_rollback_to_what_the_store_has_no_more_is_refused_and_blocks_nobody() -> None:
    bench = switched()
    forget(bench)
    drop(bench, keys.decision(Epoch(2)))
    assert code(bench.ask(rollback())) == "unknown-epoch"
    assert bench.state.looking_up is None
    forget(bench)
    bench = switched()
    forget(bench)
    drop(bench, keys.table(FIRST.digest))
    assert code(bench.ask(rollback())) == "unknown-epoch"
    assert bench.ask(switch("k3", Colour.BLUE)) == Accepted(epoch=Epoch(3))


def test_what_is_in_force_is_confirmed_by_the_store_first() -> None:
    bench = switched()
    bench.deaf = ("confirm",)
    ticket = bench.ticket()
    effects = bench.give(Requested(ticket=ticket, request=switch("k3")))
    assert bench.reply(ticket, effects) == Accepted(epoch=Epoch(2), noop=True)
    assert not of(effects, Transact)


def test_what_is_in_force_though_an_agent_is_behind_is_that_epochs_outcome() -> None:
    bench = switched()
    bench.hear("a2", 0, opened=True, journal_id="another")
    assert bench.ask(switch("k3")) == Accepted(epoch=Epoch(2), noop=False)


def test_deposed_leader_does_not_claim_what_is_in_force() -> None:
    bench = switched()
    bench.store, _ = bench.store.elect(ReplicaId("r1"))
    assert stepped_down(bench.give(Requested(ticket=bench.ticket(), request=switch("k3"))))


def test_requests_wait_for_a_question_under_way() -> None:
    bench = switched()
    state, effects = bench.host.step(
        bench.state, Requested(ticket=1, request=switch("k3")), bench.now
    )
    assert of(list(effects), Read)
    request = Request(key="k4", kind=switch().kind, service=switch().service, to=Colour.BLUE)
    state, effects = bench.host.step(state, Requested(ticket=2, request=request), bench.now)
    assert effects == ()
    assert len(state.waiting) == 1
    assert state.attempt is None
    assert GREEN.digest == state.head.digest if state.head else False
    assert AgentId("a0") in state.connected
