"""An agent over a real disk: what it remembers through crashes, damage and a full disk."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio

from edge_agent.disk import FileDisk
from tests.edge_agent.edges import AGENT, BLUE, GREEN, Edge, connected, leading
from tests.edge_agent.fake_coordinator import FakeCoordinator, until
from turnout.protocol.messages import No, Progress

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def edge(tmp_path: Path) -> Edge:
    return Edge(disk=FileDisk(tmp_path))


@pytest.fixture
async def leader(nursery: trio.Nursery, edge: Edge) -> AsyncIterator[FakeCoordinator]:
    async with leading(nursery, edge) as coordinator:
        yield coordinator


def restart(edge: Edge, folder: Path) -> None:
    """The host comes back: its disk is opened again."""
    edge.disk.close()
    edge.disk = FileDisk(folder)


async def test_vote_survives_a_crash_with_a_torn_record_behind_it(
    edge: Edge, leader: FakeCoordinator, tmp_path: Path
) -> None:
    async with edge.running(leader.url):
        await until(lambda: connected(leader))
        await leader.switch(BLUE)
        leader.tell(leader.prepare(GREEN))
        await until(lambda: leader.votes_of(2))
    with (tmp_path / "journal").open("ab") as journal:
        journal.write(b"00000300 1234")
    restart(edge, tmp_path)
    assert "cut short" in edge.disk.finding
    async with edge.running(NOBODY) as agent:
        await until(lambda: agent.state.progress is Progress.LIVE)
        assert agent.state.record.prepared is not None
        assert agent.state.record.prepared.epoch == 2
    leader.commit(GREEN)
    async with edge.running(leader.url):
        await until(lambda: leader.is_live(2))
    edge.disk.close()


async def test_damaged_journal_is_reported_under_a_new_id_and_last_good_is_served(
    edge: Edge, leader: FakeCoordinator, tmp_path: Path
) -> None:
    async with edge.running(leader.url):
        await until(lambda: connected(leader))
        await leader.switch(BLUE)
    before = edge.disk.record.journal_id
    path = tmp_path / "journal"
    rotten = bytearray(path.read_bytes())
    rotten[-20] ^= 1
    path.write_bytes(rotten)
    edge.proxy.live = None
    restart(edge, tmp_path)
    async with edge.running(leader.url):
        await until(lambda: leader.newest(AGENT).journal_id != before)
        await until(lambda: leader.newest(AGENT).progress is Progress.LIVE)
        assert edge.epoch == 1
    edge.disk.close()


async def test_lost_journal_leaves_what_the_proxy_serves_alone(
    edge: Edge, leader: FakeCoordinator, tmp_path: Path
) -> None:
    async with edge.running(leader.url):
        await until(lambda: connected(leader))
        await leader.switch(BLUE)
    (tmp_path / "journal").unlink()
    restart(edge, tmp_path)
    async with edge.running(NOBODY) as agent:
        assert agent.state.record.committed is None
        assert edge.epoch == 1
    async with edge.running(leader.url):
        await until(lambda: leader.newest(AGENT).committed_epoch == 1)
        await leader.switch(GREEN)
    assert [flip.epoch for flip in edge.proxy.flips if flip.epoch > 1] == [2]
    edge.disk.close()


async def test_table_file_that_rotted_is_fetched_again(
    edge: Edge, leader: FakeCoordinator, tmp_path: Path
) -> None:
    async with edge.running(leader.url):
        await until(lambda: connected(leader))
        await leader.switch(BLUE)
    (tmp_path / "tables" / BLUE.digest).write_bytes(b"rotten")
    edge.proxy.live = None
    restart(edge, tmp_path)
    async with edge.running(leader.url) as agent:
        await until(lambda: agent.state.progress is Progress.LIVE)
    assert edge.epoch == 1
    edge.disk.close()


async def test_full_disk_makes_votes_no_until_there_is_room(
    edge: Edge, leader: FakeCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with edge.running(leader.url):
        await until(lambda: connected(leader))
        await leader.switch(BLUE)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full_disk_below(os.write))
            leader.tell(leader.prepare(GREEN))
            await until(lambda: leader.votes_of(2))
            assert leader.votes_of(2)[0].no is No.JOURNAL
            assert "the disk is full: free some space" in leader.votes_of(2)[0].reason
        leader.abort()
        leader.tell(leader.sync())
        await leader.switch(GREEN)
    assert edge.epoch == 3
    edge.disk.close()


def full_disk_below(write: Callable[[int, bytes], int]) -> Callable[[int, bytes], int]:
    """``os.write`` that fails for regular files and works for pipes and sockets."""

    def refuse(descriptor: int, data: bytes) -> int:
        if os.path.isfile(f"/proc/self/fd/{descriptor}"):  # noqa: PTH113 - follows the link
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data)

    return refuse
