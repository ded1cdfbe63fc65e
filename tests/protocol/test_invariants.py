"""Each invariant finds what breaks it, by its number, and nothing in a picture that is well."""

from __future__ import annotations

import pytest
from attrs import evolve

from turnout.protocol.clock import MS, SECOND, ClockNs
from turnout.protocol.identifiers import AgentId, Digest, Epoch, ReplicaId, ServiceName, Term
from turnout.protocol.invariants import (
    AgentPicture,
    Answered,
    Course,
    Intrusion,
    Parting,
    Picture,
    Proof,
    Ruling,
    ScheduledFlip,
    SourceRequest,
    Span,
    Yes,
    judge,
    judge_course,
)
from turnout.protocol.limits import Timing
from turnout.protocol.records import (
    Active,
    Decision,
    Head,
    Incarnation,
    Kind,
    Status,
    Verdict,
)
from turnout.protocol.routing import Colour

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


def test_commit_that_founded_the_incarnation_counts_as_one() -> None:
    founded = Active(incarnation=1, epoch=Epoch(1), digest=BLUE)
    well = evolve(WELL, founded=founded, rulings=(ruling(2, GREEN),), told=())
    assert numbers(well) == set()
    assert numbers(evolve(well, founded=None)) == {"S1", "S7"}


def test_rollback_may_name_some_absent() -> None:
    assert not judge(
        with_ruling(ruling(1, BLUE), ruling(2, GREEN, kind=Kind.ROLLBACK, absent=(B,)))
    )


def test_vote_in_the_promised_term_is_well() -> None:
    assert not judge(with_agent(answered=(Answered(epoch=Epoch(2), term=TERM, promised=TERM),)))


# --- S8 to S11, L1 to L3 ------------------------------------------------------------------------

COURSE = Course(timing=Timing(), until_ns=100 * SECOND)


def broken(**recorded: object) -> list[str]:
    """The numbers of what a course with these records breaks."""
    found = judge_course(evolve(COURSE, **recorded))  # type: ignore[arg-type]
    assert all(violation.text for violation in found)
    return [violation.number for violation in found]


def flip(name: AgentId, at_ns: int, **changes: object) -> ScheduledFlip:
    """A flip at a moment, due at 0 and heard of as long before as G; its bound is 10 ms."""
    whole = ScheduledFlip(
        agent=name,
        epoch=Epoch(1),
        g_ns=SECOND,
        due_ns=0,
        received_ns=at_ns - SECOND,
        flipped_ns=at_ns,
        bound_ns=10 * MS,
        bound_held=True,
    )
    return evolve(whole, **changes)  # type: ignore[arg-type]


def test_course_of_nothing_breaks_nothing() -> None:
    assert broken() == []


def test_skew_is_judged_by_both_bounds_the_drift_of_the_wait_and_jitter() -> None:
    # 500 ppm of G, a second, are 0.5 ms for each of the two.
    assert broken(flips=(flip(A, 0), flip(B, 21 * MS))) == []
    assert broken(flips=(flip(A, 0), flip(B, 22 * MS)), jitter_ns=MS) == []
    assert broken(flips=(flip(A, 0), flip(B, 22 * MS))) == ["S8"]


@pytest.mark.parametrize(
    "changes",
    [
        {"bound_held": False},
        {"bound_ns": None},
        {"received_ns": 1},
        {"epoch": Epoch(2)},
    ],
)
def test_skew_is_judged_among_honest_flips_of_one_commit_only(changes: dict[str, object]) -> None:
    assert broken(flips=(flip(A, 0), flip(B, 500 * MS, **changes))) == []


def test_agent_that_waits_longer_than_g_is_found_whatever_its_clock() -> None:
    late = flip(A, 0, received_ns=-1001 * MS, bound_held=False)
    assert broken(flips=(late,)) == ["S8"]
    assert broken(flips=(late,), jitter_ns=MS) == []


def test_source_gets_only_what_affinity_brings_during_its_drain() -> None:
    request = SourceRequest(agent=A, epoch=Epoch(2), by_affinity=True, during_drain=True)
    assert broken(requests=(request,)) == []
    assert broken(requests=(evolve(request, by_affinity=False),)) == ["S9"]
    assert broken(requests=(evolve(request, during_drain=False),)) == ["S9"]


def test_source_is_closed_or_released_when_nobody_wants_or_uses_it() -> None:
    parting = Parting(
        what="released",
        agent=A,
        epoch=Epoch(2),
        service=ServiceName("checkout"),
        colour=Colour.BLUE,
        is_wanted=False,
        in_flight=0,
        is_time_over=False,
    )
    in_use = evolve(parting, in_flight=3)
    assert broken(partings=(parting, evolve(in_use, is_time_over=True))) == []
    assert broken(partings=(in_use,)) == ["S9"]
    assert broken(partings=(evolve(parting, is_wanted=True, is_time_over=True),)) == ["S9"]


def test_replay_that_changes_what_is_durable_is_found() -> None:
    assert broken(intrusions=(Intrusion(what="a replayed vote", before=1, after=1),)) == []
    assert broken(intrusions=(Intrusion(what="a replayed vote", before=1, after=2),)) == ["S10"]


def test_decision_over_a_store_that_went_back_is_found() -> None:
    proof = Proof(term=TERM, shown=Epoch(7), stored=Epoch(5))
    assert broken(proofs=(proof,)) == []
    assert broken(proofs=(evolve(proof, decided=(Epoch(6),)),)) == ["S11"]


@pytest.mark.parametrize(
    ("kind", "number", "limit_ms"),
    [
        ("switches", "L1", 30_000),
        ("intents", "L2", 23_750),  # 2 * 5 + 13.5 + 0.25
        ("doubts", "L2", 20_000),  # 13.5 + 0.5 + 5 + 2 * 0.5
        ("vacancies", "L2", 15_000),  # 13.5 + 1.5
        ("cores", "L3", 15_000),  # the same
    ],
)
def test_what_took_too_long_or_is_not_there_yet_is_found(
    kind: str, number: str, limit_ms: int
) -> None:
    limit_ns = limit_ms * MS
    in_time = Span(what="epoch 2", since_ns=SECOND, seen_ns=SECOND + limit_ns)
    late = evolve(in_time, seen_ns=SECOND + limit_ns + 1)
    missing = Span(what="epoch 3", since_ns=SECOND, seen_ns=None)
    assert broken(**{kind: (in_time,)}) == []
    assert broken(**{kind: (late, missing)}) == [number, number]
    assert broken(**{kind: (missing,)}, until_ns=SECOND + limit_ns) == []
