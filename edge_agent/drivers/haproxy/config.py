"""How HAProxy is set up: two frontends with the same rules, and the pool of backends. Pure.

- The *live* frontend serves users, the *staging* frontend (a UNIX socket only the agent can open) the
  next table. They differ in one word: the key by which they ask ``active.map`` for their slot.
- The admin socket can do anything, so it has mode 0600 too, as the master's has.
- ``http-after-response`` marks HAProxy's own answers too, and overwrites what a backend forges.
- A retry is for a refused connection only (``retry-on conn-failure``): no backend has seen the request.
  It goes to the next server at once, with ``roundrobin``; with any other balancing, or to the only
  server, HAProxy waits a second first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from edge_agent.drivers.base import COLOUR_HEADER, EPOCH_HEADER, PROBE, SERVICE_HEADER
from edge_agent.drivers.haproxy.files import Files
from edge_agent.drivers.haproxy.pool import Content, Pool, backend_name, is_numeric
from edge_agent.drivers.haproxy.settings import HAProxySettings
from edge_agent.drivers.haproxy.slot import KINDS, NOWHERE
from edge_agent.drivers.matching import EVERYTHING
from edge_agent.drivers.slots import LIVE, SLOTS, STAGED
from edge_agent.drivers.version import VERSION_HOST
from edge_agent.request import endpoint_of

CHECK = (
    "check inter 5s fastinter 250ms downinter 1s fall 2 rise 1 "
    "observe layer4 error-limit 1 on-error fastinter"
)
"""A connection every five seconds, and at once when one of a request's failed: a server that takes none is
down half a second later, and up again within a second."""

GONE = "gone"
"""The slot of a worker that was replaced: it closes without an answer, as any server may between requests."""

_REPLY = "http-request return status {status} content-type text/plain"


def process_config(settings: HAProxySettings, files: Files) -> bytes:
    """HAProxy's configuration of itself, where it is ours."""
    threads = (f"  nbthread {settings.threads}",) if settings.threads else ()
    lines = (
        "# Written by Turnout, which owns this HAProxy: changes are overwritten.",
        "global",
        f"  stats socket {files.admin_socket} mode 600 level admin expose-fd listeners",
        "  no strict-limits",
        *threads,
    )
    return _text(lines)


def routing_config(settings: HAProxySettings, files: Files, pool: Pool) -> bytes:
    """HAProxy's configuration of time limits, frontends and backends."""
    # One that is another's may run as another: the socket is the agent's all the same.
    owner = f" uid {os.getuid()}" if settings.attach else ""
    lines = [
        "# Written by Turnout, in step with what HAProxy was told while it ran: see docs/proxies.md.",
        *_defaults(settings),
        *_frontend(LIVE, settings.listen, files),
        *_frontend(STAGED, f"unix@{files.staging_socket} mode 600{owner}", files),
    ]
    for number, content in enumerate(pool.places):
        lines.append(f"backend {backend_name(number)} from turnout")
        lines += _servers(content) if content else ()
    return _text(lines)


def _defaults(settings: HAProxySettings) -> Iterator[str]:
    purge_ms = round(settings.upstream_idle_timeout_s * 1000) // 2
    yield "defaults turnout"
    yield "  mode http"
    yield "  balance roundrobin"
    yield "  option forwardfor"
    yield "  option redispatch 1"
    yield "  retries 1"
    yield "  retry-on conn-failure"
    yield "  timeout http-request 10s"
    for key in ("connect", "queue"):
        yield f"  timeout {key} {_ms(settings.connect_timeout_s)}"
    for key in ("client", "server", "tunnel", "http-keep-alive"):
        yield f"  timeout {key} {_ms(settings.stream_idle_timeout_s)}"
    yield f"  default-server pool-purge-delay {purge_ms}ms"
    yield "resolvers turnout"
    yield "  parse-resolv-conf"
    yield "  accepted_payload_size 8192"


def server_options(address: str) -> str:
    """What follows a server's address, in the file: one given by name is looked up again and again.

    A name without a dot is this host's business (``/etc/hosts``) and is looked up once.
    """
    if is_numeric(address):
        return CHECK
    looked_up = "init-addr last,libc,none"
    if "." in endpoint_of(address)[0]:
        looked_up += " resolvers turnout resolve-prefer ipv4"
    return f"{CHECK} {looked_up}"


def _servers(content: Content) -> Iterator[str]:
    for name, address in content.servers.items():
        yield f"  server {name} {address} {server_options(address)}"


def _frontend(key: str, bind: str, files: Files) -> Iterator[str]:
    yield f"frontend turnout_{key} from turnout"
    yield f"  bind {bind}"
    yield from _marks()
    yield f"  http-request set-var(txn.turn) str({key}),map_str({files.active})"
    yield "  http-request set-var(txn.slot) var(txn.turn),field(1,:)"
    yield f"  http-request reject if {{ var(txn.slot) -m str {GONE} }}"
    yield f"  http-request set-var(txn.table) var(txn.slot),map_str({files.tables})"
    yield "  http-request set-var(txn.epoch) var(txn.table),field(1,:)"
    yield "  http-request set-var(txn.host) req.fhdr(host),host_only,lower,regsub(\\.$,)"
    yield "  http-request set-var(txn.path) path"
    yield (
        f'  {_REPLY.format(status=200)} lf-string "%[var(txn.turn),field(2,:)]:%[var(txn.table)]" '
        f"if {{ var(txn.host) -m str {VERSION_HOST} }}"
    )
    yield (
        f'  {_REPLY.format(status=503)} string "Turnout has no routing table here yet.\\n" '
        "if { var(txn.epoch) -m str 0 }"
    )
    yield from _lookup("match", "host", ("hosts", "suffixes", "prefixes"), files)
    yield f"  http-request set-var(txn.match) str({EVERYTHING}) if !{{ var(txn.match) -m found }}"
    yield "  http-request set-var(txn.key) var(txn.match),concat(,txn.path)"
    yield from _lookup("entry", "key", ("paths", "below"), files)
    yield (
        f'  {_REPLY.format(status=404)} string "No service here.\\n" '
        "if !{ var(txn.entry) -m found }"
    )
    yield "  http-request set-var(txn.service) var(txn.entry),field(1,|)"
    if key == LIVE:
        yield "  http-request set-var(txn.health) var(txn.entry),field(5,|)"
        yield f"  http-request set-var(txn.withdrawn) var(txn.service),map_str({files.withdrawn})"
        yield (
            f'  {_REPLY.format(status=503)} string "Withdrawn: this edge hears no coordinator.\\n" '
            "if { var(txn.withdrawn) -m found } { var(txn.path),strcmp(txn.health) eq 0 } "
            f"!{{ req.hdr(user-agent) -m str {PROBE} }}"
        )
    yield "  http-request set-var(txn.blue) var(txn.entry),field(2,|),add(0)"
    yield "  http-request set-var(txn.colour) str(green)"
    yield "  http-request set-var(txn.colour) str(blue) if { rand(100),sub(txn.blue) lt 0 }"
    yield "  http-request set-var(txn.backend) var(txn.entry),field(3,|)"
    yield (
        "  http-request set-var(txn.backend) var(txn.entry),field(4,|) "
        "if { var(txn.colour) -m str green }"
    )
    yield (
        f"  {_REPLY.format(status=503)} lf-string "
        "\"Service '%[var(txn.service)]' has no backends here.\\n\" "
        f"if {{ var(txn.backend) -m str {NOWHERE} }}"
    )
    yield "  use_backend %[var(txn.backend)]"


def _marks() -> Iterator[str]:
    for header, variable in (
        (EPOCH_HEADER, "epoch"),
        (SERVICE_HEADER, "service"),
        (COLOUR_HEADER, "colour"),
    ):
        yield f"  http-after-response del-header {header}"
        yield (
            f"  http-after-response set-header {header} %[var(txn.{variable})] "
            f"if {{ var(txn.{variable}) -m found }}"
        )


def _lookup(result: str, key: str, kinds: tuple[str, ...], files: Files) -> Iterator[str]:
    """In the slot's maps, one after the other, until one has it."""
    for slot in SLOTS:
        for kind in kinds:
            yield (
                f"  http-request set-var(txn.{result}) "
                f"var(txn.{key}),{KINDS[kind]}({files.map_of(slot, kind)}) "
                f"if {{ var(txn.slot) -m str {slot} }} !{{ var(txn.{result}) -m found }}"
            )


def _ms(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"


def _text(lines: Iterator[str] | tuple[str, ...] | list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
