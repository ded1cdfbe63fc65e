from __future__ import annotations

import threading

import httpx
import trio
import trio.testing
from prometheus_client import Counter, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.routing import Route

from turnout.runtime.metrics import MetricsEndpoint, new_registry


async def scrape(endpoint: MetricsEndpoint, accept: str = "text/plain") -> httpx.Response:
    app = Starlette(routes=[Route("/metrics", endpoint.answer)])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        return await client.get("/metrics", headers={"accept": accept})


async def test_scrape_shows_process_build_and_own_metrics() -> None:
    registry = new_registry("coordinator", "1.2.3")
    Counter("turnout_switches", "Switches by outcome.", ["outcome"], registry=registry).labels(
        "live"
    ).inc()
    answer = await scrape(MetricsEndpoint(registry))
    found = {
        (one.name, one.labels.get("outcome")): one.value
        for family in text_string_to_metric_families(answer.text)
        for one in family.samples
    }
    assert found["turnout_switches_total", "live"] == 1
    assert found["process_resident_memory_bytes", None] > 0
    assert 'turnout_build_info{daemon="coordinator",version="1.2.3"} 1.0' in answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")


async def test_scraper_that_prefers_openmetrics_gets_it() -> None:
    answer = await scrape(
        MetricsEndpoint(new_registry("agent", "1")), "application/openmetrics-text"
    )
    assert answer.text.endswith("# EOF\n")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")


def test_registries_of_two_daemons_do_not_count_together() -> None:
    first, second = new_registry("coordinator", "1"), new_registry("agent", "1")
    Counter("turnout_votes", "Votes.", registry=first).inc()
    assert second.get_sample_value("turnout_votes_total") is None


async def test_rendering_is_inline_when_it_was_quick_and_in_a_thread_when_it_was_slow(
    autojump_clock: trio.testing.MockClock,
) -> None:
    threads: list[bool] = []

    class Watching(Collector):
        def collect(self) -> list[Metric]:
            threads.append(threading.current_thread() is threading.main_thread())
            return []

    registry = new_registry("agent", "1")
    threads.clear()
    registry.register(Watching())
    threads.clear()
    endpoint = MetricsEndpoint(registry)
    await scrape(endpoint)
    await scrape(endpoint)
    assert threads == [False, True]  # under the mock clock the first took no time at all
    endpoint._last_took_s = 1.0
    await scrape(endpoint)
    assert threads == [False, True, False]


async def test_crowd_of_scrapers_is_served_one_after_the_other() -> None:
    endpoint = MetricsEndpoint(new_registry("agent", "1"))
    answers: list[int] = []

    async def one() -> None:
        answers.append((await scrape(endpoint)).status_code)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(one)
    assert answers == [200] * 5
