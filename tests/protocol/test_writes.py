"""Each guard of each transaction, broken alone: the write is lost, and the store is as it was.

The transactions are those that a real leader sends, held back on their way. Then one thing happens
that its guard is about, and nothing else does, which no run of the machines brings about: there the
guard of the term, or the leader's own waiting, is in the way. That everything *else* holds is
checked too, so no guard can stand in for another.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial

import pytest
from attrs import evolve

from simulator.explore.nodes import DOMAIN
from simulator.explore.store import FakeStore, holds
from tests.protocol.guards import ROWS, Row, Rule
from tests.protocol.situations import ROW_OF, SITUATIONS, Sent, Situation, rules_of, some_entry
from turnout.protocol import keys, writes
from turnout.protocol.clock import ClockNs
from turnout.protocol.codec import canonical_bytes, decode
from turnout.protocol.identifiers import AgentId, Digest, Epoch, ReplicaId, Term
from turnout.protocol.limits import MAX_TABLE_BYTES
from turnout.protocol.records import (
    Decision,
    Head,
    Incarnation,
    IncarnationRecord,
    Intent,
    Outcome,
    OutcomeKind,
    RequestRecord,
    Standing,
    StandingEntry,
    Status,
    Verdict,
)
from turnout.protocol.signing import signed
from turnout.protocol.transactions import (
    Absent,
    CreatedAt,
    Delete,
    Equals,
    Guard,
    Lost,
    ModifiedAt,
    Present,
    Put,
    Transaction,
    Won,
    Write,
)

# --- what may have happened meanwhile ------------------------------------------------------------

Race = Callable[[Sent, str], FakeStore]


def _happens(sent: Sent, *written: Write) -> FakeStore:
    """Somebody else's write, at a revision of its own."""
    store, _ = sent.store.apply(
        Transaction(name="race", guards=(), writes=written), Term(sent.term)
    )
    return store


def _elected(replica: str, sent: Sent, key: str) -> FakeStore:
    assert key == keys.LEADER
    return sent.store.elect(ReplicaId(replica))[0]


def _vanishes(sent: Sent, key: str) -> FakeStore:
    assert key in sent.store.items
    return _happens(sent, Delete(key))


def _rewritten(sent: Sent, key: str) -> FakeStore:
    """The very same value again: only its revision tells."""
    return _happens(sent, Put(key, sent.store.items[key].value))


def _another_mark(sent: Sent, key: str) -> FakeStore:
    entry = StandingEntry(agent=AgentId("a1"), status=Status.STALE, reason="its journal is lost")
    return _happens(sent, Put(key, canonical_bytes(Standing(entries=(entry,)))))


def _incarnation(number: int, id_: str, sent: Sent, key: str) -> FakeStore:
    record = signed(
        IncarnationRecord(incarnation=Incarnation(number=number, id=id_), first_epoch=Epoch(9)),
        DOMAIN,
    )
    return _happens(sent, Put(key, canonical_bytes(record)))


def _head(decided: int, sent: Sent, key: str) -> FakeStore:
    """Another decision; what it decided is left out, for that is another guard's business."""
    before = (
        sent.head if key in sent.store.items else Head(incarnation=Incarnation(number=1, id=""))
    )
    head = signed(evolve(before, decided=Epoch(before.decided + decided), signature=""), DOMAIN)
    return _happens(sent, Put(key, canonical_bytes(head)))


def _intent(sent: Sent) -> Intent:
    """Any intent, to make another one of."""
    found = [v.value for k, v in sorted(sent.store.items.items()) if k.startswith(keys.INTENTS)]
    return decode(found[-1], Intent, limit=MAX_TABLE_BYTES)


def _another_intent(sent: Sent, key: str) -> FakeStore:
    return _happens(sent, Put(key, canonical_bytes(evolve(_intent(sent), term=Term(1)))))


def _another_digest(sent: Sent, key: str) -> FakeStore:
    return _happens(sent, Put(key, canonical_bytes(evolve(_intent(sent), digest=Digest("f" * 64)))))


def _another_required_set(sent: Sent, key: str) -> FakeStore:
    intent = _intent(sent)
    required = evolve(intent.required, count=intent.required.count - 1, digest=Digest("f" * 64))
    return _happens(sent, Put(key, canonical_bytes(evolve(intent, required=required))))


def _key_used(sent: Sent, key: str) -> FakeStore:
    record = RequestRecord(epoch=Epoch(1), body=Digest("f" * 64))
    return _happens(sent, Put(key, canonical_bytes(record)))


def _decided(verdict: Verdict, sent: Sent, key: str) -> FakeStore:
    decision = Decision(
        epoch=sent.epoch,
        verdict=verdict,
        head=sent.head,
        term=sent.term,
        replica=ReplicaId("r1"),
        decided_at_ns=ClockNs(0),
    )
    return _happens(sent, Put(key, canonical_bytes(decision)))


def _outcome_written(sent: Sent, key: str) -> FakeStore:
    outcome = Outcome(epoch=sent.epoch, outcome=OutcomeKind.PARTIAL, budget_ns=1)
    return _happens(sent, Put(key, canonical_bytes(outcome)))


def _entry_written(sent: Sent, key: str) -> FakeStore:
    return _happens(sent, Put(key, canonical_bytes(some_entry(sent.epoch, sent.term))))


RACES: dict[tuple[type[Guard], str], dict[str, Race]] = {
    (CreatedAt, "leader"): {
        "another replica leads": partial(_elected, "r9"),
        "the same replica leads again": partial(_elected, "r0"),
        "nobody leads": _vanishes,
    },
    (Equals, "incarnation"): {
        "the domain was founded anew": partial(_incarnation, 2, "second"),
        "another domain is here, of the same number": partial(_incarnation, 1, "other"),
        "the domain is gone": _vanishes,
    },
    (Equals, "head"): {"head moved on": partial(_head, 1), "head is gone": _vanishes},
    (Absent, "head"): {"somebody began": partial(_head, 0)},
    (Absent, "intents"): {"an intent appeared": _another_intent},
    (Equals, "intents"): {
        "another leader's": _another_intent,
        "another digest": _another_digest,
        "another required set": _another_required_set,
        "it vanished": _vanishes,
    },
    (ModifiedAt, "standing"): {
        "rewritten as it was": _rewritten,
        "another mark": _another_mark,
        "it is gone": _vanishes,
    },
    (Absent, "requests"): {"the key became a switch": _key_used},
    (Present, "tables"): {"deleted as garbage": _vanishes},
    (Absent, "decisions"): {
        "committed": partial(_decided, Verdict.COMMIT),
        "aborted": partial(_decided, Verdict.ABORT),
    },
    (Absent, "outcomes"): {"an outcome was written": _outcome_written},
    (Absent, "released"): {"it was released": _entry_written},
    (Absent, "history"): {"such an entry was written": _entry_written},
}


def _cases() -> list[object]:
    """Every situation, with every guard that it has, and everything that breaks that guard."""
    return [
        pytest.param(situation, rule, race, id=f"{title}-{rule.key}-{what}")
        for title, situation in SITUATIONS.items()
        for rule in rules_of(situation)
        for what, race in RACES[rule.kind, rule.key.partition("/")[0]].items()
    ]


@pytest.fixture(scope="module")
def sent() -> Callable[[Situation], Sent]:
    """Each situation is come to once; everything in it is a value."""
    made: dict[str, Sent] = {}

    def make(situation: Situation) -> Sent:
        name = situation.make.__name__
        if name not in made:
            made[name] = situation.make()
        return made[name]

    return make


# --- the list and the code -----------------------------------------------------------------------


@pytest.mark.parametrize("title", SITUATIONS)
def test_transaction_has_the_listed_guards_and_no_others(
    title: str, sent: Callable[[Situation], Sent]
) -> None:
    one = sent(SITUATIONS[title])
    assert one.transaction.name == SITUATIONS[title].name
    wanted = [(rule.kind.__name__, one.key(rule.key)) for rule in rules_of(SITUATIONS[title])]
    has = [(type(guard).__name__, guard.key) for guard in one.transaction.guards]
    assert sorted(has) == sorted(wanted), "writes.py and tests/protocol/guards.py differ"


@pytest.mark.parametrize("title", SITUATIONS)
def test_transaction_wins_where_nothing_has_happened(
    title: str, sent: Callable[[Situation], Sent]
) -> None:
    one = sent(SITUATIONS[title])
    after, result = one.store.apply(one.transaction, one.term)
    assert isinstance(result, Won)
    assert after != one.store


@pytest.mark.parametrize("title", [title for title in SITUATIONS if title != "collect-garbage"])
def test_write_carried_out_twice_wins_once_and_its_refusal_shows_it(
    title: str, sent: Callable[[Situation], Sent]
) -> None:
    """So is a lost reply understood; a deletion alone may be carried out as often as it likes."""
    one = sent(SITUATIONS[title])
    store, _ = one.store.apply(one.transaction, one.term)
    again, result = store.apply(one.transaction, one.term)
    assert again == store
    assert isinstance(result, Lost)
    marker = one.transaction.writes[0]
    shown = result.found.get(marker.key)
    assert isinstance(marker, Put)
    assert shown is not None
    assert shown.value == marker.value


@pytest.mark.parametrize(("situation", "rule", "race"), _cases())
def test_transaction_is_lost_and_writes_nothing_where_one_guard_does_not_hold(
    situation: Situation, rule: Rule, race: Race, sent: Callable[[Situation], Sent]
) -> None:
    one = sent(situation)
    key = one.key(rule.key)
    store = race(one, key)
    broken = {guard.key for guard in one.transaction.guards if not holds(store.items, guard)}
    assert broken <= {key}, "what happened is this guard's business alone"
    after, result = store.apply(one.transaction, one.term)
    assert isinstance(result, Lost), f"nothing keeps out: {rule.keeps_out}"
    assert after == store
    assert result.found.get(key) == store.items.get(key), "the refusal shows what it was"


def test_every_builder_is_listed_with_every_name_and_every_condition_of_a_guard() -> None:
    functions = inspect.getmembers(writes, inspect.isfunction)
    builders = {f for _, f in functions if inspect.signature(f).return_annotation == "Transaction"}
    assert {row.builder for row in ROWS} == builders
    assert {situation.name for situation in SITUATIONS.values()} == set(ROW_OF)
    assert [row.names for row in ROWS if not _is_reached(row)] == []


def _is_reached(row: Row) -> bool:
    """Whether there is a situation for each case in which a guard of it is there, and one without."""
    reached = {w for s in SITUATIONS.values() if s.name in row.names for w in (*s.when, "")}
    return {rule.when for rule in row.guards} <= reached
