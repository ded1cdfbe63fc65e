"""``turnout agents [add | remove]``: the fleet."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import click
from rich.text import Text

from turnout.cli import render
from turnout.cli.api_client import Api, segment
from turnout.cli.examples import WithExamples
from turnout.cli.listing import Listing
from turnout.cli.options import NAME, confirmed, target_of, target_options
from turnout.cli.running import ask
from turnout.cli.terminal import say, show, show_json

Json = Mapping[str, Any]

_EXAMPLE_KEY = "405c203f71ffb58d1cb1ebaac2b7327b6b42bf648b66624872a3c1e8f5e53ae8"
NO_AGENTS = "No agents yet: `turnout agents add ID --region REGION --public-key KEY`."
_STANDING = {"good": render.GOOD, "stale": render.WAITING, "excluded": render.WAITING}


@click.group(invoke_without_command=True)
@target_options
def agents(**params: Any) -> None:
    """List the agents, or add and remove one.

    LINK: whether the agent holds a stream to the leader. CLOCK: how far its clock may be from the
    leader's. DRAIN: requests that its proxy still finishes for colours that were left.
    """
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
            show(NO_AGENTS)

    ask(target, work)


def _public_key(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise click.BadParameter("it has 64 hex digits, as `turnout agent keygen` prints them")
    return value.lower()


@agents.command(
    cls=WithExamples,
    examples=(f"turnout agents add eu-1 --region eu --public-key {_EXAMPLE_KEY}",),
)
@click.argument("agent", type=NAME)
@click.option("--region", required=True, type=NAME, help="Where its proxy is.")
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


@agents.command(
    cls=WithExamples,
    examples=('turnout agents remove eu-1 --reason "the machine is gone"',),
)
@click.argument("agent", type=NAME)
@click.option("--reason", default="", help="Why, for the history.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask whether I am sure.")
@target_options
def remove(agent: str, reason: str, yes: bool, **params: Any) -> None:
    """Take AGENT out of the fleet.

    Nobody waits for it any more, and nobody tells it of switches; its proxy keeps what it serves.
    """
    target = target_of(params)
    if not yes:
        confirmed(f"Remove {agent}? Its proxy keeps what it serves.")

    async def work(api: Api) -> None:
        reply = await api.delete(f"/v1/agents/{segment(agent)}", reason=reason or None)
        if target.json:
            show_json(reply.body)
        else:
            say(f"{agent} is removed.")

    ask(target, work)


def agents_table(agents: Sequence[Json]) -> Listing:
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
            _clock(one["bound_ms"]),
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
        "DRAIN",
        "CLOCK",
        "REASON",
        rows=rows,
    )


def _connected(agent: Json) -> Text:
    if agent["connected"]:
        return Text("up", style=render.GOOD)
    return Text("away", style=render.BAD)


def _clock(bound_ms: float | None) -> str:
    """How far the agent's clock may be from the leader's."""
    return "-" if bound_ms is None else f"±{bound_ms:.1f} ms"
