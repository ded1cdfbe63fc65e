"""What a fleet consists of and where everything is: values, decided before anything starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import frozen

from turnout.runtime.ports import free_ports

SERVICE = "checkout"
HOST = "checkout.example"
COLOURS = ("blue", "green")
DOMAIN = "dev"
MAX_FOLDER_BYTES = 80
"""A socket's path may have 107 bytes (unix(7)), and a proxy's are three levels down."""
PROXIES = ("envoy", "haproxy", "nginx")
"""What a region's edge may be."""
REGION_NAMES = (
    "eu-west-1",
    "us-east-1",
    "ap-south-1",
    "sa-east-1",
    "af-south-1",
    "ap-northeast-1",
    "ca-central-1",
    "eu-north-1",
    "me-south-1",
    "us-west-2",
)


def region_names(wanted: str) -> tuple[str, ...]:
    """``3`` -> the first three names; ``a,b`` -> those. Raises ValueError."""
    if wanted.isdecimal():
        count = int(wanted)
        if not 1 <= count <= len(REGION_NAMES):
            raise ValueError(f"a number of regions is from 1 to {len(REGION_NAMES)}, or name them")
        return REGION_NAMES[:count]
    names = tuple(part.strip() for part in wanted.split(",") if part.strip())
    if not names or len(set(names)) < len(names):
        raise ValueError("name each region once, separated by commas")
    return names


def proxy_names(wanted: str) -> tuple[str, ...]:
    """``envoy,haproxy`` -> both. Raises ValueError."""
    names = tuple(part.strip() for part in wanted.split(",") if part.strip())
    unknown = [name for name in names if name not in PROXIES]
    if unknown or not names:
        raise ValueError(f"name proxies, separated by commas: {', '.join(PROXIES)}")
    return names


@frozen(kw_only=True)
class RegionPlan:
    """One region: its edge (a proxy and its agent) and its backends."""

    name: str
    proxy: str
    edge_port: int
    agent_port: int
    backend_ports: dict[str, int]

    @property
    def agent(self) -> str:
        """The agent's id."""
        return f"{self.name}-a"

    @property
    def edge(self) -> str:
        """Where users' requests go."""
        return f"127.0.0.1:{self.edge_port}"

    def backend(self, colour: str) -> str:
        """Where the backend of a colour is."""
        return f"127.0.0.1:{self.backend_ports[colour]}"


@frozen(kw_only=True)
class FleetPlan:
    """A whole fleet, below one folder."""

    folder: Path
    regions: tuple[RegionPlan, ...]
    coordinator_ports: tuple[int, ...]
    etcd_members: int
    live_timeout_s: float | None = None
    """How long an agent may take to be live until an outcome is partial; None: the default."""

    @property
    def coordinators(self) -> tuple[str, ...]:
        """The coordinators' addresses."""
        return tuple(f"http://127.0.0.1:{port}" for port in self.coordinator_ports)

    def region(self, name: str) -> RegionPlan:
        """One region by name."""
        return next(region for region in self.regions if region.name == name)

    @property
    def proxies_folder(self) -> Path:
        """Where all proxies have their files."""
        return self.folder / "proxy"

    def proxy_folder(self, region: RegionPlan) -> Path:
        """Where a region's proxy has its files: a short path, for its sockets are below it."""
        return self.proxies_folder / str(self.regions.index(region))

    @property
    def table_file(self) -> Path:
        """The sample service's table, for `turnout apply`."""
        return self.folder / "table.toml"

    def document(self) -> dict[str, Any]:
        """Every address, for programs."""
        return {
            "folder": str(self.folder),
            "coordinators": list(self.coordinators),
            "service": SERVICE,
            "host": HOST,
            "table_file": str(self.table_file),
            "regions": [
                {
                    "region": region.name,
                    "edge": f"http://{region.edge}",
                    "proxy": region.proxy,
                    "agent": region.agent,
                    "agent_status": f"http://127.0.0.1:{region.agent_port}/status",
                    "backends": {colour: region.backend(colour) for colour in COLOURS},
                }
                for region in self.regions
            ],
        }


def make_plan(
    folder: Path,
    regions: tuple[str, ...],
    *,
    coordinators: int,
    etcd_members: int,
    proxies: tuple[str, ...] = PROXIES[:1],
) -> FleetPlan:
    """Chooses a free port for everything; the regions get the proxies in turn."""
    ports: Iterator[int] = iter(free_ports(len(regions) * 4 + coordinators))
    return FleetPlan(
        folder=folder,
        coordinator_ports=tuple(next(ports) for _ in range(coordinators)),
        etcd_members=etcd_members,
        regions=tuple(
            RegionPlan(
                name=name,
                proxy=proxies[number % len(proxies)],
                edge_port=next(ports),
                agent_port=next(ports),
                backend_ports={colour: next(ports) for colour in COLOURS},
            )
            for number, name in enumerate(regions)
        ),
    )
