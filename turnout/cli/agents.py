"""``turnout agents [add | remove]``: the fleet."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from turnout.cli import render
from turnout.cli.api_client import Api, segment
from turnout.cli.options import target_of, target_options
from turnout.cli.running import ask
from turnout.cli.terminal import say, show, show_json

Json = Mapping[str, Any]
_STANDING = {"good": render.GOOD, "stale": render.WAITING, "excluded": render.WAITING}


@click.group(invoke_without_command=True)
@target_options
def agents(**params: Any) -> None:
    """List the agents, or add and remove one."""
    if click.get_current_context().invoked_subcommand is not None:
        return
    target = target_of(params)

    async def work(api: Api) -> None:
        document = await api.get("/v1/agents")
        if target.json:
            show_json(document)
        elif document["agents"]:
            show(agents_table(document["agents"]))
        else:
            show("No agents yet: `turnout agents add ID --region REGION --public-key KEY`.")

    ask(target, work)


def _public_key(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise click.BadParameter("it has 64 hex digits, as `turnout agent keygen` prints them")
    return value.lower()


@agents.command()
@click.argument("agent")
@click.option("--region", required=True, help="Where its proxy is.")
@click.option(
    "--public-key", required=True, callback=_public_key, help="As printed by `agent keygen`."
)
@target_options
def add(agent: str, region: str, public_key: str, **params: Any) -> None:
    """Enrol AGENT: from then on every switch needs its yes."""
    target = target_of(params)
    body = {"agent": agent, "region": region, "public_key": public_key}

    async def work(api: Api) -> None:
        reply = await api.post("/v1/agents", body)
        if target.json:
            show_json(reply.body)
        else:
            say(f"{agent} is enrolled in {region}; it counts once it has reported.")

    ask(target, work)


@agents.command()
@click.argument("agent")
@click.option("--reason", default="", help="Why, for the history.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask whether I am sure.")
@target_options
def remove(agent: str, reason: str, yes: bool, **params: Any) -> None:
    """Remove AGENT: nobody waits for it, and nobody tells its proxy of switches, any more."""
    target = target_of(params)
    if not yes and sys.stdin.isatty():
        click.confirm(f"Remove {agent}? Its proxy keeps what it serves.", abort=True, err=True)

    async def work(api: Api) -> None:
        reply = await api.delete(f"/v1/agents/{segment(agent)}", reason=reason or None)
        if target.json:
            show_json(reply.body)
        else:
            say(f"{agent} is removed.")

    ask(target, work)


def agents_table(agents: Sequence[Json]) -> Table:
    """One line an agent."""
    ordered = sorted(agents, key=lambda one: (one["region"], one["agent"]))
    rows = [
        (
            one["region"],
            one["agent"],
            Text(one["standing"], style=_STANDING.get(one["standing"], "")),
            _connected(one),
            str(one["epoch"] if one["epoch"] is not None else "-"),
            one["progress"] or "-",
            str(one["in_flight"] if one["in_flight"] is not None else "-"),
            _milliseconds(one["bound_ms"]),
            one["trouble"] or one["reason"] or "",
        )
        for one in ordered
    ]
    return render.table(
        "REGION",
        "AGENT",
        "STANDING",
        "LINK",
        "EPOCH",
        "PROGRESS",
        "DRAINING",
        "CLOCK BOUND",
        "REASON",
        rows=rows,
    )


def _connected(agent: Json) -> Text:
    if agent["connected"]:
        return Text("connected", style=render.GOOD)
    return Text("away", style=render.BAD)


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} ms"
