"""``turnout apply -f FILE`` and ``turnout diff -f FILE``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import evolve

from turnout.cli import render
from turnout.cli.api_client import Api
from turnout.cli.examples import WithExamples
from turnout.cli.options import target_of, target_options
from turnout.cli.requests import ChangeRequest, carry_out, change_of, change_options
from turnout.cli.running import ask, for_people
from turnout.cli.terminal import say, show, show_json

if TYPE_CHECKING:
    from turnout.protocol.routing import RoutingTable

_file_option = click.option(
    "-f",
    "--file",
    "path",
    type=click.Path(path_type=Path, readable=False),
    help="The table file (TOML).",
)


@click.command(
    cls=WithExamples,
    examples=(
        "turnout apply --example > table.toml",
        "turnout apply -f table.toml --dry-run",
        "turnout apply -f table.toml",
    ),
)
@_file_option
@click.option("--example", is_flag=True, help="Print a table file with every key explained.")
@change_options
def apply(path: Path | None, example: bool, **params: Any) -> None:
    """Put the routing table in FILE in force: in every region, or in none.

    The file holds every service of the domain. Colours are not changed: which one is active is
    read from the file only for services that are new.
    """
    from turnout.protocol.codec import converter

    if example:
        from turnout.runtime.table_file import EXAMPLE

        click.echo(EXAMPLE, nl=False)
        return
    table = _load(path)
    request = change_of("/v1/tables", {"table": converter.unstructure(table)}, params)

    async def say_what_stays(api: Api, request: ChangeRequest) -> ChangeRequest:
        for text in _what_stays(await _in_force(api), table):
            say(text + request.target.flags())
        return request

    carry_out(request, say_what_stays)


@click.command(
    cls=WithExamples,
    examples=("turnout diff -f table.toml",),
)
@_file_option
@target_options
def diff(path: Path | None, **params: Any) -> None:
    """Show what applying FILE would change. Nothing is changed."""
    table = _load(path)
    target = target_of(params)
    changes = list(_changes(ask(target, _in_force), table))
    if target.json:
        show_json({"changes": changes})
    elif not changes:
        show("No difference: this table is in force.")
    else:
        rows = [row for change in changes for row in _rows(change)]
        show(render.table("SERVICE", "CHANGE", "KEY", "IN FORCE", "IN THE FILE", rows=rows))


def _load(path: Path | None) -> RoutingTable:
    from turnout.runtime.table_file import load_table

    if path is None:
        raise click.UsageError("Which table? Name its file with -f FILE.")
    with for_people():
        return load_table(path)


async def _in_force(api: Api) -> RoutingTable:
    from turnout.protocol.codec import structure
    from turnout.protocol.routing import RoutingTable

    table = (await api.get("/v1/table"))["table"]
    return structure(table, RoutingTable) if table else RoutingTable()


def _what_stays(in_force: RoutingTable, table: RoutingTable) -> Iterator[str]:
    """A colour in the file that is not the one in force: apply does not switch."""
    for service in table.services:
        known = in_force.service(service.name)
        if known is not None and known.weights != service.weights:
            yield (
                f"{service.name} stays on {known.active}: apply does not switch."
                f" For that: turnout switch {service.name} --to {service.active}"
            )


def _changes(old: RoutingTable, new: RoutingTable) -> Iterator[dict[str, Any]]:
    from turnout.protocol.codec import converter

    for name in sorted({s.name for s in (*old.services, *new.services)}):
        before, after = old.service(name), new.service(name)
        if before is None:
            yield {"service": name, "change": "added", "fields": []}
        elif after is None:
            yield {"service": name, "change": "removed", "fields": []}
        else:
            after = evolve(after, weights=before.weights)
            fields = list(_fields(converter.unstructure(before), converter.unstructure(after)))
            if fields:
                yield {"service": name, "change": "changed", "fields": fields}


def _fields(
    before: Mapping[str, Any], after: Mapping[str, Any], path: str = ""
) -> Iterator[dict[str, Any]]:
    for key in sorted({*before, *after}):
        was, becomes = before.get(key), after.get(key)
        if was == becomes:
            continue
        if key == "backends" and not path:
            yield from _fields(_by_region(was or ()), _by_region(becomes or ()), "backends.")
        elif isinstance(was, Mapping) and isinstance(becomes, Mapping) and "addresses" not in was:
            yield from _fields(was, becomes, f"{path}{key}.")
        else:
            name, scale = _in_the_file(key)
            yield {
                "key": path + name,
                "in_force": _scaled(was, scale),
                "in_file": _scaled(becomes, scale),
            }


def _in_the_file(key: str) -> tuple[str, int]:
    """What the table file calls a key, and how many of ours make one of the file's units."""
    if key.endswith("_ms"):
        return key.removesuffix("_ms") + "_s", 1000
    return ("min_healthy", 100) if key == "min_healthy_percent" else (key, 1)


def _scaled(value: Any, scale: int) -> Any:
    return value if scale == 1 or value is None else value / scale


def _by_region(backends: Any) -> dict[str, Any]:
    return {one["region"]: {k: v for k, v in one.items() if k != "region"} for one in backends}


def _rows(change: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """One line a key; the service and what became of it stand in the first."""
    what = (change["service"], change["change"])
    for number, one in enumerate(change["fields"]):
        values = _shown(one["in_force"]), _shown(one["in_file"])
        yield *(("", "") if number else what), one["key"], *values
    if not change["fields"]:
        yield *what, "", "", ""


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, Mapping) and "addresses" in value:
        cluster = value.get("cluster")
        return f"cluster {cluster}" if cluster else ", ".join(value["addresses"])
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_shown(one)}" for name, one in value.items())
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
