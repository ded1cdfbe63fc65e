"""``turnout sim plan``: where coordinators and etcd belong on a map, and what a switch takes then."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from turnout.cli import render
from turnout.cli.examples import WithExamples
from turnout.cli.listing import Listing
from turnout.cli.options import output_option
from turnout.cli.terminal import show, show_json

if TYPE_CHECKING:
    from simulator.matrices import Matrix
    from simulator.placement import Costs, Estimate, Parts

_MOST_MS = 60_000
_MOST_SHOWN = 100
_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000
_PART_WORDS = {
    "prepare": "prepare and votes",
    "staging": "staging",
    "decide": "decision written",
    "activate": "until activation",
    "flip": "flip",
    "proof": "proof",
}


class _Milliseconds(click.ParamType[int]):
    """A number of milliseconds, not below 0; as nanoseconds."""

    name = "ms"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The nanoseconds."""
        try:
            milliseconds = float(value)
        except ValueError:
            milliseconds = math.nan
        if not 0 <= milliseconds <= _MOST_MS:
            self.fail(f"{value!r} is not a number of milliseconds from 0 to {_MOST_MS}", param, ctx)
        return round(milliseconds * _NS_PER_MS)


@click.command(
    cls=WithExamples,
    examples=(
        "turnout sim plan --matrix aws-19",
        "turnout sim plan --matrix azure-24 --etcd 5 --activation scheduled",
        "turnout sim plan --matrix rtt.csv --regions eu,us,asia --staging-ms 80 -o json",
    ),
)
@click.option(
    "--matrix",
    "map_name",
    required=True,
    metavar="NAME|FILE",
    help="A map that comes along (aws-19, azure-24, one-continent, two-halves), or a CSV with the"
    " columns from,to,rtt_ms.",
)
@click.option(
    "--regions",
    metavar="NAME,NAME",
    help="Where agents are, and coordinators may be.  [default: all regions of the map]",
)
@click.option(
    "--replicas",
    type=click.IntRange(1, 5),
    default=3,
    show_default=True,
    help="How many coordinators, each in a region of its own.",
)
@click.option(
    "--etcd",
    type=click.IntRange(1, 5),
    default=3,
    show_default=True,
    help="How many members of etcd, each in a region of its own.",
)
@click.option(
    "--top",
    type=click.IntRange(1, _MOST_SHOWN),
    default=5,
    show_default=True,
    help="How many placements to show.",
)
@click.option(
    "--activation",
    type=click.Choice(["immediate", "scheduled"]),
    default="immediate",
    show_default=True,
    help="How the flip is timed.",
)
@click.option(
    "--staging-ms",
    "staging_ns",
    type=_Milliseconds(),
    default="20",
    show_default=True,
    help="What staging takes: 10 to 30 with Envoy and a service or a few.",
)
@click.option(
    "--flip-ms",
    "flip_ns",
    type=_Milliseconds(),
    default="3",
    show_default=True,
    help="What the flip takes: 3 with Envoy and a small table.",
)
@click.option(
    "--proof-ms",
    "proof_ns",
    type=_Milliseconds(),
    default="25",
    show_default=True,
    help="What proving it takes; not part of the lower bound.",
)
@output_option
def plan(  # one parameter an option
    map_name: str, regions: str | None, replicas: int, etcd: int, top: int, **params: Any
) -> None:
    """Find the best placement of coordinators and etcd on a map, and what a switch takes there.

    The lower bound is 1.5 D + W + staging + flip: D the round trip to the farthest agent, W one
    write to etcd as the leader sees it. Every placement is considered; nothing is simulated.
    """
    from simulator.placement import Costs, Distances
    from simulator.placement_search import Shape, best_placements
    from turnout.protocol.records import Mode

    matrix = _map(map_name, regions)
    for option, count in (("--replicas", replicas), ("--etcd", etcd)):
        _check_room(matrix, option, count)
    costs = Costs(
        mode=Mode(params["activation"]),
        staging_ns=params["staging_ns"],
        flip_ns=params["flip_ns"],
        proof_ns=params["proof_ns"],
    )
    shape = Shape(coordinators=replicas, etcd=etcd)
    best = best_placements(Distances(matrix, costs), shape, top)
    if params["output"] == "json":
        show_json(_document(matrix, costs, best))
    else:
        _show(matrix, costs, best)


def _map(name: str, regions: str | None) -> Matrix:
    from simulator.matrices import MatrixError, load

    try:
        matrix = load(name)
    except MatrixError as error:
        raise click.BadParameter(str(error), param_hint="'--matrix'") from error
    if regions is None:
        return matrix
    try:
        return matrix.among(part.strip() for part in regions.split(",") if part.strip())
    except MatrixError as error:
        raise click.BadParameter(str(error), param_hint="'--regions'") from error


def _check_room(matrix: Matrix, option: str, count: int) -> None:
    there = len(matrix.regions)
    if count > there:
        text = f"{count} need as many regions, and {matrix.name} has {there} here: ask for fewer"
        raise click.BadParameter(text, param_hint=f"'{option}'")


# ------------------------------------------------------------------------------------- for people


def _show(matrix: Matrix, costs: Costs, best: Sequence[Estimate]) -> None:
    show(Text(f"{matrix.name}, {len(matrix.regions)} regions, {costs.mode.value}", style="bold"))
    show(
        f"Taken as given: staging {_time(costs.staging_ns)}, flip {_time(costs.flip_ns)},"
        f" proof {_time(costs.proof_ns)}."
    )
    show("")
    show(_placements(best))
    show("")
    show(_part_list(best[0].parts))
    show("")
    for line in _conclusions(best[0]):
        show(line)


def _placements(best: Sequence[Estimate]) -> Listing:
    rows = [
        (
            str(number),
            one.placement.leader,
            "\n".join(one.placement.coordinators[1:]),
            "\n".join(one.placement.etcd),
            _time(one.lower_bound_ns),
            _time(one.parts.total_ns),
            _takeover(one),
            _time(one.timing.failover_ns),
            _promise(one),
        )
        for number, one in enumerate(best, start=1)
    ]
    return render.table(
        "",
        "LEADER",
        "OTHERS",
        "ETCD, LEADER FIRST",
        "BOUND",
        "EXPECTED",
        "LEADER LOST",
        "FAILOVER",
        "PROMISE",
        rows=rows,
    )


def _takeover(one: Estimate) -> Text:
    if one.takeover_ns is None:
        return Text(one.takeover_reason, style=render.BAD)
    return Text(_time(one.takeover_ns))


def _promise(one: Estimate) -> Text:
    if one.broken:
        return Text("broken", style=render.BAD)
    return Text(f"T_prep {one.timing.prepare_timeout_ns / _NS_PER_S:g} s", style=render.GOOD)


def _part_list(parts: Parts) -> Listing:
    rows = [(_PART_WORDS[name], _time(ns), f"{_share(ns, parts)} %") for name, ns in parts.named()]
    return render.table("PART OF THE BEST", "TIME", "SHARE", rows=rows)


def _share(ns: int, parts: Parts) -> int:
    return round(100 * ns / parts.total_ns)


def _conclusions(best: Estimate) -> Iterator[str]:
    largest = (
        f"{_PART_WORDS[name]} ({_share(ns, best.parts)} %)" for name, ns in best.parts.dominant()
    )
    yield f"Most of it: {', '.join(largest)}."
    if best.takeover_ns is None:
        yield f"If {best.placement.leader} is lost, no switch can be decided: {best.takeover_reason}."
    else:
        yield (
            f"If {best.placement.leader} is lost, the next switch takes up to"
            f" {_time(best.takeover_ns)}, after a failover of up to"
            f" {_time(best.timing.failover_ns)}."
        )
    timing = best.timing
    yield (
        f"With election_s {timing.election_ns / _NS_PER_S:g}, lease_ttl_s"
        f" {timing.lease_ttl_ns / _NS_PER_S:g}, prepare_timeout_s"
        f" {timing.prepare_timeout_ns / _NS_PER_S:g} and store_write_s"
        f" {timing.store_write_ns / _NS_PER_S:g}, {_verdict(best)}"
    )
    yield (
        "Whoever comes back has the newest table within"
        f" {timing.convergence_ns / _NS_PER_S:g} s, a failover included."
    )


def _verdict(best: Estimate) -> str:
    budget_s = best.timing.budget_ns / _NS_PER_S
    if not best.broken:
        return f"{budget_s:g} s are kept through a failover."
    return f"{budget_s:g} s cannot be promised: {'; '.join(best.broken)}"


def _time(ns: int) -> str:
    return render.duration(ns / _NS_PER_S)


# ----------------------------------------------------------------------------------- for programs


def _document(matrix: Matrix, costs: Costs, best: Sequence[Estimate]) -> dict[str, Any]:
    return {
        "matrix": matrix.name,
        "regions": list(matrix.regions),
        "activation": costs.mode.value,
        "given": {
            "staging_s": _seconds(costs.staging_ns),
            "flip_s": _seconds(costs.flip_ns),
            "proof_s": _seconds(costs.proof_ns),
            "commit_s": _seconds(costs.commit_ns),
            "clock_bound_s": _seconds(costs.clock_bound_ns),
        },
        "placements": [_placement(one) for one in best],
    }


def _placement(one: Estimate) -> dict[str, Any]:
    timing, takeover_ns = one.timing, one.takeover_ns
    return {
        "leader": one.placement.leader,
        "coordinators": list(one.placement.coordinators),
        "etcd_leader": one.placement.etcd_leader,
        "etcd": list(one.placement.etcd),
        "lower_bound_s": _seconds(one.lower_bound_ns),
        "expected_s": _seconds(one.parts.total_ns),
        "parts": {f"{name}_s": _seconds(ns) for name, ns in one.parts.named()},
        "dominant": [name for name, _ in one.parts.dominant()],
        "leader_lost_s": None if takeover_ns is None else _seconds(takeover_ns),
        "leader_lost_reason": one.takeover_reason,
        "failover_s": _seconds(timing.failover_ns),
        "timing": {
            "election_s": _seconds(timing.election_ns),
            "lease_ttl_s": _seconds(timing.lease_ttl_ns),
            "prepare_timeout_s": _seconds(timing.prepare_timeout_ns),
            "max_round_trip_s": _seconds(timing.max_round_trip_ns),
            "max_g_s": _seconds(timing.max_g_ns),
            "store_write_s": _seconds(timing.store_write_ns),
            "worst_case_s": _seconds(timing.worst_case_ns),
            "convergence_s": _seconds(timing.convergence_ns),
        },
        "broken": list(one.broken),
    }


def _seconds(ns: int) -> float:
    return round(ns / _NS_PER_S, 6)
