"""What a fleet's daemons say of themselves in their histograms, from lap to lap."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

from turnout.dev.plan import FleetPlan

STAGING: Final = "  staging in the proxy"
DECIDE: Final = "etcd: decide"
STORE_CALLS: Final[Mapping[str, str]] = {
    "accept": "  etcd: accept",
    "decide-commit": DECIDE,
    "outcome": "etcd: outcome",
}


class Meters:
    """Histograms of the fleet's daemons: how often, and for how long in all, by phase."""

    def __init__(self, plan: FleetPlan) -> None:
        agents = [f"http://127.0.0.1:{region.agent_port}" for region in plan.regions]
        self._urls = (*plan.coordinators, *agents)
        self._before: dict[str, tuple[float, float]] = {}

    async def laps_ms(self) -> dict[str, float]:
        """The mean of each phase's time since the last lap, in milliseconds."""
        now: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        async with httpx.AsyncClient(trust_env=False, verify=False) as client:  # noqa: S501 - plain HTTP
            for url in self._urls:
                page = await client.get(f"{url}/metrics")
                for phase, at, value in _sums(page.text):
                    now[phase][at] += value
        laps = {}
        for phase, (count, seconds) in now.items():
            old_count, old_seconds = self._before.get(phase, (0.0, 0.0))
            self._before[phase] = (count, seconds)
            if count > old_count:
                laps[phase] = (seconds - old_seconds) / (count - old_count) * 1e3
        return laps


def _sums(page: str) -> Iterator[tuple[str, int, float]]:
    """(phase, 0, count) and (phase, 1, seconds) of the histograms that are asked for."""
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            name, _, part = sample.name.rpartition("_")
            if part not in ("count", "sum"):
                continue
            if name == "turnout_store_seconds" and sample.labels["call"] in STORE_CALLS:
                yield STORE_CALLS[sample.labels["call"]], int(part == "sum"), sample.value
            elif name == "turnout_agent_staging_seconds":
                yield STAGING, int(part == "sum"), sample.value
