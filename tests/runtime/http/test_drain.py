"""Shutting down: what is finished, what is told, what is cut, and that it always ends."""

from __future__ import annotations

import pytest
import structlog
import trio
import trio.testing
from starlette.types import Receive, Scope, Send

from tests.runtime.http.harness import StartServer, until
from turnout.runtime.http.channel import ClientGoneError
from turnout.runtime.http.limits import HttpLimits

pytestmark = pytest.mark.timeout(30)

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Stage:
    """An application whose requests wait until the test lets them go on."""

    def __init__(self) -> None:
        self.entered = trio.Event()
        self.go_on = trio.Event()

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        self.entered.set()
        await self.go_on.wait()
        headers = [(b"content-length", b"4")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"done"})


async def held_stream(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"held\n", "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass
    await send({"type": "http.response.body", "body": b"goodbye\n"})


async def endless_stream(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"held\n", "more_body": True})
    await trio.sleep_forever()


async def test_idle_connections_are_closed_and_nothing_accepted_any_more(
    start_server: StartServer,
) -> None:
    stage = Stage()
    stage.go_on.set()
    running = await start_server(stage)
    used, unused = await running.connect(), await running.connect()
    await used.send(GET)
    await used.read_answer()
    running.server.shut_down()
    await running.stopped.wait()
    assert await used.read_to_end() == b""
    assert await unused.read_to_end() == b""
    with pytest.raises(OSError, match="all attempts to connect"):
        await running.connect()


async def test_request_in_flight_is_finished_and_the_connection_then_closed(
    start_server: StartServer,
) -> None:
    stage = Stage()
    running = await start_server(stage)
    client = await running.connect()
    await client.send(GET)
    await stage.entered.wait()
    running.server.shut_down()
    stage.go_on.set()
    status, headers, body = await client.read_answer()
    assert (status, headers["connection"], body) == (200, "close", b"done")
    await running.stopped.wait()


async def test_request_half_sent_is_still_answered(start_server: StartServer) -> None:
    stage = Stage()
    stage.go_on.set()
    running = await start_server(stage)
    client = await running.connect()
    await client.send(GET[:10])
    await until(lambda: running.server.open_connections > 0)
    await trio.testing.wait_all_tasks_blocked(0.01)
    running.server.shut_down()
    await client.send(GET[10:])
    assert (await client.read_answer())[0] == 200
    await running.stopped.wait()


async def test_held_stream_is_told_and_may_say_goodbye(start_server: StartServer) -> None:
    running = await start_server(held_stream)
    client = await running.connect()
    await client.send(GET)
    await client.read_until(b"held\n")
    running.server.shut_down()
    assert (await client.read_to_end()).endswith(b"goodbye\n\r\n0\r\n\r\n")
    await running.stopped.wait()


async def test_stream_that_does_not_listen_is_cut_at_the_deadline(
    start_server: StartServer,
) -> None:
    running = await start_server(endless_stream, limits=HttpLimits(drain_timeout_s=0.1))
    client = await running.connect()
    await client.send(GET)
    await client.read_until(b"held\n")
    with structlog.testing.capture_logs() as logs:
        running.server.shut_down()
        await running.stopped.wait()
    assert not (await client.read_to_end()).endswith(b"0\r\n\r\n")
    assert [one["event"] for one in logs] == ["requests cut at shutdown"]


async def test_client_that_does_not_read_does_not_hold_up_the_end(
    start_server: StartServer,
) -> None:
    writing = trio.Event()

    async def torrent(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
            writing.set()

    running = await start_server(
        torrent, limits=HttpLimits(drain_timeout_s=0.1, write_timeout_s=20)
    )
    client = await running.connect()
    await client.send(GET)
    await writing.wait()
    with structlog.testing.capture_logs() as logs, trio.fail_after(5):
        running.server.shut_down()
        await running.stopped.wait()
    assert [one["event"] for one in logs] == ["requests cut at shutdown"]


async def test_disconnect_of_a_held_client_is_seen_at_once(start_server: StartServer) -> None:
    seen = trio.Event()

    async def watch(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"held\n", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        with pytest.raises(ClientGoneError):
            await send({"type": "http.response.body", "body": b"to nobody", "more_body": True})
        seen.set()

    running = await start_server(watch)
    client = await running.connect()
    await client.send(GET)
    await client.read_until(b"held\n")
    await client.stream.aclose()
    with trio.fail_after(5):
        await seen.wait()


async def test_held_client_that_goes_on_sending_requests_is_cut(start_server: StartServer) -> None:
    running = await start_server(held_stream, limits=HttpLimits(max_head_bytes=2000))
    client = await running.connect()
    await client.send(GET)
    await client.read_until(b"held\n")
    await client.send(GET * 1000)
    assert not (await client.read_to_end()).endswith(b"0\r\n\r\n")


async def test_request_sent_behind_a_held_stream_is_served_after_it(
    start_server: StartServer,
) -> None:
    finish = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/held":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"held\n", "more_body": True})
            with trio.CancelScope() as watch:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(receive)
                    await trio.testing.wait_all_tasks_blocked(0.01)
                    await finish.wait()
                    watch.cancel()
            await send({"type": "http.response.body", "body": b""})
        else:
            await answer_done(scope, receive, send)

    running = await start_server(app)
    client = await running.connect()
    await client.send(GET.replace(b"/ ", b"/held "))
    await client.read_until(b"held\n")
    await client.send(GET)
    await trio.testing.wait_all_tasks_blocked(0.01)
    finish.set()
    await client.read_until(b"0\r\n\r\n")
    assert (await client.read_answer())[2] == b"done"


async def answer_done(scope: Scope, receive: Receive, send: Send) -> None:
    stage = Stage()
    stage.go_on.set()
    await stage(scope, receive, send)
