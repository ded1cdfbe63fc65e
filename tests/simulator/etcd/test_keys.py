"""What every store promises (``turnout/runtime/store/contract.py``), of the modelled etcd."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from simulator.etcd.ledger import Committed
from tests.simulator.etcd.lab import EVERYTHING, Lab
from turnout.protocol.transactions import (
    Absent,
    CreatedAt,
    Delete,
    Equals,
    Guard,
    KeyValue,
    Lost,
    ModifiedAt,
    Present,
    Put,
    Range,
    Transaction,
    Unknown,
    Won,
    Write,
)


@pytest.fixture
def lab() -> Lab:
    """One member is enough to show what the keys do."""
    lab = Lab(1, clients=2)
    lab.settle()
    return lab


# ------------------------------------------------------------------------------------------ reads


def test_store_that_is_empty_reads_as_nothing_at_a_revision(lab: Lab) -> None:
    snapshot = lab.read(EVERYTHING, Range("head"))
    assert (snapshot.items, snapshot.revision) == ((), 1)


def test_read_without_ranges_tells_the_newest_revision(lab: Lab) -> None:
    revision = lab.write(Put("a", b"1"))
    assert lab.read().revision == revision


def test_read_of_several_ranges_is_one_snapshot_in_their_order_each_key_once(lab: Lab) -> None:
    lab.write(Put("b/2", b"2"), Put("b/1", b"1"), Put("bb", b"no"), Put("a", b"x"))
    snapshot = lab.read(Range("b/", prefix=True), Range("a"), Range("b/2"), Range("nobody"))
    assert [item.key for item in snapshot.items] == ["b/1", "b/2", "a"]


def test_read_of_keys_only_leaves_the_values_in_the_store(lab: Lab) -> None:
    first = lab.write(Put("t/1", b"large"), Put("t/2", b"larger"), Put("u", b"other"))
    second = lab.write(Put("t/2", b"largest"))
    snapshot = lab.read(Range("t/", prefix=True, keys_only=True))
    assert snapshot.items == (
        KeyValue(key="t/1", value=b"", create_revision=first, mod_revision=first),
        KeyValue(key="t/2", value=b"", create_revision=first, mod_revision=second),
    )
    old = lab.read(Range("t/2", keys_only=True), revision=first)
    assert [(item.key, item.mod_revision) for item in old.items] == [("t/2", first)]


@pytest.mark.parametrize("listed_first", [True, False])
def test_key_that_is_listed_and_read_comes_with_its_value(lab: Lab, *, listed_first: bool) -> None:
    lab.write(Put("t/1", b"1"), Put("t/2", b"2"))
    ranges = [Range("t/", prefix=True, keys_only=True), Range("t/2")]
    snapshot = lab.read(*(ranges if listed_first else reversed(ranges)))
    assert {item.key: item.value for item in snapshot.items} == {"t/1": b"", "t/2": b"2"}


def test_read_from_one_key_to_another_leaves_out_the_second(lab: Lab) -> None:
    lab.write(*(Put(key, b"") for key in ("n/1", "n/2", "n/20", "n/3", "o")))
    snapshot = lab.read(Range("n/2", until="n/3"))
    assert [item.key for item in snapshot.items] == ["n/2", "n/20"]
    assert lab.read(Range("n/3", until="n/2")).items == ()


def test_read_with_a_limit_tells_the_first_that_there_are_or_the_last(lab: Lab) -> None:
    first = lab.write(*(Put(f"n/{n}", b"old") for n in range(5)), Put("o", b"no"))
    lab.write(Delete("n/0"), Delete("n/4"), Put("n/2", b"new"))
    lowest = lab.read(Range("n/", prefix=True, limit=2))
    assert [(item.key, item.value) for item in lowest.items] == [("n/1", b"old"), ("n/2", b"new")]
    highest = Range("n/", prefix=True, limit=2, descending=True)
    assert [item.key for item in lab.read(highest).items] == ["n/3", "n/2"]
    assert [item.key for item in lab.read(highest, revision=first).items] == ["n/4", "n/3"]


def test_limits_are_of_each_range_and_a_key_of_two_of_them_comes_once(lab: Lab) -> None:
    lab.write(*(Put(f"n/{n}", b"1") for n in range(4)))
    last = Range("n/", prefix=True, limit=2, descending=True, keys_only=True)
    snapshot = lab.read(last, Range("n/1", until="n/9", limit=2))
    told = [(item.key, item.value) for item in snapshot.items]
    assert told == [("n/3", b""), ("n/2", b"1"), ("n/1", b"1")]


def test_read_of_an_older_revision_shows_what_stood_then(lab: Lab) -> None:
    first = lab.write(Put("a", b"old"), Put("b", b"b"))
    lab.write(Put("a", b"new"), Delete("b"), Put("c", b"c"))
    snapshot = lab.read(EVERYTHING, revision=first)
    assert snapshot.revision == first
    assert [(item.key, item.value) for item in snapshot.items] == [("a", b"old"), ("b", b"b")]


def test_read_of_a_revision_that_does_not_exist_has_no_answer(lab: Lab) -> None:
    newest = lab.read().revision
    assert lab.try_read(EVERYTHING, revision=newest + 1) is None


def test_read_of_many_ranges_is_one_snapshot_in_their_order(lab: Lab) -> None:
    first = lab.write(*(Put(f"k{n}", b"1") for n in range(0, 300, 3)))
    lab.write(Put("k0", b"2"), Delete("k297"))
    ranges = [Range(f"k{n}") for n in range(300)]
    now = lab.read(*ranges, Range("k", prefix=True, keys_only=True))
    assert [item.key for item in now.items] == [f"k{n}" for n in range(0, 297, 3)]
    assert now.items[0].value == b"2"
    assert len(lab.read(*ranges, revision=first).items) == 100


# ----------------------------------------------------------------------------------- transactions


def test_key_keeps_its_create_revision_until_it_is_deleted(lab: Lab) -> None:
    created = lab.write(Put("a", b"1"))
    changed = lab.write(Put("a", b"2"))
    item = lab.read(Range("a")).get("a")
    assert item == KeyValue(key="a", value=b"2", create_revision=created, mod_revision=changed)
    lab.write(Delete("a"))
    again = lab.write(Put("a", b"3"))
    item = lab.read(Range("a")).get("a")
    assert item == KeyValue(key="a", value=b"3", create_revision=again, mod_revision=again)


def test_writes_of_a_transaction_happen_at_one_revision(lab: Lab) -> None:
    before = lab.write(Put("old", b""))
    revision = lab.write(Put("a", b"1"), Put("b", b"2"), Delete("old"))
    assert revision == before + 1
    assert {item.mod_revision for item in lab.read(EVERYTHING).items} == {revision}


def test_transaction_that_changes_nothing_makes_no_revision(lab: Lab) -> None:
    before = lab.read().revision
    assert lab.write(Delete("nobody")) == before
    assert lab.write() == before
    assert lab.read().revision == before


GUARDS: list[tuple[str, Callable[[KeyValue], Guard], bool]] = [
    ("absent-missing", lambda _: Absent("missing"), True),
    ("absent-there", lambda _: Absent("there"), False),
    ("present-missing", lambda _: Present("missing"), False),
    ("present-there", lambda _: Present("there"), True),
    ("created-then", lambda kv: CreatedAt("there", kv.create_revision), True),
    ("created-at-another", lambda kv: CreatedAt("there", kv.mod_revision), False),
    ("created-missing", lambda kv: CreatedAt("missing", kv.create_revision), False),
    ("modified-then", lambda kv: ModifiedAt("there", kv.mod_revision), True),
    ("modified-at-another", lambda kv: ModifiedAt("there", kv.create_revision), False),
    ("modified-never", lambda _: ModifiedAt("missing", 0), True),
    ("modified-never-there", lambda _: ModifiedAt("there", 0), False),
    ("equals", lambda _: Equals("there", b"now"), True),
    ("equals-another", lambda _: Equals("there", b"then"), False),
    ("equals-missing", lambda _: Equals("missing", b""), False),
]


@pytest.mark.parametrize(
    ("guard", "holds"), [row[1:] for row in GUARDS], ids=[row[0] for row in GUARDS]
)
def test_guard_lets_write_only_if_it_holds(
    lab: Lab, guard: Callable[[KeyValue], Guard], *, holds: bool
) -> None:
    lab.write(Put("there", b"then"))
    lab.write(Put("there", b"now"))
    there = lab.read(Range("there")).items[0]
    result = lab.attempt(Put("written", b""), guards=(guard(there),))
    assert isinstance(result, Won) is holds
    assert ("written" in lab.values()) is holds


def test_lost_transaction_writes_nothing_and_shows_the_guarded_keys(lab: Lab) -> None:
    revision = lab.write(Put("a", b"1"), Put("b", b"2"), Put("other", b"3"))
    guards = (Equals("b", b"not"), Absent("c"), Present("a"), CreatedAt("a", revision))
    result = lab.attempt(Put("d", b""), Delete("a"), guards=guards)
    assert isinstance(result, Lost)
    assert result.found.revision == revision
    assert [(item.key, item.value) for item in result.found.items] == [("b", b"2"), ("a", b"1")]
    assert lab.values() == {"a": b"1", "b": b"2", "other": b"3"}


def test_of_two_racing_for_one_key_exactly_one_wins(lab: Lab) -> None:
    results: list[object] = []
    for number, client in enumerate(lab.clients):
        put = Put("k", b"%d" % number)
        transaction = Transaction(name="race", guards=(Absent("k"),), writes=(put,))
        client.transact(transaction, results.append)
    lab.run_until(lambda: len(results) == 2)
    assert sorted(type(result).__name__ for result in results) == ["Lost", "Won"]


REFUSED: list[tuple[str, tuple[Write, ...]]] = [
    ("put twice", (Put("a", b"1"), Put("a", b"2"))),
    ("put and deleted", (Delete("a"), Put("a", b"2"))),
    ("too many", tuple(Put(f"k{n}", b"") for n in range(129))),
]


@pytest.mark.parametrize("writes", [row[1] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_transaction_beyond_the_limits_is_never_carried_out(
    lab: Lab, writes: tuple[Write, ...]
) -> None:
    result = lab.attempt(*writes)
    assert isinstance(result, Unknown)
    assert "'test'" in result.reason
    lab.run(10**9)
    assert lab.cluster.items() == {}


def test_transaction_may_delete_a_key_twice(lab: Lab) -> None:
    before = lab.write(Put("a", b"1"))
    assert lab.write(Delete("a"), Delete("a")) == before + 1


# ------------------------------------------------------------------- what the judge hears and sees


def test_judge_hears_each_transaction_once_with_what_stood_before() -> None:
    lab = Lab(3)
    lab.cluster.preload({"a": b"0"})
    lab.settle()
    lab.write(Put("a", b"1"), Delete("nobody"))
    lab.attempt(Put("b", b""), guards=(Absent("a"),))
    won, lost = lab.committed
    assert won.won
    assert won.writes == (Put("a", b"1"),)
    assert not lost.won
    assert (lost.writes, lost.revision) == ((), won.revision)


def test_items_before_are_those_before_that_very_entry() -> None:
    seen: list[dict[str, bytes]] = []

    def judge(committed: Committed) -> None:
        seen.append({key: item.value for key, item in committed.items_before.items()})

    lab = Lab(1, judge=judge)
    lab.cluster.preload({"a": b"0"})
    lab.settle()
    lab.write(Put("a", b"1"))
    lab.write(Delete("a"), Put("b", b""))
    assert seen == [{"a": b"0"}, {"a": b"1"}]


def test_judge_is_told_who_sent_it() -> None:
    lab = Lab(1)
    lab.settle()
    transaction = Transaction(name="test", guards=(), writes=(Put("a", b""),))
    lab.clients[0].transact(transaction, lambda _result: None, sender=7)
    lab.run_until(lambda: lab.committed)
    assert (lab.committed[0].sender, lab.committed[0].transaction) == (7, transaction)


# ------------------------------------------------------------------------------------- compaction


def test_compaction_keeps_what_stands_and_forgets_what_stood(lab: Lab) -> None:
    first = lab.write(Put("a", b"1"), Put("gone", b""))
    lab.write(Delete("gone"))
    third = lab.write(Put("a", b"2"))
    lab.cluster.compact()
    assert [item.value for item in lab.read(EVERYTHING, revision=third).items] == [b"2"]
    assert lab.try_read(EVERYTHING, revision=first) is None
    item = lab.read(Range("a")).items[0]
    assert (item.create_revision, item.mod_revision) == (first, third)
