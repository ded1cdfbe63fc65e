"""``turnout exclude REGION`` and ``turnout include REGION``."""

from __future__ import annotations

from typing import Any

import click

from turnout.cli.api_client import Api, segment
from turnout.cli.examples import WithExamples
from turnout.cli.options import NAME, target_of, target_options
from turnout.cli.running import ask
from turnout.cli.terminal import say, show_json


@click.command(
    cls=WithExamples,
    examples=('turnout exclude eu-west-1 --reason "its provider works on the network"',),
)
@click.argument("region", type=NAME)
@click.option("--reason", required=True, help="Why; shown wherever the exclusion matters.")
@target_options
def exclude(region: str, reason: str, **params: Any) -> None:
    """Leave REGION out of switches until `turnout include REGION`; it keeps what it serves."""
    target = target_of(params)

    async def work(api: Api) -> None:
        reply = await api.post("/v1/exclusions", {"region": region, "reason": reason})
        if target.json:
            show_json(reply.body)
        else:
            say(
                f"{region} is excluded and keeps what it serves. Take it in again with:"
                f" turnout include {region}{target.flags()}"
            )

    ask(target, work)


@click.command(
    cls=WithExamples,
    examples=("turnout include eu-west-1",),
)
@click.argument("region", type=NAME)
@click.option("--reason", default="", help="Why, for the history.")
@target_options
def include(region: str, reason: str, **params: Any) -> None:
    """Take REGION in again; it catches up with the table in force by itself."""
    target = target_of(params)

    async def work(api: Api) -> None:
        known = (await api.get("/v1/exclusions"))["exclusions"]
        reply = await api.delete(f"/v1/exclusions/{segment(region)}", reason=reason or None)
        if target.json:
            show_json(reply.body)
        elif any(one["region"] == region for one in known):
            say(f"{region} is included again and catches up.")
        else:
            say(f"{region} was not excluded: nothing to do.")

    ask(target, work)
