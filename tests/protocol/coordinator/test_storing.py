"""Guards of each transaction, and what a lost race shows."""

from __future__ import annotations

import pytest
from attrs import evolve

from tests.protocol.coordinator.bench import Bench, rollback, settled, switch, switched
from turnout.protocol import keys
from turnout.protocol.clock import SECOND, ClockNs
from turnout.protocol.effects import Transact
from turnout.protocol.events import Transacted
from turnout.protocol.frozenmap import FrozenMap
from turnout.protocol.identifiers import Epoch
from turnout.protocol.records import HistoryEntry
from turnout.protocol.routing import Colour
from turnout.protocol.transactions import Lost, Unknown, Won
from turnout.protocol.wire import pack_table
from turnout.protocol.writes import Reign, collect_garbage, refusal


def held(name: str) -> tuple[Bench, Transact]:
    """A leader with one transaction of this name on its way."""
    bench = switched() if name in ("outcome", "release", "decide") else settled()
    bench.hold = (name,)
    if name == "accept":
        bench.ask(switch())
    elif name == "release":
        bench.wait(3601 * SECOND)
    else:
        bench.ask(rollback())
        bench.all_say_yes()
        if name == "outcome":
            bench.all_live(3)
    return bench, bench.held[0]


@pytest.mark.parametrize("name", ["accept", "decide", "outcome", "release"])
def test_write_of_a_deposed_leader_is_refused(name: str) -> None:
    bench, effect = held(name)
    later, _ = bench.store.elect(bench.host.replica)
    _, result = later.apply(effect.transaction, effect.operation.term)
    assert isinstance(result, Lost)


@pytest.mark.parametrize("name", ["accept", "decide", "outcome", "release"])
def test_write_carried_out_twice_wins_once_and_the_refusal_shows_it(name: str) -> None:
    bench, effect = held(name)
    bench.store, _ = bench.store.apply(effect.transaction, effect.operation.term)
    again, result = bench.store.apply(effect.transaction, effect.operation.term)
    assert isinstance(result, Lost)
    assert again == bench.store
    bench.hold = ()
    before = bench.state.role
    bench.answer(effect, result)
    assert bench.state.role is before, "it won before"


def test_two_unanswered_writes_are_both_repeated() -> None:
    bench, effect = held("decide")
    unknown = Transacted(operation=effect.operation, result=Unknown(reason="late"))
    bench.give(unknown)
    bench.give(unknown)
    assert bench.state.unanswered == (effect.operation,)
    bench.hold = ()
    bench.wait(2 * SECOND)
    assert bench.decision(3).verdict == "commit"
    assert not bench.state.unanswered


def test_answer_to_what_nobody_waits_for_changes_nothing() -> None:
    bench, effect = held("decide")
    bench.release()
    state = bench.state
    bench.give(Transacted(operation=effect.operation, result=Unknown(reason="late")))
    assert bench.state == state


def test_garbage_is_collected_only_while_nothing_changed() -> None:
    bench = switched()
    state = bench.state
    assert state.head is not None
    incarnation = bench.store.items[keys.INCARNATION].value
    reign = Reign(term=state.term, incarnation=incarnation)
    unused = keys.table(state.head.base)
    collect = collect_garbage(reign, head=state.head, fleet=state.fleet.revision, unused=(unused,))
    assert pack_table(state.tables[state.head.base])
    done, _ = bench.store.apply(collect, state.term)
    assert unused not in done.items
    stale = collect_garbage(
        reign, head=state.head, fleet=state.fleet.revision - 1, unused=(unused,)
    )
    same, result = bench.store.apply(stale, state.term)
    assert isinstance(result, Lost)
    assert unused in same.items
    assert evolve(state, head=None).newest is None


def test_refused_attempt_is_written_beside_the_machine_and_only_in_its_reign() -> None:
    bench = switched()
    state, head = bench.state, bench.decision(2).head
    reign = Reign(term=state.term, incarnation=bench.store.items[keys.INCARNATION].value)
    entry = HistoryEntry(
        epoch=head.decided,
        kind=keys.REFUSED,
        at_ns=ClockNs(bench.now_ns),
        actor="ada",
        replica=bench.host.replica,
        term=state.term,
        text="there is no such service",
        previous=head.history,
    )
    bench.ask(switch("back", Colour.BLUE))  # an open intent is in nobody's way
    for number in (1, 2):
        bench.store, result = bench.store.apply(
            refusal(reign, number=number, history=entry), state.term
        )
        assert isinstance(result, Won)
    _, again = bench.store.apply(refusal(reign, number=2, history=entry), state.term)
    assert isinstance(again, Lost)
    bench.all_say_yes()
    assert bench.decision(3).verdict == "commit", "nothing loses to it"
    later, _ = bench.store.elect(bench.host.replica)
    _, deposed = later.apply(refusal(reign, number=3, history=entry), state.term)
    assert isinstance(deposed, Lost)


def test_frozen_map_is_a_value() -> None:
    one, two = FrozenMap({"a": 1, "b": 2}), FrozenMap({"b": 2, "a": 1})
    assert one == two
    assert hash(one) == hash(two) == hash(one)
    assert one != {"a": 1, "b": 2}
    assert list(one.put("c", 3)) == ["a", "b", "c"]
    assert dict(one.drop("a")) == {"b": 2}
    assert repr(FrozenMap({"a": 1})) == "FrozenMap({'a': 1})"
    assert keys.decision(Epoch(7)) == "decisions/000000000007"
