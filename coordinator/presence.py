"""Who is there, as the machine is told of it: in the order in which it came about.

1. An agent's stream breaks. 2. The agent opens another one. 3. The machine is told of the second,
and then that the agent is gone: it would believe that until the next stream, neither making the
agent good nor counting on it, while its messages arrive on a stream that is open.

So what the registry holds changes together with what is told: ``Host.tell`` takes its place in the
queue before it waits for anything, and between a change and its event nobody else gets a turn. A
stream that has ended stays in the registry until the machine is told; whoever comes meanwhile takes
its place, and then there is nothing to tell.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from coordinator.registry import Registry
from turnout.protocol.events import AgentGone, FromAgent
from turnout.protocol.identifiers import AgentId
from turnout.protocol.messages import Report
from turnout.runtime.http.streams import OutboundStream


class Presence:
    """Brings streams into the registry and out of it, and tells the machine."""

    def __init__(
        self,
        registry: Registry,
        nursery: trio.Nursery,
        tell: Callable[[FromAgent | AgentGone], Awaitable[None]],
    ) -> None:
        self._registry = registry
        self._nursery = nursery
        self._tell = tell

    async def opened(self, report: Report, stream: OutboundStream) -> None:
        """An agent has opened a stream, with this report."""
        self._registry.attach(report.agent, stream)
        await self._tell(FromAgent(message=report, opened=True))

    def ended(self, agent: AgentId, stream: OutboundStream) -> None:
        """An agent's stream has ended; that is told as soon as there is room."""
        self._nursery.start_soon(self._gone, agent, stream)

    async def _gone(self, agent: AgentId, stream: OutboundStream) -> None:
        if self._registry.detach(agent, stream):
            await self._tell(AgentGone(agent=agent))
