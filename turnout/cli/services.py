"""``turnout services``: every service, its colour, and until when a rollback finds the old one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from turnout.cli import render
from turnout.cli.api_client import Api
from turnout.cli.examples import WithExamples
from turnout.cli.listing import Listing
from turnout.cli.options import target_of, target_options
from turnout.cli.running import ask
from turnout.cli.terminal import show, show_json

Json = Mapping[str, Any]

NO_SERVICES = "No services yet: bring the first table with `turnout apply -f FILE`."


@click.command(
    cls=WithExamples,
    examples=(
        "turnout services",
        "turnout services -o json | jq -r .services[].service",
    ),
)
@target_options
def services(**params: Any) -> None:
    """List the services of the table in force."""
    target = target_of(params)

    async def work(api: Api) -> None:
        document = await api.get("/v1/services")
        if target.json:
            show_json(document)
        elif document["services"]:
            show(services_table(document["services"]))
        else:
            show(NO_SERVICES)

    ask(target, work)


def services_table(services: Sequence[Json]) -> Listing:
    """One line a service."""
    rows = [
        (
            one["service"],
            render.colour(one["active"]),
            _weights(one["weights"]),
            ", ".join(one["hosts"]) + one["path_prefix"],
            str(len(one["backends"])),
            str(one["changed_in"] or "-"),
            render.date_time(one["rollback_until"]),
        )
        for one in services
    ]
    return render.table(
        "SERVICE",
        "ACTIVE",
        "BLUE:GREEN",
        "MATCHES",
        "REGIONS",
        "CHANGED IN",
        "ROLLBACK UNTIL",
        rows=rows,
    )


def _weights(weights: Json) -> str:
    """Nothing where the active colour has all of it, which is as good as always."""
    shares = (weights["blue"], weights["green"])
    return f"{shares[0]}:{shares[1]}" if all(shares) else ""
