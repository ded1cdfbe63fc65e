"""The server over real sockets: requests, limits, and clients that misbehave."""

from __future__ import annotations

import json
from contextlib import suppress

import httpx
import pytest
import structlog
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tests.runtime.http.harness import RawClient, StartServer, until
from turnout.runtime.http.channel import ClientGoneError
from turnout.runtime.http.limits import HttpLimits
from turnout.runtime.problems import UNKNOWN_SERVICE, ProblemError, exception_handlers

pytestmark = pytest.mark.timeout(30)

GET = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"


async def hello(_request: Request) -> Response:
    return PlainTextResponse("hello")


async def echo(request: Request) -> Response:
    return Response(await request.body())


async def fail(_request: Request) -> Response:
    raise RuntimeError("the password is hunter2")


async def refuse(_request: Request) -> Response:
    raise ProblemError(UNKNOWN_SERVICE.problem("There is no service 'chekout'."))


async def show_scope(request: Request) -> Response:
    shown = ("method", "path", "scheme", "http_version")
    told = {name: request.scope[name] for name in shown}
    return JSONResponse(told | {"query": request.url.query, "tls": request.scope["extensions"]})


async def ignore_body(_request: Request) -> Response:
    return PlainTextResponse("not read")


@pytest.fixture
def app() -> Starlette:
    routes = [
        Route("/hello", hello),
        Route("/echo", echo, methods=["POST"]),
        Route("/fail", fail),
        Route("/refuse", refuse),
        Route("/ignore", ignore_body, methods=["POST"]),
        Route("/scope/{rest:path}", show_scope),
    ]
    return Starlette(routes=routes, exception_handlers=exception_handlers())


async def test_server_answers_with_date_and_length(
    start_server: StartServer, app: Starlette
) -> None:
    client = await (await start_server(app)).connect()
    await client.send(GET)
    status, headers, body = await client.read_answer()
    assert (status, body) == (200, b"hello")
    assert headers["date"].endswith("GMT")


async def test_connection_is_reused_for_many_requests(
    start_server: StartServer, app: Starlette
) -> None:
    client = await (await start_server(app)).connect()
    for _ in range(50):
        await client.send(GET)
        assert (await client.read_answer())[2] == b"hello"


async def test_pipelined_requests_are_answered_in_order(
    start_server: StartServer, app: Starlette
) -> None:
    client = await (await start_server(app)).connect()
    posts = [
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n%02d" % n for n in range(20)
    ]
    await client.send(b"".join(posts))
    answers = [(await client.read_answer())[2] for _ in range(20)]
    assert answers == [b"%02d" % n for n in range(20)]


async def test_chunked_body_is_put_together(start_server: StartServer, app: Starlette) -> None:
    client = await (await start_server(app)).connect()
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    await client.send(head + b"3\r\nabc\r\n")
    await client.send(b"2\r\nde\r\n0\r\n\r\n")
    assert (await client.read_answer())[2] == b"abcde"


async def test_client_that_expects_100_continue_is_told_to_go_on(
    start_server: StartServer, app: Starlette
) -> None:
    client = await (await start_server(app)).connect()
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    await client.send(head)
    assert b" 100 " in await client.read_until(b"\r\n\r\n")
    await client.send(b"abc")
    assert (await client.read_answer())[2] == b"abc"


async def test_announced_body_over_the_limit_is_refused_before_it_is_sent(
    start_server: StartServer, app: Starlette
) -> None:
    client = await (await start_server(app, limits=HttpLimits(max_body_bytes=10))).connect()
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n"
    await client.send(head)
    status, problem = await client.read_problem()
    assert (status, problem["type"]) == (413, "urn:turnout:problem:too-large")


async def test_chunked_body_over_the_limit_is_refused(
    start_server: StartServer, app: Starlette
) -> None:
    client = await (await start_server(app, limits=HttpLimits(max_body_bytes=10))).connect()
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    await client.send(head + b"6\r\nabcdef\r\n" * 2)
    assert (await client.read_problem())[0] == 413
    assert await client.read_to_end() == b""


async def test_large_body_sent_in_spite_of_refusal_still_gets_the_answer(
    start_server: StartServer, app: Starlette, nursery: trio.Nursery
) -> None:
    client = await (await start_server(app, limits=HttpLimits(max_body_bytes=10))).connect()
    size = 2_000_000
    await client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
    nursery.start_soon(_send_regardless, client, b"x" * size)
    assert (await client.read_problem())[0] == 413


async def _send_regardless(client: RawClient, data: bytes) -> None:
    with suppress(trio.BrokenResourceError):  # refused in the middle of it
        await client.send(data)


async def test_head_request_gets_the_length_without_the_body(
    start_server: StartServer, app: Starlette
) -> None:
    client = await (await start_server(app)).connect()
    await client.send(GET.replace(b"GET", b"HEAD"))
    head = await client.read_until(b"\r\n\r\n")
    assert b"content-length: 5" in head.lower()
    await client.send(GET)  # what comes next is this answer, not a body
    assert (await client.read_answer())[2] == b"hello"


@pytest.mark.parametrize(
    ("request_bytes", "status", "kind"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400, "malformed-request"),
        (b"GET /hello HTTP/1.1\r\n\r\n", 400, "malformed-request"),
        (b"GET hello HTTP/1.1\r\nHost: x\r\n\r\n", 400, "malformed-request"),
        (b"GET http://[x HTTP/1.1\r\nHost: x\r\n\r\n", 400, "malformed-request"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400, "malformed-request"),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "malformed-request",
        ),
        (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 405, "method-not-allowed"),
        (b"GET /" + b"a" * 500 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "target-too-long"),
        (b"GET /" + b"a" * 3000, 414, "target-too-long"),
        (
            b"GET / HTTP/1.1\r\nHost: x\r\nCookie: " + b"a" * 3000 + b"\r\n\r\n",
            431,
            "head-too-large",
        ),
        (b"GET / HTTP/1.1\r\nHost: x\r\nCookie: " + b"a" * 3000, 431, "head-too-large"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 20 + b"\r\n", 431, "head-too-large"),
        (GET.replace(b"/hello", b"/nowhere"), 404, "no-such-resource"),
        (GET.replace(b"GET", b"DELETE"), 405, "method-not-allowed"),
        (GET.replace(b"/hello", b"/fail"), 500, "internal"),
        (GET.replace(b"/hello", b"/refuse"), 404, "unknown-service"),
    ],
)
async def test_bad_request_is_answered_with_its_problem(
    start_server: StartServer, app: Starlette, request_bytes: bytes, status: int, kind: str
) -> None:
    limits = HttpLimits(max_head_bytes=2000, max_target_bytes=400, max_headers=16)
    running = await start_server(app, limits=limits)
    client = await running.connect()
    await client.send(request_bytes)
    with structlog.testing.capture_logs():
        got_status, problem = await client.read_problem()
    assert (got_status, problem["status"]) == (status, status)
    assert problem["type"] == f"urn:turnout:problem:{kind}"
    assert problem["detail"]
    assert "hunter2" not in json.dumps(problem)


async def test_garbage_in_a_chunk_is_answered_and_the_connection_closed(
    start_server: StartServer, app: Starlette
) -> None:
    client = await (await start_server(app)).connect()
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    await client.send(head + b"no number\r\n")
    assert (await client.read_problem())[0] == 400
    assert await client.read_to_end() == b""


async def test_client_that_drips_its_head_is_cut_with_408(
    start_server: StartServer, app: Starlette, nursery: trio.Nursery
) -> None:
    client = await (await start_server(app, limits=HttpLimits(request_timeout_s=0.2))).connect()
    nursery.start_soon(_drip, client, GET[:-2] + b"x-slow: " + b"a" * 10_000)
    status, problem = await client.read_problem()
    assert (status, problem["type"]) == (408, "urn:turnout:problem:request-timeout")
    nursery.cancel_scope.cancel()


async def test_client_that_drips_its_body_is_cut_with_408(
    start_server: StartServer, app: Starlette, nursery: trio.Nursery
) -> None:
    client = await (await start_server(app, limits=HttpLimits(request_timeout_s=0.2))).connect()
    await client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\n")
    nursery.start_soon(_drip, client, b"a" * 10_000)
    assert (await client.read_problem())[0] == 408
    nursery.cancel_scope.cancel()


async def _drip(client: RawClient, data: bytes) -> None:
    for at in range(len(data)):
        try:
            await client.send(data[at : at + 1])
        except trio.BrokenResourceError:
            return
        await trio.sleep(0.01)


async def test_idle_connection_is_closed_silently(
    start_server: StartServer, app: Starlette
) -> None:
    client = await (await start_server(app, limits=HttpLimits(idle_timeout_s=0.1))).connect()
    await client.send(GET)
    await client.read_answer()
    assert await client.read_to_end() == b""


async def test_connection_beyond_the_limit_is_told_503_and_a_later_one_served(
    start_server: StartServer, app: Starlette
) -> None:
    running = await start_server(app, limits=HttpLimits(max_connections=1))
    first = await running.connect()
    await first.send(GET)
    await first.read_answer()
    second = await running.connect()
    status, problem = await second.read_problem()
    assert (status, problem["type"]) == (503, "urn:turnout:problem:overloaded")
    await first.stream.aclose()
    await until(lambda: running.server.open_connections == 0)
    third = await running.connect()
    await third.send(GET)
    assert (await third.read_answer())[2] == b"hello"


async def test_client_that_stops_reading_is_evicted_while_others_go_on(
    start_server: StartServer,
) -> None:
    evicted = trio.Event()

    async def torrent(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while scope["path"] == "/torrent":
                await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
        except ClientGoneError:
            evicted.set()
            raise
        await send({"type": "http.response.body", "body": b"calm"})

    running = await start_server(torrent, limits=HttpLimits(write_timeout_s=0.2))
    deaf = await running.connect()
    await deaf.send(GET.replace(b"/hello", b"/torrent"))
    other = await running.connect()
    while not evicted.is_set():
        await other.send(GET)
        assert b"calm" in await other.read_until(b"0\r\n\r\n")


async def test_large_answer_arrives_whole(start_server: StartServer) -> None:
    body = bytes(range(256)) * 20_000

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(body)(scope, receive, send)

    running = await start_server(app)
    async with httpx.AsyncClient(verify=False) as client:
        assert (await client.get(running.url())).content == body


async def test_unread_small_body_keeps_the_connection(
    start_server: StartServer, app: Starlette
) -> None:
    client = await (await start_server(app)).connect()
    await client.send(b"POST /ignore HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
    assert (await client.read_answer())[2] == b"not read"
    await client.send(GET)
    assert (await client.read_answer())[2] == b"hello"


async def test_body_never_asked_for_ends_the_connection(
    start_server: StartServer, app: Starlette
) -> None:
    client = await (await start_server(app)).connect()
    await client.send(
        b"POST /ignore HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    )
    assert (await client.read_answer())[2] == b"not read"
    assert await client.read_to_end() == b""


@pytest.mark.parametrize(
    "target",
    [b"/scope/caf%C3%A9%2Fb?a=1", b"http://x/scope/caf%C3%A9%2Fb?a=1"],
)
async def test_target_becomes_path_and_query(
    start_server: StartServer, app: Starlette, target: bytes
) -> None:
    client = await (await start_server(app)).connect()
    await client.send(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    told = json.loads((await client.read_answer())[2])
    assert told["path"] == "/scope/café/b"
    assert (told["query"], told["scheme"], told["tls"]) == ("a=1", "http", {})


async def test_http_1_0_client_gets_its_answer_and_the_end(
    start_server: StartServer, app: Starlette
) -> None:
    client = await (await start_server(app)).connect()
    await client.send(b"GET /hello HTTP/1.0\r\n\r\n")
    assert (await client.read_to_end()).endswith(b"hello")


async def test_application_that_fails_in_the_middle_cuts_the_connection(
    start_server: StartServer,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("failed on purpose")

    client = await (await start_server(app)).connect()
    with structlog.testing.capture_logs() as logs:
        await client.send(GET)
        assert not (await client.read_to_end()).endswith(b"0\r\n\r\n")
    assert [one["event"] for one in logs] == ["request failed"]


async def test_application_that_answers_nothing_is_answered_for(start_server: StartServer) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    client = await (await start_server(app)).connect()
    with structlog.testing.capture_logs() as logs:
        await client.send(GET)
        assert (await client.read_problem())[0] == 500
    assert logs[0]["reason"] == "it returned without an answer"


async def test_long_body_nobody_read_ends_the_connection(
    start_server: StartServer, app: Starlette
) -> None:
    client = await (await start_server(app)).connect()
    size = 200_000
    await client.send(b"POST /ignore HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
    await client.send(b"x" * size)
    assert (await client.read_answer())[2] == b"not read"
    assert await client.read_to_end() == b""


async def test_malformed_body_nobody_read_ends_the_connection(
    start_server: StartServer, app: Starlette
) -> None:
    client = await (await start_server(app)).connect()
    head = b"POST /ignore HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    await client.send(head + b"no number\r\n")
    assert (await client.read_answer())[2] == b"not read"
    assert await client.read_to_end() == b""


async def test_answer_longer_than_it_announced_is_a_failure_of_the_application(
    start_server: StartServer,
) -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"more than two"})

    client = await (await start_server(app)).connect()
    with structlog.testing.capture_logs() as logs:
        await client.send(GET)
        assert await client.read_to_end() == b""
    assert "Too much data" in str(logs[0]["exc_info"])


async def test_failure_after_a_complete_answer_is_logged_and_the_answer_stands(
    start_server: StartServer,
) -> None:
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})
        assert (await receive())["type"] == "http.disconnect"
        raise RuntimeError("failed on purpose")

    client = await (await start_server(app)).connect()
    with structlog.testing.capture_logs() as logs:
        await client.send(GET)
        assert (await client.read_answer())[2] == b"ok"
        await until(lambda: bool(logs))
    assert logs[0]["event"] == "request failed"
