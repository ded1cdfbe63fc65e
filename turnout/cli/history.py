"""``turnout history``: who did what, when and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from turnout.cli import render
from turnout.cli.api_client import Api
from turnout.cli.options import target_of, target_options
from turnout.cli.running import ask
from turnout.cli.terminal import say, show, show_json
from turnout.protocol.keys import plain_kind

Json = Mapping[str, Any]


@click.command()
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--before", type=click.IntRange(min=0), metavar="EPOCH", help="Older than this.")
@target_options
def history(limit: int, before: int | None, **params: Any) -> None:
    """Show the history, newest first: what was done, and whose attempts were refused."""
    target = target_of(params)

    async def work(api: Api) -> None:
        document = await api.get("/v1/history", limit=limit, before=before)
        if target.json:
            show_json(document)
            return
        rows = [_row(entry) for entry in document["entries"]]
        show(render.table("WHEN", "EPOCH", "WHAT", "WHO", "REASON", "TEXT", rows=rows))
        if document["before"] is not None:
            say(f"There is more: turnout history --before {document['before']}{target.flags()}")

    ask(target, work)


def _row(entry: Json) -> tuple[str, ...]:
    reason = ": ".join(filter(None, (entry["reason"], entry["comment"])))
    return (
        render.date_time(entry["at"]),
        str(entry["epoch"] or "-"),
        plain_kind(entry["kind"]),
        entry["actor"] or entry["replica"],
        reason,
        entry["text"],
    )
