"""Fixtures: servers under test and certificates made for the test."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio
from starlette.types import ASGIApp

from tests.runtime.http.harness import Authority, Running, StartServer
from turnout.runtime.http.limits import HttpLimits
from turnout.runtime.http.server import Server, open_listeners, serve
from turnout.runtime.tls import server_context


@pytest.fixture
async def start_server(nursery: trio.Nursery) -> AsyncIterator[StartServer]:
    started: list[Running] = []

    async def start(
        app: ASGIApp,
        *,
        ssl_context: ssl.SSLContext | None = None,
        limits: HttpLimits | None = None,
    ) -> Running:
        listeners = await open_listeners("127.0.0.1", 0, ssl_context)
        stopped = trio.Event()

        async def run(*, task_status: trio.TaskStatus[Server]) -> None:
            await serve(app, listeners, limits or HttpLimits(), task_status=task_status)
            stopped.set()

        server: Server = await nursery.start(run)
        port = server.addresses[0][1]
        started.append(Running(server=server, port=port, stopped=stopped))
        return started[-1]

    yield start
    for client in (one for running in started for one in running.clients):
        await client.stream.aclose()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def make_authority(tmp_path: Path) -> Callable[[str], Authority]:
    def make(name: str) -> Authority:
        folder = tmp_path / name
        folder.mkdir()
        return Authority(folder)

    return make


@pytest.fixture
def server_tls(authority: Authority) -> ssl.SSLContext:
    return server_context(authority.issue("coordinator"))
