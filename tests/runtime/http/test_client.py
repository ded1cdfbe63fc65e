"""The client against real servers: choosing a coordinator, and held answers that end badly."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import pytest
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tests.runtime.http.harness import Authority, StartServer, until
from turnout.runtime.http.channel import ClientGoneError
from turnout.runtime.http.client import ClientTimeouts, Coordinators, checked_url
from turnout.runtime.http.client_errors import (
    CoordinatorError,
    OutcomeUnknownError,
    RefusedStreamError,
    StreamBrokenError,
    UnreachableError,
)
from turnout.runtime.http.events import follow_events
from turnout.runtime.http.limits import HttpLimits
from turnout.runtime.http.sse import MEDIA_TYPE, ServerEvent, format_event
from turnout.runtime.http.streams import HeldResponse, OutboundStream
from turnout.runtime.problems import NO_LEADER, NOT_PERMITTED, ProblemType, parse_problem
from turnout.runtime.tls import client_context

pytestmark = pytest.mark.timeout(30)

EVERY = ["GET", "POST"]


def app_of(handler: Callable[[Request], Awaitable[Response]]) -> Starlette:
    return Starlette(routes=[Route("/{path:path}", handler, methods=EVERY)])


class Leader:
    """Answers with its name and counts; knows the streams it holds."""

    def __init__(self, name: str = "leader") -> None:
        self.asked = 0
        self.bodies: list[bytes] = []
        self.streams: list[OutboundStream] = []
        self._name = name
        self.app = app_of(self.answer)

    async def answer(self, request: Request) -> Response:
        self.asked += 1
        self.bodies.append(await request.body())
        if request.url.path != "/stream":
            return Response(self._name)
        self.streams.append(OutboundStream(max_frames=64, max_bytes=8_000_000))
        return HeldResponse(self.streams[-1])


def redirecting_to(url: str) -> Starlette:
    async def answer(request: Request) -> Response:
        return RedirectResponse(url + request.url.path, status_code=307)

    return app_of(answer)


def refusing_with(kind: ProblemType) -> Starlette:
    async def answer(_request: Request) -> Response:
        return kind.problem("Said by the test.").response()

    return app_of(answer)


async def cut(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the request, then cuts the connection without an answer."""
    await receive()
    raise ClientGoneError("cut by the test")


@pytest.fixture
async def nobody() -> str:
    """The address of a port that was free a moment ago."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    return f"http://127.0.0.1:{port}"


async def test_address_that_is_down_is_passed_over_and_the_good_one_remembered(
    start_server: StartServer, nobody: str
) -> None:
    leader = Leader()
    running = await start_server(leader.app)
    async with Coordinators([nobody, running.url()]) as client:
        assert (await client.request("GET", "/v1/table")).text == "leader"
        assert client._in_turn()[0] == running.url()


async def test_redirect_to_the_leader_is_followed_with_the_body(start_server: StartServer) -> None:
    leader = Leader()
    running = await start_server(leader.app)
    follower = await start_server(redirecting_to(running.url()))
    async with Coordinators([follower.url()]) as client:
        answer = await client.request("POST", "/v1/switches", body=b"{}")
        assert answer.text == "leader"
        await client.request("POST", "/v1/switches", body=b"{}")
    assert leader.bodies == [b"{}", b"{}"]


async def test_redirect_to_a_leader_that_is_gone_leads_on_to_the_next(
    start_server: StartServer, nobody: str
) -> None:
    follower = await start_server(redirecting_to(nobody))
    leader = Leader()
    running = await start_server(leader.app)
    async with Coordinators([follower.url(), running.url()]) as client:
        assert (await client.request("GET", "/")).text == "leader"


async def test_followers_that_point_at_each_other_end_in_a_clear_error(
    start_server: StartServer,
) -> None:
    chain: list[str] = []

    async def point_on(_request: Request) -> Response:
        return RedirectResponse(chain[0], status_code=307)

    first = await start_server(app_of(point_on))
    second = await start_server(redirecting_to(first.url()))
    chain.append(second.url())
    async with Coordinators([first.url(), second.url()]) as client:
        with pytest.raises(UnreachableError, match="HTTP status 307"):
            await client.request("GET", "/")


async def test_redirect_from_https_to_http_is_not_followed(
    start_server: StartServer, authority: Authority, server_tls: ssl.SSLContext
) -> None:
    plain = Leader()
    running = await start_server(plain.app)
    follower = await start_server(redirecting_to(running.url()), ssl_context=server_tls)
    context = client_context(authority.issue("edge-1"))
    async with Coordinators([follower.url("https")], context) as client:
        with pytest.raises(UnreachableError):
            await client.request("GET", "/")
    assert plain.asked == 0


async def test_nobody_there_is_said_with_each_address(nobody: str) -> None:
    async with Coordinators([nobody]) as client:
        with pytest.raises(UnreachableError, match=nobody):
            await client.request("GET", "/")


async def test_replica_without_leader_is_passed_over(start_server: StartServer) -> None:
    lost = await start_server(refusing_with(NO_LEADER))
    leader = Leader()
    running = await start_server(leader.app)
    async with Coordinators([lost.url(), running.url()]) as client:
        assert (await client.request("POST", "/", body=b"")).text == "leader"


async def test_where_nobody_leads_the_problem_is_the_answer(
    start_server: StartServer, nobody: str
) -> None:
    lost = await start_server(refusing_with(NO_LEADER))
    async with Coordinators([lost.url(), nobody]) as client:
        answer = await client.request("GET", "/")
        problem = parse_problem(answer.status_code, answer.content)
    assert problem.type is NO_LEADER


async def test_request_that_may_have_arrived_is_not_sent_again(start_server: StartServer) -> None:
    gone = await start_server(cut)
    leader = Leader()
    running = await start_server(leader.app)
    async with Coordinators([gone.url(), running.url()]) as client:
        with pytest.raises(OutcomeUnknownError, match="may have been carried out"):
            await client.request("POST", "/", body=b"once")
        assert leader.asked == 0
        keyed = {"Idempotency-Key": "k1"}
        assert (await client.request("POST", "/", body=b"again", headers=keyed)).text == "leader"


async def test_server_that_does_not_answer_in_time_is_passed_over(
    start_server: StartServer,
) -> None:
    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep_forever()

    mute = await start_server(silent, limits=HttpLimits(drain_timeout_s=0.1))
    running = await start_server(Leader().app)
    timeouts = ClientTimeouts(answer_s=0.1)
    async with Coordinators([mute.url(), running.url()], timeouts=timeouts) as client:
        assert (await client.request("GET", "/")).text == "leader"


async def test_lines_come_as_they_are_written_until_the_end(start_server: StartServer) -> None:
    leader = Leader()
    running = await start_server(leader.app)
    async with (
        Coordinators([running.url()]) as client,
        client.open_lines("POST", "/stream", body=b"hello") as lines,
    ):
        (stream,) = leader.streams
        for n in range(3):
            stream.send_nowait(b"%d\n" % n)
            assert await anext(lines) == b"%d" % n
        long = b"x" * 1_500_000
        stream.send_nowait(long + b"\n")
        assert await anext(lines) == long
        stream.close("the test is over")
        with pytest.raises(StreamBrokenError, match="ended the stream"):
            await anext(lines)


async def test_stream_left_in_the_middle_closes_quietly(start_server: StartServer) -> None:
    leader = Leader()
    running = await start_server(leader.app)
    async with Coordinators([running.url()]) as client:
        async with client.open_lines("POST", "/stream") as lines:
            leader.streams[0].send_nowait(b"a\nb\n")
            async for one in lines:
                assert one == b"a"
                break
        await until(lambda: leader.streams[0].end_reason is not None)


async def test_silent_stream_counts_as_broken(start_server: StartServer) -> None:
    running = await start_server(Leader().app)
    timeouts = ClientTimeouts(silence_s=0.1)
    async with (
        Coordinators([running.url()], timeouts=timeouts) as client,
        client.open_lines("POST", "/stream") as lines,
    ):
        with pytest.raises(StreamBrokenError, match="silent"):
            await anext(lines)


async def test_stream_that_is_cut_counts_as_broken(start_server: StartServer) -> None:
    leader = Leader()
    running = await start_server(leader.app)
    async with (
        Coordinators([running.url()]) as client,
        client.open_lines("POST", "/stream") as lines,
    ):
        leader.streams[0].evict("too slow")
        with pytest.raises(StreamBrokenError, match="connection broke"):
            await anext(lines)


async def test_endless_line_is_refused(start_server: StartServer) -> None:
    leader = Leader()
    running = await start_server(leader.app)
    async with (
        Coordinators([running.url()]) as client,
        client.open_lines("POST", "/stream") as lines,
    ):
        leader.streams[0].send_nowait(b"x" * 3_000_000)
        with pytest.raises(StreamBrokenError, match="a line has more than"):
            await anext(lines)


async def test_refused_stream_carries_its_problem(start_server: StartServer) -> None:
    running = await start_server(refusing_with(NOT_PERMITTED))
    async with Coordinators([running.url()]) as client:
        with pytest.raises(RefusedStreamError, match="Said by the test") as caught:
            async with client.open_lines("POST", "/stream"):
                raise AssertionError("a refused stream was opened")
    assert caught.value.problem.type is NOT_PERMITTED


async def test_stream_where_nobody_leads_carries_that_problem(start_server: StartServer) -> None:
    lost = await start_server(refusing_with(NO_LEADER))
    async with Coordinators([lost.url()]) as client:
        with pytest.raises(RefusedStreamError) as caught:
            async with client.open_lines("POST", "/stream"):
                raise AssertionError("a refused stream was opened")
    assert caught.value.problem.type is NO_LEADER


class Counter:
    """Sends events from after the last the client saw, two at a time, then ends the stream."""

    def __init__(self) -> None:
        self.asked_for: list[str | None] = []
        self.app = app_of(self.answer)

    async def answer(self, request: Request) -> Response:
        last = request.headers.get("last-event-id")
        self.asked_for.append(last)
        stream = OutboundStream(max_frames=8, max_bytes=1000)
        for n in range(int(last or 0) + 1, int(last or 0) + 3):
            stream.send_nowait(format_event(ServerEvent(data=f"event {n}", id=str(n))))
        stream.close("two are enough")
        return HeldResponse(stream, media_type=MEDIA_TYPE)


async def test_events_are_followed_over_interruptions_without_gap_or_repeat(
    start_server: StartServer,
) -> None:
    counter, interruptions = Counter(), list[CoordinatorError]()
    running = await start_server(counter.app)
    async with (
        Coordinators([running.url()]) as client,
        aclosing(
            follow_events(client, "/e", pause_s=0, on_interruption=interruptions.append)
        ) as events,
    ):
        seen = [(await anext(events)).data for _ in range(5)]
    assert seen == [f"event {n}" for n in range(1, 6)]
    assert counter.asked_for == [None, "2", "4"]
    assert len(interruptions) == 2


async def test_following_events_ends_with_a_problem_that_will_not_pass(
    start_server: StartServer,
) -> None:
    running = await start_server(refusing_with(NOT_PERMITTED))
    async with (
        Coordinators([running.url()]) as client,
        aclosing(follow_events(client, "/e", pause_s=0)) as events,
    ):
        with pytest.raises(RefusedStreamError):
            await anext(events)


@pytest.mark.parametrize(
    "url", ["coordinator:7100", "ftp://x", "http://x/path", "http://u:p@x", "http://x?q", "http://"]
)
def test_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"is not an address|more than a host"):
        checked_url(url)
