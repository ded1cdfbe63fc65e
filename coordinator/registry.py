"""Who listens: the held stream of each agent, at most one for each."""

from __future__ import annotations

from turnout.protocol.identifiers import AgentId
from turnout.protocol.limits import MAX_MESSAGE_BYTES
from turnout.runtime.http.streams import OutboundStream

STREAM_FRAMES = 256
"""Messages that may wait for one agent: minutes of heads, or many prepares."""

STREAM_BYTES = 4 * MAX_MESSAGE_BYTES


def new_stream() -> OutboundStream:
    """A stream for one agent; one that does not keep up is evicted, and slows nobody."""
    return OutboundStream(max_frames=STREAM_FRAMES, max_bytes=STREAM_BYTES)


class Registry:
    """The streams that are open now, by agent."""

    def __init__(self) -> None:
        self._streams: dict[AgentId, OutboundStream] = {}

    def __len__(self) -> int:
        return len(self._streams)

    def get(self, agent: AgentId) -> OutboundStream | None:
        """The agent's stream, if it has one."""
        return self._streams.get(agent)

    def attach(self, agent: AgentId, stream: OutboundStream) -> None:
        """Take a new stream in place of the agent's old one, which it has given up."""
        old = self._streams.get(agent)
        self._streams[agent] = stream
        if old is not None:
            old.close("the agent opened another stream")

    def detach(self, agent: AgentId, stream: OutboundStream) -> bool:
        """Forget a stream that ended; false if another has taken its place."""
        if self._streams.get(agent) is not stream:
            return False
        del self._streams[agent]
        return True

    def close_all(self, reason: str) -> None:
        """End every stream properly: what is queued still goes out."""
        for stream in tuple(self._streams.values()):
            stream.close(reason)
