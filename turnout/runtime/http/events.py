"""Following server-sent events over interruptions, from one coordinator to the next."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

import trio

from turnout.runtime.http.client import Coordinators
from turnout.runtime.http.client_errors import (
    CoordinatorError,
    RefusedStreamError,
    StreamBrokenError,
    UnreachableError,
)
from turnout.runtime.http.sse import ServerEvent
from turnout.runtime.problems import ExitCode


async def follow_events(
    coordinators: Coordinators,
    path: str,
    *,
    pause_s: float,
    last_event_id: str | None = None,
    on_interruption: Callable[[CoordinatorError], None] | None = None,
) -> AsyncGenerator[ServerEvent]:
    """The events at this path, for as long as the caller wants them.

    After an interruption goes on behind the last event that had an id, at whichever coordinator
    answers, ``pause_s`` later. A problem that waiting will not cure is raised as
    RefusedStreamError. Use it as ``async with aclosing(follow_events(...)) as events``.
    """
    while True:
        try:
            async with coordinators.open_events(path, last_event_id=last_event_id) as events:
                async for event in events:
                    last_event_id = event.id if event.id is not None else last_event_id
                    yield event
        except (StreamBrokenError, UnreachableError, RefusedStreamError) as error:
            if not _passes(error):
                raise
            if on_interruption is not None:
                on_interruption(error)
        await trio.sleep(pause_s)


def _passes(error: CoordinatorError) -> bool:
    """Whether the same request may well succeed later."""
    if isinstance(error, RefusedStreamError):
        return error.problem.type.exit_code is ExitCode.UNREACHABLE
    return True
