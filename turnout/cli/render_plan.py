"""What a change would do, region by region: for --dry-run, and for changes that change nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.text import Text

from turnout.cli import render
from turnout.cli.terminal import show, show_json

Json = Mapping[str, Any]


def show_noop(document: Json, *, as_json: bool) -> None:
    """Says that what was asked for is in force already."""
    if as_json:
        show_json(document)
    else:
        show("Nothing to do: this is in force everywhere already.")


def show_plan(plan: Json, *, undo: int | None, as_json: bool) -> None:
    """Shows what would change in each region."""
    if as_json:
        show_json(plan)
        return
    what = " ".join(filter(None, (plan["kind"], plan["service"])))
    if undo is not None:
        what += f" (undoes epoch {undo})"
    show(Text(f"{what} would be epoch {plan['epoch']}; nothing has been changed.", style="bold"))
    show("")
    rows = [row for region in plan["regions"] for row in _rows(plan, region)]
    show(render.table("REGION", "AGENTS", "SERVICE", "CHANGE", rows=rows))
    if footnotes := list(_footnotes(plan)):
        show("\n".join(["", *footnotes]))


def _rows(plan: Json, region: Json) -> Iterator[tuple[str | Text, ...]]:
    name, agents = region["region"], _agents(plan, region)
    if region["region"] in plan["excluded_regions"]:
        yield name, agents, "-", Text("keeps what it serves", style=render.QUIET)
        return
    if not region["changes"]:
        yield name, agents, "-", Text("no change", style=render.QUIET)
    for number, change in enumerate(region["changes"]):
        first = number == 0
        yield name if first else "", agents if first else "", change["service"], _change(change)


def _agents(plan: Json, region: Json) -> Text:
    asked = sum(agent["asked"] for agent in region["agents"])
    if region["region"] in plan["excluded_regions"]:
        return Text("excluded", style=render.WAITING)
    style = render.GOOD if asked == len(region["agents"]) and asked else render.WAITING
    return Text(f"{asked} of {len(region['agents'])} asked", style=style)


def _change(change: Json) -> Text:
    before, after = change["before"], change["after"]
    if before is None:
        return Text.assemble("new, ", render.colour(after["active"]))
    if after is None:
        return Text("removed here", style=render.BAD)
    parts: list[Text] = []
    if before["weights"] != after["weights"]:
        arrow = Text.assemble(
            render.colour(before["active"]), " -> ", render.colour(after["active"])
        )
        parts.append(arrow)
    parts += [
        Text(f"{key}: {_plain(before[key])} -> {_plain(after[key])}")
        for key in ("hosts", "path_prefix", "blue", "green")
        if before[key] != after[key]
    ]
    return Text("; ").join(parts) if parts else Text("settings only")


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return f"cluster {value.get('cluster')}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _footnotes(plan: Json) -> Iterator[str]:
    if plan["removed_services"]:
        yield f"Removed: {', '.join(plan['removed_services'])}"
    if plan["passed_over"]:
        yield f"Passed over, not known to be up to date: {', '.join(plan['passed_over'])}"
