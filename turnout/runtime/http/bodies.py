"""Reading the JSON body of a request within its own limit."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import TYPE_CHECKING

from turnout.runtime import problems
from turnout.runtime.problems import ProblemError

if TYPE_CHECKING:
    from starlette.requests import Request


async def read_body(request: Request, *, max_bytes: int, media_type: str) -> bytes:
    """The body, which must be of this media type. Raises ProblemError.

    Insisting on the type also keeps web pages out: a browser asks first before it sends another
    site anything but a form.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != media_type:
        detail = f"Send the body as {media_type}, not as {given or 'nothing in particular'}."
        raise ProblemError(problems.WRONG_MEDIA_TYPE.problem(detail))
    parts, size = [], 0
    async with aclosing(request.stream()) as stream:
        async for part in stream:
            parts.append(part)
            size += len(part)
            if size > max_bytes:
                detail = f"The body of this request may have {max_bytes} bytes."
                raise ProblemError(problems.TOO_LARGE.problem(detail))
    return b"".join(parts)


async def read_json(request: Request, *, max_bytes: int) -> object:
    """The body as a JSON value. Raises ProblemError.

    A key given twice is refused, as is NaN: two readers would not agree on what they mean.
    """
    return parse_json(await read_body(request, max_bytes=max_bytes, media_type="application/json"))


def parse_json(body: bytes) -> object:
    """Strict JSON bytes -> a value. Raises ProblemError (malformed-json)."""
    try:
        return json.loads(
            body.decode(), object_pairs_hook=_without_repeats, parse_constant=_refuse_constant
        )
    except RecursionError:
        reason = "it is nested too deeply"
    except UnicodeDecodeError:
        reason = "it is not UTF-8 text"
    except ValueError as error:
        reason = str(error)
    raise ProblemError(problems.MALFORMED_JSON.problem(f"The body is not valid JSON: {reason}."))


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members: dict[str, object] = {}
    for name, value in pairs:
        if name in members:
            raise ValueError(f"the key {json.dumps(name[:60])} is there twice")
        members[name] = value
    return members


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")
