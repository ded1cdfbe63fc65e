"""Stores to test: one real etcd for the whole session, a domain of its own for every test."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
import trio
import trio.testing

from turnout.runtime.etcd_server import EtcdCluster, EtcdSettings, running_etcd
from turnout.runtime.store.contract import Store
from turnout.runtime.store.etcd import EtcdStore
from turnout.runtime.store.etcd_options import EtcdOptions
from turnout.runtime.store.memory import MemoryStore

_QUICK = EtcdSettings(heartbeat_ms=50, election_ms=500)
_DOMAINS = itertools.count()

MakeStore: TypeAlias = Callable[[], Store]
Connect: TypeAlias = Callable[..., EtcdStore]


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """One real member, kept between tests."""
    yield from _one_member(tmp_path_factory.mktemp("etcd"))


@pytest.fixture
def lonely_etcd(tmp_path: Path) -> Iterator[EtcdCluster]:
    """One that nobody else writes to: another test's lease that runs out is a revision, too."""
    yield from _one_member(tmp_path)


def _one_member(folder: Path) -> Iterator[EtcdCluster]:
    cluster = EtcdCluster(folder, 1, _QUICK)
    cluster.start()
    try:
        trio.run(cluster.ready)
        yield cluster
    finally:
        cluster.kill()


@pytest.fixture
def domain() -> str:
    """A domain that no other test uses."""
    return f"test-{next(_DOMAINS)}"


@pytest.fixture(params=["memory", "etcd"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which store is under test."""
    return str(request.param)


@pytest.fixture
def make_store(kind: str, domain: str, request: pytest.FixtureRequest) -> MakeStore:
    """Make an empty store of the kind under test."""
    if kind == "memory":
        return MemoryStore
    cluster: EtcdCluster = request.getfixturevalue("etcd")
    return lambda: EtcdStore(EtcdOptions(endpoints=cluster.endpoints, domain=domain, timeout_s=5))


@pytest.fixture
async def store(make_store: MakeStore) -> AsyncIterator[Store]:
    """An empty store of the kind under test, open."""
    async with make_store() as made:
        yield made


@pytest.fixture
def store_clock(kind: str) -> trio.testing.MockClock | None:
    """For tests that wait for leases: in memory nobody waits, etcd takes its time."""
    return trio.testing.MockClock(autojump_threshold=0) if kind == "memory" else None


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[EtcdCluster]:
    """Three real members, for one test to hurt."""
    async with running_etcd(tmp_path, 3, _QUICK) as made:
        yield made


@pytest.fixture
def connect(domain: str) -> Connect:
    """Make a store with the default deadlines on these members, asked in this order."""
    return lambda *members: EtcdStore(
        EtcdOptions(endpoints=tuple(member.endpoint for member in members), domain=domain)
    )
