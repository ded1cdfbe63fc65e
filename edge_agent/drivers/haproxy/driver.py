"""An HAProxy that Turnout owns.

A switch, as HAProxy sees it:

1. ``stage``: the next table's servers go into free backends of the pool (``loading.py``), and its maps into
   a free *slot*. ``active.map`` says which slot each frontend asks: the staging frontend is turned to the
   new one and probed.
2. ``activate``: one line of ``active.map``, on disk and then by ``set map``. The flip is seen when the live
   frontend answers with the new version. It never reloads.
3. Backends become free again at a later ``stage``, when no table needs them and nothing is in flight.

``set map`` is forgotten when HAProxy restarts, so the file is written first: from then on HAProxy *has been
told*, also if it is dead, and comes back with it.

Truth is never only in this object: a new driver reads what HAProxy was told from ``active.map``, and what
it serves from the frontend.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from itertools import chain

import trio
import trio.to_thread

from edge_agent.drivers.base import (
    Driver,
    FlipEvidence,
    ProxyStatus,
    RefusalCode,
    Refused,
    refuse_inconsistent,
    refuse_stale,
)
from edge_agent.drivers.haproxy.cli import Cli
from edge_agent.drivers.haproxy.config import LIVE, STAGED, process_config
from edge_agent.drivers.haproxy.files import SLOTS, Files
from edge_agent.drivers.haproxy.loading import Loader
from edge_agent.drivers.haproxy.settings import HAProxySettings, find_binary
from edge_agent.drivers.haproxy.slot import Loaded
from edge_agent.drivers.haproxy.workers import Master, rows, shut_down
from edge_agent.drivers.proxy_folder import check_socket_path, disk_refusals
from edge_agent.drivers.proxy_process import ProxyProcess, find, find_or_spawn
from edge_agent.drivers.version import Version, version_at
from edge_agent.probe import NotProven, prove_staged
from edge_agent.request import Answer, Request, ask
from turnout.protocol.identifiers import Epoch
from turnout.protocol.records import Active
from turnout.protocol.routing import Colour, RoutingTable, Service

_POLL_S = 0.001


class HAProxyDriver(Driver):
    """The driver contract over one owned HAProxy; docs/proxies.md describes its state folder."""

    def __init__(self, settings: HAProxySettings) -> None:
        self._settings = settings
        self._files = Files(settings.state_dir.absolute())
        self._cli = Cli(self._files.admin_socket)
        self._master = Master(self._files.master_socket)
        self._loader = Loader(settings, self._files, self._cli, self._master)
        self._process: ProxyProcess | None = None
        self._restart_needed = False
        self._told = Loaded()
        self._floor = Active()
        self._staged: Loaded | None = None
        self._probed: frozenset[str] = frozenset()
        self._one_stage = trio.Lock()
        self._one_flip = trio.Lock()

    async def start(self) -> ProxyStatus:
        """Find the HAProxy of the state folder or start one; see :meth:`Driver.start`."""
        await self.aclose()
        check_socket_path(self._files.staging_socket)
        with disk_refusals(f"use the state folder '{self._files.root}'"):
            await trio.to_thread.run_sync(self._loader.prepare_folder)
            self._told = await trio.to_thread.run_sync(self._loader.read_told)
        self._staged = None
        self._process = await self._find_or_start()
        serving = await self._serving()
        await self._loader.resume(self._told.sends_to | serving.sends_to)
        status = await self.status()
        self._floor = max(self._told.version.serving, status.serving, key=lambda one: one.rank)
        return status

    async def wait_stopped(self) -> None:
        """Return when the HAProxy found or started by :meth:`start` has ended."""
        if self._process is not None:
            await self._process.wait()

    async def aclose(self) -> None:
        """Let go of HAProxy."""
        if self._process is not None:
            self._process.release()
            self._process = None

    async def stop_proxy(self) -> None:
        """End HAProxy, also one that this driver has not looked for yet."""
        process = self._process or await find(self._files)
        self._process = None
        if process is not None:
            await process.stop()
            process.release()

    async def status(self) -> ProxyStatus:
        """What the live frontend answers, and which process it is."""
        process = self._process
        if process is None or not process.running:
            return ProxyStatus(running=False)
        version = await version_at(self._settings.asked_at)
        return ProxyStatus(
            running=True,
            started_id=process.started_id,
            serving=version.serving if version else Active(),
            restart_needed=self._restart_needed,
        )

    async def stage(self, epoch: Epoch, table: RoutingTable, changed: Sequence[Service]) -> None:
        """Load servers and a slot's maps, turn the staging frontend to them, and probe it."""
        refuse_inconsistent(table)
        async with self._one_stage:
            self._refuse_if_down()
            kept = [await self._serving(), self._told, *((self._staged,) if self._staged else ())]
            plan = await self._loader.load_backends(epoch, table, kept)
            self._probed = plan.sends_to
            slot = self._free_slot(kept)
            loaded = await self._loader.load_slot(slot, plan)
            staged = loaded.under(self._floor.incarnation)
            try:
                await self._turn_staging(staged)
                await self._probe_staged(epoch, table, changed)
            except Refused:
                await self._turn_staging(self._staged or self._told)
                raise
            self._staged = staged

    async def activate(self, target: Active) -> FlipEvidence:
        """Write the live frontend's slot down, turn the frontend to it, and watch it serve."""
        async with self._one_flip:
            self._refuse_if_down()
            if self._told.version.serving != target:
                refuse_stale(target, self._floor)
                await self._tell(self._staged_as(target))
            told = self._told
            await self._loader.turn(LIVE, told)
            flipped_at_ns = await self._seen_live(told.version)
            await self._loader.let_drain(self._in_use())
            return FlipEvidence(serving=target, flipped_at_ns=flipped_at_ns)

    async def ask(self, request: Request, *, staged: bool = False) -> Answer:
        """One request through the live or the staging frontend."""
        endpoint = self._files.staging_socket if staged else self._settings.asked_at
        return await ask(endpoint, request, timeout_s=self._settings.probe_timeout_s)

    async def in_flight(self, service: Service, colour: Colour) -> int:
        """Sessions of the colour's backends, of any content, in every worker."""
        return await self._sum("scur", self._backends(service, colour))

    async def requests_total(self, service: Service, colour: Colour) -> int:
        """Sessions that the colour's backends ever had."""
        return await self._sum("stot", self._backends(service, colour))

    async def close(self, service: Service, colour: Colour) -> int:
        """Shut down the sessions at the colour's servers."""
        self._refuse_if_down()
        names = self._backends(service, colour)
        used = names & self._told.sends_to
        if used:
            raise Refused(
                RefusalCode.IN_USE,
                f"the table in force sends requests of '{service.name}' to {colour}",
            )
        left = await self._sum("scur", names)
        processes = await self._master.processes()
        for backend, content in self._loader.pool.contents():
            for server in content.servers if backend in names else ():
                await self._cli.order(f"shutdown sessions server {backend}/{server}")
        for pid in processes.former:
            await shut_down(self._master.worker(pid), names)
        return left

    # ------------------------------------------------------------------------------ the process

    async def _find_or_start(self) -> ProxyProcess:
        wanted = process_config(self._settings, self._files)
        process = await find(self._files)
        if process is None:
            with disk_refusals("write HAProxy's configuration of itself"):
                self._files.write(self._files.process, wanted)
                await trio.to_thread.run_sync(self._loader.write_routing)
        else:
            process.release()
        process = await find_or_spawn(
            self._files, self._command(), self._is_ready, self._settings.start_timeout_s
        )
        with disk_refusals("note HAProxy's process number"):
            self._files.write(self._files.pid, f"{process.pid}\n".encode())
            is_as_started = self._files.process.read_bytes() == wanted
            self._restart_needed = not (is_as_started and self._loader.is_in_step())
        return process

    async def _is_ready(self) -> bool:
        """Whether worker and master answer: the master does last."""
        try:
            await self._cli.ask("show info")
            return (await self._master.processes()).current is not None
        except Refused:
            return False

    def _command(self) -> list[str]:
        files = self._files
        return [
            str(find_binary(self._settings.binary)),
            *("-W", "-S", f"{files.master_socket},mode,600"),
            *("-f", str(files.process), "-f", str(files.routing)),
        ]

    def _refuse_if_down(self) -> None:
        if self._process is None or not self._process.running:
            raise Refused(RefusalCode.PROXY_DOWN, "HAProxy is not running")

    # --------------------------------------------------------------------- staging and flipping

    async def _serving(self) -> Loaded:
        """What the live frontend serves; not what it was told, where a flip did not come through."""
        with disk_refusals("read what is served"):
            return self._loader.read_slot(await self._loader.live_slot())

    @staticmethod
    def _free_slot(kept: Iterable[Loaded]) -> str:
        taken = {loaded.slot for loaded in kept}
        return next(slot for slot in SLOTS if slot not in taken)

    async def _turn_staging(self, loaded: Loaded) -> None:
        await self._loader.turn(STAGED, loaded)
        version = await version_at(self._files.staging_socket)
        if version != loaded.version:
            raise Refused(
                RefusalCode.UNCONFIRMED,
                f"HAProxy's staging frontend answers with version '{version}', not "
                f"'{loaded.version}'",
            )

    async def _probe_staged(
        self, epoch: Epoch, table: RoutingTable, changed: Sequence[Service]
    ) -> None:
        try:
            timeout_s = self._settings.probe_timeout_s
            await prove_staged(self, epoch, table, changed, timeout_s=timeout_s)
        except NotProven as error:
            raise Refused(RefusalCode.PROBE, f"on the staged routes: {error}") from error

    def _staged_as(self, target: Active) -> Loaded:
        """The staged table under the target's incarnation, if it is the target's."""
        staged = self._staged
        if staged is None or staged.under(target.incarnation).version.serving != target:
            found = f"epoch {staged.version.serving.epoch}" if staged else "nothing"
            raise Refused(
                RefusalCode.NOT_STAGED,
                f"epoch {target.epoch} with digest {target.digest[:12]} is not staged here "
                f"({found} is)",
            )
        return staged.under(target.incarnation)

    async def _tell(self, loaded: Loaded) -> None:
        """From here on HAProxy has been told, also if it is dead and restarts."""
        with disk_refusals("write which table is live"):
            await trio.to_thread.run_sync(self._loader.write_active, loaded)
        self._told = loaded
        self._floor = loaded.version.serving

    async def _seen_live(self, version: Version) -> int:
        """Return when (monotonic ns) the live frontend was first seen to serve ``version``."""
        with trio.move_on_after(self._settings.flip_timeout_s):
            while await version_at(self._settings.asked_at) != version:
                self._refuse_if_down()
                await trio.sleep(_POLL_S)
            return time.monotonic_ns()
        raise Refused(
            RefusalCode.UNCONFIRMED,
            f"HAProxy was told to serve epoch {version.serving.epoch} and is not seen to after "
            f"{self._settings.flip_timeout_s:g} s",
        )

    # ---------------------------------------------------------------------------- what it counts

    def _in_use(self) -> frozenset[str]:
        """Backends that get requests: the table's in force, the staged one's, and those being probed."""
        staged = self._staged.sends_to if self._staged else frozenset()
        return self._told.sends_to | staged | self._probed

    def _backends(self, service: Service, colour: Colour) -> frozenset[str]:
        """The names of a colour's backends, of whatever content."""
        ours = {
            name
            for name, content in self._loader.pool.contents()
            if (content.service, content.colour) == (service.name, colour)
        }
        entry = service.in_region(self._settings.region)
        named = entry.of(colour).cluster if entry else None
        return frozenset(chain(ours, (named,) if named else ()))

    async def _sum(self, column: str, names: frozenset[str]) -> int:
        self._refuse_if_down()
        if not names:
            return 0
        total = 0
        for pid in (await self._master.processes()).all:
            worker = self._master.worker(pid)
            for name in sorted(names):
                answer = await worker.ask(f"show stat {name} 2 -1")
                total += sum(int(row[column]) for row in rows(answer) if column in row)
        return total
