"""Following one switch: server-sent events, one for each change that can be seen."""

from __future__ import annotations

import json

import trio
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from coordinator.api.context import Context, context_of
from coordinator.api.leading import by_leader
from coordinator.api.parameters import choice_in, epoch_in
from coordinator.api.showing import known_story, show, story_of
from coordinator.feed import GATHER_S
from coordinator.story import Story
from turnout.protocol.coordinator_state import Role
from turnout.protocol.identifiers import Epoch
from turnout.protocol.transitions import SwitchPhase
from turnout.runtime.http.sse import MEDIA_TYPE, ServerEvent, format_comment, format_event
from turnout.runtime.http.streams import HeldResponse, OutboundStream, StreamClosedError

BEAT_S = 1.5
"""A comment at least so often: below the silence that clients take for a broken stream."""

_REST = 20
"""Between two views passes so many times what one takes: watching costs at most 5 % of a core."""

_FRAMES, _BYTES = 64, 8 * 1024 * 1024

UNTIL = ("outcome", "drained", "released")


@by_leader
async def get_events(http: HttpRequest) -> Response:
    """The switch now, and again at each change, until what was asked for has come."""
    context, epoch = context_of(http), epoch_in(http)
    until = choice_in(http, "until", default="released", allowed=UNTIL)
    story = await story_of(context, epoch)
    stream = OutboundStream(max_frames=_FRAMES, max_bytes=_BYTES)
    last_id = http.headers.get("last-event-id", "")
    number = int(last_id) if last_id.isascii() and last_id.isdigit() and len(last_id) < 10 else 0  # noqa: PLR2004
    follower = _Follower(context, epoch, until, stream, number)
    context.nursery.start_soon(follower.feed, story)
    return HeldResponse(stream, media_type=MEDIA_TYPE)


class _Follower:
    """Feeds one client's stream."""

    def __init__(
        self, context: Context, epoch: Epoch, until: str, stream: OutboundStream, number: int
    ) -> None:
        self._context = context
        self._epoch = epoch
        self._until = until
        self._stream = stream
        self._number = number
        self._sent = ""
        self._gather_s = GATHER_S

    async def feed(self, story: Story) -> None:
        """Send every change until the end; ends early with the client or with leadership."""
        try:
            self._send(story)
            while not is_reached(story, self._until):
                changed = await self._context.feed.change(BEAT_S, self._gather_s)
                if self._stream.end_reason is not None:
                    return
                if self._context.state.role is not Role.LEADING:
                    self._stream.close("this replica does not lead any more")
                    return
                if changed:
                    story = known_story(self._context, self._epoch) or story
                    self._send(story)
                else:
                    self._stream.send_nowait(format_comment("alive"))
            self._stream.close("the switch is as far as was asked")
        except StreamClosedError:
            await trio.lowlevel.checkpoint()

    def _send(self, story: Story) -> None:
        """Send the switch if it looks otherwise than before; a large fleet less often."""
        began = trio.current_time()
        data = json.dumps(show(self._context, story), separators=(",", ":"))
        self._gather_s = max(GATHER_S, _REST * (trio.current_time() - began))
        if data != self._sent:
            self._sent = data
            self._number += 1
            event = ServerEvent(data=data, event="switch", id=str(self._number))
            self._stream.send_nowait(format_event(event))


def is_reached(story: Story, until: str) -> bool:
    """Whether a switch has come as far as a watcher wants to see it."""
    if story.is_over:
        return True
    if until == "outcome":
        return story.outcome is not None
    return until == "drained" and story.phase is SwitchPhase.RETAINED
