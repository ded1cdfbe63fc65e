"""``turnout dev``: a whole fleet on this machine; ``--demo`` plays a world-wide switch on it."""

from __future__ import annotations

import secrets
import sys
import tempfile
from pathlib import Path

import click

from turnout.cli.examples import WithExamples
from turnout.cli.exit_codes import CommandError
from turnout.runtime.problems import ExitCode


def _regions(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    from turnout.dev.plan import region_names
    from turnout.protocol.identifiers import NAME_RULE, is_name

    try:
        names = region_names(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if bad := [name for name in names if not is_name(name)]:
        raise click.BadParameter(f"'{bad[0]}' is not a name: it must have {NAME_RULE}")
    return ",".join(names)


def _proxies(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    from turnout.dev.plan import proxy_names

    try:
        return ",".join(proxy_names(value))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command(
    cls=WithExamples,
    examples=(
        "turnout dev",
        "turnout dev --regions eu,us --etcd 1",
        "turnout dev --proxies envoy,haproxy,nginx",
        "turnout dev --demo",
    ),
)
@click.option(
    "--regions",
    default="3",
    show_default=True,
    callback=_regions,
    metavar="N|NAME,NAME",
    help="How many regions, or their names.",
)
@click.option(
    "--coordinators",
    type=click.IntRange(1, 3),
    default=2,
    show_default=True,
    help="How many coordinators.",
)
@click.option(
    "--etcd",
    type=click.Choice(["1", "3"]),
    default="3",
    show_default=True,
    help="How many members of etcd.",
)
@click.option(
    "--proxies",
    default="envoy",
    show_default=True,
    callback=_proxies,
    metavar="NAME,NAME",
    help="The regions' proxies, in turn: envoy, haproxy, nginx.",
)
@click.option("--demo", is_flag=True, help="Play the demo and end; 0 if it was as promised.")
@click.option("--json", "as_json", is_flag=True, help="Print addresses (or the demo) as JSON.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Keep logs, journals and etcd's data here.  [default: removed in the end]",
)
def dev(
    regions: str,
    coordinators: int,
    etcd: str,
    proxies: str,
    demo: bool,
    as_json: bool,
    keep: Path | None,
) -> None:
    """Run etcd, coordinators, agents, proxies and sample backends on this machine.

    All of it is real, on loopback and on free ports. Ctrl-C ends everything; nothing is left
    behind, however it ends. --demo plays six acts under load: first table, switch, rollback,
    partition, heal, and the whole control plane gone.
    """
    from turnout.dev.keeper import run_kept
    from turnout.dev.plan import MAX_FOLDER_BYTES

    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise CommandError(f"{keep} is not empty: name a new folder", ExitCode.REFUSED)
    folder = keep.absolute() if keep is not None else _temporary()
    if len(bytes(folder)) > MAX_FOLDER_BYTES:
        text = f"{folder} is too long for the proxies' sockets: at most {MAX_FOLDER_BYTES} bytes"
        raise CommandError(f"{text}; name a shorter folder with --keep DIR", ExitCode.REFUSED)
    options = ["--folder", str(folder), "--regions", regions, "--coordinators", str(coordinators)]
    options += ["--etcd", etcd, "--proxies", proxies]
    options += [*(["--demo"] if demo else []), *(["--json"] if as_json else [])]
    command = [sys.executable, "-m", "turnout.dev.main", *options]
    raise click.exceptions.Exit(run_kept(command, folder, keep_folder=keep is not None))


def _temporary() -> Path:
    # Not made yet, so that nothing is left if this process is killed before its keeper runs.
    return Path(tempfile.gettempdir(), f"turnout-dev-{secrets.token_hex(4)}")
