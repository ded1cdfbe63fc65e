"""Who leads when the leader dies and a real etcd's leader with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from coordinator.candidate import Candidate
from turnout.protocol.clock import SECOND
from turnout.protocol.election import Election
from turnout.protocol.events import Deposed, Elected
from turnout.protocol.identifiers import ReplicaId
from turnout.protocol.limits import Timing
from turnout.runtime.clock import SystemClock
from turnout.runtime.etcd_server import EtcdMemberProcess, EtcdSettings, running_etcd
from turnout.runtime.store.etcd import EtcdStore
from turnout.runtime.store.etcd_options import EtcdOptions

pytestmark = pytest.mark.slow

FAR = Timing(election_ns=3 * SECOND, lease_ttl_ns=5 * SECOND, store_write_ns=SECOND // 2)
"""As with members an ocean apart: etcd would let a dead leader's lease live for 8 s."""


class RecordingStore(EtcdStore):
    """Remembers which leases it was asked to end."""

    def __init__(self, options: EtcdOptions) -> None:
        super().__init__(options)
        self.revoked: list[int] = []

    async def revoke(self, lease: int) -> None:
        """End the lease."""
        self.revoked.append(lease)
        await super().revoke(lease)


class Replica:
    """One candidate on a store of its own, which lives until it is killed."""

    def __init__(self, name: str, members: list[EtcdMemberProcess]) -> None:
        endpoints = tuple(member.endpoint for member in members)
        self.store = RecordingStore(EtcdOptions(endpoints=endpoints, domain="far", timeout_s=1))
        clock = SystemClock()
        begin = Election.begin(
            replica=ReplicaId(name),
            url=f"http://{name}",
            timing=FAR,
            seed=len(name),
            now=clock.now(),
        )
        self.leads = trio.Event()
        self.candidate = Candidate(self.store, begin, self._announce, clock)
        self.life = trio.CancelScope()

    async def _announce(self, event: Elected | Deposed) -> None:
        assert isinstance(event, Elected)
        self.leads.set()
        await trio.lowlevel.checkpoint()

    async def run(self) -> None:
        """Live until it is killed: nothing is given back then."""
        with self.life:
            async with self.store:
                await self.candidate.run()


async def test_lease_of_a_leader_that_died_with_etcds_is_taken_away(tmp_path: Path) -> None:
    settings = EtcdSettings(heartbeat_ms=300, election_ms=3000)
    async with running_etcd(tmp_path, 3, settings) as etcd, trio.open_nursery() as nursery:
        etcds_leader = await etcd.leader()
        others = [member for member in etcd.members if member is not etcds_leader]
        first, second = Replica("first", others), Replica("second", others)
        nursery.start_soon(first.run)
        with trio.fail_after(20):
            await first.leads.wait()
        nursery.start_soon(second.run)
        with trio.fail_after(20):
            while second.candidate.leader is None:  # noqa: ASYNC110 - nobody tells
                await trio.sleep(0.02)
        lease = second.candidate.leader.lease
        # It looks again after a lease time: then etcd is without a leader, and it goes on looking.
        await trio.sleep(3.5)
        first.life.cancel()
        etcds_leader.kill()
        with trio.fail_after(30):
            await second.leads.wait()
        assert lease in second.store.revoked
        second.life.cancel()
