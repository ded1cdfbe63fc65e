"""Proxies to test against: ``proxy`` is each kind in turn, ``envoy`` the real thing only."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.edge_agent.proxy_harness import EnvoyHarness, Harness, MemoryHarness


@pytest.fixture
async def envoy(nursery: trio.Nursery) -> AsyncIterator[EnvoyHarness]:
    folder = Path(tempfile.mkdtemp(prefix="envoy-"))  # tmp_path would be too long for sockets
    harness = EnvoyHarness(folder, nursery)
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
async def memory() -> MemoryHarness:
    harness = MemoryHarness()
    await harness.driver.start()
    return harness


@pytest.fixture(params=["memory", "envoy"])
def proxy(request: pytest.FixtureRequest) -> Harness:
    harness: Harness = request.getfixturevalue(request.param)
    return harness
