"""The load on all edges of a fleet, and the judgement of what came back."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

from attrs import define, field

from turnout.cli.render import parsed
from turnout.cli.switch_view import SwitchView
from turnout.dev.observations import Observation, ObservationFile, Requests, Rule, judged
from turnout.dev.plan import HOST, FleetPlan
from turnout.dev.programs import Program

TOTAL_RATE = 1560
"""Requests a second over all regions: above the 1,200 promised, whatever little is lost to pauses."""


@define(kw_only=True)
class RegionLoad:
    """One region's load generator, what it saw in the act under way, and what it should see."""

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

    def start(self) -> None:
        """Begins to send to every region alike."""
        for load in self._regions.values():
            load.program.start()
        self.share()
        self._since_ns = time.time_ns()

    def share(self, *, without: str | None = None) -> None:
        """Spreads the load over all regions, or over all but one."""
        taking = [name for name in self._regions if name != without]
        for name, load in self._regions.items():
            rate = 0.0 if name == without else TOTAL_RATE / len(taking)
            load.program.tell(f"rate {rate}")

    def expect(self, region: str, colour: str, since_ns: int) -> None:
        """From then on this region answers with this colour ("": with either)."""
        self._regions[region].rules.append(Rule(since_ns=since_ns, colour=colour))

    def expect_switch(self, switch: SwitchView, colour: str) -> None:
        """What a switch promises: either colour from its acceptance on, ``colour`` once live.

        An agent that is not live is held to what was expected of its region before.
        """
        for agent in switch.agents:
            if agent.live_at is not None and switch.accepted_at is not None:
                self.expect(agent.region, "", _ns(switch.accepted_at))
                self.expect(agent.region, colour, _ns(agent.live_at) + bound_ns(agent.bound_ms))

    def look(self) -> Mapping[str, list[Observation]]:
        """What has been seen since the act began, by region."""
        for load in self._regions.values():
            load.program.check()
            load.seen += load.file.new()
        return {name: load.seen for name, load in self._regions.items()}

    def serving(self) -> dict[str, str]:
        """What each region answered last, in words."""
        return {name: _words(seen[-1]) if seen else "-" for name, seen in self.look().items()}

    def judge(self) -> tuple[dict[str, Requests], float]:
        """The act's requests by region, and how many a second; begins the next act."""
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


def bound_ns(bound_ms: float | None) -> int:
    """An agent's clock bound in nanoseconds: how far its ``live_at`` may be off."""
    return round((bound_ms or 0.0) * 1e6)


def _words(one: Observation) -> str:
    return "failed" if one.failed else f"{one.colour}, epoch {one.epoch}"


def _ns(moment: str) -> int:
    return round(parsed(moment).timestamp() * 1e9)
