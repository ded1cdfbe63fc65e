"""``turnout status [SERVICE]``: what is in force, who is there, and what is going on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click
import trio
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from turnout.cli import render
from turnout.cli.agents import NO_AGENTS, agents_table
from turnout.cli.api_client import Api
from turnout.cli.examples import WithExamples
from turnout.cli.exit_codes import CommandError
from turnout.cli.options import NAME, WAIT, target_of, target_options
from turnout.cli.running import ask
from turnout.cli.services import NO_SERVICES, services_table
from turnout.cli.suggestions import suggestion
from turnout.cli.terminal import show, show_json, stdout
from turnout.protocol.wording import counted
from turnout.runtime.problems import ExitCode

Json = Mapping[str, Any]


@click.command(
    cls=WithExamples,
    examples=(
        "turnout status",
        "turnout status checkout -w",
        "turnout status -o json | jq .head.committed",
    ),
)
@click.argument("service", required=False, type=NAME)
@click.option("-w", "--watch", is_flag=True, help="Keep showing it; -o json: a line a change.")
@click.option("--interval", type=WAIT, default="1s", show_default=True, help="How often -w asks.")
@target_options
def status(service: str | None, watch: bool, interval: float, **params: Any) -> None:
    """Show what is in force, the fleet, and a switch that is going on."""
    target = target_of(params)

    async def once(api: Api) -> None:
        document = await _document(api, service)
        if target.json:
            show_json(document)
        else:
            show(_page(document))

    async def again_and_again(api: Api) -> None:
        console = stdout()
        if target.json:
            await _stream(api, service, interval)
        elif console.is_terminal and not console.is_dumb_terminal:
            await _redrawn(api, service, interval)
        else:
            await _printed_anew(api, service, interval)

    ask(target, again_and_again if watch else once)


async def _document(api: Api, service: str | None) -> dict[str, Any]:
    """All that is shown, as one document."""
    services = await api.get("/v1/services")
    if service is not None:
        known = [one["service"] for one in services["services"]]
        if service not in known:
            raise CommandError(
                f"There is no service '{service}'. {suggestion(service, known)}", ExitCode.REFUSED
            )
        services["services"] = [one for one in services["services"] if one["service"] == service]
    status = await api.get("/v1/status")
    agents = await api.get("/v1/agents")
    return {**status, "services": services["services"], "agents": agents["agents"]}


async def _stream(api: Api, service: str | None, interval_s: float) -> None:
    before = None
    while True:
        document = await _document(api, service)
        if document != before:
            show_json(document, going_on=True)
            before = document
        await trio.sleep(interval_s)


async def _redrawn(api: Api, service: str | None, interval_s: float) -> None:
    with Live(console=stdout(), auto_refresh=False, screen=True) as live:
        while True:
            live.update(_page(await _document(api, service)), refresh=True)
            await trio.sleep(interval_s)


async def _printed_anew(api: Api, service: str | None, interval_s: float) -> None:
    """Where nothing can be drawn over, the page is printed whenever it has changed."""
    before = None
    while True:
        document = await _document(api, service)
        if _stable(document) != before:
            if before is not None:
                show("", going_on=True)
            show(_page(document), going_on=True)
            before = _stable(document)
        await trio.sleep(interval_s)


def _stable(document: Json) -> Json:
    """The page without what changes with every report of an idle fleet."""
    agents = [{**one, "bound_ms": None} for one in document["agents"]]
    return {**document, "agents": agents}


def _page(document: Json) -> RenderableType:
    parts: list[RenderableType] = [_headline(document), *_notes(document), ""]
    for things, listing, none_yet in (
        ("services", services_table, NO_SERVICES),
        ("agents", agents_table, NO_AGENTS),
    ):
        parts += [listing(document[things]) if document[things] else none_yet, ""]
    return Group(*parts[:-1])


def _headline(document: Json) -> Text:
    head, leader = document["head"], document["leader"]
    line = Text.assemble((document["domain"], "bold"), "  ")
    line.append(f"epoch {head['committed']} in force" if head else "no head yet")
    if leader:
        line.append(f", led by {leader['replica']} ({leader['url']}), term {document['term']}")
    return line


def _notes(document: Json) -> Iterator[Text]:
    counts = document["fleet"] or {}
    shown = [
        f"{counts[name]} {name}"
        for name in ("connected", "good", "stale", "excluded")
        if counts.get(name)
    ]
    all_well = counts.get("enrolled", 0) == counts.get("good", 0) == counts.get("connected", 0)
    text = counted(counts.get("enrolled", 0), "agent")
    if shown:
        text += f": {', '.join(shown)}"
    yield Text(text, style=render.GOOD if all_well else render.WAITING)
    if going_on := document["in_progress"]:
        what = " ".join(filter(None, (going_on["kind"], going_on["service"])))
        text = f"{what}, epoch {going_on['epoch']}: {going_on['phase']}"
        yield Text(f"{text}  (turnout watch {going_on['epoch']})", style=render.WAITING)
    for exclusion in document["exclusions"]:
        yield Text(
            f"{exclusion['region']} is excluded: {exclusion['reason']}", style=render.WAITING
        )
    for trouble in document["troubles"]:
        yield Text(trouble, style=render.BAD)
