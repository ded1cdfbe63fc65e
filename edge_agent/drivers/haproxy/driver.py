"""One HAProxy: Turnout's own, or attached to one that somebody else starts and configures.

The flip is one line of ``active.map``, on disk and then by ``set map`` (``slots.py`` tells the story); it
never reloads. The next table's servers go into free backends of a pool (``loading.py``), which become free
again at a later ``stage``, when no table needs them and nothing is in flight.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from attrs import evolve

from edge_agent.drivers.base import RefusalCode, Refused
from edge_agent.drivers.checking import Trial
from edge_agent.drivers.haproxy.cli import Cli
from edge_agent.drivers.haproxy.config import process_config
from edge_agent.drivers.haproxy.files import Files
from edge_agent.drivers.haproxy.loading import Loader
from edge_agent.drivers.haproxy.settings import HAProxySettings, find_binary
from edge_agent.drivers.haproxy.workers import Master, Processes, rows, shut_down
from edge_agent.drivers.slots import SlottedDriver
from turnout.protocol.identifiers import ServiceName
from turnout.protocol.routing import Colour, Service


class HAProxyDriver(SlottedDriver[HAProxySettings, Files]):
    """The driver contract over one HAProxy; docs/proxies.md describes its state folder."""

    def __init__(self, settings: HAProxySettings) -> None:
        files = Files(settings.state_dir.absolute(), settings.attach)
        self._cli = Cli(files.admin_socket)
        self._master = Master(files.master_socket)
        self._loader = Loader(settings, files, self._cli, self._master)
        super().__init__(settings, files, self._loader)

    async def in_flight(self, service: Service, colour: Colour) -> int:
        """Sessions of the colour's backends, of any content, in every worker.

        Whoever asks waits for them to end: HAProxy's servers are told to drain, so that it shows them so.
        """
        names = self._backends(service, colour)
        left = await self._sum("scur", names)
        await self._loader.let_drain(names, self._in_use)
        return left

    async def requests_total(self, service: Service, colour: Colour) -> int:
        """Sessions that the colour's backends ever had."""
        return await self._sum("stot", self._backends(service, colour))

    async def withdraw(self, names: AbstractSet[ServiceName]) -> None:
        """Have the live frontend fail these services' health endpoints."""
        self._refuse_if_down()
        await self._cli.replace_map(self._files.withdrawn, [(name, "1") for name in sorted(names)])

    async def close(self, service: Service, colour: Colour) -> int:
        """Shut down the sessions at the colour's servers; the same address in another backend is spared."""
        self._refuse_if_down()
        names = self._backends(service, colour)
        if names & self._told.sends_to:
            raise Refused(
                RefusalCode.IN_USE,
                f"the table in force sends requests of '{service.name}' to {colour}",
            )
        left = await self._sum("scur", names)
        processes = await self._loader.processes()
        for backend, content in self._loader.pool.contents():
            for server in content.servers if backend in names else ():
                await self._cli.order(f"shutdown sessions server {backend}/{server}")
        for pid in processes.former:
            await shut_down(self._master.worker(pid), names)
        return left

    def _configuration(self) -> dict[Path, bytes]:
        routing = {self._files.routing: self._loader.routing()}
        if self._settings.attach:
            return routing
        return {self._files.process: process_config(self._settings, self._files)} | routing

    def _trial(self) -> Trial:
        def prepare(folder: Path) -> Sequence[str]:
            twin = HAProxyDriver(evolve(self._settings, state_dir=folder))
            twin._lay_out()
            files = (*twin._files.own_config, twin._files.routing)
            return ("-c", *(word for path in files for word in ("-f", str(path))))

        return Trial(
            settings=self._settings,
            folder=self._files,
            find_binary=lambda: find_binary(self._settings.binary),
            least=(2, 6),
            version_arguments=("-v",),
            version=r"version (\d+\.\d+[.\d]*)",
            prepare=prepare,
            reaches_into=False,
        )

    def _command(self) -> list[str] | None:
        if self._settings.attach:
            return None
        files = self._files
        return [
            str(find_binary(self._settings.binary)),
            *("-W", "-S", f"{files.master_socket},mode,600"),
            *("-f", str(files.process), "-f", str(files.routing)),
        ]

    async def _is_ready(self) -> bool:
        """Whether worker and master answer: the master does last."""
        try:
            await self._cli.ask("show info")
            return (await self._master.processes()).current is not None
        except Refused:
            return False

    def _backends(self, service: Service, colour: Colour) -> frozenset[str]:
        """The names of a colour's backends, of whatever content."""
        ours = {
            name
            for name, content in self._loader.pool.contents()
            if (content.service, content.colour) == (service.name, colour)
        }
        entry = service.in_region(self._settings.region)
        named = entry.of(colour).cluster if entry else None
        return frozenset(ours | ({named} if named else set()))

    async def _sum(self, column: str, names: frozenset[str]) -> int:
        self._refuse_if_down()

        async def count(processes: Processes) -> int:
            total = 0
            for pid in processes.all if names else ():
                worker = self._master.worker(pid)
                for name in sorted(names):
                    answer = await worker.ask(f"show stat {name} 2 -1")
                    total += sum(int(row[column]) for row in rows(answer) if column in row)
            return total

        return await self._loader.with_workers(count)
