"""One Envoy: Turnout's own, or attached to one that somebody else starts and configures.

A switch, as Envoy sees it:

1. ``stage``: clusters of the live *and* the next table go into clusters.json; once Envoy has them all
   and none is warming, the next routes go to the staging listener, which refuses unknown clusters.
   It serves them when it answers with their version; then they are probed. The same routes for the
   live listener wait in ready/, on the same disk, and beside them those that they will replace.
2. ``activate``: one rename, and nothing else of the disk's, so that edges flip together. The flip is
   seen when the live listener answers with the new version.
3. Clusters leave Envoy at a later ``stage``, when neither table needs them and nothing is in flight.

Routes are laid ready under the incarnation that Envoy was last told. A flip into another one, which
is a fleet's first, or follows an operator's ``domain rebase``, writes them again before the rename.

Truth is never only in this object: a new driver reads what Envoy was told from live/routes.json, and
what it serves from the listener.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from tempfile import TemporaryDirectory

import trio
import trio.to_thread
from attrs import evolve

from edge_agent.drivers.base import (
    Finding,
    FlipEvidence,
    ProxyStatus,
    RefusalCode,
    Refused,
    refuse_inconsistent,
    refuse_stale,
)
from edge_agent.drivers.checking import Trial, look
from edge_agent.drivers.connections import cut
from edge_agent.drivers.envoy import resources
from edge_agent.drivers.envoy.admin import Admin, literally
from edge_agent.drivers.envoy.bootstrap import bootstrap
from edge_agent.drivers.envoy.files import Files
from edge_agent.drivers.envoy.loading import ACTIVE, LIVE_RDS, Before, Loader
from edge_agent.drivers.envoy.resources import Loaded, Plan
from edge_agent.drivers.envoy.settings import EnvoySettings, find_binary
from edge_agent.drivers.process_driver import ProcessDriver
from edge_agent.drivers.proxy_folder import check_socket_path, disk_refusals, sync_folder
from edge_agent.drivers.proxy_process import ProxyProcess, find, find_or_spawn
from edge_agent.drivers.version import Version, version_at
from edge_agent.request import Endpoint
from turnout.protocol.identifiers import Epoch, ServiceName
from turnout.protocol.records import Active
from turnout.protocol.routing import Colour, RoutingTable, Service

_POLL_S = 0.001
_POLLS_BETWEEN_LOOKS = 20
_CONTENT = "[0-9a-f]{12}"


class EnvoyDriver(ProcessDriver[EnvoySettings, Files]):
    """The driver contract over one Envoy; docs/proxies.md describes its state folder."""

    def __init__(self, settings: EnvoySettings) -> None:
        super().__init__(settings, Files(settings.state_dir.absolute(), settings.attach))
        self._admin = Admin(self._files.admin_socket)
        self._loader = Loader(self._files, self._admin, timeout_s=settings.stage_timeout_s)
        self._told = Loaded()
        self._floor = Active()
        self._staged: Plan | None = None
        self._before_flip: Before | None = None
        self._one_stage = trio.Lock()
        self._one_flip = trio.Lock()

    async def check(self) -> Sequence[Finding]:
        """What there is for it to work with; see :meth:`Driver.check`."""
        trial = Trial(
            settings=self._settings,
            folder=self._files,
            find_binary=lambda: find_binary(self._settings.binary),
            least=(1, 30),
            version_arguments=("--version",),
            version=r"/(\d+\.\d+\.\d+)/",
            prepare=self._lay_out,
            reaches_into=True,
        )
        with TemporaryDirectory(prefix="turnout-check-") as folder:
            return await look(trial, Path(folder))

    def _lay_out(self, folder: Path) -> Sequence[str]:
        """A configuration of its own for Envoy to read, or its operator's."""
        if self._settings.attach:
            return ("--mode", "validate", "--config-path", str(self._settings.attach.config))
        twin = EnvoyDriver(evolve(self._settings, state_dir=folder))
        twin._prepare_folder()
        twin._files.write(twin._files.bootstrap, bootstrap(twin._settings, twin._files))
        return ("--mode", "validate", "--config-path", str(twin._files.bootstrap))

    async def start(self) -> ProxyStatus:
        """Find the Envoy of the state folder or start one; see :meth:`Driver.start`."""
        await self.aclose()
        check_socket_path(self._files.staging_socket)
        with disk_refusals(f"use the state folder '{self._files.root}'"):
            self._told = await trio.to_thread.run_sync(self._prepare_folder)
        self._staged = None
        self._process = await self._find_or_start()
        self._before_flip = await self._loader.before(LIVE_RDS)
        status = await self.status()
        told = self._told.version.serving
        self._floor = max(told, status.serving, key=lambda one: one.rank)
        return status

    async def stage(self, epoch: Epoch, table: RoutingTable, changed: Sequence[Service]) -> None:
        """Load clusters, then staged routes, probe these, and lay the live routes ready."""
        refuse_inconsistent(table)
        async with self._one_stage:
            self._refuse_if_down()
            made = await trio.to_thread.run_sync(resources.plan, epoch, table, self._settings)
            plan = made.under(self._floor.incarnation)
            staged = self._staged.clusters.keys() if self._staged else frozenset()
            await self._loader.load_clusters(plan.clusters, self._told.clusters | staged)
            await self._loader.load_staged_routes(plan)
            await self._probe_staged(epoch, table, changed)
            async with self._one_flip:  # the file and the memory of what it holds change together
                await self._lay_ready(plan)

    async def activate(self, target: Active) -> FlipEvidence:
        """Rename the ready routes into place, and watch the live listener serve them."""
        async with self._one_flip:
            self._refuse_if_down()
            if self._told.version.serving != target:
                refuse_stale(target, self._floor)
                await self._tell(await self._ready_for(target))
            flipped_at_ns = await self._seen_live(self._told.version)
            with disk_refusals("make the flip durable"):
                await trio.to_thread.run_sync(sync_folder, self._files.live.parent)
            return FlipEvidence(serving=target, flipped_at_ns=flipped_at_ns)

    async def in_flight(self, service: Service, colour: Colour) -> int:
        """Envoy's gauges of requests at, or waiting for, the colour's clusters of any content."""
        names = self._cluster_patterns(service, colour)
        return await self._admin.sum_of(rf"cluster\.({names})\.({'|'.join(ACTIVE)})")

    async def requests_total(self, service: Service, colour: Colour) -> int:
        """Envoy's counter of requests to the colour's clusters of any content."""
        names = self._cluster_patterns(service, colour)
        return await self._admin.sum_of(rf"cluster\.({names})\.upstream_rq_total")

    async def withdraw(self, names: AbstractSet[ServiceName]) -> None:
        """Have the live listener fail these services' health endpoints, by the runtime's admin layer."""
        self._refuse_if_down()
        known = await self._admin.runtime(resources.WITHDRAWN)
        wanted = {f"{resources.WITHDRAWN}{name}": "100" for name in sorted(names)}
        changes = {**dict.fromkeys(known.keys() - wanted.keys(), "0"), **wanted}
        if changes:
            await self._admin.set_runtime(changes)

    async def close(self, service: Service, colour: Colour) -> int:
        """Shut down Envoy's connections to the colour's backends."""
        pattern = re.compile(self._cluster_patterns(service, colour))
        process = self._refuse_if_down()
        if any(pattern.fullmatch(name) for name in self._told.sends_to):
            raise Refused(
                RefusalCode.IN_USE,
                f"the table in force sends requests of '{service.name}' to {colour}",
            )
        by_cluster = await self._admin.addresses()
        wanted = {a for name, found in by_cluster.items() if pattern.fullmatch(name) for a in found}
        used = {a for name in self._told.sends_to for a in by_cluster.get(name, ())}
        if wanted & used:
            shared = ", ".join(f"{host}:{port}" for host, port in sorted(wanted & used))
            raise Refused(RefusalCode.IN_USE, f"the table in force sends requests to {shared} too")
        left = await self.in_flight(service, colour)
        await trio.to_thread.run_sync(cut, process.pid, wanted)
        return left

    # ------------------------------------------------------------------------------ the process

    def _prepare_folder(self) -> Loaded:
        """Make what Envoy needs to start; return what it was told to serve. Raises OSError."""
        files = self._files
        files.make_folders()
        first = resources.start_page().routes(validate=False)
        for path, data in (
            (files.clusters, resources.clusters_file({})[1]),
            (files.live, first),
            (files.staged, first),
        ):
            if not path.exists():
                files.write(path, data)
        try:
            return Loaded.read(files.live.read_bytes())
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise Refused(
                RefusalCode.DISK,
                f"'{files.live}' is not as Turnout wrote it ({error}): stop Envoy, remove the file "
                "and start the agent, which restores the table in force from its journal",
            ) from error

    async def _find_or_start(self) -> ProxyProcess:
        wanted = bootstrap(self._settings, self._files)
        process = await find(self._files)
        if process is None or self._settings.attach:
            with disk_refusals("write Envoy's bootstrap configuration"):
                self._files.write(self._files.bootstrap, wanted)
        if process is not None:
            process.release()
        process = await find_or_spawn(
            self._files, self._command(), self._is_live, self._settings.start_timeout_s
        )
        with disk_refusals("note Envoy's process number"):
            self._files.write(self._files.pid, f"{process.pid}\n".encode())
            self._restart_needed = self._files.bootstrap.read_bytes() != wanted
        if self._settings.attach:
            await self._refuse_without_our_part(process)
        return process

    async def _refuse_without_our_part(self, process: ProxyProcess) -> None:
        endpoints: dict[str, Endpoint] = {
            self._settings.listen: self._settings.asked_at,
            str(self._files.staging_socket): self._files.staging_socket,
        }
        for name, endpoint in endpoints.items():
            if await version_at(endpoint) is None:
                process.release()
                raise Refused(
                    RefusalCode.PROXY_DOWN,
                    f"the Envoy that runs does not answer for Turnout at '{name}': its "
                    "configuration must have the listeners, the dynamic_resources and the "
                    f"layered_runtime of '{self._files.bootstrap}'",
                )

    async def _is_live(self) -> bool:
        try:
            return await self._admin.state() == "LIVE"
        except Refused:
            return False

    def _command(self) -> list[str] | None:
        if self._settings.attach:
            return None
        workers = self._settings.concurrency
        return [
            str(find_binary(self._settings.binary)),
            *("--config-path", str(self._files.bootstrap)),
            *("--log-level", "warning"),
            "--disable-hot-restart",
            *(("--concurrency", str(workers)) if workers else ()),
        ]

    # --------------------------------------------------------------------- staging and flipping

    async def _lay_ready(self, plan: Plan) -> None:
        routes = await trio.to_thread.run_sync(lambda: plan.routes(validate=False))
        await self._loader.write(self._files.ready, routes)
        with disk_refusals("keep the routes in force, should the next be rejected"):
            await trio.to_thread.run_sync(self._files.keep_live)
        self._staged = plan

    async def _ready_for(self, target: Active) -> Plan:
        """The staged plan, if it is the target's, ready under the target's incarnation."""
        plan = self._staged
        if plan is None or plan.under(target.incarnation).version.serving != target:
            staged = f"epoch {plan.version.serving.epoch}" if plan else "nothing"
            raise Refused(
                RefusalCode.NOT_STAGED,
                f"epoch {target.epoch} with digest {target.digest[:12]} is not staged here "
                f"({staged} is)",
            )
        if plan.version.serving != target:
            plan = plan.under(target.incarnation)
            await self._lay_ready(plan)
        return plan

    async def _tell(self, plan: Plan) -> None:
        """The flip. From the rename on, Envoy has been told, also if it is dead and restarts."""
        with disk_refusals("rename the ready routes into place"):
            self._files.ready.rename(self._files.live)
        self._told = plan.loaded
        self._floor = plan.version.serving

    async def _seen_live(self, version: Version) -> int:
        """Return when (monotonic ns) the live listener was first seen to serve ``version``."""
        polls = 0
        with trio.move_on_after(self._settings.flip_timeout_s):
            while await version_at(self._settings.asked_at) != version:
                self._refuse_if_down()
                polls += 1
                if polls % _POLLS_BETWEEN_LOOKS == 0:
                    await self._take_back_if_rejected()
                await trio.sleep(_POLL_S)
            return time.monotonic_ns()
        raise Refused(
            RefusalCode.UNCONFIRMED,
            f"Envoy was told to serve epoch {version.serving.epoch} and is not seen to after "
            f"{self._settings.flip_timeout_s:g} s",
        )

    async def _take_back_if_rejected(self) -> None:
        """Put the previous routes back if Envoy will not have the new ones.

        It never served these, so nothing falls (S5), and a restart must not find them.
        """
        assert self._before_flip is not None, "start() looked"
        try:
            await self._loader.refuse_if_rejected(self._before_flip)
        except Refused as refusal:
            if refusal.code is RefusalCode.REJECTED and self._files.previous.exists():
                self._files.previous.rename(self._files.live)
                self._told = Loaded.read(self._files.live.read_bytes())
                self._floor = self._told.version.serving
                self._staged = None
                self._before_flip = await self._loader.before(LIVE_RDS)
            raise

    def _cluster_patterns(self, service: Service, colour: Colour) -> str:
        """A regular expression for the names of a colour's clusters, of whatever content."""
        ours = f"{resources.CLUSTER_PREFIX}{literally(service.name)}/{colour}/{_CONTENT}"
        entry = service.in_region(self._settings.region)
        named = entry.of(colour).cluster if entry else None
        return f"{ours}|{literally(named)}" if named else ours
