"""One harness for every driver: a proxy, two backends, a table, and ways to hurt them."""

from __future__ import annotations

import abc
import contextlib
import os
import resource
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import trio
from attrs import evolve

from edge_agent.drivers.base import Driver, FlipEvidence
from edge_agent.drivers.envoy.driver import EnvoyDriver
from edge_agent.drivers.envoy.files import Files as EnvoyFiles
from edge_agent.drivers.envoy.settings import EnvoySettings
from edge_agent.drivers.haproxy.cli import Cli
from edge_agent.drivers.haproxy.driver import HAProxyDriver
from edge_agent.drivers.haproxy.files import Files as HAProxyFiles
from edge_agent.drivers.haproxy.settings import HAProxySettings
from edge_agent.drivers.memory import MemoryDriver, MemoryProxy
from edge_agent.drivers.nginx.driver import Admin, NginxDriver
from edge_agent.drivers.nginx.files import Files as NginxFiles
from edge_agent.drivers.nginx.settings import NginxSettings
from edge_agent.drivers.proxy_folder import ProxyFolder
from edge_agent.drivers.proxy_settings import ProxySettings
from edge_agent.request import Answer, AskError, Request
from edge_agent.sample_backend import SampleBackend, run_backend
from turnout.protocol.identifiers import Epoch, Region, ServiceName
from turnout.protocol.records import Active
from turnout.protocol.routing import (
    Backends,
    Colour,
    RegionBackends,
    RoutingTable,
    Service,
    Weights,
)
from turnout.runtime.ports import free_ports

REGION = Region("eu-west-1")
HOST = "checkout.example"
BLUE, GREEN = Colour.BLUE, Colour.GREEN
PATIENCE_S = 10.0


def make_service(name: str = "checkout", **changes: Any) -> Service:
    blue = Backends(addresses=("127.0.0.1:1",))
    green = Backends(addresses=("127.0.0.1:2",))
    service = Service(
        name=ServiceName(name),
        hosts=(f"{name}.example",),
        weights=Weights.all_to(BLUE),
        backends=(RegionBackends(region=REGION, blue=blue, green=green),),
    )
    return evolve(service, **changes)


def make_table(*services: Service) -> RoutingTable:
    return RoutingTable(services=tuple(sorted(services, key=lambda s: s.name)))


def active(epoch: int, table: RoutingTable, incarnation: int = 1) -> Active:
    return Active(incarnation=incarnation, epoch=Epoch(epoch), digest=table.digest)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    with trio.fail_after(PATIENCE_S):
        while True:
            if await condition():
                return
            await trio.sleep(0.005)


def marks(answer: Answer) -> tuple[int, str | None, str | None, str | None]:
    return (
        answer.status,
        answer.headers.get("x-turnout-epoch"),
        answer.headers.get("x-turnout-service"),
        answer.headers.get("x-turnout-colour"),
    )


@contextmanager
def no_file_longer_than(limit_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Harness(abc.ABC):
    """What the contract suite needs of a proxy of any kind."""

    driver: Driver
    blue: Backends
    green: Backends

    @abc.abstractmethod
    def new_driver(self) -> Driver: ...

    @abc.abstractmethod
    def kill_proxy(self) -> None: ...

    @abc.abstractmethod
    async def break_backend(self, colour: Colour) -> None: ...

    @abc.abstractmethod
    async def hold_request(self, colour: Colour) -> None: ...

    def service(self, **changes: Any) -> Service:
        backends = (RegionBackends(region=REGION, blue=self.blue, green=self.green),)
        return make_service(**{"backends": backends, **changes})

    def table(self, active: Colour = BLUE, **changes: Any) -> RoutingTable:
        return make_table(self.service(weights=Weights.all_to(active), **changes))

    async def restart_driver(self) -> Driver:
        await self.driver.aclose()
        self.driver = self.new_driver()
        await self.driver.start()
        return self.driver

    async def stage(self, epoch: int, table: RoutingTable) -> None:
        await self.driver.stage(Epoch(epoch), table, table.services)

    async def serve(self, epoch: int, table: RoutingTable, incarnation: int = 1) -> FlipEvidence:
        await self.stage(epoch, table)
        return await self.driver.activate(active(epoch, table, incarnation))

    async def get(self, path: str = "/", host: str = HOST, *, staged: bool = False) -> Answer:
        return await self.driver.ask(Request(host=host, path=path), staged=staged)


class MemoryHarness(Harness):
    def __init__(self) -> None:
        self.proxy = MemoryProxy()
        self.blue = Backends(addresses=("127.0.0.1:1",))
        self.green = Backends(addresses=("127.0.0.1:2",))
        self.driver = self.new_driver()

    def new_driver(self) -> Driver:
        return MemoryDriver(self.proxy, probe_timeout_s=0.2)

    def kill_proxy(self) -> None:
        self.proxy.crash()

    async def break_backend(self, colour: Colour) -> None:
        self.proxy.dead.add((ServiceName("checkout"), colour))

    async def hold_request(self, colour: Colour) -> None:
        self.proxy.in_flight[ServiceName("checkout"), colour] += 1


class RealHarness(Harness):
    """A proxy that Turnout owns, with two sample backends."""

    driver_type: ClassVar[type[Any]]
    unreachable: ClassVar[int] = 503
    """What it answers for a backend that takes no connection."""

    files: ProxyFolder
    settings: ProxySettings

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.backends = {colour: SampleBackend(name=colour.value) for colour in Colour}
        self.held: list[Answer | AskError] = []

    def driver_with(self, **changes: Any) -> Driver:
        made: Driver = self.driver_type(evolve(self.settings, **changes))
        return made

    def new_driver(self) -> Driver:
        return self.driver_with()

    @property
    def pid(self) -> int:
        return int(self.files.pid.read_text())

    async def start_backends(self) -> None:
        self.blue = Backends(addresses=(await self.start_backend(self.backends[BLUE]),))
        self.green = Backends(addresses=(await self.start_backend(self.backends[GREEN]),))

    async def start_backend(self, backend: SampleBackend) -> str:
        server = await self.nursery.start(run_backend, backend)
        host, port = server.addresses[0]
        return f"{host}:{port}"

    def kill_proxy(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def signal_all(self, number: signal.Signals) -> None:
        """To every process of the proxy's, as long as there is one."""
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(int(folder.name)) == self.pid:
                    os.kill(int(folder.name), number)

    async def break_backend(self, colour: Colour) -> None:
        self.backends[colour].healthy = False

    async def hold_request(self, colour: Colour, seconds: float = 300) -> None:
        before = await self.driver.in_flight(self.service(), colour)
        self.nursery.start_soon(self.hold, seconds)

        async def counted() -> bool:
            return await self.driver.in_flight(self.service(), colour) > before

        await until(counted)

    async def hold(self, seconds: float) -> None:
        """Ask for what takes so long, and keep what becomes of it in ``held``."""
        patient = self.driver_with(probe_timeout_s=seconds + PATIENCE_S)
        try:
            self.held.append(await patient.ask(Request(host=HOST, path=f"/slow?seconds={seconds}")))
        except AskError as error:
            self.held.append(error)


class EnvoyHarness(RealHarness):
    driver_type = EnvoyDriver
    files: EnvoyFiles

    def __init__(self, folder: Path, nursery: trio.Nursery) -> None:
        super().__init__(nursery)
        self.files = EnvoyFiles(folder)
        self.settings = EnvoySettings(
            region=REGION, state_dir=folder, listen=f"127.0.0.1:{free_port()}", probe_timeout_s=1.0
        )
        self.driver = self.new_driver()


class HAProxyHarness(RealHarness):
    driver_type = HAProxyDriver
    files: HAProxyFiles

    def __init__(self, folder: Path, nursery: trio.Nursery) -> None:
        super().__init__(nursery)
        self.files = HAProxyFiles(folder)
        self.settings = HAProxySettings(
            region=REGION, state_dir=folder, listen=f"127.0.0.1:{free_port()}"
        )
        self.driver = self.new_driver()

    async def turn(self, listener: str, slot: str, incarnation: str) -> None:
        order = f"set map {self.files.active} {listener} {slot}:{incarnation}"
        await Cli(self.files.admin_socket).order(order)


class NginxHarness(RealHarness):
    driver_type = NginxDriver
    unreachable = 502
    files: NginxFiles

    def __init__(self, folder: Path, nursery: trio.Nursery) -> None:
        super().__init__(nursery)
        self.files = NginxFiles(folder)
        self.settings = NginxSettings(
            region=REGION, state_dir=folder, listen=f"127.0.0.1:{free_port()}", workers=2
        )
        self.driver = self.new_driver()

    async def turn(self, listener: str, slot: str, incarnation: str) -> None:
        path = f"/turn?listener={listener}&slot={slot}&incarnation={incarnation}"
        await Admin(self.files.admin_socket).ask(path)


def free_port() -> int:
    (port,) = free_ports(1)
    return port
