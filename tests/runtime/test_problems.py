from __future__ import annotations

import json

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from turnout.runtime.problems import (
    MEDIA_TYPE,
    NO_LEADER,
    NOT_LEADING,
    STALE_AGENTS,
    UNKNOWN_SERVICE,
    ExitCode,
    ProblemType,
    exception_handlers,
    parse_problem,
    problem_types,
)

every_type = pytest.mark.parametrize("kind", problem_types(), ids=lambda kind: kind.name)


@every_type
def test_type_is_complete_and_survives_the_way_to_the_client(kind: ProblemType) -> None:
    assert kind.title
    assert 400 <= kind.status < 600 or kind is NOT_LEADING
    assert kind.exit_code is not ExitCode.DONE
    sent = kind.problem("What to do.", agents=["a", "b"])
    assert parse_problem(kind.status, sent.document()) == sent


def test_status_and_exit_code_agree_about_who_is_at_fault() -> None:
    for kind in problem_types():
        assert (kind.status == 503) == (kind.exit_code is ExitCode.UNREACHABLE), kind.name
        assert (kind.status in (401, 403)) == (kind.exit_code is ExitCode.NOT_PERMITTED), kind.name


def test_document_has_the_members_of_the_rfc_and_the_extensions() -> None:
    response = STALE_AGENTS.problem("Two agents are stale.", agents=["eu/a"]).response()
    assert json.loads(bytes(response.body)) == {
        "type": "urn:turnout:problem:stale-agents",
        "title": "Some agents are stale",
        "status": 409,
        "detail": "Two agents are stale.",
        "agents": ["eu/a"],
    }
    assert (response.status_code, response.media_type) == (409, MEDIA_TYPE)


def test_extension_cannot_hide_a_member_of_the_rfc() -> None:
    assert json.loads(NO_LEADER.problem("x", status=200, title="fine").document())["status"] == 503


def test_answer_without_leader_says_when_to_come_again() -> None:
    assert NO_LEADER.problem("x").response().headers["retry-after"] == "1"
    assert "retry-after" not in UNKNOWN_SERVICE.problem("x").response().headers


@pytest.mark.parametrize(
    ("status", "body", "exit_code", "detail"),
    [
        (502, b"<html>Bad Gateway</html>", ExitCode.UNREACHABLE, "<html>Bad Gateway</html>"),
        (403, b"", ExitCode.NOT_PERMITTED, "no explanation was given"),
        (418, b'{"type": "urn:x", "title": "Teapot"}', ExitCode.ERROR, "Teapot"),
        (500, b"\xff\xfe", ExitCode.ERROR, "\ufffd\ufffd"),
        (500, b"[" * 100_000, ExitCode.ERROR, "[" * 200),
        (500, b'{"type": 7}', ExitCode.ERROR, '{"type": 7}'),
    ],
)
def test_answer_that_is_no_problem_of_ours_is_still_told(
    status: int, body: bytes, exit_code: ExitCode, detail: str
) -> None:
    problem = parse_problem(status, body)
    assert (problem.type.status, problem.type.exit_code) == (status, exit_code)
    assert problem.detail == detail


async def test_application_answers_unknown_paths_and_failures_with_problems() -> None:
    async def fail(_request: Request) -> Response:
        raise RuntimeError("the password is hunter2")

    app = Starlette(exception_handlers=exception_handlers())
    app.add_route("/fail", fail)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        missing, failed = await client.get("/nowhere"), await client.get("/fail")
        wrong = await client.post("/fail")
    assert missing.json()["type"] == "urn:turnout:problem:no-such-resource"
    assert set(wrong.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert failed.json()["type"] == "urn:turnout:problem:internal"
    assert "hunter2" not in failed.text
