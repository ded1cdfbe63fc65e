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
from turnout.cli.agents import agents_table
from turnout.cli.api_client import Api
from turnout.cli.exit_codes import CommandError
from turnout.cli.options import DURATION, target_of, target_options
from turnout.cli.running import ask
from turnout.cli.services import services_table
from turnout.cli.suggestions import suggestion
from turnout.cli.terminal import show, show_json, stdout
from turnout.runtime.problems import ExitCode

Json = Mapping[str, Any]


@click.command()
@click.argument("service", required=False)
@click.option("-w", "--watch", is_flag=True, help="Keep showing it; -o json: a line a change.")
@click.option(
    "--interval", type=DURATION, default="1s", show_default=True, help="How often -w asks."
)
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
        if target.json:
            await _stream(api, service, interval)
        else:
            await _live(api, service, interval)

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
            show_json(document, compact=True)
            before = document
        await trio.sleep(interval_s)


async def _live(api: Api, service: str | None, interval_s: float) -> None:
    console = stdout()
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        while True:
            live.update(_page(await _document(api, service)), refresh=True)
            await trio.sleep(interval_s)


def _page(document: Json) -> RenderableType:
    parts: list[RenderableType] = [_headline(document), *_notes(document), ""]
    if document["services"]:
        parts += [services_table(document["services"]), ""]
    else:
        parts += ["No services yet: bring the first table with `turnout apply -f FILE`.", ""]
    parts.append(agents_table(document["agents"]))
    return Group(*parts)


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
    text = f"{counts.get('enrolled', 0)} agents: {', '.join(shown) or 'none connected'}"
    yield Text(text, style=render.GOOD if all_well else render.WAITING)
    if going_on := document["in_progress"]:
        what = f"{going_on['kind']} {going_on['service'] or ''}".strip()
        text = f"{what}, epoch {going_on['epoch']}: {going_on['phase']}"
        yield Text(f"{text}  (turnout watch {going_on['epoch']})", style=render.WAITING)
    for exclusion in document["exclusions"]:
        yield Text(
            f"{exclusion['region']} is excluded: {exclusion['reason']}", style=render.WAITING
        )
    for trouble in document["troubles"]:
        yield Text(trouble, style=render.BAD)
