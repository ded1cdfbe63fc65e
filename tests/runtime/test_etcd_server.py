"""Real etcd members as children: started, hurt, ended."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from turnout.protocol.transactions import Put, Range, Transaction, Won
from turnout.runtime.etcd_server import (
    EtcdCluster,
    EtcdNotReadyError,
    EtcdSettings,
    running_etcd,
)
from turnout.runtime.store.etcd import EtcdStore
from turnout.runtime.store.etcd_options import EtcdOptions

pytestmark = pytest.mark.slow

QUICK = EtcdSettings(heartbeat_ms=50, election_ms=500)


def gone(pid: int | None) -> bool:
    assert pid is not None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_cluster_elects_a_leader_and_leaves_no_process(tmp_path: Path) -> None:
    async with running_etcd(tmp_path, 3, QUICK) as cluster:
        pids = [member.pid for member in cluster.members]
        first = await cluster.leader()
        first.kill()
        assert first.pid is None
        assert await cluster.leader() is not first
        cluster.members[1].pause()
    assert all(gone(pid) for pid in pids)


async def test_member_that_was_stopped_comes_back_with_its_data(tmp_path: Path) -> None:
    async with running_etcd(tmp_path, 1, QUICK) as cluster:
        async with EtcdStore(EtcdOptions(endpoints=cluster.endpoints, domain="d")) as store:
            put = Transaction(name="put", guards=(), writes=(Put("a", b"1"),))
            assert isinstance(await store.transact(put), Won)
        await cluster.stop()
        assert cluster.members[0].pid is None
        cluster.start()
        await cluster.ready()
        async with EtcdStore(EtcdOptions(endpoints=cluster.endpoints, domain="d")) as store:
            assert (await store.read(Range("a"))).items[0].value == b"1"


async def test_member_that_is_paused_is_stopped_all_the_same(tmp_path: Path) -> None:
    async with running_etcd(tmp_path, 1, QUICK) as cluster:
        pid = cluster.members[0].pid
        cluster.members[0].pause()
        await cluster.stop()
        assert gone(pid)


async def test_member_that_is_paused_says_nothing_until_it_is_resumed(tmp_path: Path) -> None:
    async with running_etcd(tmp_path, 1, QUICK) as cluster:
        member = cluster.members[0]
        for _ in range(3):
            member.pause()
            member.pause()
            with pytest.raises(EtcdNotReadyError):
                await member.ready(timeout_s=0.1)
            member.resume()
            await member.ready()


async def test_stop_that_is_cancelled_kills(tmp_path: Path) -> None:
    async with running_etcd(tmp_path, 1, QUICK) as cluster:
        pid = cluster.members[0].pid
        with trio.CancelScope() as scope:
            scope.cancel()
            await cluster.stop()
        assert gone(pid)


async def test_member_that_ends_at_once_tells_the_end_of_its_log(tmp_path: Path) -> None:
    settings = EtcdSettings(flags=("--no-such-flag",))
    with pytest.raises(EtcdNotReadyError, match=r"m0 has ended(.|\n)*no-such-flag"):
        async with running_etcd(tmp_path, 1, settings):
            pass


async def test_member_without_its_peers_is_not_ready_in_time(tmp_path: Path) -> None:
    cluster = EtcdCluster(tmp_path, 3, QUICK)
    try:
        cluster.start(cluster.members[0])
        with pytest.raises(EtcdNotReadyError, match="not ready in time"):
            await cluster.members[0].ready(timeout_s=0.3)
        assert not await cluster.members[0].is_leader()
    finally:
        cluster.kill()


async def test_member_that_runs_is_not_started_again(tmp_path: Path) -> None:
    async with running_etcd(tmp_path, 1, QUICK) as cluster:
        with pytest.raises(RuntimeError, match="running already"):
            cluster.start()
