"""What becomes of questions while members die, pause, are cut off, have slow disks, or are restored."""

from __future__ import annotations

import hashlib

import pytest
from attrs import evolve

from simulator.etcd.knobs import EtcdKnobs
from simulator.etcd.ledger import Committed
from simulator.process import Process
from tests.simulator.etcd.lab import Lab
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.transactions import (
    Absent,
    Lost,
    Put,
    Range,
    Result,
    Transaction,
    Unknown,
    Won,
)

LEADS = EtcdKnobs(first_to_lead=0)


def others(lab: Lab, process: Process) -> list[Process]:
    return [server for server in lab.servers if server is not process]


def placed(knobs: EtcdKnobs = LEADS) -> Lab:
    """A cluster whose first member leads, with a client beside each member."""
    lab = Lab(3, clients=3, knobs=evolve(knobs, first_to_lead=0))
    assert lab.settle() is lab.servers[0]
    return lab


# ------------------------------------------------------------------------------------ a quiet day


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_cluster_of_any_size_finds_a_leader_and_serves(size: int) -> None:
    lab = Lab(size)
    lab.settle()
    assert lab.agenda.now_ns < 3 * SECOND
    lab.write(Put("a", b"1"))
    assert lab.values() == {"a": b"1"}


def test_leader_stays_while_nothing_happens() -> None:
    lab = Lab(3)
    leader = lab.settle()
    terms = [member.storage.term for member in lab.cluster.members]
    lab.run(120 * SECOND)
    assert lab.cluster.leader is leader
    assert [member.storage.term for member in lab.cluster.members] == terms


def test_write_takes_a_round_trip_to_the_quorum_and_the_disk() -> None:
    lab = Lab(3, clients=3, round_trip_ns=100 * MS, knobs=LEADS)
    lab.settle()
    lab.write(Put("warm", b""))
    began_ns = lab.agenda.now_ns
    lab.write(Put("a", b""))
    assert 104 * MS <= lab.agenda.now_ns - began_ns <= 125 * MS


def test_question_to_a_follower_takes_the_way_to_its_leader_besides() -> None:
    lab = Lab(3, clients=3, round_trip_ns=100 * MS, knobs=LEADS)
    lab.settle()
    lab.values(client=1)
    began_ns = lab.agenda.now_ns
    lab.write(Put("a", b""), client=1)
    written_ns = lab.agenda.now_ns
    lab.values(client=1)
    assert 204 * MS <= written_ns - began_ns <= 235 * MS
    assert 200 * MS <= lab.agenda.now_ns - written_ns <= 230 * MS


# ----------------------------------------------------------------------------------- a dead leader


def test_writes_resume_after_a_leaders_death_when_it_was_measured_that_they_do() -> None:
    # Measured with three real members at 100/1000 ms: 1.33 s at the median.
    took_ns = []
    for seed in range(31):
        lab = Lab(3, clients=1, seed=seed)
        lab.settle()
        lab.write(Put("a", b""))
        lab.run(seed * 7 * MS)
        assert lab.cluster.leader is not None
        lab.cluster.leader.kill()
        began_ns = lab.agenda.now_ns
        while not isinstance(lab.attempt(Put("a", b"")), Won):
            lab.run(5 * MS)
        took_ns.append(lab.agenda.now_ns - began_ns)
    assert 1100 * MS <= sorted(took_ns)[15] <= 1600 * MS
    assert min(took_ns) >= 850 * MS


def send(lab: Lab, put: Put, client: int) -> list[object]:
    results: list[object] = []
    transaction = Transaction(name="test", guards=(Absent(put.key),), writes=(put,))
    lab.clients[client].transact(transaction, results.append)
    return results


def test_leader_killed_between_append_and_reply_leaves_unknown_what_was_written() -> None:
    lab = Lab(3, clients=2, judge=lambda _committed: lab.servers[0].kill(), knobs=LEADS)
    lab.settle()
    lab.values()
    results = send(lab, Put("decision", b"commit"), client=0)
    lab.run_until(lambda: results)
    assert not lab.servers[0].is_alive
    assert isinstance(results[0], Unknown)
    lab.run(3 * SECOND)
    again = lab.attempt(Put("decision", b"commit"), guards=(Absent("decision"),), client=1)
    assert isinstance(again, Lost)
    found = again.found.get("decision")
    assert found is not None
    assert found.value == b"commit"


def test_leader_killed_before_its_append_arrives_leaves_unknown_what_was_never_written() -> None:
    lab = placed()
    lab.values(client=0)
    results = send(lab, Put("decision", b"commit"), client=0)
    entries = lab.member(lab.servers[0]).storage.entries
    length = len(entries)
    lab.run_until(lambda: len(entries) > length)
    heal = lab.network.cut([lab.servers[0].name], [s.name for s in lab.servers[1:]])
    lab.servers[0].kill()
    lab.run_until(lambda: results)
    assert isinstance(results[0], Unknown)
    heal()
    lab.servers[0].start()
    lab.run(3 * SECOND)
    assert lab.committed == [] or lab.values() == {"decision": b"commit"}
    again = lab.attempt(Put("decision", b"abort"), guards=(Absent("decision"),), client=1)
    assert isinstance(again, Won) is (len(lab.committed) == 1)


def test_crash_loses_what_was_not_synced() -> None:
    lab = placed(EtcdKnobs(fsync_ns=50 * MS))
    lab.values()
    member = lab.member(lab.servers[0])
    length = len(member.storage.entries)
    send(lab, Put("a", b""), client=0)
    lab.run_until(lambda: len(member.storage.entries) > length)
    lab.servers[0].kill()
    assert len(member.storage.entries) == length


def test_leader_counts_itself_only_once_its_own_disk_has_it() -> None:
    lab = placed()
    lab.write(Put("warm", b""))
    lab.cluster.slow_fsync(lab.servers[0], 200 * MS)
    lab.servers[2].kill()
    began_ns = lab.agenda.now_ns
    lab.write(Put("a", b""))
    assert lab.agenda.now_ns - began_ns >= 200 * MS


def test_follower_that_applied_what_its_disk_had_not_yet_is_set_back_by_a_crash() -> None:
    lab = placed()
    slow = lab.member(lab.servers[2])
    lab.run(SECOND)
    lab.cluster.slow_fsync(slow.process, 200 * MS)
    lab.write(Put("a", b"1"))
    lab.run_until(lambda: slow.revision == lab.cluster.revision)
    assert slow.storage.synced < slow.applied
    slow.process.kill()
    slow.process.start()
    assert slow.applied <= len(slow.storage.entries)
    assert slow.revision < lab.cluster.revision
    lab.run(3 * SECOND)
    assert slow.revision == lab.cluster.revision


# ---------------------------------------------------------------------- quorums, cuts and pauses


def test_cluster_without_a_quorum_writes_nothing_and_goes_on_with_one() -> None:
    lab = placed()
    lab.write(Put("a", b"1"))
    for server in lab.servers[1:]:
        server.kill()
    assert isinstance(lab.attempt(Put("a", b"2")), Unknown)
    assert lab.try_read(Range("a")) is None
    lab.run(3 * SECOND)
    assert lab.cluster.leader is None
    lab.servers[2].start()
    lab.run_until(lambda: lab.cluster.leader)
    lab.run(SECOND)
    assert lab.values()["a"] in (b"1", b"2")
    lab.write(Put("a", b"3"))


def test_leader_that_is_cut_off_steps_down_and_the_rest_elects_another() -> None:
    lab = placed()
    first = lab.servers[0]
    rest = [server.name for server in others(lab, first)]
    lab.network.cut([first.name], rest)
    lab.network.cut(rest, [first.name])
    lab.run(4 * SECOND)
    assert lab.cluster.leader in others(lab, first)
    assert lab.member(first).raft.leader is None
    lab.write(Put("a", b"1"), client=1)
    assert lab.try_read(Range("a"), client=0) is not None


def test_leader_that_only_hears_nothing_steps_down_too() -> None:
    lab = placed()
    first = lab.servers[0]
    lab.network.cut([server.name for server in others(lab, first)], [first.name])
    lab.run(6 * SECOND)
    assert lab.member(first).raft.leader is None
    assert lab.cluster.leader in others(lab, first)


def test_leader_that_only_is_not_heard_is_replaced() -> None:
    lab = placed()
    first = lab.servers[0]
    lab.network.cut([first.name], [server.name for server in others(lab, first)])
    lab.run(6 * SECOND)
    assert lab.cluster.leader in others(lab, first)
    assert lab.member(first).storage.term == lab.member(lab.servers[1]).storage.term


def test_member_that_was_cut_off_disturbs_nobody_when_it_returns() -> None:
    lab = placed()
    names = [server.name for server in lab.servers]
    heals = [lab.network.cut(names[2:], names[:2]), lab.network.cut(names[:2], names[2:])]
    term = lab.member(lab.servers[0]).storage.term
    lab.run(20 * SECOND)
    lab.write(Put("a", b"1"))
    for heal in heals:
        heal()
    lab.run(10 * SECOND)
    assert lab.cluster.leader is lab.servers[0]
    assert {member.storage.term for member in lab.cluster.members} == {term}
    assert {member.revision for member in lab.cluster.members} == {2}


def test_what_a_leader_wrote_alone_gives_way_to_what_the_rest_agreed_on() -> None:
    lab = placed()
    first = lab.servers[0]
    lab.values(client=1)
    names = [server.name for server in others(lab, first)]
    heals = [lab.network.cut([first.name], names), lab.network.cut(names, [first.name])]
    alone = send(lab, Put("a", b"alone"), client=0)
    lab.run(4 * SECOND)
    lab.write(Put("a", b"agreed"), client=1)
    for heal in heals:
        heal()
    lab.run(8 * SECOND)
    assert isinstance(alone[0], Unknown)
    assert lab.member(first).storage.entries == lab.member(lab.servers[1]).storage.entries
    assert [committed.writes for committed in lab.committed] == [(Put("a", b"agreed"),)]
    assert lab.values() == {"a": b"agreed"}


def test_member_that_only_its_leader_does_not_reach_cannot_unseat_it() -> None:
    lab = placed()
    term = lab.member(lab.servers[0]).storage.term
    lab.network.cut([lab.servers[0].name], [lab.servers[2].name])
    lab.run(20 * SECOND)
    assert lab.cluster.leader is lab.servers[0]
    assert lab.member(lab.servers[1]).storage.term == term


def test_member_that_was_cut_off_for_long_is_back_soon_after_the_heal() -> None:
    # A segment under way would be sent again only minutes later; so the connection is given up.
    lab = placed()
    names = [server.name for server in lab.servers]
    heals = [lab.network.cut(names[2:], names[:2]), lab.network.cut(names[:2], names[2:])]
    lab.run(100 * SECOND)
    lab.write(Put("a", b"1"))
    for heal in heals:
        heal()
    lab.run(3 * SECOND)
    assert lab.member(lab.servers[2]).revision == lab.cluster.revision


def test_two_members_that_cannot_see_each_other_do_not_unseat_their_leader() -> None:
    lab = placed()
    names = [server.name for server in lab.servers]
    lab.network.cut([names[1]], [names[2]])
    lab.network.cut([names[2]], [names[1]])
    lab.run(20 * SECOND)
    assert lab.cluster.leader is lab.servers[0]
    lab.write(Put("a", b"1"), client=1)


def test_paused_leader_serves_no_stale_read_when_it_goes_on() -> None:
    lab = placed()
    lab.write(Put("a", b"old"))
    lab.servers[0].stop()
    lab.run(4 * SECOND)
    lab.write(Put("a", b"new"), client=1)
    reads: list[object] = []
    lab.clients[0].read((Range("a"),), 0, reads.append)
    lab.run(100 * MS)
    assert lab.member(lab.servers[0]).raft.role.value == "leader"
    lab.servers[0].go_on()
    lab.run_until(lambda: reads)
    assert [item.value for item in getattr(reads[0], "items", ())] in ([b"new"], [])
    lab.run(5 * SECOND)
    assert lab.values(client=0) == {"a": b"new"}


def test_paused_follower_catches_up() -> None:
    lab = placed()
    lab.servers[2].stop()
    for n in range(5):
        lab.write(Put("a", b"%d" % n))
    lab.run(30 * SECOND)
    lab.servers[2].go_on()
    lab.run(5 * SECOND)
    assert lab.member(lab.servers[2]).revision == lab.cluster.revision
    assert lab.values(client=2) == {"a": b"4"}


# ------------------------------------------------------------------------ disks, answers, restores


def test_slow_disk_slows_the_quorum_only_where_it_needs_that_disk() -> None:
    lab = placed()
    lab.write(Put("a", b""))
    heal = lab.cluster.slow_fsync(lab.servers[2], 300 * MS)
    began_ns = lab.agenda.now_ns
    lab.write(Put("a", b""))
    assert lab.agenda.now_ns - began_ns < 50 * MS
    lab.servers[1].kill()
    lab.run(SECOND)
    began_ns = lab.agenda.now_ns
    lab.write(Put("a", b""))
    assert lab.agenda.now_ns - began_ns > 300 * MS
    heal()
    heal()
    lab.run(SECOND)
    began_ns = lab.agenda.now_ns
    lab.write(Put("a", b""))
    assert lab.agenda.now_ns - began_ns < 50 * MS


def test_leader_whose_disk_takes_longer_than_an_election_is_replaced() -> None:
    lab = placed()
    lab.cluster.slow_fsync(lab.servers[0], 4 * SECOND)
    assert isinstance(lab.attempt(Put("a", b"1")), Won | Unknown)
    lab.run(4 * SECOND)
    assert lab.cluster.leader is not lab.servers[0]


def test_transaction_that_is_never_answered_was_carried_out() -> None:
    lab = placed(EtcdKnobs(unheard=1.0))
    assert isinstance(lab.attempt(Put("a", b"1")), Unknown)
    assert lab.values() == {"a": b"1"}


def test_transaction_taken_up_late_may_land_after_its_sender_gave_up() -> None:
    landed_after = 0
    for seed in range(5):
        lab = Lab(1, seed=seed, knobs=EtcdKnobs(late=1.0))
        lab.settle()
        result = lab.attempt(Put("a", b"1"))
        if isinstance(result, Unknown) and not lab.values():
            lab.run(3 * SECOND)
            landed_after += lab.values() == {"a": b"1"}
    assert landed_after


def test_restore_goes_back_and_counts_on_from_there() -> None:
    lab = placed()
    lease = lab.grant(5)
    lab.write(Put("leader", b"", leased=True), lease=lease)
    kept = lab.write(Put("a", b"kept"))
    backup = lab.cluster.snapshot()
    lab.write(Put("a", b"lost"), Put("b", b"lost"))
    told: list[object] = []
    lab.cluster.on_restore.append(told.append)
    lab.cluster.restore(backup)
    assert told == [backup]
    lab.run(4 * SECOND)
    assert lab.values() == {"leader": b"", "a": b"kept"}
    assert lab.write(Put("c", b"")) == kept + 1
    assert lab.try_read(Range("a"), revision=kept - 1) is None
    lab.run(6 * SECOND)
    assert "leader" not in lab.values()


def test_restore_breaks_watches_which_find_their_way_back() -> None:
    lab = placed()
    kept = lab.write(Put("a", b"1"))
    following = lab.follow("a", kept + 1)
    lab.run(SECOND)
    lab.cluster.restore(lab.cluster.snapshot())
    lab.run(4 * SECOND)
    revision = lab.write(Put("a", b"2"))
    lab.run(2 * SECOND)
    assert following.revisions == [revision]


# ----------------------------------------------------------------------------------- determinism


def story(seed: int) -> str:
    """A minute with deaths, pauses and cuts, as one digest of all that was answered and when."""
    lab = Lab(5, clients=3, seed=seed, knobs=EtcdKnobs(unheard=0.1, late=0.1))
    dice = lab.randomness.stream("story")
    digest = hashlib.sha256()

    def answered(result: Result | object) -> None:
        digest.update(f"{lab.agenda.now_ns} {result}".encode())

    for step in range(60):
        server = lab.servers[dice.randrange(5)]
        blow = dice.choice(["kill", "start", "stop", "go_on", "start", "go_on"])
        getattr(server, blow)()
        names = [other.name for other in lab.servers]
        heal = lab.network.cut([dice.choice(names)], [dice.choice(names)])
        put = Put(f"k{dice.randrange(3)}", b"%d" % step)
        lab.clients[step % 3].transact(
            Transaction(name="story", guards=(), writes=(put,)), answered
        )
        lab.clients[step % 3].read((Range("k", prefix=True),), 0, answered)
        lab.run(SECOND)
        heal()
    digest.update(repr([committed.writes for committed in lab.committed]).encode())
    digest.update(str(lab.agenda.events).encode())
    return digest.hexdigest()


def test_same_seed_tells_the_same_story() -> None:
    assert story(3) == story(3)
    assert story(3) != story(4)


def test_leader_that_hands_over_is_followed_at_once_and_by_one_that_has_all() -> None:
    lab = Lab(3)
    before = lab.settle()
    written = lab.write(Put("a", b"1"))
    lab.run(60 * SECOND)
    term = lab.member(before).storage.term
    lab.cluster.move_leader()
    took_ns = lab.run_until(lambda: lab.cluster.leader not in (None, before))
    assert took_ns < 100 * MS
    after = lab.cluster.leader
    assert after is not None
    assert lab.member(after).storage.term == term + 1
    assert lab.write(Put("a", b"2")) == written + 1
    lab.run(60 * SECOND)
    assert lab.cluster.leader is after


def test_leader_that_has_nobody_or_stands_still_hands_nothing_over() -> None:
    alone = Lab(1)
    leader = alone.settle()
    alone.cluster.move_leader()
    alone.run(5 * SECOND)
    assert alone.cluster.leader is leader
    lab = Lab(3)
    leader = lab.settle()
    leader.stop()
    lab.cluster.move_leader()
    assert lab.cluster.leader is leader


def test_leader_that_dies_as_it_commits_says_nothing_more_of_what_its_disk_has_lost() -> None:
    """Whoever judges an entry may kill the member that applies it, with a newer one not on its disk."""
    labs: list[Lab] = []

    def judge(committed: Committed) -> None:
        if committed.writes == (Put("a", b"1"),):
            leader = labs[0].cluster.leader
            assert leader is not None
            leader.kill()

    lab = Lab(3, judge=judge)
    labs.append(lab)
    before = lab.settle()
    lab.clients[0].transact(write_of("a"), lambda _: None)
    lab.run(5 * MS)
    lab.clients[0].transact(write_of("b"), lambda _: None)
    lab.run_until(lambda: lab.cluster.leader not in (None, before))
    assert lab.values()["a"] == b"1"


def write_of(key: str) -> Transaction:
    return Transaction(name="write", guards=(), writes=(Put(key, b"1"),))
