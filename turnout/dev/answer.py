"""HTTP/1.1 answers as a load generator reads them: the head, and whether all of the body came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen

_END_OF_HEAD: Final = b"\r\n\r\n"
_MAX_HEAD_BYTES: Final = 65_536


class BadAnswerError(Exception):
    """The answer was cut short, or is not HTTP."""


@frozen(kw_only=True)
class Answer:
    """The head of an answer whose body came whole; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]


def whole_answer(received: bytes) -> Answer | None:
    """The answer that these bytes are; None while some are missing. Raises BadAnswerError.

    Only one answer can be on its way, so bytes behind it are none of ours and not HTTP.
    """
    at = received.find(_END_OF_HEAD)
    if at < 0:
        if len(received) > _MAX_HEAD_BYTES:
            raise BadAnswerError("the head has no end")
        return None
    answer = _parsed(received[:at])
    length = answer.headers.get("content-length", "")
    if not length.isdecimal():
        raise BadAnswerError("an answer without a length")
    missing = at + len(_END_OF_HEAD) + int(length) - len(received)
    if missing < 0:
        raise BadAnswerError(f"{-missing} bytes behind the answer")
    return None if missing else answer


def _parsed(head: bytes) -> Answer:
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    status = rest[:3]
    if not version.startswith("HTTP/1.") or not status.isdecimal():
        raise BadAnswerError(f"not HTTP: {first[:40]}")
    fields = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in fields}
    return Answer(status=int(status), headers=headers)
