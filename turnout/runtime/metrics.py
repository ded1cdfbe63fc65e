"""A daemon's metrics: a registry of its own, and the ASGI endpoint that shows it."""

from __future__ import annotations

from collections.abc import Callable

import trio
from prometheus_client import CollectorRegistry, GCCollector, Info, ProcessCollector
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response

# A rendering that takes longer goes to a thread the next time; 1,000 series take 14 ms, which an
# event loop that promises milliseconds cannot spare (measured).
_INLINE_S = 0.002


def new_registry(daemon: str, version: str) -> CollectorRegistry:
    """A registry with what every process should tell: memory, descriptors, CPU, its version.

    Metrics are made with ``registry=`` this one, never in prometheus-client's global one: two
    daemons in one test process must not count together.
    """
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    about = Info("turnout_build", "Which program this is.", registry=registry)
    about.info({"daemon": daemon, "version": version})
    return registry


class MetricsEndpoint:
    """``Route("/metrics", MetricsEndpoint(registry).answer)``.

    A large registry is rendered in a worker thread, one scrape at a time, so that neither a slow
    rendering nor a crowd of scrapers holds up the event loop.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._one_at_a_time = trio.Lock()
        self._last_took_s = float("inf")  # the first is rendered in a thread: its size is unknown

    async def answer(self, request: Request) -> Response:
        """The metrics, in the format the scraper prefers."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        async with self._one_at_a_time:
            text = await self._render(encode)
        return Response(text, headers={"content-type": content_type, "cache-control": "no-store"})

    async def _render(self, encode: Callable[[CollectorRegistry], bytes]) -> bytes:
        began = trio.current_time()
        if self._last_took_s > _INLINE_S:
            text = await trio.to_thread.run_sync(encode, self._registry)
        else:
            text = encode(self._registry)
        self._last_took_s = trio.current_time() - began
        return text
