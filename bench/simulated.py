"""What the benches of the simulator share: maps with everything well placed, and many runs on all cores."""

from __future__ import annotations

import multiprocessing
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final, TypeVar

import click

from simulator import matrices
from simulator.operations import Activation, Do, SwitchOperation
from simulator.placement import Costs, Distances
from simulator.placement_search import Shape, best_placements
from simulator.scenario import Topology
from turnout.protocol.identifiers import ServiceName
from turnout.protocol.routing import Colour

Item = TypeVar("Item")
Result = TypeVar("Result")

MAPS: Final = ("aws-19", "azure-24")

AT_S: Final = 15.0
"""When the first switch is asked for: by then every agent has measured its clock several times."""


@lru_cache
def well_placed(name: str) -> Topology:
    """An agent in each region of a map, three coordinators and three members of etcd where they serve best."""
    distances = Distances(matrices.load(name), Costs())
    placement = best_placements(distances, Shape(coordinators=3, etcd=3), top=1)[0].placement
    return Topology(matrix=name, coordinators=placement.coordinators, etcd=placement.etcd)


def where(topology: Topology) -> str:
    """A topology in a line."""
    coordinators, etcd = ", ".join(topology.coordinators), ", ".join(topology.etcd)
    return f"{topology.matrix}: coordinators in {coordinators}; etcd in {etcd}"


def switch(
    activation: Activation, *, at_s: float = AT_S, to: Colour = Colour.GREEN
) -> SwitchOperation:
    """An operator switches the one service."""
    return SwitchOperation(
        at_s=at_s, do=Do.SWITCH, service=ServiceName("checkout"), to=to, activation=activation
    )


def on_all_cores(
    act: Callable[[Item], Result], items: Sequence[Item], workers: int | None = None
) -> Iterator[Result]:
    """Each item's result, as it comes; how far it is stands on a terminal."""
    context = multiprocessing.get_context("fork")
    with (
        context.Pool(workers or os.cpu_count()) as pool,
        click.progressbar(
            length=len(items), file=sys.stderr, hidden=not sys.stderr.isatty()
        ) as bar,
    ):
        for result in pool.imap_unordered(act, items, chunksize=4):
            bar.update(1)
            yield result


def quantile(values: Iterable[float], per_mille: int) -> float:
    """The least value that so many in a thousand of all values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * per_mille // 1000) - 1)]


def machine() -> str:
    """What was measured on, in a line: it matters for how long it took, and for nothing else."""
    system = f"{platform.system()} {platform.release().split('-')[0]}"
    return f"{os.cpu_count()} cores, {system}, Python {platform.python_version()}"
