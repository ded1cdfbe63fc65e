"""The fleet program: what ``turnout dev`` runs below its keeper.

python -m turnout.dev.main --folder DIR --regions 3 --coordinators 2 --etcd 1 --proxies envoy [--demo] [--json]
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import click
import trio
from rich.console import Console

from turnout.cli import render, terminal
from turnout.dev.demo.play import play
from turnout.dev.fleet import Fleet, FleetError
from turnout.dev.plan import HOST, SERVICE, FleetPlan, make_plan, proxy_names, region_names
from turnout.dev.programs import ProgramFailedError
from turnout.dev.running import running_fleet
from turnout.runtime.etcd_server import EtcdNotReadyError
from turnout.runtime.problems import ExitCode

_WATCH_S = 0.5
_EXPECTED = (FleetError, ProgramFailedError, EtcdNotReadyError, OSError)


async def run(plan: FleetPlan, *, demo: bool, as_json: bool) -> int:
    """Runs a fleet until a signal, or until the demo is over; returns the exit code.

    A signal is how a fleet is meant to end, but not how a demo is.
    """
    code = int(ExitCode.INTERRUPTED if demo else ExitCode.DONE)
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:

            async def end_on_signal() -> None:
                async for _ in signals:
                    terminal.say("ending everything ...")
                    nursery.cancel_scope.cancel()

            nursery.start_soon(end_on_signal)
            code = await _play(plan, as_json=as_json) if demo else await _serve(plan, as_json)
            nursery.cancel_scope.cancel()
    return code


async def _play(plan: FleetPlan, *, as_json: bool) -> int:
    console = terminal.stderr() if as_json else terminal.stdout()
    async with running_fleet(plan, terminal.say) as fleet:
        _show_addresses(console, plan)
        document = await play(fleet, console)
    if as_json:
        terminal.show_json(document)
    return int(ExitCode.DONE if document["ok"] else ExitCode.ERROR)


async def _serve(plan: FleetPlan, as_json: bool) -> int:
    async with running_fleet(plan, terminal.say) as fleet:
        await fleet.apply_table()
        if as_json:
            terminal.show_json(plan.document())
        else:
            console = terminal.stdout()
            _show_addresses(console, plan)
            _show_examples(console, plan)
        await _watch(fleet)
    return int(ExitCode.DONE)


async def _watch(fleet: Fleet) -> None:
    """Says of each program that ends by itself, once; runs until cancelled."""
    told: set[str] = set()
    while True:
        for program in fleet.programs:
            if not program.running and program.name not in told:
                told.add(program.name)
                terminal.say(f"{program.name} has ended")
        await trio.sleep(_WATCH_S)


def _show_addresses(console: Console, plan: FleetPlan) -> None:
    rows = [
        (
            region.name,
            region.proxy,
            f"http://{region.edge}",
            region.agent,
            f"http://127.0.0.1:{region.agent_port}/status",
            region.backend("blue"),
            region.backend("green"),
        )
        for region in plan.regions
    ]
    titles = ("REGION", "PROXY", "EDGE", "AGENT", "ITS STATUS", "BLUE", "GREEN")
    table = render.table(*titles, rows=rows)
    console.print()
    console.print(table)
    console.print(f"\nCoordinators: {', '.join(plan.coordinators)}. Files: {plan.folder}")


def _show_examples(console: Console, plan: FleetPlan) -> None:
    console.print(
        f"""
Try, in another terminal:
  export TURNOUT_COORDINATORS={",".join(plan.coordinators)}
  turnout status
  turnout switch {SERVICE} --to green
  turnout rollback {SERVICE}
  turnout history
  curl -i -H 'Host: {HOST}' http://{plan.regions[0].edge}/

Ctrl-C ends everything, and removes the files unless --keep was given.""",
        soft_wrap=True,
    )


def _causes(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in _causes(one)]
    return [error]


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), required=True)
@click.option("--regions", required=True)
@click.option("--coordinators", type=int, required=True)
@click.option("--etcd", type=int, required=True)
@click.option("--proxies", required=True)
@click.option("--demo", is_flag=True)
@click.option("--json", "as_json", is_flag=True)
def main(
    folder: Path,
    regions: str,
    coordinators: int,
    etcd: int,
    proxies: str,
    demo: bool,
    as_json: bool,
) -> None:
    """Run a whole fleet below one folder."""
    plan = make_plan(
        folder,
        region_names(regions),
        coordinators=coordinators,
        etcd_members=etcd,
        proxies=proxy_names(proxies),
    )
    try:
        code = trio.run(lambda: run(plan, demo=demo, as_json=as_json))
    except BaseExceptionGroup as group:
        causes = _causes(group)
        unexpected = [one for one in causes if not isinstance(one, _EXPECTED)]
        if unexpected:
            raise
        for cause in causes:
            terminal.say(f"turnout dev: {cause}")
        code = int(ExitCode.ERROR)
    sys.exit(code)


if __name__ == "__main__":
    main()
