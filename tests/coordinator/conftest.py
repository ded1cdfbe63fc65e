"""One real etcd for the session, and for each test a domain of its own in it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import trio

from tests.coordinator.world import World
from turnout.runtime.etcd_server import EtcdCluster, EtcdSettings

_QUICK = EtcdSettings(heartbeat_ms=50, election_ms=500)
_DOMAINS = itertools.count()

Begin = Callable[..., Awaitable[World]]


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    cluster = EtcdCluster(tmp_path_factory.mktemp("etcd"), 1, _QUICK)
    cluster.start()
    try:
        trio.run(cluster.ready)
        yield cluster
    finally:
        cluster.kill()


@pytest.fixture
async def empty_world(
    etcd: EtcdCluster, tmp_path: Path, nursery: trio.Nursery
) -> AsyncIterator[World]:
    """Nothing but a name and an etcd."""
    yield World(tmp_path, etcd.endpoints, f"domain-{next(_DOMAINS)}", nursery)
    nursery.cancel_scope.cancel()


@pytest.fixture
def begin(empty_world: World) -> Begin:
    """``world = await begin(coordinators=2, agents=("a", "b"))`` with the first table in force."""

    async def start(coordinators: int = 1, agents: tuple[str, ...] = ("a", "b")) -> World:
        await empty_world.init()
        for _ in range(coordinators):
            await empty_world.start_coordinator()
        await empty_world.leader()
        if agents:
            await empty_world.populate(*agents)
            await empty_world.apply_first()
        return empty_world

    return start
