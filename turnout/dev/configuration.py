"""The files that a fleet's programs are started with, as text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from turnout.dev.plan import COLOURS, DOMAIN, HOST, SERVICE, FleetPlan, RegionPlan

_WORKERS = {"envoy": "concurrency", "haproxy": "threads", "nginx": "workers"}
"""What the number of a proxy's threads is called."""


def coordinator_toml(plan: FleetPlan, number: int, etcd: Sequence[str], key: Path) -> str:
    """``coordinator.toml`` of one replica; failover is quick, for etcd is next door."""
    return f"""\
replica = "c{number}"
domain = "{DOMAIN}"
domain_key = {_text(key)}
listen = "127.0.0.1:{plan.coordinator_ports[number]}"

[etcd]
endpoints = {_list(etcd)}

[log]
json_lines = true
{_timing(plan)}"""


def agent_toml(
    plan: FleetPlan, region: RegionPlan, coordinators: Sequence[str], domain_key: str
) -> str:
    """``agent.toml`` of one region's agent."""
    return f"""\
id = "{region.agent}"
region = "{region.name}"
coordinators = {_list(coordinators)}
domain_key = "{domain_key}"
key_file = "agent.key"
state_folder = "state"
listen = "127.0.0.1:{region.agent_port}"

[{region.proxy}]
listen = "{region.edge}"
state_dir = {_text(plan.proxy_folder(region))}
{_WORKERS[region.proxy]} = 1
"""


def table_toml(plan: FleetPlan) -> str:
    """The sample service, with both colours' backends in every region."""
    regions = "".join(
        f'\n[service.{SERVICE}.backends."{region.name}"]\n'
        + "".join(f"{colour} = {_list([region.backend(colour)])}\n" for colour in COLOURS)
        for region in plan.regions
    )
    return f"""\
[service.{SERVICE}]
hosts = ["{HOST}"]
active = "blue"
drain_timeout_s = 30
retain_s = 3600

[service.{SERVICE}.health]
path = "/healthz"
version_path = "/version"
{regions}"""


def _timing(plan: FleetPlan) -> str:
    given = plan.live_timeout_s
    return "" if given is None else f"\n[timing]\nlive_timeout_s = {given}\n"


def _text(value: object) -> str:
    return json.dumps(str(value))  # a JSON string is a TOML string


def _list(values: Sequence[str]) -> str:
    return json.dumps(list(values))
