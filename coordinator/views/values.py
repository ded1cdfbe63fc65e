"""Nanoseconds as people and scripts read them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from turnout.protocol.clock import MS, SECOND

Json = Mapping[str, object]


def instant(clock_ns: int | None) -> str | None:
    """An instant such as ``2026-01-31T09:05:07.123456Z``."""
    if clock_ns is None:
        return None
    seconds, rest_ns = divmod(clock_ns, SECOND)
    whole = datetime.fromtimestamp(seconds, UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{rest_ns // 1000:06d}Z"


def seconds(length_ns: int | None) -> float | None:
    """A length in seconds, to the microsecond."""
    return None if length_ns is None else round(length_ns / SECOND, 6)


def milliseconds(length_ns: int | None) -> float | None:
    """A length in milliseconds, to the microsecond."""
    return None if length_ns is None else round(length_ns / MS, 3)
