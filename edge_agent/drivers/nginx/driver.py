"""One nginx: Turnout's own, or attached to one that somebody else starts and configures.

The flip is one entry of shared memory, on disk first (``slots.py`` tells the story); nothing ever reloads:
backends are part of the table, and Lua names them to nginx request by request. Lua counts too, for nginx
has no counters of its own for one backend.
"""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from importlib import resources
from pathlib import Path

import trio
import trio.to_thread
from attrs import evolve

from edge_agent.drivers.base import RefusalCode, Refused
from edge_agent.drivers.checking import Trial
from edge_agent.drivers.connections import cut
from edge_agent.drivers.nginx import slot as slots
from edge_agent.drivers.nginx.config import http_config, main_config
from edge_agent.drivers.nginx.files import Files
from edge_agent.drivers.nginx.settings import NginxSettings, find_binary
from edge_agent.drivers.proxy_folder import disk_refusals
from edge_agent.drivers.slots import LIVE, SLOTS, Loaded, SlottedDriver
from edge_agent.request import AskError, Request, ask, endpoint_of
from turnout.protocol.identifiers import Epoch, ServiceName
from turnout.protocol.routing import Colour, RoutingTable, Service

_TIMEOUT_S = 5.0
_OK = 200
_OWNER_ONLY = 0o600
_OPEN_FILES = 65_536
_LOOK_UPS = 16
_LOOK_UP_S = 1.5


class Admin:
    """The listener that ``turnout.lua`` answers the agent on."""

    def __init__(self, endpoint: Path) -> None:
        self._endpoint = endpoint

    async def ask(self, path: str, body: bytes = b"") -> str:
        """The answer to one question.

        Raises:
            Refused: PROXY_DOWN: nobody answers; REJECTED, in nginx's words.
        """
        request = Request(host="turnout", path=path, method="POST", body=body)
        try:
            answer = await ask(
                self._endpoint, request, timeout_s=_TIMEOUT_S, max_body_bytes=64 << 20
            )
        except AskError as error:
            raise Refused(
                RefusalCode.PROXY_DOWN, f"nginx does not answer on '{self._endpoint}': {error}"
            ) from error
        text = answer.body.decode(errors="replace")
        if answer.status != _OK:
            raise Refused(RefusalCode.REJECTED, f"nginx refuses it: {text or answer.status}")
        return text


class Loader:
    """Keeps files and shared memory in step."""

    def __init__(self, settings: NginxSettings, files: Files, admin: Admin) -> None:
        self._settings = settings
        self._files = files
        self._admin = admin
        self._known: dict[str, str] = {}

    def prepare_folder(self) -> None:
        """Make what nginx needs to start. Raises OSError."""
        self._files.make_folders()
        if not self._files.active.exists():
            self._files.write_active(Loaded(slot=SLOTS[0]))

    async def resume(self, told: Loaded, serving: Loaded) -> None:
        """Nothing of a running nginx can be out of step but its listeners, which ``activate`` turns."""

    async def live_slot(self) -> str:
        """The slot that the live listener asks. Raises Refused."""
        for line in (await self._admin.ask("/show")).splitlines():
            key, _, turn = line.partition(" ")
            if key == LIVE and turn != "nil":
                return turn.partition(":")[0]
        raise Refused(RefusalCode.UNCONFIRMED, "nginx does not say which slot is live")

    async def load(
        self, epoch: Epoch, table: RoutingTable, slot: str, kept: Sequence[Loaded]
    ) -> Loaded:
        """Write a slot's table, and have nginx read it; see :class:`SlotLoader`."""
        del kept  # a table is whole in its slot: nothing is shared with the others
        region = self._settings.region
        numeric = await self._look_up(slots.addresses_of(table, region))
        version, data = await trio.to_thread.run_sync(
            slots.table_lines, epoch, table, region, numeric
        )
        loaded = Loaded(
            slot=slot,
            version=version,
            sends_to=slots.sends_to(table, region),
            needs=slots.needs(table, region, numeric),
        )
        with disk_refusals(f"write slot {slot}"):
            await trio.to_thread.run_sync(self._files.write, self._files.table_of(slot), data)
            await trio.to_thread.run_sync(
                self._files.write, self._files.plan_of(slot), loaded.as_file()
            )
            await trio.to_thread.run_sync(self._files.add_addresses, slots.by_name(loaded))
        try:
            await self._admin.ask(f"/load?slot={slot}", data)
        except Refused:
            await trio.to_thread.run_sync(self._forget, slot)
            raise
        return loaded

    def _forget(self, slot: str) -> None:
        """A slot that nginx would not have holds nothing."""
        for path in (self._files.table_of(slot), self._files.plan_of(slot)):
            path.unlink(missing_ok=True)

    async def turn(self, key: str, loaded: Loaded) -> None:
        """Turn a listener to a slot. Raises Refused."""
        slot, _, incarnation = loaded.turn.partition(":")
        await self._admin.ask(f"/turn?listener={key}&slot={slot}&incarnation={incarnation}")

    async def _look_up(self, addresses: Iterable[str]) -> dict[str, str]:
        """IP addresses, for nginx's balancer takes no names; one that is known nowhere now was known before."""
        limit = trio.CapacityLimiter(_LOOK_UPS)
        async with trio.open_nursery() as nursery:
            for address in addresses:
                if slots.numeric_form(address) is None:
                    nursery.start_soon(self._look_one_up, address, limit)
        for address in addresses:
            if slots.numeric_form(address) is None and address not in self._known:
                raise Refused(RefusalCode.REJECTED, f"backend '{address}' cannot be looked up")
        return {one: slots.numeric_form(one) or self._known[one] for one in addresses}

    async def _look_one_up(self, address: str, limit: trio.CapacityLimiter) -> None:
        host, port = endpoint_of(address)
        async with limit:
            with suppress(OSError), trio.move_on_after(_LOOK_UP_S):
                found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                found.sort(key=lambda entry: entry[0] != socket.AF_INET)
                ip = str(found[0][4][0])
                self._known[address] = f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


class NginxDriver(SlottedDriver[NginxSettings, Files]):
    """The driver contract over one nginx; docs/proxies.md describes its state folder."""

    def __init__(self, settings: NginxSettings) -> None:
        files = Files(settings.state_dir.absolute())
        self._admin = Admin(files.admin_socket)
        super().__init__(settings, files, Loader(settings, files, self._admin))

    async def in_flight(self, service: Service, colour: Colour) -> int:
        """What the living workers count at a colour, upgraded streams included."""
        return await self._count("n", service, colour)

    async def requests_total(self, service: Service, colour: Colour) -> int:
        """What the living workers ever counted there."""
        return await self._count("t", service, colour)

    async def withdraw(self, names: AbstractSet[ServiceName]) -> None:
        """Have the live listener fail these services' health endpoints."""
        self._refuse_if_down()
        listed = "".join(f"\n{name}\n" for name in sorted(names))
        await self._admin.ask("/withdraw", listed.encode())

    async def close(self, service: Service, colour: Colour) -> int:
        """Shut down nginx's connections to the colour's backends."""
        process = self._refuse_if_down()
        name = slots.backend_name(service.name, colour)
        if name in self._told.sends_to:
            raise Refused(
                RefusalCode.IN_USE,
                f"the table in force sends requests of '{service.name}' to {colour}",
            )
        used = slots.addresses_in(self._told, self._told.sends_to)
        wanted = self._addresses(name)
        if wanted & used:
            shared = ", ".join(f"{host}:{port}" for host, port in sorted(wanted & used))
            raise Refused(RefusalCode.IN_USE, f"the table in force sends requests to {shared} too")
        left = await self.in_flight(service, colour)
        with disk_refusals("read where it had backends"):
            earlier = await trio.to_thread.run_sync(self._files.read_addresses)
        old = {endpoint_of(address) for address in earlier.get(name, ())} - used
        for pid in process.children():
            await trio.to_thread.run_sync(cut, pid, wanted | old)
        return left

    def _addresses(self, name: str) -> frozenset[tuple[str, int]]:
        """Where the table in force has a colour's backends, and the one that is staged."""
        held = (self._told, *((self._staged,) if self._staged else ()))
        return frozenset().union(*(slots.addresses_in(loaded, {name}) for loaded in held))

    def _configuration(self) -> dict[Path, bytes]:
        lua = resources.files("edge_agent.drivers.nginx").joinpath("turnout.lua").read_bytes()
        shared = {
            self._files.http: http_config(self._settings, self._files),
            self._files.lua: lua,
        }
        if self._settings.attach:
            return shared
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        open_files = min(_OPEN_FILES, _OPEN_FILES if most == resource.RLIM_INFINITY else most)
        own = main_config(
            self._settings, self._files, is_root=os.geteuid() == 0, open_files=open_files
        )
        return {self._files.config: own, **shared}

    def _trial(self) -> Trial:
        def prepare(folder: Path) -> Sequence[str]:
            twin = NginxDriver(evolve(self._settings, state_dir=folder))
            if self._settings.attach:
                return ("-t", "-c", str(self._settings.attach.config))
            twin._lay_out()
            return ("-t", "-p", str(folder), "-e", "stderr", "-c", str(twin._files.config))

        return Trial(
            settings=self._settings,
            folder=self._files,
            find_binary=lambda: find_binary(self._settings.binary),
            least=(1, 22),
            version_arguments=("-v",),
            version=r"/(\d+\.\d+[.\d]*)",
            prepare=prepare,
            reaches_into=True,
        )

    def _command(self) -> list[str] | None:
        if self._settings.attach:
            return None
        root = self._files.root
        binary = str(find_binary(self._settings.binary))
        return [binary, "-p", str(root), "-e", "stderr", "-c", str(self._files.config)]

    async def _is_ready(self) -> bool:
        try:
            await self._admin.ask("/show")
        except Refused:
            return False
        for path in (self._files.admin_socket, self._files.staging_socket):
            with suppress(PermissionError):  # another's nginx made it, in our private folder
                path.chmod(_OWNER_ONLY)
        return True

    async def _count(self, what: str, service: Service, colour: Colour) -> int:
        workers = "-".join(map(str, self._refuse_if_down().children()))
        asked = f"what={what}&service={service.name}&colour={colour}&workers={workers}"
        return int(await self._admin.ask(f"/count?{asked}"))
