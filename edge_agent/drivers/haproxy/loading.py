"""Giving HAProxy backends and maps: files and running process in step, and seeing that it took them.

Servers come and go over the runtime API, which disturbs nobody. Two things it cannot do, and a reload does:
make the pool larger, and look up names. A reload hands the listening sockets over, but HAProxy closes
idle keep-alive connections then, and a client that sends into one just closed has to send again.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import TypeVar

import trio
import trio.to_thread

from edge_agent.drivers.base import RefusalCode, Refused
from edge_agent.drivers.haproxy import slot as slots
from edge_agent.drivers.haproxy.cli import Cli
from edge_agent.drivers.haproxy.config import CHECK, GONE, routing_config
from edge_agent.drivers.haproxy.files import Files
from edge_agent.drivers.haproxy.pool import (
    PREFIX,
    Pool,
    backend_name,
    is_numeric,
    needed_by,
    read_pool,
)
from edge_agent.drivers.haproxy.settings import HAProxySettings, find_binary
from edge_agent.drivers.haproxy.slot import KINDS, Plan, lines_of
from edge_agent.drivers.haproxy.workers import Master, Processes, rows
from edge_agent.drivers.proxy_folder import disk_refusals
from edge_agent.drivers.proxy_process import find
from edge_agent.drivers.slots import LIVE, SLOTS, Loaded
from edge_agent.request import endpoint_of
from turnout.protocol.identifiers import Epoch
from turnout.protocol.routing import RoutingTable

_POLL_S = 0.01
_REMOVE_TRIES = 50
_TRIES = 5
_REASON_CHARACTERS = 600
_FORCED_DRAIN = 0x08
"""SRV_ADMF_FDRAIN in ``srv_admin_state`` of ``show servers state`` (HAProxy's management guide)."""

Row = dict[str, str]
Result = TypeVar("Result")

_ALERT = re.compile(r"^\[ALERT\]\s+\(\d+\) : ")


class Loader:
    """Keeps pool and slots; the driver says what and when."""

    def __init__(self, settings: HAProxySettings, files: Files, cli: Cli, master: Master) -> None:
        self._settings = settings
        self._files = files
        self._cli = cli
        self._master = master
        self._draining: set[str] = set()
        self._probed: frozenset[str] = frozenset()
        self._worker: int | None = None
        self._one_change = trio.Lock()
        self.pool = Pool()

    # ---------------------------------------------------------------------------------- the files

    def prepare_folder(self) -> None:
        """Make what HAProxy needs to start, and read the pool. Raises OSError."""
        files = self._files
        files.make_folders()
        for slot in SLOTS:
            for kind in KINDS:
                path = files.map_of(slot, kind)
                if not path.exists():
                    files.write(path, b"")
        if not files.withdrawn.exists():
            files.write(files.withdrawn, b"")
        if not files.tables.exists():
            files.write(files.tables, lines_of([(slot, Loaded().table) for slot in SLOTS]))
        if not files.active.exists():
            files.write_active(Loaded(slot=SLOTS[0]))
        if files.routing.exists():
            self.pool = read_pool(files.routing.read_text(encoding="utf-8"))
        else:
            self.write_routing()

    def write_routing(self) -> None:
        """Have the pool as it is after a restart. Raises OSError."""
        self._files.write(self._files.routing, self._routing(self.pool))

    def routing(self) -> bytes:
        """HAProxy's frontends and backends as the settings want them, with the pool as it is."""
        return self._routing(self.pool)

    def _routing(self, pool: Pool) -> bytes:
        return routing_config(self._settings, self._files, pool)

    # ------------------------------------------------------------------------------- the backends

    async def resume(self, told: Loaded, serving: Loaded) -> None:
        """Bring a HAProxy that was found in step with the files: its agent may have been killed between."""
        async with self._one_change:
            await self._bring_in_step()
            self._worker = (await self.processes()).current
            state = rows_of_servers(await self._cli.ask("show servers state"))
            self._draining = {
                row["be_name"] for row in state if int(row["srv_admin_state"]) & _FORCED_DRAIN
            }
            await self._let_serve(told.sends_to | serving.sends_to)

    async def let_drain(self, names: AbstractSet[str], in_use: AbstractSet[str]) -> None:
        """Let these backends get no new requests, whoever sends one, unless they are in use.

        Nothing depends on it: while the next table is being loaded, or where HAProxy will not, it waits for
        the next time.
        """
        idle = names & {name for name, _ in self.pool.contents()}
        with suppress(trio.WouldBlock, Refused):
            self._one_change.acquire_nowait()
            try:
                for name in sorted(idle - in_use - self._probed - self._draining):
                    self._draining.add(name)
                    await self._set_state(name, "drain")
            finally:
                self._one_change.release()

    async def load(
        self, epoch: Epoch, table: RoutingTable, slot: str, kept: Sequence[Loaded]
    ) -> Loaded:
        """Have a backend for each colour that the table needs, and its maps in the slot.

        Raises:
            Refused: REJECTED, UNCONFIRMED, PROXY_DOWN, DISK; files and process are as they were.
        """
        async with self._one_change:
            self._meet((await self.processes()).current)
            await self._bring_in_step()
            plan = await self._load_backends(epoch, table, kept)
            loaded = await self._load_slot(slot, plan)
            while (current := (await self.processes()).current) != self._worker:
                # A new worker: it has read the files, some of them perhaps before they were written.
                self._meet(current)
                await self._bring_in_step()
                loaded = await self._load_slot(slot, plan)
            return loaded

    async def _load_backends(
        self, epoch: Epoch, table: RoutingTable, kept: Sequence[Loaded]
    ) -> Plan:
        needed = needed_by(table, self._settings.region)
        names = {self.pool.backend_of(one) for one in needed if one in self.pool.places}
        await self._free(names.union(*(loaded.needs for loaded in kept)))
        before, wanted = self.pool, self.pool.with_all(needed)
        plan = await trio.to_thread.run_sync(
            slots.plan, epoch, table, self._settings.region, wanted
        )
        await self._refuse_unknown(plan.named)
        self._probed = plan.sends_to
        if wanted != before:
            await self._check(wanted)
            await self._keep(wanted)
            try:
                await self._bring_in_step()
            except Refused:
                await self._keep(before)
                raise
        await self._let_serve(plan.sends_to)
        return plan

    async def _let_serve(self, names: AbstractSet[str]) -> None:
        for name in sorted(names & self._draining):
            await self._set_state(name, "ready")
            self._draining.discard(name)

    async def _set_state(self, name: str, state: str) -> None:
        servers = dict(self.pool.contents())[name].servers
        await self._cli.order(*(f"set server {name}/{server} state {state}" for server in servers))

    async def _free(self, kept: AbstractSet[str]) -> None:
        """Take out of the pool what nobody needs any more, and no request is at."""
        spare = {name: content for name, content in self.pool.contents() if name not in kept}
        if not spare:
            return
        busy = await self._busy()
        freed = {
            name
            for name, content in spare.items()
            if name not in busy and await self._remove(name, content.servers)
        }
        if freed:
            self._draining -= freed
            await self._keep(self.pool.without(freed))

    async def _busy(self) -> set[str]:
        """Backends with requests, in any worker."""

        async def count(processes: Processes) -> set[str]:
            busy = set()
            for pid in processes.all:
                answer = await self._master.worker(pid).ask("show stat -1 2 -1")
                busy |= {row["pxname"] for row in rows(answer) if row.get("scur", "0") != "0"}
            return busy

        return await self.with_workers(count)

    async def _remove(self, backend: str, servers: Iterable[str]) -> bool:
        """Whether HAProxy let go of these servers: it keeps one while a connection to it is open."""
        names = [f"{backend}/{server}" for server in servers]
        await self._cli.order(*(f"set server {name} state maint" for name in names))
        for name in names:
            for _ in range(_REMOVE_TRIES):
                answer = await self._cli.ask(f"del server {name}")
                if answer.startswith("Server deleted") or "not found" in answer:
                    break
                await trio.sleep(_POLL_S)
            else:
                return False
        return True

    async def _refuse_unknown(self, named: AbstractSet[str]) -> None:
        if named and not self._settings.attach:
            raise Refused(
                RefusalCode.REJECTED,
                f"HAProxy has no backend '{min(named)}', for Turnout owns its configuration: give "
                "addresses",
            )
        known = await self._backends() if named else set()
        for name in sorted(named):
            if name not in known or name.startswith(PREFIX):
                raise Refused(
                    RefusalCode.REJECTED, f"HAProxy has no backend '{name}': configure it first"
                )

    async def _backends(self) -> set[str]:
        lines = (await self._cli.ask("show backend")).splitlines()
        return {line for line in lines if not line.startswith("#")}

    async def _check(self, pool: Pool) -> None:
        """Have the real HAProxy read the next configuration, all backends of both colours in it."""
        candidate = self._files.candidate
        with disk_refusals("write the next configuration"):
            await trio.to_thread.run_sync(candidate.write_bytes, self._routing(pool))
        binary = str(find_binary(self._settings.binary))
        files = (*self._files.own_config, candidate)
        command = [binary, "-c", *(word for path in files for word in ("-f", str(path)))]
        checked = await trio.run_process(
            command, capture_stdout=True, capture_stderr=True, check=False
        )
        if checked.returncode:
            words = _reason(checked.stderr.decode(errors="replace").splitlines())
            raise Refused(RefusalCode.REJECTED, f"HAProxy refuses it: {words}")

    async def _keep(self, pool: Pool) -> None:
        self.pool = pool
        with disk_refusals("write the backends"):
            await trio.to_thread.run_sync(self.write_routing)

    async def _bring_in_step(self) -> None:
        """Have the running HAProxy be what the files say: over its socket where that suffices.

        Raises:
            Refused: REJECTED, UNCONFIRMED, PROXY_DOWN.
        """
        if not await self._fit():
            await self._reload()

    async def _fit(self) -> bool:
        """Make the running HAProxy's servers those of the pool; whether that could be done."""
        wanted = {backend_name(number): one for number, one in enumerate(self.pool.places)}
        if not wanted.keys() <= await self._backends():
            return False
        present: dict[str, dict[str, Row]] = {}
        for row in rows_of_servers(await self._cli.ask("show servers state")):
            present.setdefault(row["be_name"], {})[row["srv_name"]] = row
        for name, content in wanted.items():
            servers: Mapping[str, str] = content.servers if content else {}
            found = present.get(name, {})
            right = {
                server
                for server, address in servers.items()
                if server in found and is_at(found[server], address)
            }
            missing = {one: where for one, where in servers.items() if one not in right}
            if not all(map(is_numeric, missing.values())):
                return False
            wrong = sorted(found.keys() - right)
            if wrong and not await self._remove(name, wrong):
                return False
            await self._add(name, missing)
        return True

    async def _add(self, backend: str, servers: Mapping[str, str]) -> None:
        orders = (
            (
                f"add server {backend}/{server} {address} {CHECK}",
                f"enable health {backend}/{server}",
                f"enable server {backend}/{server}",
            )
            for server, address in servers.items()
        )
        await self._cli.order(*chain.from_iterable(orders))

    async def _reload(self) -> None:
        """Have a new worker with the files as they are; the one before finishes its requests.

        Raises:
            Refused: REJECTED, UNCONFIRMED.
        """
        log_start, before = self._files.log_size(), await self.processes()
        await self._master.reload()
        with trio.move_on_after(self._settings.stage_timeout_s):
            while not await self._has_taken_over(before):  # noqa: ASYNC110 - HAProxy tells nobody
                await trio.sleep(_POLL_S)
            self._draining.clear()
            return
        reason = _reason(self._files.log_since(log_start))
        raise Refused(
            RefusalCode.UNCONFIRMED,
            f"HAProxy has no new worker {self._settings.stage_timeout_s:g} s after a reload: {reason}",
        )

    async def _has_taken_over(self, before: Processes) -> bool:
        try:
            now = await self._master.processes()
            info = await self._cli.ask("show info")
        except Refused:
            return False  # the master is about to listen again
        if now.failures > before.failures:
            reason = _reason(self._files.log_since(0))
            raise Refused(RefusalCode.REJECTED, f"HAProxy refuses to reload: {reason}")
        return now.current != before.current and f"\nPid: {now.current}\n" in info

    # ---------------------------------------------------------------------------------- the slots

    async def live_slot(self) -> str:
        """The slot that the running HAProxy's live frontend asks."""
        for line in (await self._cli.ask(f"show map {self._files.active}")).splitlines():
            match line.split():
                case [_, key, turn] if key == LIVE:
                    return turn.partition(":")[0]
        if self._settings.attach:
            raise Refused(
                RefusalCode.PROXY_DOWN,
                "the HAProxy that runs has not read what Turnout adds to it: give it "
                f"-f '{self._files.routing}' after its own configuration",
            )
        raise Refused(
            RefusalCode.UNCONFIRMED,
            f"HAProxy does not say which slot of '{self._files.active}' is live",
        )

    async def _load_slot(self, slot: str, plan: Plan) -> Loaded:
        loaded = plan.loaded(slot)
        with disk_refusals(f"write slot {slot}"):
            await trio.to_thread.run_sync(self._write_slot, loaded, plan)
        for kind in KINDS:
            await self._cli.replace_map(self._files.map_of(slot, kind), plan.maps[kind])
        await self._cli.order(f"set map {self._files.tables} {slot} {loaded.table}")
        return loaded

    async def turn(self, key: str, loaded: Loaded) -> None:
        """Have a frontend ask another slot, from one request to the next.

        Somebody may reload HAProxy at this moment. For the live frontend ``active.map`` was written
        before: a worker that begins after this has asked which one is current has read it. For the staging
        frontend the file says nothing, so it is turned again until the worker that was told goes on.

        Raises:
            Refused: REJECTED, PROXY_DOWN.
        """
        told = f"set map {self._files.active} {key} {loaded.turn}"
        while True:
            worker = await self.with_workers(partial(self._tell, key, loaded, told))
            if key == LIVE or (await self.processes()).current == worker:
                return

    async def _tell(self, key: str, loaded: Loaded, told: str, now: Processes) -> int:
        assert now.current is not None
        self._meet(now.current)
        if key == LIVE:
            await self._let_serve(loaded.sends_to)
        await self._master.worker(now.current).order(told)
        if key == LIVE:
            await self._retire(now.former)
        return now.current

    def _meet(self, worker: int | None) -> None:
        """A new worker begins with all servers ready."""
        if worker != self._worker:
            self._worker = worker
            self._draining.clear()

    async def _retire(self, former: Iterable[int]) -> None:
        """Have workers that were replaced take no request more: they know the next table by halves at most.

        What they have goes on. Whoever sends them another on a kept connection sees it closed.
        """
        for pid in former:
            with suppress(Refused):  # it may have ended since
                await self._master.worker(pid).order(
                    f"set map {self._files.active} {LIVE} {GONE}:0"
                )

    async def with_workers(self, work: Callable[[Processes], Awaitable[Result]]) -> Result:
        """Do something with the workers; again, where the master was just being replaced.

        Raises:
            Refused: PROXY_DOWN, and whatever the work raises.
        """
        for _ in range(_TRIES):
            try:
                return await work(await self.processes())
            except Refused as refusal:
                if refusal.code is not RefusalCode.PROXY_DOWN:
                    raise
        return await work(await self.processes())

    async def processes(self) -> Processes:
        """Master and workers; while the master is being replaced it is waited for.

        Raises:
            Refused: PROXY_DOWN.
        """
        with trio.move_on_after(self._settings.flip_timeout_s):
            while True:
                with suppress(Refused):
                    processes = await self._master.processes()
                    if processes.current is not None:
                        return processes
                process = await find(self._files)
                if process is None:
                    break
                process.release()
                await trio.sleep(_POLL_S)
        raise Refused(
            RefusalCode.PROXY_DOWN, "HAProxy's master does not say which worker is current"
        )

    def _write_slot(self, loaded: Loaded, plan: Plan) -> None:
        files, slot = self._files, loaded.slot
        for kind in KINDS:
            files.write(files.map_of(slot, kind), lines_of(plan.maps[kind]))
        files.write(files.plan_of(slot), loaded.as_file())
        tables = dict(
            line.split(" ", 1) for line in files.tables.read_text(encoding="utf-8").splitlines()
        )
        tables[slot] = loaded.table
        files.write(files.tables, lines_of(sorted(tables.items())))


def is_at(row: Row, address: str) -> bool:
    """Whether a running server is the one of this address."""
    host, port = endpoint_of(address)
    if not is_numeric(address):
        return (row["srv_fqdn"], row["srv_port"]) == (host, str(port))
    same = row["srv_addr"] == str(ipaddress.ip_address(host))
    return same and row["srv_port"] == str(port)


def rows_of_servers(state: str) -> list[Row]:
    """The rows of ``show servers state``, by column."""
    lines = state.splitlines()
    columns = lines[1].removeprefix("# ").split() if len(lines) > 1 else []
    return [dict(zip(columns, line.split(), strict=False)) for line in lines[2:] if line.strip()]


def _reason(lines: Iterable[str]) -> str:
    telling = [_ALERT.sub("", line) for line in lines if _ALERT.match(line)]
    return " | ".join(telling)[:_REASON_CHARACTERS] or "it gives no reason"
