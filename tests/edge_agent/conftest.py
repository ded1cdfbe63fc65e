"""Proxies to test against: ``proxy`` is each kind in turn, ``envoy`` the real thing only."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
import trio

from tests.edge_agent.proxy_harness import (
    EnvoyHarness,
    HAProxyHarness,
    Harness,
    MemoryHarness,
    NginxHarness,
    RealHarness,
)

RealProxy = TypeVar("RealProxy", EnvoyHarness, HAProxyHarness, NginxHarness)


@asynccontextmanager
async def running(kind: type[RealProxy], nursery: trio.Nursery) -> AsyncIterator[RealProxy]:
    folder = Path(tempfile.mkdtemp(prefix="proxy-"))  # tmp_path would be too long for sockets
    harness = kind(folder, nursery)
    try:
        await harness.start_backends()
        await harness.driver.start()
        yield harness
    finally:
        with trio.CancelScope(shield=True):
            await harness.driver.stop_proxy()
        nursery.cancel_scope.cancel()
        shutil.rmtree(folder)


@pytest.fixture
async def envoy(nursery: trio.Nursery) -> AsyncIterator[EnvoyHarness]:
    async with running(EnvoyHarness, nursery) as harness:
        yield harness


@pytest.fixture
async def haproxy(nursery: trio.Nursery) -> AsyncIterator[HAProxyHarness]:
    async with running(HAProxyHarness, nursery) as harness:
        yield harness


@pytest.fixture
async def nginx(nursery: trio.Nursery) -> AsyncIterator[NginxHarness]:
    async with running(NginxHarness, nursery) as harness:
        yield harness


@pytest.fixture
async def memory() -> MemoryHarness:
    harness = MemoryHarness()
    await harness.driver.start()
    return harness


@pytest.fixture(params=["envoy", "haproxy", "nginx"])
def real(request: pytest.FixtureRequest) -> RealHarness:
    harness: RealHarness = request.getfixturevalue(request.param)
    return harness


@pytest.fixture(params=["memory", "envoy", "haproxy", "nginx"])
def proxy(request: pytest.FixtureRequest) -> Harness:
    harness: Harness = request.getfixturevalue(request.param)
    return harness
