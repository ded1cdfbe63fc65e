"""Garbage: what is deleted, what is kept, and that nobody ever waits for it or misses anything."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from simulator.explore.bootstrap import CHECKOUT, table
from tests.protocol.coordinator.bench import (
    AGENTS,
    FIRST,
    GREEN,
    Bench,
    apply,
    enrolled,
    next_leader,
    of,
    reconnect,
    rollback,
    settled,
    switch,
    switched,
)
from turnout.protocol import keys
from turnout.protocol.clock import SECOND
from turnout.protocol.codec import decode
from turnout.protocol.coordinator_state import Role
from turnout.protocol.effects import (
    Accepted,
    CoordinatorEffect,
    Operation,
    Read,
    Refused,
    Transact,
)
from turnout.protocol.events import ReadDone
from turnout.protocol.identifiers import Digest, Epoch
from turnout.protocol.limits import (
    MAX_DECISIONS_PER_READ,
    MAX_DELETIONS_PER_TRANSACTION,
    MAX_TABLE_BYTES,
    TIDY_INTERVAL_NS,
)
from turnout.protocol.records import Intent, Prepared, Request
from turnout.protocol.routing import Colour, RoutingTable
from turnout.protocol.transactions import Put, Range

HOUR = 3600 * SECOND
RETAIN = HOUR
LATER = RETAIN + 24 * HOUR + SECOND
"""After so long a commit is not recent any more."""


def numbered(port: int) -> RoutingTable:
    """A table of its own."""
    return table(("eu", "us"), port=port)


def commit(bench: Bench, port: int) -> Epoch:
    """Put another table in force everywhere; return its epoch."""
    answer = bench.ask(apply(f"apply {port}", numbered(port)))
    assert isinstance(answer, Accepted)
    bench.all_say_yes()
    for agent in AGENTS:
        bench.hear(agent, answer.epoch, tables=())
    assert bench.outcome(answer.epoch) is not None
    return answer.epoch


def commits(*ports: int) -> Bench:
    """The first table in force, and then these, one after another."""
    bench = settled()
    for port in ports:
        commit(bench, port)
    return bench


def released(bench: Bench) -> Bench:
    """The same leader, with every source released."""
    bench.now_ns += RETAIN
    bench.wait(SECOND)
    assert not bench.state.following
    return bench


def look(bench: Bench) -> list[CoordinatorEffect]:
    """Let the machine look for garbage: the time until then passes at one stroke."""
    bench.wait(2 * SECOND)
    bench.now_ns += TIDY_INTERVAL_NS
    return bench.wait(2 * SECOND)


def pass_time(bench: Bench) -> None:
    """Let so much time pass that no commit is recent, and the machine look for garbage."""
    bench.now_ns += LATER
    look(bench)


def stored(bench: Bench) -> set[str]:
    """Digests of the tables in the store."""
    found = {key for key in bench.store.items if key.startswith(keys.TABLES)}
    return {key.removeprefix(keys.TABLES) for key in found}


def asked_keys(bench: Bench) -> set[str]:
    """The idempotency keys in the store."""
    found = {key for key in bench.store.items if key.startswith(keys.REQUESTS)}
    return {key.removeprefix(keys.REQUESTS) for key in found}


def digests(*ports: int) -> set[str]:
    return {numbered(port).digest for port in ports}


# --- what goes -----------------------------------------------------------------------------------


def test_table_and_key_that_nothing_needs_are_deleted_after_retain_and_a_day() -> None:
    bench = commits(81, 82, 83)
    assert stored(bench) == {FIRST.digest} | digests(81, 82, 83)
    pass_time(bench)
    assert stored(bench) == digests(82, 83), "head's and the one before"
    assert asked_keys(bench) == set(), "no commit is recent"
    assert bench.state.role is Role.LEADING


def test_leader_forgets_what_it_will_not_be_asked_for() -> None:
    bench = commits(81, 82, 83)
    pass_time(bench)
    look(bench)
    assert not bench.state.requests
    assert list(bench.state.library) == [bench.state.head.committed]  # type: ignore[union-attr]
    commit(bench, 84)
    look(bench)
    assert "apply 84" in bench.state.requests


def test_decisions_outcomes_and_history_stay() -> None:
    bench = commits(81, 82, 83)
    kept = [keys.INTENTS, keys.DECISIONS, keys.OUTCOMES, keys.HISTORY]
    before = {key for key in bench.store.items if key.startswith(tuple(kept))}
    pass_time(bench)
    assert before <= set(bench.store.items)


def test_table_of_a_recent_commit_stays_with_what_it_replaced_and_its_key() -> None:
    bench = commits(81, 82)
    bench.now_ns += LATER
    commit(bench, 83)
    commit(bench, 84)
    look(released(bench))
    assert stored(bench) == digests(82, 83, 84)
    assert asked_keys(bench) == {"apply 83", "apply 84"}
    answer = bench.ask(rollback(undo=5))
    assert isinstance(answer, Accepted), "a rollback finds what it goes back to"


def test_key_of_an_aborted_epoch_goes_with_the_commits_around_it() -> None:
    bench = settled()
    bench.ask(apply("aborted", numbered(81)))
    bench.wait(6 * SECOND)
    assert bench.decision(2).verdict == "abort"
    commit(bench, 82)
    pass_time(bench)
    assert asked_keys(bench) == set()
    assert stored(bench) == {FIRST.digest} | digests(82)


def test_deleted_key_is_a_new_request_to_the_next_leader_only() -> None:
    bench = commits(81, 82)
    pass_time(bench)
    assert bench.ask(apply("apply 81", numbered(81))) == Accepted(epoch=Epoch(2))
    successor = next_leader(bench)
    successor.elect()
    reconnect(successor, 3)
    assert successor.ask(apply("apply 81", numbered(81))) == Accepted(epoch=Epoch(5))


def test_more_garbage_than_a_transaction_takes_goes_in_several() -> None:
    ports = range(100, 104 + MAX_DELETIONS_PER_TRANSACTION)
    bench = commits(*ports)
    pass_time(bench)
    assert len(stored(bench)) == len(ports) + 1 - MAX_DELETIONS_PER_TRANSACTION
    for _ in range(2):
        look(bench)
    assert stored(bench) == digests(*ports[-2:])
    assert asked_keys(bench) == set()


# --- what stays ----------------------------------------------------------------------------------


def test_table_that_an_agent_last_reported_stays() -> None:
    bench = commits(81, 82, 83, 84)
    head = bench.decision(5).head
    bench.hear("a2", 5, tables=(head.digest, Digest(numbered(81).digest)))
    held = Prepared(epoch=Epoch(3), digest=Digest(numbered(82).digest), term=bench.state.term)
    bench.hear("a1", 5, tables=(), prepared=held)
    pass_time(bench)
    assert stored(bench) == digests(81, 82, 83, 84)


def test_agent_that_this_leader_has_not_heard_keeps_every_table_but_no_key() -> None:
    bench = released(commits(81, 82, 83))
    successor = next_leader(bench)
    successor.elect()
    for agent in ("a0", "a1"):
        successor.hear(agent, 4, opened=True, tables=())
    pass_time(successor)
    assert stored(successor) == {FIRST.digest} | digests(81, 82, 83)
    assert asked_keys(successor) == set()
    successor.hear("a2", 4, opened=True, tables=())
    look(successor)
    assert stored(successor) == digests(82, 83)


def test_table_and_key_of_a_commit_that_is_followed_stay() -> None:
    bench = settled()
    hear_but_a1(bench, switch("drains"))
    for port in (82, 83, 84):
        hear_but_a1(bench, apply(f"apply {port}", numbered(port), allow_stale=("a1",)))
    assert Epoch(2) in bench.state.following, "a1 has not ended its drain"
    pass_time(bench)
    assert GREEN.digest in stored(bench)
    assert "drains" in asked_keys(bench)


def hear_but_a1(bench: Bench, request: Request) -> None:
    """A commit that one agent never follows."""
    answer = bench.ask(request)
    assert isinstance(answer, Accepted)
    for agent in ("a0", "a1", "a2"):
        if agent in (bench.state.attempt.required if bench.state.attempt else ()):
            bench.vote(agent)
    for agent in ("a0", "a2"):
        bench.hear(agent, answer.epoch, tables=())
    bench.wait(10 * SECOND)
    assert bench.outcome(answer.epoch) is not None


def test_nothing_is_deleted_or_asked_for_while_a_switch_is_under_way() -> None:
    bench = commits(81, 82, 83)
    bench.now_ns += LATER
    bench.ask(apply("slow", numbered(84)))
    bench.now_ns += TIDY_INTERVAL_NS
    bench.state = evolve(bench.state, timers=bench.state.timers.disarm("prepare").disarm("undo"))
    assert not of(look(bench), Read)
    assert len(stored(bench)) == 5


def test_domain_without_a_commit_has_no_garbage() -> None:
    bench = enrolled()
    before = bench.store.items
    pass_time(bench)
    assert bench.store.items == before


def test_store_without_garbage_is_listed_and_left_alone() -> None:
    bench = settled()
    seen = look(bench)
    (listing,) = of(seen, Read)
    assert {(r.key, r.keys_only) for r in listing.ranges} == {
        ("tables/", True),
        ("requests/", True),
    }
    assert not of(seen, Transact)


# --- what was not in memory ----------------------------------------------------------------------


def test_new_leader_reads_the_decisions_that_it_needs_first() -> None:
    ports = range(100, 110 + MAX_DECISIONS_PER_READ)
    bench = released(commits(*ports))
    successor = next_leader(bench)
    successor.elect()
    for agent in AGENTS:
        successor.hear(agent, len(ports) + 1, opened=True, tables=())
    seen = look(successor)
    reads = [read.operation.name for read in of(seen, Read)]
    assert reads == ["recall", "recall", "listing"]
    assert stored(successor) == {FIRST.digest} | digests(*ports), "all are recent"
    pass_time(successor)
    assert stored(successor) == digests(*ports[-2:])


def test_decision_that_is_not_in_the_store_leaves_everything_as_it_is() -> None:
    bench = commits(81, 82, 83)
    bench.store = evolve(bench.store, items=bench.store.items.drop(keys.decision(Epoch(2))))
    successor = next_leader(bench)
    successor.elect()
    reconnect(successor, 4)
    before = stored(successor)
    look(successor)
    assert stored(successor) == before
    assert successor.state.role is Role.LEADING


def test_read_without_an_answer_is_left_for_the_next_time() -> None:
    bench = commits(81, 82, 83)
    bench.deaf = ("listing",)
    pass_time(bench)
    assert len(stored(bench)) == 4
    look(bench)
    assert stored(bench) == digests(82, 83)

    successor = next_leader(bench)
    successor.elect()
    for agent in AGENTS:
        successor.hear(agent, 4, opened=True, tables=())
    successor.deaf = ("recall",)
    look(successor)
    assert successor.state.role is Role.LEADING


# --- races ---------------------------------------------------------------------------------------


def collecting(*ports: int) -> Bench:
    """A leader whose deletions are on their way."""
    bench = commits(*ports)
    bench.hold = ("collect",)
    pass_time(bench)
    assert bench.held
    bench.hold = ()
    return bench


def test_nothing_waits_for_a_deletion_and_nothing_comes_of_its_refusal() -> None:
    bench = collecting(81, 82, 83)
    assert commit(bench, 84) == Epoch(5)
    bench.release()
    assert stored(bench) == {FIRST.digest} | digests(81, 82, 83, 84), "head has changed: refused"
    assert bench.state.role is Role.LEADING
    look(bench)
    assert stored(bench) == digests(83, 84)


def test_deletion_without_a_reply_is_not_repeated_but_looked_at_anew() -> None:
    bench = collecting(81, 82, 83)
    bench.lose_reply(carried_out=False)
    assert not bench.state.unanswered
    look(bench)
    assert stored(bench) == digests(82, 83)


def test_old_table_that_is_deleted_under_a_rollback_comes_along_with_its_intent() -> None:
    bench = collecting(81, 82, 83)
    # It is looked up before it is deleted ...
    bench.deaf = ()
    bench.hold = ("accept",)
    bench.ask(apply("again", numbered(81)))
    (accept,) = [held for held in bench.held if held.transaction.name == "accept"]
    written = [write.key for write in accept.transaction.writes if isinstance(write, Put)]
    assert keys.table(Digest(numbered(81).digest)) in written
    bench.release()
    assert digests(81) <= stored(bench)
    bench.all_say_yes()
    assert bench.decision(5).verdict == "commit"


def test_table_looked_up_for_a_rollback_is_written_again_unless_it_is_sure_to_be_there() -> None:
    bench = switched()  # 2: green
    bench.ask(switch("back", Colour.BLUE))
    bench.all_say_yes()
    bench.all_live(3)
    bench.hold = ("accept",)
    bench.ask(switch("forth", Colour.GREEN))
    written = [write.key for write in bench.held[0].transaction.writes]
    assert keys.table(GREEN.digest) not in written, "the one before head's is never deleted"


def test_list_that_comes_late_deletes_nothing_that_is_in_use_by_then() -> None:
    bench = commits(81, 82, 83)
    bench.now_ns += LATER
    bench.ask(apply("again", numbered(81)))
    assert not of(give_list(bench), Transact)
    successor = next_leader(released(commits(81, 82, 83, 84)))
    successor.elect()
    reconnect(successor, 5)
    assert Epoch(3) not in successor.state.library, "nobody knows yet what was committed before"
    assert not of(give_list(successor), Transact)


def give_list(bench: Bench) -> list[CoordinatorEffect]:
    """A listing's answer, whenever it was asked for."""
    snapshot = bench.store.read((Range(keys.TABLES, prefix=True, keys_only=True),))
    operation = Operation("listing", Epoch(0), bench.state.term)
    return bench.give(ReadDone(operation=operation, snapshot=snapshot))


def test_rollback_to_what_was_deleted_is_refused_with_what_to_do() -> None:
    bench = commits(81, 82, 83)
    pass_time(bench)
    successor = next_leader(bench)
    successor.elect()
    reconnect(successor, 4)
    answer = successor.ask(rollback(undo=2))
    assert isinstance(answer, Refused)
    assert "not in the store any more" in answer.text


# --- any history ---------------------------------------------------------------------------------


def needed(bench: Bench) -> set[str]:
    """By the store's own records, walked slowly: what must be there now."""
    head = bench.state.head
    assert head is not None
    found = {head.digest, head.base}
    for report in bench.state.reports.values():
        found |= {*report.tables, report.active.digest, report.committed_digest}
    left: set[str] = set()
    for intent in reversed(intents(bench)):
        is_open = intent.epoch > head.decided
        committed = not is_open and bench.decision(intent.epoch).verdict == "commit"
        recent = intent.requested_at_ns + intent.retain_ms * 10**6 > bench.now_ns
        sources = {source.service for source in intent.sources}
        followed = intent.epoch in bench.state.following and not sources & left
        if is_open or followed or (recent and committed):
            found |= {intent.digest, intent.base}
        if committed:  # what it left is its own affair from then on
            left |= sources
    return {digest for digest in found if digest}


def intents(bench: Bench) -> list[Intent]:
    """Every intent ever written, by epoch."""
    items = bench.store.items
    stored = [items[key].value for key in sorted(items) if key.startswith(keys.INTENTS)]
    return [decode(value, Intent, limit=MAX_TABLE_BYTES) for value in stored]


_STEPS = st.one_of(
    st.tuples(st.just("apply"), st.integers(81, 84)),
    st.tuples(st.just("switch"), st.sampled_from([0, 1])),
    st.tuples(st.just("rollback"), st.integers(0, 1)),
    st.tuples(st.just("abort"), st.integers(81, 84)),
    st.tuples(st.just("time"), st.sampled_from([1, 600, 3700, 90_001])),
    st.tuples(st.just("leader"), st.integers(0, 3)),
    st.tuples(st.just("hold"), st.just(0)),
    st.tuples(st.just("release"), st.just(0)),
)


@given(steps=st.lists(_STEPS, max_size=25))
def test_nothing_needed_is_missing_in_any_history(steps: list[tuple[str, int]]) -> None:
    bench = settled()
    for number, (name, argument) in enumerate(steps):
        bench = befall(bench, name, argument, f"k{number}")
        assert needed(bench) <= stored(bench)
        assert bench.state.role is Role.LEADING


def befall(bench: Bench, name: str, argument: int, key: str) -> Bench:
    """One thing that happens; return the bench of whoever leads then."""
    if name == "time":
        bench.now_ns += argument * SECOND
        look(bench)
    elif name == "leader":
        bench = next_leader(bench, f"r{argument}")
        bench.elect()
        assert bench.state.head is not None
        for agent in AGENTS:
            bench.hear(agent, bench.state.head.committed, opened=True, tables=())
    elif name == "hold":
        bench.hold = ("collect",)
    elif name == "release":
        bench.release()
    else:
        ask(bench, name, argument, key)
    return bench


def ask(bench: Bench, name: str, argument: int, key: str) -> None:
    """Have a switch made, and made live everywhere; an abort gets no vote."""
    if name == "switch":
        bench.ask(switch(key, list(Colour)[argument]))
    elif name == "rollback":
        bench.ask(rollback(key) if argument else evolve(rollback(key), service=CHECKOUT, undo=None))
    else:
        bench.ask(apply(key, numbered(argument)))
    attempt = bench.state.attempt
    if attempt is None:
        return
    if name == "abort":
        bench.wait(6 * SECOND)
        return
    bench.all_say_yes()
    for agent in AGENTS:
        bench.hear(agent, attempt.epoch, tables=(attempt.intent.digest,))
