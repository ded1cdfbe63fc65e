"""``turnout sim``: the machines that run in production, tried out in virtual time."""

from __future__ import annotations

import click

from turnout.cli.lazy import LazyGroup

_SECTIONS = {
    "One fleet": {
        "run": ("turnout.cli.sim_run:run", "Run a scenario, and judge it"),
        "list": ("turnout.cli.sim_run:list_", "The scenarios that come along"),
        "plan": ("turnout.cli.sim_plan:plan", "Where coordinators and etcd belong on a map"),
    },
    "Many": {
        "sweep": ("turnout.cli.sim_sweep:sweep", "Run many seeds, each a fleet of its own"),
        "replay": ("turnout.cli.sim_sweep:replay", "Run one seed again, to the last event"),
        "shrink": ("turnout.cli.sim_sweep:shrink", "Make the faults of what fails few"),
    },
    "All that can happen": {
        "explore": ("turnout.cli.sim_explore:explore", "Exhaust small worlds, step by step"),
    },
}


class _Sim(LazyGroup):
    sections = _SECTIONS


@click.group(cls=_Sim)
def sim() -> None:
    """Try the very machines that run in production in virtual time. Nothing is touched."""
