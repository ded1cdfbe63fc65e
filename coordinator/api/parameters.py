"""Numbers in paths and queries, checked."""

from __future__ import annotations

from starlette.requests import Request as HttpRequest

from turnout.protocol.identifiers import Epoch
from turnout.runtime import problems
from turnout.runtime.problems import ProblemError
from turnout.runtime.structuring import shown

MAX_EPOCH = 999_999_999_999
"""Twelve digits, as the store's keys have."""


def epoch_in(http: HttpRequest) -> Epoch:
    """The epoch in the path. Raises ProblemError."""
    epoch: int = http.path_params["epoch"]
    if not 0 < epoch <= MAX_EPOCH:
        detail = f"There is no epoch {epoch}: epochs are numbered from 1."
        raise ProblemError(problems.UNKNOWN_EPOCH.problem(detail))
    return Epoch(epoch)


def number_in(http: HttpRequest, name: str, *, default: int, least: int, most: int) -> int:
    """A whole number in the query. Raises ProblemError."""
    given = http.query_params.get(name)
    if given is None:
        return default
    if given.isascii() and given.isdigit() and least <= int(given[:20]) <= most:
        return int(given)
    detail = f"{name} must be a whole number from {least} to {most}, not {shown(given)}."
    raise ProblemError(problems.INVALID_FIELD.problem(detail))


def choice_in(http: HttpRequest, name: str, *, default: str, allowed: tuple[str, ...]) -> str:
    """A word in the query. Raises ProblemError."""
    given = http.query_params.get(name, default)
    if given in allowed:
        return given
    detail = f"{name} must be one of {', '.join(allowed)}, not {shown(given)}."
    raise ProblemError(problems.INVALID_FIELD.problem(detail))
