"""The coordinator's gate: who is not heard, and what a signed head proves."""

from __future__ import annotations

import pytest
from attrs import evolve

from simulator.explore.nodes import DOMAIN, agent_key
from simulator.signers import CheapSigner, CheapVerifier
from tests.protocol.coordinator.bench import (
    Bench,
    next_leader,
    reconnect,
    settled,
    stepped_down,
    switch,
    switched,
    told,
)
from turnout.protocol.clock import SECOND
from turnout.protocol.coordinator_state import Role
from turnout.protocol.events import FromAgent
from turnout.protocol.gate import Suspicion, admit_from_agent
from turnout.protocol.identifiers import AgentId, Digest, Epoch, Term
from turnout.protocol.messages import No, Rebase, Report, Sync, Up
from turnout.protocol.records import Head, Incarnation, Prepared
from turnout.protocol.routing import Colour
from turnout.protocol.signing import signed

A0 = agent_key(AgentId("a0"))


def judge(bench: Bench, message: Up) -> Suspicion | None:
    return admit_from_agent(message, bench.state, CheapVerifier(), DOMAIN.public_key)


def test_stranger_is_not_heard() -> None:
    bench = settled()
    assert judge(bench, bench.report("a9", 1)) is Suspicion.STRANGER


def test_forged_report_is_not_heard() -> None:
    bench = settled()
    report = evolve(bench.report("a0", 1), reason="a word more than was signed")
    assert judge(bench, report) is Suspicion.SIGNATURE
    assert judge(bench, signed(report, CheapSigner("stranger"))) is Suspicion.SIGNATURE


@pytest.mark.parametrize(
    "changes",
    [
        {"incarnation": Incarnation(number=9, id="x")},
        {"term": Term(1)},
        {"epoch": Epoch(1)},
        {"digest": Digest("0" * 64)},
        {"journal_id": "another"},
    ],
)
def test_vote_that_is_off_in_one_thing_does_not_count(changes: dict[str, object]) -> None:
    bench = settled()
    bench.ask(switch())
    bench.vote("a0", None, **changes)
    assert bench.state.attempt is not None
    assert not bench.state.attempt.yes
    bench.vote("a0", No.REFUSED, **changes)
    assert not bench.state.attempt.no


def test_vote_that_nobody_asked_for_does_not_count() -> None:
    bench = settled()
    bench.ask(switch())
    bench.vote("a0")
    assert bench.state.attempt is not None
    vote = bench.state.attempt.yes[AgentId("a0")]
    bench.state = evolve(bench.state, attempt=None)
    assert judge(bench, vote) is Suspicion.NOT_ASKED


# --- what was overtaken -------------------------------------------------------------------------


def test_report_overtaken_by_a_newer_one_is_passed_over() -> None:
    bench = switched()
    newest = bench.state.reports[AgentId("a0")]
    for changes in ({"promised": Term(1)}, {"committed": bench.decision(1).head}):
        bench.give(FromAgent(message=signed(evolve(newest, **changes), A0)))
        assert bench.state.reports[AgentId("a0")] == newest
    bench.hear("a0", 1)
    assert bench.state.reports[AgentId("a0")] == newest
    of_an_old_disk = signed(evolve(newest, journal_id="another"), A0)
    bench.give(FromAgent(message=of_an_old_disk))
    assert bench.state.reports[AgentId("a0")] == newest
    bench.give(FromAgent(message=of_an_old_disk, opened=True))
    assert bench.state.reports[AgentId("a0")] == of_an_old_disk


def test_report_after_a_rebase_is_newer_whatever_its_numbers() -> None:
    """A higher incarnation starts promise and prepared empty (P10): that is no older report."""
    bench = switched()
    record = bench.state.incarnation
    assert record is not None
    second = Incarnation(number=2, id="second")
    bench.state = evolve(bench.state, incarnation=evolve(record, incarnation=second))
    bench.wait(SECOND)
    assert [type(m) for m in told(bench.effects, "a0")] == [Rebase]
    bench.hear("a0", 2, incarnation=second, promised=Term(0))
    assert bench.state.reports[AgentId("a0")].promised == 0
    bench.hear("a0", 2, incarnation=Incarnation(number=1, id="first"))
    assert bench.state.reports[AgentId("a0")].promised == 0
    bench.hear("a1", 2, incarnation=None)
    assert bench.state.reports[AgentId("a1")].incarnation is not None


# --- S11 ----------------------------------------------------------------------------------------


def proof(bench: Bench, **changes: object) -> Report:
    head: Head = evolve(bench.decision(2).head, signature="", **changes)  # type: ignore[arg-type]
    head = signed(head, DOMAIN)
    return bench.report("a0", 2, committed=head)


def test_signed_head_above_the_stores_halts_the_leader() -> None:
    bench = switched()
    bench.give(FromAgent(message=proof(bench, decided=Epoch(9), committed=Epoch(9))))
    assert bench.state.role is Role.HALTED
    assert bench.give(FromAgent(message=bench.report("a0", 2))) == []


def test_signed_commit_of_a_number_that_the_store_aborted_halts_the_leader() -> None:
    """1. The store goes back to between accept and decision. 2. A leader that no agent has reached yet
    aborts the number. 3. The agents serve its commit, and know of no later number than the store.
    """
    bench = switched()
    bench.ask(switch("k3", Colour.BLUE))
    bench.vote("a0", No.UNHEALTHY)
    head = bench.decision(3).head
    assert (head.decided, head.committed) == (3, 2)
    bench.give(FromAgent(message=proof(bench, decided=Epoch(3), committed=Epoch(3))))
    assert bench.state.role is Role.HALTED


def test_signed_commit_of_another_table_under_the_stores_number_halts_the_leader() -> None:
    bench = switched()
    bench.give(FromAgent(message=proof(bench, digest=bench.decision(1).head.digest)))
    assert bench.state.role is Role.HALTED


def test_signed_commit_that_the_store_knows_or_is_past_is_no_proof() -> None:
    bench = switched()
    bench.give(FromAgent(message=proof(bench)))
    bench.give(FromAgent(message=bench.report("a1", 1)))
    assert bench.state.role is Role.LEADING


def test_signed_head_of_a_higher_term_halts_the_leader() -> None:
    bench = switched()
    bench.give(FromAgent(message=proof(bench, term=Term(10**9))))
    assert bench.state.role is Role.HALTED


def test_signed_head_of_the_next_leader_deposes_the_one_before() -> None:
    bench = switched()
    after = next_leader(bench)
    after.elect()
    reconnect(after, 2)
    after.ask(switch("k3", Colour.BLUE))
    after.all_say_yes()
    report = after.report("a0", 4)
    bench.store = after.store
    assert stepped_down(bench.give(FromAgent(message=report)))


def test_unsigned_claim_of_a_billion_changes_nothing() -> None:
    bench = switched()
    head = evolve(bench.decision(2).head, decided=Epoch(10**9))
    report = bench.report("a0", 2, committed=head)
    assert judge(bench, report) is Suspicion.SIGNATURE
    bench.give(FromAgent(message=report))
    assert bench.state.role is Role.LEADING


def test_claim_of_another_incarnation_is_no_proof() -> None:
    """One agent must not freeze a domain with what it says of an incarnation that is over (P6)."""
    bench = switched()
    old = Incarnation(number=0, id="zero")
    head = Head(incarnation=old, decided=Epoch(10**9), committed=Epoch(10**9))
    bench.give(FromAgent(message=bench.report("a1", 2, committed=head)))
    assert bench.state.role is Role.LEADING


def test_nothing_is_decided_while_a_proof_is_looked_into() -> None:
    bench = switched()
    bench.ask(switch("k3", Colour.BLUE))
    bench.vote("a0")
    bench.vote("a1")
    bench.deaf = ("freshness", "freshness")
    two = proof(bench, decided=Epoch(9), committed=Epoch(9))
    state, effects = bench.host.step(bench.state, FromAgent(message=two), bench.now)
    again, none = bench.host.step(state, FromAgent(message=two), bench.now)
    assert len(effects) == 1
    assert none == ()
    bench.state = again
    bench.vote("a2")
    assert bench.state.attempt is not None
    assert bench.state.attempt.deciding is None
    bench.give(FromAgent(message=two))


def test_agent_in_doubt_about_an_old_epoch_gets_its_decision_looked_up() -> None:
    bench = switched()
    after = next_leader(bench)
    after.elect()
    reconnect(after, 2)
    after.state = evolve(after.state, library=type(after.state.library)())
    prepared = Prepared(epoch=Epoch(1), digest=Digest("0" * 64), term=Term(1))
    after.deaf = ("doubt",)
    after.hear("a0", 2, prepared=prepared)
    assert Epoch(1) not in after.state.library
    after.hear("a0", 2, prepared=prepared)
    assert Epoch(1) in after.state.library
    assert [m for m in told(after.effects, "a0") if isinstance(m, Sync)]


def test_report_of_an_agents_old_disk_is_passed_over_unless_it_opens_a_stream() -> None:
    """S10: replayed, it would make an agent stale that is in good order."""
    bench = switched()
    bench.hear("a0", 2, journal_id="the disk before")
    assert bench.state.fleet.agents[AgentId("a0")].journal_id == "journal of a0"
    bench.hear("a0", 2, journal_id="a new disk", opened=True)
    assert bench.state.fleet.agents[AgentId("a0")].journal_id == "a new disk"


def test_report_of_an_older_incarnation_that_comes_late_is_passed_over() -> None:
    bench = switched()
    before = bench.state.reports[AgentId("a0")]
    bench.hear("a0", 2, incarnation=Incarnation(number=0, id="zero"))
    assert bench.state.reports[AgentId("a0")] is before


def test_report_on_no_stream_of_a_new_leader_is_noted_and_connects_nobody() -> None:
    """It may overtake the one that opens the stream."""
    after = next_leader(switched())
    after.elect()
    after.hear("a0", 2)
    assert AgentId("a0") in after.state.reports
    assert AgentId("a0") not in after.state.connected
