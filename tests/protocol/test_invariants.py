"""Each invariant finds what breaks it, by its number, and nothing in a picture that is well."""

from __future__ import annotations

import pytest
from attrs import evolve

from turnout.protocol.clock import SECOND, ClockNs
from turnout.protocol.identifiers import AgentId, Digest, Epoch, ReplicaId, Term
from turnout.protocol.invariants import (
    AgentPicture,
    Answered,
    Picture,
    Ruling,
    ScheduledFlip,
    SourceRequest,
    Span,
    Yes,
    judge,
    l1_ended_within_budget,
    l2_doubt_ends,
    l3_core_converges,
    s8_skew_within_bounds,
    s9_source_gets_nothing_new,
    s10_replay_changes_nothing,
    s11_no_decision_after_restore,
)
from turnout.protocol.records import (
    Active,
    Decision,
    Head,
    Incarnation,
    Kind,
    Status,
    Verdict,
)

A, B = AgentId("a"), AgentId("b")
BLUE, GREEN, RED = Digest("b" * 64), Digest("c" * 64), Digest("d" * 64)
TERM = Term(5)


def ruling(epoch: int, digest: Digest, **changes: object) -> Ruling:
    decision = Decision(
        epoch=Epoch(epoch),
        verdict=Verdict.COMMIT,
        head=Head(incarnation=Incarnation(number=1, id="x")),
        term=TERM,
        replica=ReplicaId("r"),
        digest=digest,
        kind=Kind.SWITCH,
        decided_at_ns=ClockNs(0),
    )
    decision = evolve(decision, **changes)  # type: ignore[arg-type]
    return Ruling(decision=decision, required=((A, "j"), (B, "j")), leader_term=TERM)


def yes(epoch: int, digest: Digest) -> Yes:
    return Yes(epoch=Epoch(epoch), digest=digest, term=TERM, journal_id="j")


def serves(*tables: tuple[int, Digest]) -> tuple[Active, ...]:
    return tuple(Active(incarnation=1, epoch=Epoch(e), digest=d) for e, d in tables)


def agent(name: AgentId, *tables: tuple[int, Digest]) -> AgentPicture:
    return AgentPicture(
        agent=name,
        standing=Status.GOOD,
        served=serves(*tables),
        yes=(yes(1, BLUE), yes(2, GREEN)),
    )


WELL = Picture(
    rulings=(ruling(1, BLUE), ruling(2, GREEN)),
    agents=(agent(A, (1, BLUE), (2, GREEN)), agent(B, (1, BLUE))),
    named=((Epoch(1), BLUE), (Epoch(2), GREEN)),
    told=((Epoch(1), Verdict.COMMIT),),
)


def numbers(picture: Picture) -> set[str]:
    found = judge(picture)
    assert all(violation.text for violation in found)
    return {violation.number for violation in found}


def with_agent(**changes: object) -> Picture:
    first, second = WELL.agents
    return evolve(WELL, agents=(evolve(first, **changes), second))  # type: ignore[arg-type]


def with_ruling(*rulings: Ruling) -> Picture:
    return evolve(WELL, rulings=rulings)


def test_picture_that_is_well_breaks_nothing() -> None:
    assert judge(WELL) == ()
    assert judge(Picture()) == ()


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (with_agent(served=serves((1, BLUE), (2, RED))), {"S1", "S7"}),
        (with_agent(unjournalled=(Epoch(2),)), {"S1"}),
        (evolve(WELL, told=((Epoch(2), Verdict.ABORT),)), {"S2"}),
        (evolve(WELL, named=((Epoch(1), BLUE), (Epoch(1), RED))), {"S2"}),
        (evolve(WELL, told=((Epoch(9), Verdict.COMMIT),)), {"S2"}),
        (with_agent(yes=(yes(1, BLUE),)), {"S3"}),
        (with_ruling(ruling(1, BLUE), ruling(2, GREEN, absent=(A,))), {"S3"}),
        (
            with_ruling(ruling(1, BLUE), ruling(2, GREEN, kind=Kind.ROLLBACK, absent=(A, B))),
            {"S3"},
        ),
        (with_ruling(ruling(1, BLUE), evolve(ruling(2, GREEN), held=(A,))), {"S3"}),
        (with_ruling(ruling(1, BLUE), evolve(ruling(2, GREEN), leader_term=Term(6))), {"S4"}),
        (evolve(WELL, foreign_writes=("outcome of term 4 won in 5",)), {"S4"}),
        (
            with_agent(answered=(Answered(epoch=Epoch(2), term=Term(4), promised=TERM),)),
            {"S4"},
        ),
        (with_agent(served=serves((2, GREEN), (1, BLUE))), {"S5"}),
        (with_agent(served=serves((1, BLUE), (2, Digest("")))), {"S1", "S6", "S7"}),
        (with_agent(served=serves((3, RED))), {"S1", "S7"}),
    ],
)
def test_picture_that_breaks_one_thing_is_judged_by_its_number(
    picture: Picture, expected: set[str]
) -> None:
    assert numbers(picture) == expected


def test_rollback_may_name_some_absent() -> None:
    assert not judge(
        with_ruling(ruling(1, BLUE), ruling(2, GREEN, kind=Kind.ROLLBACK, absent=(B,)))
    )


def test_vote_in_the_promised_term_is_well() -> None:
    assert not judge(with_agent(answered=(Answered(epoch=Epoch(2), term=TERM, promised=TERM),)))


def test_skew_is_judged_by_the_honest_bounds() -> None:
    def flip(name: AgentId, at: int, *, honest: bool = True) -> ScheduledFlip:
        return ScheduledFlip(agent=name, flipped_true_ns=at, bound_ns=10, bound_held=honest)

    assert not list(s8_skew_within_bounds((flip(A, 0), flip(B, 25)), jitter_ns=5))
    assert list(s8_skew_within_bounds((flip(A, 0), flip(B, 26)), jitter_ns=5))
    assert not list(s8_skew_within_bounds((flip(A, 0), flip(B, 99, honest=False)), jitter_ns=5))


def test_source_gets_only_what_affinity_brings_during_its_drain() -> None:
    request = SourceRequest(
        agent=A, epoch=Epoch(2), sent_after_flip=True, by_affinity=True, during_drain=True
    )
    early = evolve(request, sent_after_flip=False, by_affinity=False)
    assert not list(s9_source_gets_nothing_new((request, early)))
    assert list(s9_source_gets_nothing_new((evolve(request, by_affinity=False),)))
    assert list(s9_source_gets_nothing_new((evolve(request, during_drain=False),)))


def test_replay_that_changes_what_is_durable_is_found() -> None:
    assert not list(s10_replay_changes_nothing(1, 1, "a replayed vote"))
    assert list(s10_replay_changes_nothing(1, 2, "a replayed vote"))


def test_decision_over_a_store_that_went_back_is_found() -> None:
    def found(restored: int, *decided: int) -> list[str]:
        epochs = tuple(Epoch(e) for e in decided)
        return list(
            s11_no_decision_after_restore(
                restored_to=Epoch(restored), proven=Epoch(7), decided=epochs
            )
        )

    assert found(5, 6)
    assert not found(5)
    assert not found(7, 8)


def test_what_took_too_long_or_is_not_there_yet_is_found() -> None:
    done = Span(what="epoch 2", since_ns=0, seen_ns=3 * SECOND)
    missing = Span(what="epoch 3", since_ns=0, seen_ns=None)
    both, until = (done, missing), 20 * SECOND
    assert [t.partition(":")[0] for t in l1_ended_within_budget(
        both, budget_ns=2 * SECOND, until_ns=until
    )] == ["epoch 2", "epoch 3"]  # fmt: skip
    assert len(list(l2_doubt_ends(both, limit_ns=4 * SECOND, until_ns=until))) == 1
    assert len(list(l3_core_converges(both, until_ns=until))) == 1
    assert not list(l3_core_converges(both, until_ns=14 * SECOND))
