"""HAProxy's master: which worker processes there are, and how they are replaced.

A reload starts a worker with the files as they are now and hands the listening sockets over. The worker
before it finishes its requests, for as long as they take; what is counted and cut, it counts and cuts too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path

from attrs import frozen

from edge_agent.drivers.haproxy.cli import Cli

_PROCESS = re.compile(r"(\d+)\s+(master|worker)\s+(\d+)(?:\s+\[failed: (\d+)\])?")

_SESSION = re.compile(r"(0x[0-9a-f]+): .*\bbe=(\S+) ")


@frozen(kw_only=True)
class Processes:
    """What the master says of itself and its workers.

    Attributes:
        failures: reloads in a row whose configuration it would not take.
        current: the worker that takes new connections; None while there is none.
        former: workers that finish what they have.
    """

    reloads: int = 0
    failures: int = 0
    current: int | None = None
    former: tuple[int, ...] = ()

    @property
    def all(self) -> tuple[int, ...]:
        """Every worker."""
        return (*((self.current,) if self.current else ()), *self.former)

    @classmethod
    def parse(cls, text: str) -> Processes:
        """Read the answer to ``show proc``."""
        reloads = failures = 0
        workers: list[int] = []
        former: list[int] = []
        is_old = False
        for line in text.splitlines():
            is_old = is_old or line.startswith("# old")
            found = _PROCESS.match(line)
            if found and found[2] == "master":
                reloads, failures = int(found[3]), int(found[4] or 0)
            elif found:
                (former if is_old else workers).append(int(found[1]))
        current = workers[0] if workers else None
        return cls(reloads=reloads, failures=failures, current=current, former=tuple(former))


class Master:
    """HAProxy's master process. Every method raises Refused (PROXY_DOWN) when it does not answer."""

    def __init__(self, socket: Path) -> None:
        self._cli = Cli(socket)

    async def processes(self) -> Processes:
        """Its workers."""
        return Processes.parse(await self._cli.ask("show proc"))

    async def reload(self) -> None:
        """Have the files read again; a new worker takes over once it has read them."""
        await self._cli.ask("reload")

    def worker(self, pid: int) -> Cli:
        """The way to one worker."""
        return self._cli.to_worker(pid)


async def shut_down(worker: Cli, backends: AbstractSet[str]) -> None:
    """Shut the sessions at these backends down one by one: a former worker does it in no other way."""
    for line in (await worker.ask("show sess")).splitlines():
        found = _SESSION.match(line)
        if found and found[2] in backends:
            await worker.ask(f"shutdown session {found[1]}")  # which may have ended since


def rows(csv: str) -> Iterator[dict[str, str]]:
    """The rows of a ``show stat`` by column, of each of several in one answer."""
    columns: list[str] = []
    for line in csv.splitlines():
        if line.startswith("# "):
            columns = line[2:].split(",")
        elif line.strip():
            yield dict(zip(columns, line.split(","), strict=False))
