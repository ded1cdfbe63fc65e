from __future__ import annotations

import pytest

from tests.simulator.etcd.lab import Lab
from turnout.protocol.clock import SECOND
from turnout.protocol.transactions import Delete, KeyValue, Put


@pytest.fixture
def lab() -> Lab:
    lab = Lab(3, clients=2)
    lab.settle()
    return lab


def test_watch_tells_what_was_and_what_comes_by_revision(lab: Lab) -> None:
    first = lab.write(Put("w", b"1"), Put("other", b""))
    following = lab.follow("w", first)
    lab.write(Put("other", b"2"))
    last = lab.write(Delete("w"), Put("w2", b"no"))
    lab.run(SECOND)
    entry = KeyValue(key="w", value=b"1", create_revision=first, mod_revision=first)
    assert following.told == [(first, entry), (last, None)]


def test_watch_from_a_revision_to_come_waits_for_it(lab: Lab) -> None:
    now = lab.write(Put("a", b"1"))
    following = lab.follow("a", now + 2)
    lab.run(SECOND)
    lab.write(Put("a", b"too early"))
    revision = lab.write(Put("a", b"2"))
    lab.run(SECOND)
    assert following.revisions == [revision]


def test_watch_that_is_cancelled_tells_nothing_more(lab: Lab) -> None:
    following = lab.follow("a", 1)
    lab.write(Put("a", b"1"))
    lab.run(SECOND)
    following.cancel()
    lab.write(Put("a", b"2"))
    lab.run(SECOND)
    assert len(following.told) == 1


def test_watch_of_what_was_compacted_ends(lab: Lab) -> None:
    first = lab.write(Put("a", b"1"))
    third = lab.write(Put("a", b"2"))
    lab.cluster.compact()
    lab.run(SECOND)
    lost, kept = lab.follow("a", first), lab.follow("a", third)
    lab.run(SECOND)
    assert (lost.told, lost.has_ended) == ([], True)
    assert (kept.revisions, kept.has_ended) == ([third], False)


@pytest.mark.parametrize("blow", ["kill", "stop"])
def test_watch_goes_on_elsewhere_when_its_member_does_not(lab: Lab, blow: str) -> None:
    following = lab.follow("a", 1, client=0)
    lab.write(Put("a", b"1"), client=1)
    lab.run(SECOND)
    getattr(lab.servers[0], blow)()
    lab.run(3 * SECOND)
    lab.write(Put("a", b"2"), client=1)
    lab.run(4 * SECOND)
    assert following.revisions == [2, 3]


def test_watch_that_is_only_silent_stays_where_it_is(lab: Lab) -> None:
    lab.follow("a", 1)
    lab.run(SECOND // 10)
    opened = [list(member._watchers) for member in lab.cluster.members]
    assert sum(map(len, opened)) == 1
    lab.run(30 * SECOND)
    assert [member._watchers for member in lab.cluster.members] == opened


def test_watch_misses_nothing_through_every_members_restart(lab: Lab) -> None:
    following = lab.follow("a", 1)
    revisions = []
    for server in lab.servers * 2:
        server.kill()
        lab.run(3 * SECOND)
        revisions.append(lab.write(Put("a", b"x"), client=1))
        server.start()
        lab.run(3 * SECOND)
    assert following.revisions == revisions


def test_paused_member_tells_its_watchers_late() -> None:
    lab = Lab(3, clients=3)
    leader = lab.servers.index(lab.settle())
    paused = lab.servers.index(lab.followers[0])
    following = lab.follow("a", 1, client=paused)
    lab.run(SECOND // 2)
    lab.servers[paused].stop()
    revision = lab.write(Put("a", b"1"), client=leader)
    lab.run(SECOND // 4)
    assert following.told == []
    lab.servers[paused].go_on()
    lab.run(SECOND // 10)
    assert following.revisions == [revision]


def test_watch_of_a_process_that_died_tells_nobody(lab: Lab) -> None:
    following = lab.follow("a", 1)
    lab.run(SECOND)
    lab.hosts[0].kill()
    lab.write(Put("a", b"1"), client=1)
    lab.hosts[0].start()
    lab.write(Put("a", b"2"), client=1)
    lab.run(5 * SECOND)
    assert following.told == []
    again = lab.follow("a", 1)
    lab.run(SECOND)
    assert again.revisions == [2, 3]
