"""What can go wrong in an answer: RFC 9457 problem documents, one table of their types.

A handler raises ``ProblemError(UNKNOWN_SERVICE.problem("There is no service 'chekout'."))``;
the command line reads the same type back from the answer and exits with its exit code. To add
a type, add a row to the table below; nothing else knows the list. Starlette is imported where an
answer is made, for the command reads problems and never answers with one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ExceptionHandler

MEDIA_TYPE = "application/problem+json"

# A URN names the type without promising a page behind it (RFC 9457, section 3.1.1, allows that).
_TYPE_PREFIX = "urn:turnout:problem:"


class ExitCode(IntEnum):
    """How a command ends (DESIGN.md section 9); scripts rely on these numbers."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    REFUSED = 3
    ABORTED = 4
    ROLLED_BACK = 5
    PARTIAL = 6
    TIMED_OUT = 7
    UNREACHABLE = 8
    NOT_PERMITTED = 9
    INTERRUPTED = 130


@attrs.frozen(kw_only=True)
class Problem:
    """One thing that went wrong, as a person and a program will read it.

    ``detail`` says what was refused, why, and what to do. ``extensions`` are further members of
    the document (JSON values), such as the agents that are stale.
    """

    type: ProblemType
    detail: str
    extensions: Mapping[str, Any] = attrs.field(factory=dict)

    def document(self) -> bytes:
        """The problem as JSON bytes; an extension never hides a member the RFC defines."""
        members = dict(self.extensions) | {
            "type": self.type.uri,
            "title": self.type.title,
            "status": self.type.status,
            "detail": self.detail,
        }
        return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()

    def response(self, headers: Mapping[str, str] | None = None) -> Response:
        """The problem as an answer; an answer of status 503 says when to come again."""
        from starlette.responses import Response

        all_headers = dict(headers or {})
        if self.type.status == 503:  # noqa: PLR2004 - the status that RFC 9110 pairs with Retry-After
            all_headers.setdefault("retry-after", "1")
        return Response(
            self.document(),
            status_code=self.type.status,
            headers=all_headers,
            media_type=MEDIA_TYPE,
        )


@attrs.frozen(kw_only=True)
class ProblemType:
    """A row of the table: a stable name, a title for people, HTTP status and exit code."""

    name: str
    title: str
    status: int
    exit_code: ExitCode

    @property
    def uri(self) -> str:
        """The ``type`` member of the document."""
        return _TYPE_PREFIX + self.name

    def problem(self, detail: str, **extensions: Any) -> Problem:
        """One occurrence of this type."""
        return Problem(type=self, detail=detail, extensions=extensions)


class ProblemError(Exception):
    """Raised in a handler; the answer is the problem it carries."""

    def __init__(self, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.headers = headers


_TYPES: dict[str, ProblemType] = {}


def _row(name: str, status: int, exit_code: ExitCode, title: str) -> ProblemType:
    assert name not in _TYPES, f"two problem types are named {name}"
    _TYPES[name] = ProblemType(name=name, title=title, status=status, exit_code=exit_code)
    return _TYPES[name]


# fmt: off
# The request cannot be read.
MALFORMED_REQUEST = _row("malformed-request", 400, ExitCode.ERROR, "The request is not valid HTTP")
MALFORMED_JSON = _row("malformed-json", 400, ExitCode.REFUSED, "The body is not valid JSON")
INVALID_FIELD = _row("invalid-field", 422, ExitCode.REFUSED, "A field of the request is not valid")
MISSING_IDEMPOTENCY_KEY = _row("missing-idempotency-key", 400, ExitCode.REFUSED, "The request has no Idempotency-Key")
NO_SUCH_RESOURCE = _row("no-such-resource", 404, ExitCode.ERROR, "There is nothing at this address")
METHOD_NOT_ALLOWED = _row("method-not-allowed", 405, ExitCode.ERROR, "The address does not take this method")
WRONG_MEDIA_TYPE = _row("wrong-media-type", 415, ExitCode.ERROR, "The body has the wrong media type")
REQUEST_TIMEOUT = _row("request-timeout", 408, ExitCode.ERROR, "The request took too long to arrive")
TOO_LARGE = _row("too-large", 413, ExitCode.REFUSED, "The body is too large")
TARGET_TOO_LONG = _row("target-too-long", 414, ExitCode.ERROR, "The address is too long")
HEAD_TOO_LARGE = _row("head-too-large", 431, ExitCode.ERROR, "The header fields are too large or too many")

# What it names does not exist.
UNKNOWN_SERVICE = _row("unknown-service", 404, ExitCode.REFUSED, "There is no such service")
UNKNOWN_EPOCH = _row("unknown-epoch", 404, ExitCode.REFUSED, "There is no such epoch")
UNKNOWN_AGENT = _row("unknown-agent", 404, ExitCode.REFUSED, "There is no such agent")
UNKNOWN_COLOUR = _row("unknown-colour", 422, ExitCode.REFUSED, "There is no such colour")
REASON_REQUIRED = _row("reason-required", 422, ExitCode.REFUSED, "A reason must be given")
UNKNOWN_REGION = _row("unknown-region", 422, ExitCode.REFUSED, "There is no such region")

# The table it brings cannot be used.
INVALID_TABLE = _row("invalid-table", 422, ExitCode.REFUSED, "The table is not valid")
EMPTY_TABLE = _row("empty-table", 422, ExitCode.REFUSED, "The table is empty")
NO_BACKENDS = _row("no-backends", 422, ExitCode.REFUSED, "The colour has no backends in some region")
TABLE_TOO_LARGE = _row("table-too-large", 413, ExitCode.REFUSED, "The table is over the limits")

# The state of the domain forbids it.
SWITCH_IN_PROGRESS = _row("switch-in-progress", 409, ExitCode.REFUSED, "Another switch is in progress")
STALE_AGENTS = _row("stale-agents", 409, ExitCode.REFUSED, "Some agents are stale")
NO_GOOD_AGENT = _row("no-good-agent", 409, ExitCode.REFUSED, "A region has no good agent")
IDEMPOTENCY_CONFLICT = _row("idempotency-conflict", 409, ExitCode.REFUSED, "The key was used with another body")
ALREADY_UNDONE = _row("already-undone", 409, ExitCode.REFUSED, "The switch is undone already")
NOTHING_TO_UNDO = _row("nothing-to-undo", 409, ExitCode.REFUSED, "There is nothing to undo")
ALREADY_DECIDED = _row("already-decided", 409, ExitCode.REFUSED, "The switch is decided already")
SERVICE_CHANGED_SINCE = _row("service-changed-since", 409, ExitCode.REFUSED, "The service changed since that epoch")
SERVICE_REMOVED = _row("service-removed", 409, ExitCode.REFUSED, "A service in force is not in the table")
POINT_OF_NO_RETURN = _row("point-of-no-return", 409, ExitCode.REFUSED, "The switch was declared final")
CONFLICT = _row("conflict", 409, ExitCode.REFUSED, "Something else changed at the same moment")
AGENT_EXISTS = _row("agent-exists", 409, ExitCode.REFUSED, "The agent is enrolled already")
STALE_TERM = _row("stale-term", 409, ExitCode.REFUSED, "The message is of an earlier term")
NOT_ASKED = _row("not-asked", 409, ExitCode.REFUSED, "Nobody asked for this vote")
IDENTITY_IN_USE = _row("identity-in-use", 409, ExitCode.REFUSED, "Another agent holds this identity")
REPLAYED = _row("replayed", 409, ExitCode.REFUSED, "The message is not fresh")
QUOTA = _row("quota", 507, ExitCode.REFUSED, "The store is nearly full")

# Who asks may not.
NOT_AUTHENTICATED = _row("not-authenticated", 401, ExitCode.NOT_PERMITTED, "The request does not say who asks")
NOT_PERMITTED = _row("not-permitted", 403, ExitCode.NOT_PERMITTED, "This is not permitted")
BAD_SIGNATURE = _row("bad-signature", 403, ExitCode.NOT_PERMITTED, "The signature does not match")

# Somebody else answers, or nobody can at the moment.
NOT_LEADING = _row("not-leading", 307, ExitCode.ERROR, "Another replica leads")
INTERNAL = _row("internal", 500, ExitCode.ERROR, "The server failed at this request")
NO_LEADER = _row("no-leader", 503, ExitCode.UNREACHABLE, "No coordinator leads at the moment")
NO_QUORUM = _row("no-quorum", 503, ExitCode.UNREACHABLE, "The store has no quorum")
STORE_WENT_BACK = _row("store-went-back", 503, ExitCode.UNREACHABLE, "This domain decides nothing")
OVERLOADED = _row("overloaded", 503, ExitCode.UNREACHABLE, "The server has all the connections it takes")
SHUTTING_DOWN = _row("shutting-down", 503, ExitCode.UNREACHABLE, "The server is shutting down")
# fmt: on


def problem_types() -> tuple[ProblemType, ...]:
    """The whole table, for the documentation, OpenAPI and tests."""
    return tuple(_TYPES.values())


def parse_problem(status: int, body: bytes) -> Problem:
    """The problem a server answered with; never raises.

    A type we do not know, or a body that is no problem document (a proxy in between may have
    answered), becomes a type made for the occasion from the HTTP status and what text there is.
    """
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict) or not isinstance(members.get("type"), str):
        text = body[:200].decode(errors="replace").strip() or "no explanation was given"
        return _unlisted(status, f"HTTP status {status}").problem(text)
    defined = ("type", "title", "status", "detail")
    extensions = {name: value for name, value in members.items() if name not in defined}
    title, detail = str(members.get("title", "")), str(members.get("detail", ""))
    known = _TYPES.get(members["type"].removeprefix(_TYPE_PREFIX))
    kind = known or _unlisted(status, title)
    return Problem(type=kind, detail=detail or kind.title, extensions=extensions)


def _unlisted(status: int, title: str) -> ProblemType:
    exits = {401: ExitCode.NOT_PERMITTED, 403: ExitCode.NOT_PERMITTED}
    exits |= dict.fromkeys((502, 503, 504), ExitCode.UNREACHABLE)
    exit_code = exits.get(status, ExitCode.ERROR)
    return ProblemType(name="unlisted", title=title, status=status, exit_code=exit_code)


def exception_handlers() -> dict[Any, ExceptionHandler]:
    """Handlers for a Starlette application: every error it answers is a problem document.

    ``Starlette(routes=..., exception_handlers=exception_handlers())``. An unexpected exception
    is answered without its text, which may hold secrets, and reaches the server, which logs it.
    """
    from starlette.exceptions import HTTPException

    return {
        ProblemError: _answer_problem,
        HTTPException: _answer_http_exception,
        Exception: _answer_unexpected,
    }


# Starlette runs plain handlers in a thread and async ones in place, hence `async` without await.
async def _answer_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return error.problem.response(error.headers)


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    from starlette.exceptions import HTTPException

    assert isinstance(error, HTTPException)
    kind = _FROM_STATUS.get(error.status_code) or _unlisted(error.status_code, error.detail)
    detail = f"{error.detail}: {request.method} {request.url.path}"
    return kind.problem(detail).response(error.headers)


async def _answer_unexpected(_request: Request, _error: Exception) -> Response:
    return INTERNAL.problem("The server's log has the details.").response()


_FROM_STATUS = {kind.status: kind for kind in (NO_SUCH_RESOURCE, METHOD_NOT_ALLOWED)}
