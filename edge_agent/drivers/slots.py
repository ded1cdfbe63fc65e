"""A proxy that holds several tables at once, in *slots*, and is told which of them is live.

What HAProxy and nginx have in common, each with a loader of its own:

1. ``stage``: the next table goes into a free slot, and the staging listener is turned to it and probed.
2. ``activate``: which slot is live, written down on disk, and then told. The flip is seen when the live
   listener answers with the new version. Nothing is loaded and nothing restarts.

What a running proxy is told it forgets when it restarts, so the file is written first: from then on the
proxy *has been told*, also if it is dead, and comes back with it.

Truth is never only in this object: a new driver reads what the proxy was told from the file, and what it
serves from the listener.
"""

from __future__ import annotations

import abc
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, TypeVar

import trio
import trio.to_thread
from attrs import evolve, frozen

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
from edge_agent.drivers.process_driver import ProcessDriver
from edge_agent.drivers.proxy_folder import ProxyFolder, check_socket_path, disk_refusals
from edge_agent.drivers.proxy_process import ProxyProcess, find, find_or_spawn
from edge_agent.drivers.proxy_settings import ProxySettings
from edge_agent.drivers.version import Version, version_at
from turnout.protocol.identifiers import Epoch
from turnout.protocol.records import Active
from turnout.protocol.routing import RoutingTable, Service

SLOTS = ("a", "b", "c", "d")
"""Enough for the table that is live, the one that the proxy was told last should it not be live yet, the
one that is staged, and the one that is about to be staged in its place."""

LIVE, STAGED = "live", "staged"
"""The two listeners, each turned to a slot."""

_POLL_S = 0.001


@frozen(kw_only=True)
class Loaded:
    """What a slot holds.

    Attributes:
        slot: empty before anything is known.
        sends_to: what new requests go to, in the proxy's own names.
        needs: what else must be kept for it, as its loader knows it.
    """

    slot: str = ""
    version: Version = Version()
    sends_to: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()

    def under(self, incarnation: int) -> Loaded:
        """The same, served in this incarnation."""
        return evolve(self, version=self.version.under(incarnation))

    @property
    def table(self) -> str:
        """How a slot names its table: the version without the incarnation, which is the flip's."""
        return str(self.version).partition(":")[2]

    @property
    def turn(self) -> str:
        """How a listener is turned to it: the slot, and in which incarnation its table is served."""
        return f"{self.slot}:{self.version.serving.incarnation}"

    def as_file(self) -> bytes:
        """For the driver that comes after."""
        return json.dumps(
            {
                "version": str(self.version),
                "sends_to": sorted(self.sends_to),
                "needs": sorted(self.needs),
            }
        ).encode()


class SlotFolder(ProxyFolder, abc.ABC):
    """The state folder of such a proxy."""

    @property
    @abc.abstractmethod
    def active(self) -> Path:
        """Which slot each listener is turned to: lines of ``live SLOT:INCARNATION``."""

    @abc.abstractmethod
    def plan_of(self, slot: str) -> Path:
        """What the driver must know of a slot."""

    def write_active(self, loaded: Loaded) -> None:
        """Have it live after a restart. Raises OSError."""
        lines = "".join(f"{key} {loaded.turn}\n" for key in (LIVE, STAGED))
        self.write(self.active, lines.encode())

    def read_told(self) -> Loaded:
        """What the proxy was told to serve. Raises OSError; Refused (DISK) if the files are damaged."""
        try:
            lines = self.active.read_text(encoding="utf-8").splitlines()
            slot, number = dict(line.split(" ", 1) for line in lines)[LIVE].split(":")
            return self.read_slot(slot).under(int(number))
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(
                RefusalCode.DISK,
                f"'{self.active}' and what it names are not as Turnout wrote them ({error}): stop "
                f"{self.title}, remove '{self.active.parent}' and start the agent, which restores "
                "the table in force from its journal",
            ) from error

    def read_slot(self, slot: str) -> Loaded:
        """What is in a slot, in no incarnation. Raises OSError, ValueError, KeyError, TypeError."""
        if slot not in SLOTS:
            raise ValueError(f"'{slot}' is no slot")
        path = self.plan_of(slot)
        if not path.exists():
            return Loaded(slot=slot)
        plain = json.loads(path.read_bytes())
        version = Version.parse(plain["version"])
        if version is None:
            raise ValueError(f"'{plain['version']}' is no version")
        return Loaded(
            slot=slot,
            version=version,
            sends_to=frozenset(plain["sends_to"]),
            needs=frozenset(plain["needs"]),
        )


class SlotLoader(Protocol):
    """Keeps a proxy's slots, files and process in step."""

    def prepare_folder(self) -> None:
        """Make what the proxy needs to start. Raises OSError."""

    async def resume(self, told: Loaded, serving: Loaded) -> None:
        """Bring a proxy that was found in step with the files. Raises Refused."""

    async def live_slot(self) -> str:
        """The slot that the running proxy's live listener is turned to. Raises Refused."""

    async def load(
        self, epoch: Epoch, table: RoutingTable, slot: str, kept: Sequence[Loaded]
    ) -> Loaded:
        """Fill a slot that nobody asks: on disk, and in the process; ``kept``: what must stay.

        Raises:
            Refused: as :meth:`Driver.stage`.
        """

    async def turn(self, key: str, loaded: Loaded) -> None:
        """Turn a listener to a slot, from one request to the next.

        Raises:
            Refused: REJECTED, PROXY_DOWN.
        """


Settings = TypeVar("Settings", bound=ProxySettings)
Folder = TypeVar("Folder", bound=SlotFolder)


class SlottedDriver(ProcessDriver[Settings, Folder]):
    """The driver contract over one owned proxy with slots."""

    def __init__(self, settings: Settings, files: Folder, loader: SlotLoader) -> None:
        super().__init__(settings, files)
        self._slots = loader
        self._told = Loaded()
        self._served = Loaded()
        self._floor = Active()
        self._staged: Loaded | None = None
        self._one_stage = trio.Lock()
        self._one_flip = trio.Lock()

    @abc.abstractmethod
    def _configuration(self) -> dict[Path, bytes]:
        """The files that the proxy reads when it starts, as the settings want them."""

    @abc.abstractmethod
    async def _is_ready(self) -> bool:
        """Whether it answers."""

    @abc.abstractmethod
    def _trial(self) -> Trial:
        """What is to be checked on its host."""

    def _lay_out(self) -> None:
        """Write all that the proxy reads when it starts. Raises OSError."""
        self._slots.prepare_folder()
        for path, data in self._configuration().items():
            self._files.write(path, data)

    async def check(self) -> Sequence[Finding]:
        """What there is for it to work with; see :meth:`Driver.check`."""
        with TemporaryDirectory(prefix="turnout-check-") as folder:
            return await look(self._trial(), Path(folder))

    async def start(self) -> ProxyStatus:
        """Find the proxy of the state folder or start one; see :meth:`Driver.start`."""
        await self.aclose()
        check_socket_path(self._files.staging_socket)
        with disk_refusals(f"use the state folder '{self._files.root}'"):
            await trio.to_thread.run_sync(self._slots.prepare_folder)
            self._told = await trio.to_thread.run_sync(self._files.read_told)
        self._staged = None
        self._process = await self._find_or_start()
        self._served = await self._serving()
        await self._slots.resume(self._told, self._served)
        status = await self.status()
        self._floor = max(self._told.version.serving, status.serving, key=lambda one: one.rank)
        return status

    async def stage(self, epoch: Epoch, table: RoutingTable, changed: Sequence[Service]) -> None:
        """Fill a slot, turn the staging listener to it, and probe it."""
        refuse_inconsistent(table)
        async with self._one_stage:
            self._refuse_if_down()
            kept = [await self._serving(), self._told, *((self._staged,) if self._staged else ())]
            loaded = await self._slots.load(epoch, table, _free_slot(kept), kept)
            staged = loaded.under(self._floor.incarnation)
            try:
                await self._prove_staged(staged, epoch, table, changed)
            except Refused:
                await self._turn_staging(self._staged or self._told)
                raise
            self._staged = staged

    async def activate(self, target: Active) -> FlipEvidence:
        """Write down which slot is live, turn the live listener to it, and watch it serve."""
        async with self._one_flip:
            self._refuse_if_down()
            if self._told.version.serving != target:
                refuse_stale(target, self._floor)
                await self._tell(self._staged_as(target))
            told = self._told
            await self._slots.turn(LIVE, told)
            flipped_at_ns = await self._seen_live(told.version)
            self._served = told
            return FlipEvidence(serving=target, flipped_at_ns=flipped_at_ns)

    # ------------------------------------------------------------------------------ the process

    async def _find_or_start(self) -> ProxyProcess:
        wanted, title = self._configuration(), self._files.title
        process = await find(self._files)
        if process is None:
            with disk_refusals(f"write {title}'s configuration"):
                for path, data in wanted.items():
                    self._files.write(path, data)
        else:
            process.release()
        process = await find_or_spawn(
            self._files, self._command(), self._is_ready, self._settings.start_timeout_s
        )
        with disk_refusals(f"note {title}'s process number"):
            self._files.write(self._files.pid, f"{process.pid}\n".encode())
            self._restart_needed = any(path.read_bytes() != data for path, data in wanted.items())
        return process

    @property
    def _in_use(self) -> frozenset[str]:
        """What gets requests: by the table that was seen live, the one told last, and the staged one."""
        staged = self._staged.sends_to if self._staged else frozenset()
        return self._served.sends_to | self._told.sends_to | staged

    # --------------------------------------------------------------------- staging and flipping

    async def _serving(self) -> Loaded:
        """What the live listener serves; not what it was told, where a flip did not come through."""
        with disk_refusals("read what is served"):
            return self._files.read_slot(await self._slots.live_slot())

    async def _prove_staged(
        self, staged: Loaded, epoch: Epoch, table: RoutingTable, changed: Sequence[Service]
    ) -> None:
        """Turn the staging listener to a slot and probe it; once more if somebody reloaded meanwhile."""
        await self._turn_staging(staged)
        try:
            await self._probe_staged(epoch, table, changed)
        except Refused:
            if await version_at(self._files.staging_socket) == staged.version:
                raise
            await self._turn_staging(staged)
            await self._probe_staged(epoch, table, changed)

    async def _turn_staging(self, loaded: Loaded) -> None:
        await self._slots.turn(STAGED, loaded)
        version = await version_at(self._files.staging_socket)
        if version != loaded.version:
            raise Refused(
                RefusalCode.UNCONFIRMED,
                f"{self._files.title}'s staging listener answers with version '{version}', not "
                f"'{loaded.version}'",
            )

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
        """From here on the proxy has been told, also if it is dead and restarts."""
        with disk_refusals("write which table is live"):
            await trio.to_thread.run_sync(self._files.write_active, loaded)
        self._told = loaded
        self._floor = loaded.version.serving

    async def _seen_live(self, version: Version) -> int:
        """Return when (monotonic ns) the live listener was first seen to serve ``version``."""
        with trio.move_on_after(self._settings.flip_timeout_s):
            while await version_at(self._settings.asked_at) != version:
                self._refuse_if_down()
                await trio.sleep(_POLL_S)
            return time.monotonic_ns()
        raise Refused(
            RefusalCode.UNCONFIRMED,
            f"{self._files.title} was told to serve epoch {version.serving.epoch} and is not seen "
            f"to after {self._settings.flip_timeout_s:g} s",
        )


def _free_slot(kept: Iterable[Loaded]) -> str:
    taken = {loaded.slot for loaded in kept}
    return next(slot for slot in SLOTS if slot not in taken)
