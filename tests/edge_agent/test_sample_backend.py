from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
import trio

from edge_agent.request import Answer, AskError, Request, ask, endpoint_of
from edge_agent.sample_backend import SampleBackend, run_backend


async def answers(nursery: trio.Nursery, *requests: tuple[str, str]) -> list[Answer]:
    backend = SampleBackend(name="blue", region="eu-west-1", version="7")
    server = await nursery.start(run_backend, backend)
    got = [
        await ask(server.addresses[0], Request(host="x", method=method, path=path), timeout_s=5)
        for method, path in requests
    ]
    nursery.cancel_scope.cancel()
    assert backend.requests == len(requests)
    return got


async def test_backend_names_itself_under_any_prefix(nursery: trio.Nursery) -> None:
    got = await answers(nursery, ("GET", "/"), ("GET", "/api/x"), ("GET", "/api/version"))
    assert [answer.body for answer in got] == [b"blue eu-west-1 7\n"] * 2 + [b"7\n"]
    assert {answer.headers["x-backend"] for answer in got} == {"blue"}


async def test_backend_fails_health_when_told_to(nursery: trio.Nursery) -> None:
    requests = [("GET", "/healthz"), ("POST", "/healthz?ok=false"), ("GET", "/healthz")]
    requests += [("POST", "/healthz?ok=true"), ("GET", "/healthz")]
    got = await answers(nursery, *requests)
    assert [answer.status for answer in got] == [200, 200, 503, 200, 200]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/status?code=503", 503),
        ("/slow?seconds=0.01", 200),
        ("/slow?seconds=soon", 400),
        ("/slow?seconds=-1", 400),
        ("/slow?seconds=nan", 400),
    ],
)
async def test_backend_misbehaves_as_asked(path: str, status: int, nursery: trio.Nursery) -> None:
    (got,) = await answers(nursery, ("GET", path))
    assert got.status == status


async def test_command_prints_its_address_and_ends_on_sigterm() -> None:
    command = [sys.executable, "-m", "edge_agent.sample_backend", "--name", "green"]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    with trio.fail_after(20):
        line = json.loads(await process.stdout.receive_some())
        answer = await ask(endpoint_of(line["address"]), Request(host="x"), timeout_s=5)
        assert (line["name"], answer.body) == ("green", b"green 1\n")
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    await process.stdout.aclose()


async def test_nobody_there_is_an_ask_error_in_the_systems_words() -> None:
    with pytest.raises(AskError, match="connection refused"):
        await ask(("127.0.0.1", 1), Request(host="x"), timeout_s=5)
