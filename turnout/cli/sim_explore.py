"""``turnout sim explore``: every world that a small fleet can come to, or as many as there is time for."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from turnout.cli import render
from turnout.cli.examples import WithExamples
from turnout.cli.options import cut, output_option
from turnout.cli.sim_exit import EXIT_CODES_OF_EXPLORE, exit_code_of
from turnout.cli.terminal import show, show_json
from turnout.runtime.problems import ExitCode

if TYPE_CHECKING:
    from simulator.explore.canaries import Canary
    from simulator.explore.worlds import SmallWorld
    from turnout.cli.sim_explore_limits import Limits
    from turnout.cli.sim_explore_report import Explored

F = TypeVar("F", bound=Callable[..., Any])

_UNLIMITED = 2**62
_MOST_THINGS = 9
_EVERY = 200
"""Visits between two looks at clock, memory and screen."""
_BOUNDS = (
    ("replicas", 1, 3, "Coordinators.  [default: 2 with takeovers, else 1]"),
    ("agents", 1, 4, "Agents, each in a region of its own.  [default: 2]"),
    ("takeovers", 0, _MOST_THINGS, "How often another replica takes over, at any moment."),
    ("deaths", 0, _MOST_THINGS, "How often an agent dies and starts again, at any moment."),
    ("proxy_deaths", 0, _MOST_THINGS, "How often a proxy dies with its agent."),
    ("lost_replies", 0, _MOST_THINGS, "How many answers of etcd are lost, or come late."),
    ("refusals", 0, _MOST_THINGS, "How often a proxy refuses to stage or to flip."),
    ("standing_changes", 0, _MOST_THINGS, "How often a region is excluded or included again."),
)


class _Requests(click.ParamType[tuple[str, ...]]):
    """``green,rollback``: what is asked for, in this order."""

    name = "requests"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """The words."""
        from simulator.explore.worlds import ASKED

        words = tuple(value.split(","))
        for word in words:
            if word not in ASKED:
                self.fail(f"{cut(word)!r} is none of {', '.join(ASKED)}", param, ctx)
        if len(words) > _MOST_THINGS:
            self.fail(f"more than {_MOST_THINGS} requests", param, ctx)
        return words


class _Limit(click.FloatRange):
    """A number that something can come to."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number."""
        limit = float(super().convert(value, param, ctx))
        if not math.isfinite(limit):
            self.fail(f"{cut(str(value))!r} is no limit: leave it out for none", param, ctx)
        return limit


def _bounds_options(command: F) -> F:
    """The options that make a world of one's own."""
    for name, least, most, text in reversed(_BOUNDS):
        kind = click.IntRange(least, most)
        command = click.option(f"--{name.replace('_', '-')}", name, type=kind, help=text)(command)
    command = click.option(
        "--slow-proxies", is_flag=True, help="Staging and probing take steps of their own."
    )(command)
    return click.option(
        "--requests",
        type=_Requests(),
        metavar="WORD,WORD",
        help="What operators ask for, in this order, at any moment: green and blue (switch to that"
        " colour), rollback, apply.  [default: green]",
    )(command)


@click.command(
    cls=WithExamples,
    examples=(
        "turnout sim explore",
        'turnout sim explore --world "switch, takeover" -o json',
        "turnout sim explore --requests green,rollback,green --takeovers 2 --minutes 10",
        'turnout sim explore --break "promise forgotten at restart"',
    ),
    epilog=EXIT_CODES_OF_EXPLORE,
)
@click.option("--list", "listed", is_flag=True, help="List the worlds and what can be broken.")
@click.option(
    "--world",
    metavar="NAME",
    help="A world by its name, or all whose names hold this.  [default: all short ones]",
)
@click.option("--all", "whole", is_flag=True, help="The worlds that take minutes, too.")
@click.option(
    "--break", "broken", metavar="NAME", help="Break the machines like this, to see it found."
)
@_bounds_options
@click.option("--limit-worlds", type=click.IntRange(1), help="Stop after about so many worlds.")
@click.option("--minutes", type=_Limit(0, min_open=True), help="Stop a world after so long.")
@click.option(
    "--memory-gib",
    type=_Limit(0, min_open=True),
    help="Stop where the search holds so much memory.",
)
@output_option
def explore(
    listed: bool,
    output: str,
    limit_worlds: int | None,
    minutes: float | None,
    memory_gib: float | None,
    **chosen: Any,
) -> None:
    """Exhaust small worlds: every message, death, takeover and answer in every order.

    Each world that can be reached is judged by S1 to S7 (turnout/protocol/README.md), breadth
    first: what is found has no shorter history. simulator/explore/README.md says what that proves.
    At a limit, or at Ctrl-C, it says how far it came.
    """
    from turnout.cli.sim_explore_limits import Limits

    if listed:
        _list(output)
        return
    limits = Limits(worlds=limit_worlds, minutes=minutes, memory_gib=memory_gib)
    explored: list[Explored] = []
    for one in _explored(_chosen(**chosen), limits):
        explored.append(one)
        if output == "table":
            show(one.text())
    _end(explored, output)


def _end(explored: Sequence[Explored], output: str) -> None:
    """Print what is printed once, and leave with the worst of all."""
    from simulator.results import Verdict
    from turnout.cli.sim_explore_report import INTERRUPTED

    worst = max((one.verdict for one in explored), key=list(Verdict).index)
    if output == "json":
        show_json({"verdict": worst, "worlds": [one.document() for one in explored]})
    if explored[-1].stopped_by == INTERRUPTED:
        raise click.exceptions.Exit(int(ExitCode.INTERRUPTED))
    raise click.exceptions.Exit(exit_code_of(worst))


# --- what is searched ---------------------------------------------------------------------------


def _chosen(
    world: str | None, whole: bool, broken: str | None, slow_proxies: bool, **bounds: Any
) -> Sequence[SmallWorld | Canary]:
    """The worlds meant, or the broken machine with the world that shows it."""
    from simulator.explore.canaries import CANARIES
    from simulator.explore.worlds import WORLDS

    has_bounds = slow_proxies or any(value is not None for value in bounds.values())
    if sum((world is not None, whole, broken is not None, has_bounds)) > 1:
        raise click.UsageError("--world, --all, --break and bounds exclude each other.")
    if broken is not None:
        found = _named(broken, {canary.name: canary for canary in CANARIES}, "--break")
        if len(found) > 1:
            names = ", ".join(f"'{canary.name}'" for canary in found)
            raise click.BadParameter(f"that may be {names}", param_hint="'--break'")
        return found
    if world is not None:
        return _named(world, {one.name: one for one in WORLDS}, "--world")
    if has_bounds:
        return [_own_world(slow_proxies=slow_proxies, **bounds)]
    return [one for one in WORLDS if not one.endless and (whole or not one.long)]


T = TypeVar("T")


def _named(name: str, known: dict[str, T], option: str) -> list[T]:
    """What has this name or, if nothing has, all whose names hold it."""
    if name in known:
        return [known[name]]
    found = [one for full, one in known.items() if name.strip() and name in full]
    if not found:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else "see turnout sim explore --list"
        raise click.BadParameter(f"there is no {cut(name)!r}: {hint}", param_hint=f"'{option}'")
    return found


def _own_world(
    *,
    slow_proxies: bool,
    requests: tuple[str, ...] | None,
    replicas: int | None,
    agents: int | None,
    takeovers: int | None,
    **counts: int | None,
) -> SmallWorld:
    from simulator.explore import worlds
    from simulator.explore.world import Budget

    if takeovers and replicas == 1:
        text = "another replica takes over: with --takeovers there must be 2 or more"
        raise click.BadParameter(text, param_hint="'--replicas'")
    many = agents or 2
    coordinators = replicas or (2 if takeovers else 1)
    budget = Budget(
        requests=worlds.requests(*(requests or ("green",)), agents=many),
        elections=worlds.takeovers(takeovers or 0, replicas=coordinators),
        agent_crashes=counts["deaths"] or 0,
        proxy_restarts=counts["proxy_deaths"] or 0,
        lost_replies=counts["lost_replies"] or 0,
        refusals=counts["refusals"] or 0,
        standing_changes=counts["standing_changes"] or 0,
    )
    return worlds.SmallWorld(
        name=", ".join(requests or ("green",)),
        replicas=coordinators,
        agents=many,
        prompt_proxies=not slow_proxies,
        budget=budget,
    )


def _list(output: str) -> None:
    from simulator.explore.canaries import CANARIES
    from simulator.explore.worlds import WORLDS

    if output == "json":
        worlds = [{"name": w.name, "bounds": w.bounds, "takes": _takes(w)} for w in WORLDS]
        broken = [{"name": c.name, "number": c.number, "bounds": c.world.bounds} for c in CANARIES]
        show_json({"worlds": worlds, "broken": broken})
        return
    rows = [(w.name, w.bounds, _takes(w)) for w in WORLDS]
    show(render.table("WORLD", "BOUNDS", "TAKES", rows=rows))
    show("")
    rows = [(c.name, c.number, c.world.bounds) for c in CANARIES]
    show(render.table("--break", "BREAKS", "BOUNDS", rows=rows))


def _takes(world: SmallWorld) -> str:
    if world.endless:
        return "without end so far"
    return "minutes" if world.long else "seconds"


# --- searching ----------------------------------------------------------------------------------


def _explored(chosen: Sequence[SmallWorld | Canary], limits: Limits) -> Iterator[Explored]:
    """Each in turn; what is interrupted is the last."""
    from turnout.cli.sim_explore_report import INTERRUPTED

    for one in chosen:
        explored = _search(one, limits)
        yield explored
        if explored.stopped_by == INTERRUPTED:
            return


def _search(one: SmallWorld | Canary, limits: Limits) -> Explored:
    from simulator.explore import search
    from simulator.explore.canaries import Canary
    from simulator.explore.quiet import without_texts
    from simulator.explore.transcript import transcript
    from turnout.cli.sim_explore_limits import Watch
    from turnout.cli.sim_explore_report import INTERRUPTED, Explored

    world = one.world if isinstance(one, Canary) else one
    most = limits.worlds or _UNLIMITED
    with without_texts() as patches, Watch(world.name, limits) as watch:
        try:
            space, start = world.start()
            if isinstance(one, Canary):
                one.breaks(patches)
            found = search.explore(space, start, most=most, watch=watch, every=_EVERY)
        except KeyboardInterrupt:
            return Explored(
                world=world, count=watch.count, elapsed_s=watch.elapsed_s, stopped_by=INTERRUPTED
            )
        limited = "--limit-worlds" if found.ended is search.Ended.WORLDS else watch.stopped_by
        return Explored(
            world=world,
            count=found.count,
            elapsed_s=watch.elapsed_s,
            depth=found.depth,
            stopped_by=limited,
            violation=found.violation,
            transcript=transcript(space, found.history),
            is_history=found.is_history,
        )
