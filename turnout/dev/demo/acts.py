"""The six acts of the demo: each does what an operator or an accident does, and says what it promised."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import trio

from turnout.cli.render import duration
from turnout.cli.switch_view import view_of
from turnout.dev.demo.stage import SETTLE_S, ActReport, Stage
from turnout.dev.observations import EITHER, first_of_epoch
from turnout.dev.plan import SERVICE, RegionPlan
from turnout.protocol.records import OutcomeKind
from turnout.runtime.problems import ExitCode

_CATCH_UP_S: Final = 15.0
_LAST_SLOW_S: Final = 5.5
_POLL_S: Final = 0.1
_VOTE: Final = b'"type":"Vote"'

Act = Callable[[Stage, ActReport], Awaitable[None]]


async def first_table(stage: Stage, report: ActReport) -> None:
    """The service's first table, while users ask already: all their requests go to blue."""
    table = str(stage.fleet.plan.table_file)
    code, document = await stage.turnout(report, "apply", "-f", table)
    _expect_live(report, code, document)
    _expect_switch(stage, document, "blue")
    with trio.move_on_after(3 * _LAST_SLOW_S):
        await stage.traffic.slow_answers()


async def switch(stage: Stage, report: ActReport) -> None:
    """Blue to green, at one instant everywhere, while users are being served."""
    arguments = ("switch", SERVICE, "--to", "green", "--activation", "scheduled")
    code, document = await stage.turnout(report, *arguments)
    _expect_live(report, code, document)
    _expect_drained(report, document)
    _expect_switch(stage, document, "green")
    await trio.sleep(SETTLE_S)


async def rollback(stage: Stage, report: ActReport) -> None:
    """And back: a rollback is a switch of its own, at least as fast."""
    code, document = await stage.turnout(report, "rollback", SERVICE, "--reason", "demo")
    _expect_live(report, code, document)
    _expect_drained(report, document)
    _expect_switch(stage, document, "blue")
    await trio.sleep(SETTLE_S)


async def partition(stage: Stage, report: ActReport) -> None:
    """One region is cut off right behind its vote: the others switch, and it keeps what it has."""
    cut = _last(stage)
    stage.fleet.links[cut.name].cut_after(_VOTE)
    code, document = await stage.turnout(
        report, "switch", SERVICE, "--to", "green", "--wait-for", "live"
    )
    if document:
        report.switches.append(document)
    _expect_switch(stage, document, "green")
    laggards = {lag["agent"] for lag in document.get("laggards", ())}
    report.promise("exit code 6: partial", code == ExitCode.PARTIAL)
    report.promise("outcome partial", document.get("outcome") == OutcomeKind.PARTIAL)
    report.promise(f"{cut.agent} alone is named as behind", laggards == {cut.agent})
    report.promise("inside the 30 s", _known_within_budget(document))
    await trio.sleep(SETTLE_S)
    seen = stage.traffic.look()[cut.name]
    report.promise(
        f"{cut.name} serves its last good table, blue",
        bool(seen) and seen[-1].colour == "blue" and not seen[-1].failed,
    )


async def heal(stage: Stage, report: ActReport) -> None:
    """The network is back: the region learns what was decided and catches up by itself."""
    healed = _last(stage)
    healed_ns, began = time.time_ns(), trio.current_time()
    stage.fleet.links[healed.name].heal()
    agent: Mapping[str, Any] = {}
    epoch = 0
    with trio.move_on_after(_CATCH_UP_S):
        while not (agent and agent["standing"] == "good" and agent["live_at"]):
            await trio.sleep(_POLL_S)
            agent, epoch = await _agent(stage, healed)
    took_s = trio.current_time() - began
    caught_up = bool(agent) and agent["standing"] == "good"
    report.promise(f"{healed.agent} is good again within {_CATCH_UP_S:g} s", caught_up)
    stage.traffic.expect(healed.name, EITHER, healed_ns)
    stage.traffic.expect(healed.name, frozenset({"green"}), time.time_ns())
    await trio.sleep(SETTLE_S)
    first_ns = first_of_epoch(stage.traffic.look()[healed.name], epoch)
    if first_ns is not None:
        after = duration(max(0.0, (first_ns - healed_ns) / 1e9))
        report.notes.append(
            f"{healed.name} served green {after} after the network was back,"
            f" and was good again after {duration(took_s)}"
        )
    report.promise(f"{healed.name} serves green", first_ns is not None)


async def control_plane_gone(stage: Stage, report: ActReport) -> None:
    """All coordinators and etcd die; in that state an agent, and then a proxy, is killed."""
    fleet, region = stage.fleet, stage.fleet.plan.regions[0]
    before = await fleet.agent_status(region)
    for coordinator in fleet.coordinators:
        coordinator.kill()
    fleet.etcd.kill()
    code, _ = await stage.turnout(report, "status")
    report.notes.clear()  # what the command says of it is no news here
    report.promise("exit code 8: nobody to ask", code == ExitCode.UNREACHABLE)

    stage.say(f"  kill -9 {region.agent}, and start it again")
    fleet.agents[region.name].kill()
    fleet.agents[region.name].start()
    report.promise(
        f"{region.agent}, killed and started, serves the same epoch",
        await _serves_again(stage, region, before),
    )
    # A proxy that dies takes its connections along: users are moved to the other regions first,
    # as the tier before the edges does for maintenance.
    stage.say(
        f"  traffic of {region.name} goes elsewhere; kill -9 its {region.proxy}, and start it again"
    )
    stage.traffic.share(without=region.name)
    await trio.sleep(_LAST_SLOW_S)
    fleet.agents[region.name].kill()
    proxy = fleet.proxy_pid(region)
    if proxy is not None:
        os.kill(proxy, signal.SIGKILL)
    fleet.agents[region.name].start()
    again = await _serves_again(stage, region, before)
    report.promise(f"{region.proxy} of {region.name} was killed", proxy is not None)
    report.promise("started again, it serves the same epoch, from disk alone", again)
    stage.traffic.share()
    await trio.sleep(2 * SETTLE_S)
    report.notes.append("no coordinator, no etcd: every region serves on")


ACTS: Final[Mapping[str, Act]] = {
    "first-table": first_table,
    "switch": switch,
    "rollback": rollback,
    "partition": partition,
    "heal": heal,
    "control-plane-gone": control_plane_gone,
}


# ------------------------------------------------------------------------------------ promises


def _expect_switch(stage: Stage, document: dict[str, Any], colour: str) -> None:
    """A command that got no answer has switched nothing that is known of."""
    if document:
        stage.traffic.expect_switch(document, colour)


def _expect_live(report: ActReport, code: int, document: dict[str, Any]) -> None:
    if document:
        report.switches.append(document)
    outcome = view_of(document).outcome if document else None
    report.promise("exit code 0", code == ExitCode.DONE)
    report.promise("live in every region", outcome is OutcomeKind.LIVE)
    report.promise("inside the 30 s", bool(document) and view_of(document).sla.met is True)


def _expect_drained(report: ActReport, document: dict[str, Any]) -> None:
    agents = document.get("agents", ())
    drained = bool(agents) and all(agent["drained"] for agent in agents)
    report.promise("the old colour is drained, nothing is cut", drained)


def _known_within_budget(document: dict[str, Any]) -> bool:
    known_s = document.get("known_s")
    return known_s is not None and bool(known_s <= document["sla"]["budget_s"])


# ---------------------------------------------------------------------------------- the stage


def _last(stage: Stage) -> RegionPlan:
    return stage.fleet.plan.regions[-1]


async def _agent(stage: Stage, region: RegionPlan) -> tuple[Mapping[str, Any], int]:
    """A region's agent as the coordinators see it, and the epoch in force."""
    fleet = await stage.fleet.ask("/v1/agents") or {"agents": []}
    services = await stage.fleet.ask("/v1/services") or {"epoch": 0}
    agents = {one["agent"]: one for one in fleet["agents"]}
    return agents.get(region.agent, {}), services["epoch"]


async def _serves_again(stage: Stage, region: RegionPlan, before: dict[str, Any]) -> bool:
    """Whether an agent that was started again says that its proxy serves what it served before."""
    with trio.move_on_after(_CATCH_UP_S):
        while True:
            status = await stage.fleet.agent_status(region)
            if status and status["serving"] and status["serving"] == before.get("serving"):
                return True
            await trio.sleep(_POLL_S)
    return False
