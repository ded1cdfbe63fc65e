from __future__ import annotations

import pytest
from attrs import evolve

from simulator.signers import CheapSigner
from tests.protocol.participant.bench import (
    ABORT7,
    BLUE,
    DOMAIN,
    EMPTY,
    GREEN,
    HEAD6,
    HEAD7,
    INCARNATION,
    OTHER,
    STRANGER,
    Bench,
    fresh_record,
    head_at,
    kinds,
    prepare,
    reports,
    settled_record,
    sign_table,
    sync,
    votes,
)
from turnout.protocol.effects import Persist
from turnout.protocol.events import Booted, FromLeader
from turnout.protocol.identifiers import Epoch
from turnout.protocol.messages import No, Rebase
from turnout.protocol.records import Active, AgentRecord, Incarnation, IncarnationRecord
from turnout.protocol.routing import RoutingTable
from turnout.protocol.signing import signed

SECOND_INCARNATION = Incarnation(number=2, id="second")


def rebase_to(incarnation: Incarnation, signer: CheapSigner = DOMAIN) -> Rebase:
    record = IncarnationRecord(incarnation=incarnation, predecessor=INCARNATION)
    return Rebase(record=signed(record, signer))


def test_agent_without_incarnation_hears_nothing_before_its_rebase_h18() -> None:
    bench = Bench(AgentRecord(journal_id="j1"), GREEN)
    assert bench.hear(prepare(1, GREEN, EMPTY)) == ()
    assert bench.hear(sync(HEAD6)) == ()
    effects = bench.hear(rebase_to(INCARNATION))
    assert kinds(effects) == ["Persist", "Report"]
    assert bench.state.record.incarnation == INCARNATION


def test_agent_promised_and_prepared_moves_to_higher_incarnation_and_starts_both_empty_p10() -> (
    None
):
    bench = Bench()
    bench.prepared(prepare(7, GREEN, HEAD6, term=50))
    bench.hear(rebase_to(SECOND_INCARNATION))
    record = bench.state.record
    assert (record.promised, record.prepared) == (0, None)
    assert record.committed_epoch == 6
    head = head_at(6, 6, BLUE, incarnation=SECOND_INCARNATION)
    bench.hear(sync(head, term=3))
    bench.live()
    bench.hear(prepare(7, GREEN, head, term=3))
    (vote,) = votes(bench.staged())
    assert (vote.term, vote.no, vote.incarnation) == (3, None, SECOND_INCARNATION)


def test_agent_above_the_first_epoch_of_a_new_incarnation_flips_to_it_s5_h18() -> None:
    bench = Bench(settled_record(head_at(12, 12, BLUE)), BLUE)
    bench.hear(rebase_to(SECOND_INCARNATION))
    head = head_at(10, 10, GREEN, incarnation=SECOND_INCARNATION)
    bench.hear(sync(head, table=GREEN))
    bench.live()
    assert bench.state.serving == Active(incarnation=2, epoch=Epoch(10), digest=GREEN.digest)
    assert bench.state.record.active == bench.state.serving


def test_rebase_to_the_incarnation_that_is_ours_changes_nothing_s10() -> None:
    bench = Bench()
    before = bench.state
    assert bench.hear(rebase_to(INCARNATION)) == ()
    assert bench.state == before


@pytest.mark.parametrize(
    "incarnation", [Incarnation(number=1, id="twin"), Incarnation(number=0, id="older")]
)
def test_rebase_not_above_ours_is_refused_and_told_once_s10(incarnation: Incarnation) -> None:
    bench = Bench()
    record = bench.state.record
    (report,) = reports(bench.hear(rebase_to(incarnation)))
    assert "another domain" in report.reason
    assert incarnation.id in report.reason
    assert bench.hear(rebase_to(incarnation)) == ()
    assert bench.state.record == record


def test_rebase_signed_by_a_stranger_is_refused_and_told_s10() -> None:
    bench = Bench()
    record = bench.state.record
    (report,) = reports(bench.hear(rebase_to(SECOND_INCARNATION, STRANGER)))
    assert "domain_key" in report.reason
    assert bench.state.record == record


def test_mistrust_ends_with_the_first_head_that_is_true() -> None:
    bench = Bench()
    bench.proven()
    bench.hear(sync(head_at(7, 7, GREEN, signer=STRANGER), table=GREEN))
    assert bench.state.mistrust
    (report,) = reports(bench.hear(sync(HEAD6)))
    assert (report.reason, bench.state.mistrust) == ("", "")


def test_mistrust_ends_with_a_rebase_that_is_followed() -> None:
    bench = Bench()
    bench.hear(rebase_to(SECOND_INCARNATION, STRANGER))
    bench.hear(rebase_to(SECOND_INCARNATION))
    assert bench.state.mistrust == ""
    assert bench.state.record.incarnation == SECOND_INCARNATION


def test_what_was_only_late_is_no_ground_for_mistrust() -> None:
    bench = Bench()
    bench.hear(sync(ABORT7))
    for message in (sync(HEAD6), prepare(7, GREEN, HEAD6), prepare(9, GREEN, HEAD6)):
        assert bench.hear(message) == ()
    assert bench.state.mistrust == ""


def test_message_of_another_incarnation_is_refused_s10() -> None:
    bench = Bench()
    other = head_at(7, 7, GREEN, incarnation=SECOND_INCARNATION)
    assert bench.hear(sync(other, table=GREEN)) == ()
    mixed = evolve(sync(other, table=GREEN), incarnation=INCARNATION)
    assert bench.hear(mixed) == ()


def test_sync_without_a_head_changes_nothing_p9() -> None:
    bench = Bench()
    before = bench.state
    assert bench.hear(sync(None)) == ()
    assert bench.state == before


def test_head_not_signed_by_the_domain_is_refused_and_told_once_s11() -> None:
    bench = Bench()
    forged = head_at(7, 7, GREEN, signer=STRANGER)
    (report,) = reports(bench.hear(sync(forged, table=GREEN)))
    assert "domain_key" in report.reason
    assert bench.hear(sync(head_at(8, 8, GREEN, signer=STRANGER), table=GREEN)) == ()
    assert bench.state.record.committed_epoch == 6


def test_head_older_than_known_is_passed_over_s10() -> None:
    bench = Bench()
    bench.hear(sync(ABORT7))
    before = bench.state
    assert bench.hear(sync(HEAD6)) == ()
    assert bench.hear(sync(head_at(5, 5, GREEN), table=GREEN)) == ()
    assert bench.state == before


def test_head_is_learnt_from_a_term_below_the_promise_h9() -> None:
    bench = Bench()
    bench.prepared(prepare(7, GREEN, HEAD6, term=50))
    bench.hear(sync(HEAD7, term=10))
    assert bench.state.record.committed_epoch == 7


def test_prepare_of_an_old_term_is_not_voted_on_but_its_head_is_learnt_s4_h9() -> None:
    bench = Bench()
    bench.prepared(prepare(7, GREEN, HEAD6, term=50))
    effects = bench.hear(prepare(8, BLUE, HEAD7, term=49))
    assert votes(effects) == ()
    assert bench.state.record.committed_epoch == 7
    assert bench.state.record.promised == 50


def test_late_prepare_of_a_decided_epoch_is_not_voted_on_s10() -> None:
    bench = Bench()
    bench.hear(sync(ABORT7))
    assert bench.hear(prepare(7, GREEN, HEAD6)) == ()


def test_prepare_that_does_not_follow_its_head_is_not_voted_on() -> None:
    bench = Bench()
    assert bench.hear(prepare(9, GREEN, HEAD6)) == ()


def test_late_prepare_below_the_prepared_epoch_is_not_voted_on_after_a_restart_s10() -> None:
    bench = Bench()
    bench.prepared(prepare(8, GREEN, ABORT7))
    bench.reboot()
    bench.staged()
    assert bench.hear(prepare(7, OTHER, HEAD6)) == ()
    assert bench.state.record.prepared is not None
    assert bench.state.record.prepared.epoch == 8


def test_table_not_signed_by_the_domain_is_voted_no() -> None:
    bench = Bench()
    forged = sign_table(GREEN.table, STRANGER)
    (vote,) = votes(bench.hear(prepare(7, GREEN, HEAD6, sent=forged)))
    assert vote.no is No.SIGNATURE
    assert bench.state.operation is None


def test_table_of_another_digest_is_voted_no() -> None:
    bench = Bench()
    (vote,) = votes(bench.hear(prepare(7, GREEN, HEAD6, sent=OTHER)))
    assert vote.no is No.TABLE
    assert OTHER.digest in vote.reason


def test_empty_table_is_voted_no_with_its_fault() -> None:
    bench = Bench()
    empty = sign_table(RoutingTable())
    (vote,) = votes(bench.hear(prepare(7, empty, HEAD6)))
    assert vote.no is No.TABLE
    assert "no service" in vote.reason


def test_commit_with_an_unsound_table_waits_for_a_sound_one() -> None:
    bench = Bench()
    effects = bench.hear(sync(HEAD7, table=sign_table(GREEN.table, STRANGER)))
    assert kinds(effects) == ["Report"]
    assert bench.state.record.committed_epoch == 6


def test_nothing_is_heard_before_the_boot() -> None:
    bench = Bench()
    machine, state = bench.machine, type(bench.state)()
    assert machine.step(state, Booted(record=fresh_record()), bench.now)[0].record.journal_id
    after, effects = machine.step(state, FromLeader(message=sync(HEAD7)), bench.now)
    assert (after, effects) == (state, ())
    assert machine.next_deadline(state) is None


def test_replayed_messages_change_nothing_s10() -> None:
    bench = Bench()
    ask, commit = prepare(7, GREEN, HEAD6), sync(HEAD7)
    bench.prepared(ask)
    bench.hear(commit)
    bench.live()
    before = bench.state.record
    for message in (ask, commit, sync(HEAD6), ask, rebase_to(INCARNATION)):
        effects = bench.hear(message)
        assert not [e for e in effects if isinstance(e, Persist)]
        assert votes(effects) == ()
        assert reports(effects) == ()
    assert bench.state.record == before
