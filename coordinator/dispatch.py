"""From one message to many agents' streams: encoded once, queued for each, waiting for nobody."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from coordinator.registry import Registry
from turnout.protocol.effects import Tell
from turnout.protocol.messages import Down
from turnout.runtime.http.lines import line
from turnout.runtime.http.streams import StreamClosedError

_log = structlog.get_logger(__name__)


class Dispatch:
    """Puts messages into the agents' outboxes, in the order told.

    An agent whose outbox is full is evicted and connects again, to be told the newest state: all
    messages down are levels, so none that it missed is missed for good.
    """

    def __init__(self, registry: Registry, encode: Callable[[Down], bytes]) -> None:
        self._registry = registry
        self._encode = encode
        self.evicted = 0

    def tell(self, tell: Tell) -> None:
        """Queue one message for these agents; who has no stream is passed over."""
        frame: bytes | None = None
        for agent in tell.agents:
            stream = self._registry.get(agent)
            if stream is None or stream.end_reason is not None:
                continue
            if frame is None:
                frame = line(self._encode(tell.message))
            try:
                stream.send_nowait(frame)
            except StreamClosedError as reason:
                self.evicted += 1
                _log.warning("agent's stream evicted", agent=agent, reason=str(reason))
