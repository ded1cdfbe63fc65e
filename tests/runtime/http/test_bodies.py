from __future__ import annotations

from typing import Protocol

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.runtime.http.harness import StartServer
from turnout.runtime.http.bodies import read_json
from turnout.runtime.problems import exception_handlers
from turnout.runtime.tls import trusting_nobody


class Post(Protocol):
    async def __call__(self, body: bytes, media_type: str = ...) -> httpx.Response: ...


async def echo(request: Request) -> Response:
    return JSONResponse(await read_json(request, max_bytes=300_000))


@pytest.fixture
async def post(start_server: StartServer) -> Post:
    app = Starlette(
        routes=[Route("/", echo, methods=["POST"])], exception_handlers=exception_handlers()
    )
    running = await start_server(app)

    async def send(
        body: bytes, media_type: str = "application/json; charset=utf-8"
    ) -> httpx.Response:
        async with httpx.AsyncClient(verify=trusting_nobody()) as client:
            headers = {"content-type": media_type}
            return await client.post(running.url(), content=body, headers=headers)

    return send


async def test_json_body_is_read(post: Post) -> None:
    assert (await post(b'{"a": [1, "\xc3\xa9"]}')).json() == {"a": [1, "é"]}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b'{"a": 1, "a": 2}', 'the key "a" is there twice'),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b'{"a": "\xff"}', "it is not UTF-8 text"),
        (b"[" * 200_000, "it is nested too deeply"),
        (b"9" * 5000, "Exceeds the limit"),
    ],
    ids=["empty", "cut", "twice", "nan", "utf-8", "deep", "digits"],
)
async def test_malformed_json_is_refused_with_the_reason(post: Post, body: bytes, why: str) -> None:
    answer = await post(body)
    assert (answer.status_code, answer.json()["type"]) == (
        400,
        "urn:turnout:problem:malformed-json",
    )
    assert why in answer.json()["detail"]


async def test_body_over_its_own_limit_is_refused(post: Post) -> None:
    answer = await post(b" " * 300_001)
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:turnout:problem:too-large")


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded"])
async def test_what_a_web_page_could_post_is_refused(post: Post, media_type: str) -> None:
    assert (await post(b"{}", media_type)).status_code == 415
