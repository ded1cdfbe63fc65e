"""The network between one edge agent and the coordinators, which can be cut and healed.

Each agent of a fleet dials forwarders of its own, one for each coordinator. Cut, they go silent
the way a broken network does: connections stay open, new ones are taken, nothing comes through
either way. Healed, what waited is delivered, as TCP would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import trio

_CHUNK_BYTES = 65_536


class AgentLink:
    """All ways from one agent to the coordinators."""

    def __init__(self, agent: str, coordinators: Sequence[str]) -> None:
        """``coordinators`` are the addresses (``http://127.0.0.1:PORT``) to forward to."""
        self.agent = agent
        self.urls: tuple[str, ...] = ()
        self._coordinators = tuple(coordinators)
        self._translations: Mapping[bytes, bytes] = {}
        self._open = trio.Event()
        self._open.set()
        self._cut_after: bytes | None = None

    @property
    def is_cut(self) -> bool:
        """Whether nothing comes through."""
        return not self._open.is_set()

    def cut(self) -> None:
        """Silences every connection, present and future."""
        if self._open.is_set():
            self._open = trio.Event()

    def cut_after(self, text: bytes) -> None:
        """Cuts right behind the next message of the agent's that has this text in it."""
        self._cut_after = text

    def heal(self) -> None:
        """Lets everything through again, what waited first."""
        self._cut_after = None
        self._open.set()

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listens on free ports, which ``urls`` names, in the order of the coordinators."""
        async with trio.open_nursery() as nursery:
            urls = []
            for coordinator in self._coordinators:
                (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
                urls.append(f"http://127.0.0.1:{listener.socket.getsockname()[1]}")
                port = int(coordinator.rpartition(":")[2])
                nursery.start_soon(self._listen, listener, port)
            self.urls = tuple(urls)
            pairs = zip(self._coordinators, urls, strict=True)
            self._translations = {real.encode(): ours.encode() for real, ours in pairs}
            task_status.started()

    async def _listen(self, listener: trio.SocketListener, port: int) -> None:
        async def carry(client: trio.SocketStream) -> None:
            await self._carry(client, port)

        await trio.serve_listeners(carry, [listener])

    async def _carry(self, client: trio.SocketStream, port: int) -> None:
        """One connection, until either side ends it or breaks."""
        async with client:
            await self._open.wait()
            try:
                upstream = await trio.open_tcp_stream("127.0.0.1", port)
            except OSError:
                return  # the coordinator is not there: the agent's connection ends
            async with upstream, trio.open_nursery() as nursery:
                nursery.start_soon(self._pump_up, client, upstream, nursery.cancel_scope)
                nursery.start_soon(self._pump_down, upstream, client, nursery.cancel_scope)

    async def _pump_up(
        self, client: trio.SocketStream, upstream: trio.SocketStream, scope: trio.CancelScope
    ) -> None:
        try:
            while data := await client.receive_some(_CHUNK_BYTES):
                await self._open.wait()
                if self._cut_after is not None and self._cut_after in data:
                    self._cut_after = None
                    self.cut()  # before it is sent: a quick answer would come through
                await upstream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()

    async def _pump_down(
        self, upstream: trio.SocketStream, client: trio.SocketStream, scope: trio.CancelScope
    ) -> None:
        try:
            while data := await upstream.receive_some(_CHUNK_BYTES):
                await self._open.wait()
                await client.send_all(self._translated(data))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()

    def _translated(self, data: bytes) -> bytes:
        """The same with coordinators' addresses replaced by this link's.

        A follower redirects to the leader's real address, which would lead the agent round its
        link. All ports have five digits (``free_ports``; the kernel's own start at 32768), so no
        length changes.
        """
        for real, ours in self._translations.items():
            if real in data and len(real) == len(ours):
                data = data.replace(real, ours)
        return data
