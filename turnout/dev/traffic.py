"""The load on all edges of a fleet, and the judgement of what came back."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import trio
from attrs import define, field

from turnout.dev.observations import (
    EITHER,
    NOBODY,
    Observation,
    ObservationFile,
    Requests,
    Rule,
    judged,
)
from turnout.dev.plan import HOST, FleetPlan
from turnout.dev.programs import Program

PROMISED_RATE = 1200
"""Requests a second over all regions that whoever shows something under load stands for."""

TOTAL_RATE = 1560
"""What is sent: above the promised rate, whatever little is lost to pauses."""

_POLL_S = 0.1


@define(kw_only=True)
class RegionLoad:
    """One region's load generator, what it saw since it was last judged, and what it should see."""

    program: Program
    file: ObservationFile
    seen: list[Observation] = field(factory=list)
    rules: list[Rule] = field(factory=list)


class Traffic:
    """Load on every edge."""

    def __init__(self, plan: FleetPlan) -> None:
        folder = plan.folder / "load"
        folder.mkdir(exist_ok=True)
        self._regions: dict[str, RegionLoad] = {}
        for region in plan.regions:
            record = folder / f"{region.name}.bin"
            options = ["--edge", region.edge, "--host", HOST, "--record", str(record)]
            program = Program(
                f"load on {region.name}",
                [sys.executable, "-m", "turnout.dev.load", *options],
                folder / f"{region.name}.log",
                has_stdin=True,
            )
            self._regions[region.name] = RegionLoad(program=program, file=ObservationFile(record))
        self._since_ns = 0

    async def start(self) -> None:
        """Begins to send to every region alike; returns when answers come from all."""
        for load in self._regions.values():
            load.program.start()
        self.share()
        while not all(self.look().values()):  # noqa: ASYNC110 - other processes set no event
            await trio.sleep(_POLL_S)
        self.judge()

    def share(self, *, without: str | None = None) -> None:
        """Spreads the load over all regions, or over all but one."""
        taking = [name for name in self._regions if name != without]
        for name, load in self._regions.items():
            rate = 0.0 if name == without else TOTAL_RATE / len(taking)
            load.program.tell(f"rate {rate}")

    def expect(self, region: str, colours: frozenset[str], since_ns: int) -> None:
        """From then on one of these colours (NOBODY: the proxy itself) answers in this region."""
        self._regions[region].rules.append(Rule(since_ns=since_ns, colours=colours))

    def expect_no_route(self) -> None:
        """Until a switch says otherwise no table is in force, and the proxies say so."""
        for name in self._regions:
            self.expect(name, frozenset({NOBODY}), 0)

    def expect_switch(self, document: Mapping[str, Any], colour: str) -> None:
        """What a switch promises: the old colour or the new once accepted, the new once live.

        An agent that is not live is held to what was expected of its region before.
        """
        for agent in document["agents"]:
            if agent["live_at"] is not None:
                rules = self._regions[agent["region"]].rules
                before = rules[-1].colours if rules else EITHER
                self.expect(agent["region"], before | {colour}, _ns(document["accepted_at"]))
                live_ns = _ns(agent["live_at"]) + round((agent.get("bound_ms") or 0.0) * 1e6)
                self.expect(agent["region"], frozenset({colour}), live_ns)

    def look(self) -> Mapping[str, list[Observation]]:
        """What has been seen since it was last judged, by region. Raises ProgramFailedError."""
        for load in self._regions.values():
            load.program.check()
            load.seen += load.file.new()
        return {name: load.seen for name, load in self._regions.items()}

    async def slow_answers(self) -> None:
        """Waits until in every region a slow request has been served: from now on some always wait."""
        while not all(any(map(_is_slow, seen)) for seen in self.look().values()):  # noqa: ASYNC110
            await trio.sleep(_POLL_S)

    def serving(self) -> dict[str, str]:
        """What each region answered last, in words."""
        return {name: _words(seen[-1]) if seen else "-" for name, seen in self.look().items()}

    def judge(self) -> tuple[dict[str, Requests], float]:
        """The requests since this was last asked, by region, and how many a second."""
        self.look()
        now_ns = time.time_ns()
        result = {name: judged(load.seen, load.rules) for name, load in self._regions.items()}
        sent = sum(one.sent for one in result.values())
        rate = sent / max(1e-9, (now_ns - self._since_ns) / 1e9)
        self._since_ns = now_ns
        for load in self._regions.values():
            load.seen = []
        return result, rate

    def failures(self) -> list[str]:
        """The last failure of each region that had one, in its load generator's words."""
        tails = {name: load.program.tail() for name, load in self._regions.items()}
        return [f"{name}: {tail.splitlines()[-1]}" for name, tail in tails.items() if tail]

    def kill(self) -> None:
        """Ends every load generator."""
        for load in self._regions.values():
            load.program.kill()


def _is_slow(one: Observation) -> bool:
    return one.kind == "slow" and one.colour != NOBODY and not one.failed


def _words(one: Observation) -> str:
    if one.failed:
        return "failed"
    return f"{one.colour or 'no route'}, epoch {one.epoch}"


def _ns(moment: str) -> int:
    """An ISO 8601 moment, which has a zone, in nanoseconds since 1970."""
    return round(datetime.fromisoformat(moment).timestamp() * 1e9)
