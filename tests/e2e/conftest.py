"""Whole fleets, one for each test: what one test killed is no other's affair."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.e2e.site import Site, running_site


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """Three regions (an Envoy, an HAProxy, an nginx), three etcd members, two coordinators; on blue."""
    async with running_site(regions=3, coordinators=2, etcd=3) as site:
        yield site


@pytest.fixture
async def patient_site() -> AsyncIterator[Site]:
    """The same, with 20 s until an outcome is partial: on no machine does an agent need so long
    to start again, so that it is live inside T_live, and the outcome no question of speed."""
    async with running_site(regions=3, coordinators=2, etcd=3, live_timeout_s=20) as site:
        yield site


@pytest.fixture
async def small_site() -> AsyncIterator[Site]:
    """One of each."""
    async with running_site(regions=1, coordinators=1, etcd=1) as site:
        yield site
