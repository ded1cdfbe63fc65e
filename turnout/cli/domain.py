"""``turnout domain init`` and ``turnout domain rebase``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from turnout.cli.examples import WithExamples
from turnout.cli.exit_codes import CommandError
from turnout.cli.options import confirmed, output_option
from turnout.cli.running import run
from turnout.cli.terminal import say, show_json
from turnout.runtime.problems import ExitCode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeVar

    from coordinator.config import CoordinatorSettings
    from turnout.protocol.records import IncarnationRecord
    from turnout.protocol.signing import Ed25519Signer
    from turnout.runtime.store.contract import Store

    T = TypeVar("T")


config_option = click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path, readable=False),
    default="coordinator.toml",
    show_default=True,
    help="A coordinator's configuration: it names etcd, the domain and its key file.",
)


@click.group()
def domain() -> None:
    """Begin a domain's history, or begin it anew after a restore."""


@domain.command(
    cls=WithExamples,
    examples=("turnout domain init -c coordinator.toml",),
)
@config_option
@output_option
def init(config: Path, output: str) -> None:
    """Make the domain's key and write its first record into etcd.

    Prints the public key, which goes into every agent's agent.toml as domain_key. Copy the key
    file to every coordinator of the domain. Running this again changes nothing.
    """
    from turnout.runtime.domain_setup import init_domain

    settings = _settings(config)
    signer = _signer(settings, make=True)
    begun = _with_store(settings, lambda store: init_domain(store, signer))
    say(
        f"The domain '{settings.domain}' {'is begun' if begun.created else 'was begun already'};"
        f" its key is in {settings.domain_key}."
    )
    _print(settings, begun.record, signer, as_json=output == "json")


@domain.command(
    cls=WithExamples,
    examples=(
        'turnout domain rebase --above 41 --reason "etcd restored from last night\'s backup"',
    ),
)
@config_option
@click.option(
    "--above",
    type=click.IntRange(min=0),
    default=0,
    metavar="EPOCH",
    help="The highest epoch that any edge serves, if etcd does not know it.",
)
@click.option("--reason", required=True, help="Why, for the history.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask whether I am sure.")
@output_option
def rebase(config: Path, above: int, reason: str, yes: bool, output: str) -> None:
    """Begin a new incarnation after etcd was restored from a backup. Stop all coordinators first.

    The table that the restored etcd has in force becomes the new incarnation's first, everywhere.
    """
    import getpass

    from turnout.protocol.identifiers import Epoch
    from turnout.runtime.domain_setup import rebase_domain

    settings = _settings(config)
    signer = _signer(settings, make=False)
    if not yes:
        confirmed(
            f"Begin a new incarnation of '{settings.domain}'? Every edge goes to the table that"
            " etcd has in force now."
        )

    async def work(store: Store) -> IncarnationRecord:
        return await rebase_domain(
            store,
            signer,
            above=Epoch(above),
            at_ns=time.time_ns(),
            actor=getpass.getuser(),
            reason=reason,
        )

    record = _with_store(settings, work)
    say(f"Incarnation {record.incarnation.number} begins at epoch {record.first_epoch}.")
    _print(settings, record, signer, as_json=output == "json")


def _settings(config: Path) -> CoordinatorSettings:
    from coordinator.config import load_settings
    from turnout.cli.running import for_people

    with for_people():
        return load_settings(config)


def _signer(settings: CoordinatorSettings, *, make: bool) -> Ed25519Signer:
    from turnout.runtime.key_file import KeyFileError, load_signer, make_key

    try:
        if make and not settings.domain_key.exists():
            return make_key(settings.domain_key)
        return load_signer(settings.domain_key)
    except KeyFileError as error:
        raise CommandError(str(error), ExitCode.REFUSED) from error


def _with_store(settings: CoordinatorSettings, work: Callable[[Store], Awaitable[T]]) -> T:
    from turnout.runtime.domain_setup import DomainError
    from turnout.runtime.store.errors import StoreError
    from turnout.runtime.store.etcd import EtcdStore

    async def connected() -> T:
        try:
            async with EtcdStore(settings.etcd_options()) as store:
                return await work(store)
        except DomainError as error:
            raise CommandError(str(error), ExitCode.REFUSED) from error
        except StoreError as error:
            endpoints = ", ".join(settings.etcd.endpoints)
            raise CommandError(f"etcd ({endpoints}): {error}", ExitCode.UNREACHABLE) from error

    return run(connected)


def _print(
    settings: CoordinatorSettings, record: IncarnationRecord, signer: Any, *, as_json: bool
) -> None:
    if not as_json:
        click.echo(signer.public_key)
        return
    show_json(
        {
            "domain": settings.domain,
            "domain_key": signer.public_key,
            "incarnation": {"number": record.incarnation.number, "id": record.incarnation.id},
            "first_epoch": record.first_epoch,
        }
    )
