"""Running a command's asynchronous part: errors become sentences, Ctrl-C ends it in good order."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click
import trio

from turnout.cli.api_client import Api
from turnout.cli.exit_codes import CommandError, translated
from turnout.cli.options import Target
from turnout.cli.terminal import say
from turnout.runtime.problems import ExitCode

T = TypeVar("T")


def run(work: Callable[[], Awaitable[T]], *, on_interrupt: Callable[[], None] | None = None) -> T:
    """The result of ``work``, run under trio.

    Ctrl-C (and SIGTERM) cancels it, calls ``on_interrupt``, which says what goes on regardless,
    and exits with 130. Raises CommandError for everything that is not a fault of ours.
    """
    result = trio.run(_until_interrupted, work)
    if isinstance(result, _Done):
        return result.value  # type: ignore[no-any-return]
    if on_interrupt is None:
        say("Interrupted.")
    else:
        on_interrupt()
    raise click.exceptions.Exit(int(ExitCode.INTERRUPTED))


def ask(target: Target, work: Callable[[Api], Awaitable[T]], **how: Any) -> T:
    """The result of ``work`` with a client of the target's coordinators; as ``run``."""

    async def with_client() -> T:
        async with Api(target.urls, actor=target.actor, say=say) as api:
            return await work(api)

    return run(with_client, **how)


@contextmanager
def for_people() -> Iterator[None]:
    """Turns errors from below into CommandError, around what runs without trio."""
    try:
        yield
    except Exception as error:
        raise _for_people(error) from error


class _Done:
    def __init__(self, value: Any) -> None:
        self.value = value


async def _until_interrupted(work: Callable[[], Awaitable[Any]]) -> _Done | None:
    done: _Done | None = None
    failure: Exception | None = None
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_at_first, signals, nursery.cancel_scope)
            try:
                done = _Done(await work())
            except Exception as error:  # noqa: BLE001 - carried out of the nursery, not swallowed
                failure = error
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise _for_people(failure) from failure
    return done


async def _cancel_at_first(signals: Any, scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()


def _for_people(error: Exception) -> Exception:
    if isinstance(error, click.ClickException | BrokenPipeError):
        return error
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return translated(error) or error


__all__ = ["CommandError", "ask", "run"]
