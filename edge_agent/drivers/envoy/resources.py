"""What Envoy is given: clusters and routes of one table, as xDS resources. Pure.

Every cluster is named by service, colour and content, ``turnout/checkout/blue/0123456789ab``, so a
changed address set is a new cluster and the old one keeps its requests. Routes mark every answer
with the epoch, local replies included; OVERWRITE_IF_EXISTS_OR_ADD keeps a backend from forging
marks. The virtual host ``turnout.invalid`` answers with the version (``drivers/version.py``).
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TypeAlias

from attrs import evolve, frozen

from edge_agent.drivers.base import (
    COLOUR_HEADER,
    EPOCH_HEADER,
    PROBE,
    RETRY_INTERVAL_S,
    SERVICE_HEADER,
    withdrawable,
)
from edge_agent.drivers.envoy.settings import EnvoySettings
from edge_agent.drivers.matching import EVERYTHING
from edge_agent.drivers.version import VERSION_HOST, Version, short_digest
from edge_agent.request import endpoint_of
from turnout.protocol.identifiers import Epoch
from turnout.protocol.records import Active
from turnout.protocol.routing import Backends, Colour, RoutingTable, Service

Json: TypeAlias = "Mapping[str, Json] | Sequence[Json] | str | int | bool"

ROUTES_NAME = "turnout"
CLUSTER_PREFIX = "turnout/"
WITHDRAWN = "turnout.withdrawn."
"""Of the runtime's keys that say of a service that its health endpoint fails (100) or does not (0)."""

_TYPE = "type.googleapis.com/"
_NOT_FOUND = 404
_UNAVAILABLE = 503

# Envoy's own default of 1,024 is below what one busy service holds; a breaker that opens in a flip
# would lose requests.
_BREAKER = 65_536

_FIRST_PAUSE_S = 0.025


@frozen(kw_only=True, slots=False)
class Plan:
    """One table, ready for Envoy."""

    version: Version
    clusters: Mapping[str, Json]
    """Each cluster the table needs, of both colours, by name; not those the proxy has itself."""

    sends_to: frozenset[str]
    """Clusters that new requests go to."""

    hosts: list[dict[str, Json]]

    def under(self, incarnation: int) -> Plan:
        """The same, to be served in this incarnation."""
        return evolve(self, version=self.version.under(incarnation))

    @property
    def loaded(self) -> Loaded:
        """What the routes file of this plan will say about itself."""
        return Loaded(
            version=self.version, clusters=frozenset(self.clusters), sends_to=self.sends_to
        )

    def routes(self, *, validate: bool) -> bytes:
        """The routes as a file for Envoy; ``validate``: refused if a cluster is unknown.

        Only staged routes are validated. The live ones are the same, and must not be thrown away
        as a whole by a restart in which one cluster is missing.
        """
        # What is withdrawn is withdrawn from users: the agent looks at staged routes as they will be.
        hosts = [_never_withdrawn(host) for host in self.hosts] if validate else self.hosts
        owned: dict[str, Json] = {
            "version": str(self.version),
            "clusters": sorted(self.clusters),
            "sends_to": sorted(self.sends_to),
        }
        resource: dict[str, Json] = {
            "@type": _TYPE + "envoy.config.route.v3.RouteConfiguration",
            "name": ROUTES_NAME,
            "validate_clusters": validate,
            "ignore_port_in_host_matching": True,
            "response_headers_to_add": [_mark(EPOCH_HEADER, str(self.version.serving.epoch))],
            "metadata": {"filter_metadata": {"turnout": owned}},
            "virtual_hosts": [*hosts, _local_host(VERSION_HOST, 200, str(self.version))],
        }
        return discovery_file(str(self.version), [resource])


@frozen(kw_only=True)
class Loaded:
    """What a routes file, written earlier, says about itself."""

    version: Version = Version()
    clusters: frozenset[str] = frozenset()
    sends_to: frozenset[str] = frozenset()

    @classmethod
    def read(cls, routes: bytes) -> Loaded:
        """Read a file that :meth:`Plan.routes` made.

        Raises:
            ValueError, KeyError, IndexError, TypeError: it is no such file.
        """
        owned = json.loads(routes)["resources"][0]["metadata"]["filter_metadata"]["turnout"]
        version = Version.parse(owned["version"])
        if version is None:
            raise ValueError(f"'{owned['version']}' is no version")
        return cls(
            version=version,
            clusters=frozenset(owned["clusters"]),
            sends_to=frozenset(owned["sends_to"]),
        )


def discovery_file(version: str, resources: list[Json]) -> bytes:
    """A DiscoveryResponse, as Envoy reads it from a file."""
    return json.dumps({"version_info": version, "resources": resources}).encode()


def clusters_file(clusters: Mapping[str, Json]) -> tuple[str, bytes]:
    """Return (version, file) of a set of clusters; the version names the content."""
    resources = [clusters[name] for name in sorted(clusters)]
    version = short_digest(resources)
    return version, discovery_file(version, resources)


def start_page() -> Plan:
    """What Envoy serves before its first table: a 503 that says so."""
    hosts = [_local_host(EVERYTHING, _UNAVAILABLE, "Turnout has no routing table here yet.\n")]
    return Plan(version=Version(), clusters={}, sends_to=frozenset(), hosts=hosts)


def plan(epoch: Epoch, table: RoutingTable, settings: EnvoySettings) -> Plan:
    """Make one table ready for an Envoy in ``settings.region``, :meth:`Plan.under` none yet."""
    planner = _Planner(table=table, settings=settings)
    hosts = list(planner.hosts())
    build = short_digest(hosts)
    return Plan(
        version=Version(serving=Active(epoch=epoch, digest=table.digest), build=build),
        clusters=planner.clusters,
        sends_to=frozenset(planner.sends_to()),
        hosts=hosts,
    )


def cluster_name(service: str, colour: Colour, backends: Backends) -> str:
    """Name the cluster of one colour's backends: the proxy's own, or ours by content."""
    if backends.cluster is not None:
        return backends.cluster
    return f"{CLUSTER_PREFIX}{service}/{colour}/{short_digest(list(backends.addresses))}"


@frozen(kw_only=True, slots=False)
class _Planner:
    table: RoutingTable
    settings: EnvoySettings

    @cached_property
    def clusters(self) -> dict[str, Json]:
        return {
            cluster_name(service.name, colour, backends): self._cluster(
                cluster_name(service.name, colour, backends), backends
            )
            for service in self.table.services
            for colour, backends in self._backends(service)
            if backends.cluster is None
        }

    def sends_to(self) -> Iterator[str]:
        for service in self.table.services:
            for colour, backends in self._backends(service):
                if service.sends_to(colour):
                    yield cluster_name(service.name, colour, backends)

    def hosts(self) -> Iterator[dict[str, Json]]:
        by_host: dict[str, list[Service]] = {}
        for service in self.table.services:
            for host in service.hosts:
                by_host.setdefault(host, []).append(service)
        for host, services in sorted(by_host.items()):
            services.sort(key=lambda s: (-len(s.path_prefix), s.path_prefix))
            routes = [route for service in services for route in self._routes(service)]
            yield {
                "name": host,
                "domains": [host],
                "routes": [*routes, _local_route(_NOT_FOUND, "No service here.\n")],
            }
        if EVERYTHING not in by_host:
            yield _local_host(EVERYTHING, _NOT_FOUND, "No service has this host.\n")

    def _backends(self, service: Service) -> Iterator[tuple[Colour, Backends]]:
        entry = service.in_region(self.settings.region)
        if entry is not None:
            for colour in Colour:
                yield colour, entry.of(colour)

    def _routes(self, service: Service) -> Iterator[Json]:
        """The service's route, and before it that of a health endpoint that may be withdrawn."""
        health = withdrawable(self.table, service)
        if health:
            off: dict[str, Json] = {
                "default_value": {"numerator": 0, "denominator": "HUNDRED"},
                "runtime_key": f"{WITHDRAWN}{service.name}",
            }
            not_probe: dict[str, Json] = {
                "name": "user-agent",
                "string_match": {"exact": PROBE},
                "invert_match": True,
                "treat_missing_header_as_empty": True,
            }
            match: dict[str, Json] = {
                "path": health,
                "runtime_fraction": off,
                "headers": [not_probe],
            }
            text = "Withdrawn: this edge hears no coordinator.\n"
            marks = [_mark(SERVICE_HEADER, service.name)]
            yield {**_local_route(_UNAVAILABLE, text, match), "response_headers_to_add": marks}
        yield self._route(service)

    def _route(self, service: Service) -> Json:
        marks = [_mark(SERVICE_HEADER, service.name)]
        match = _prefix_match(service.path_prefix)
        used = [(c, b) for c, b in self._backends(service) if service.sends_to(c)]
        if not used:
            reason = f"Service '{service.name}' has no backends in {self.settings.region}.\n"
            marks.append(_mark(COLOUR_HEADER, service.active))
            return {**_local_route(_UNAVAILABLE, reason, match), "response_headers_to_add": marks}
        action: dict[str, Json] = {"timeout": "0s", "retry_policy": _retry_policy()}
        if len(used) == 1:
            colour, backends = used[0]
            marks.append(_mark(COLOUR_HEADER, colour))
            action["cluster"] = cluster_name(service.name, colour, backends)
        else:
            action["weighted_clusters"] = {"clusters": [_weighted(service, *one) for one in used]}
        return {"match": match, "route": action, "response_headers_to_add": marks}

    def _cluster(self, name: str, backends: Backends) -> Json:
        endpoints = [endpoint_of(address) for address in backends.addresses]
        numeric = all(_is_ip(host) for host, _ in endpoints)
        thresholds: dict[str, Json] = {
            "max_connections": _BREAKER,
            "max_pending_requests": _BREAKER,
            "max_requests": _BREAKER,
            "max_retries": _BREAKER,
        }
        http: dict[str, Json] = {
            "@type": _TYPE + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http_protocol_options": {}},
            "common_http_protocol_options": {
                "idle_timeout": seconds(self.settings.upstream_idle_timeout_s)
            },
        }
        return {
            "@type": _TYPE + "envoy.config.cluster.v3.Cluster",
            "name": name,
            "type": "STATIC" if numeric else "STRICT_DNS",
            "dns_lookup_family": "V4_PREFERRED",
            "lb_policy": "LEAST_REQUEST",
            "connect_timeout": seconds(self.settings.connect_timeout_s),
            "circuit_breakers": {"thresholds": [thresholds]},
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http
            },
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{"lb_endpoints": [_endpoint(*one) for one in endpoints]}],
            },
        }


def seconds(value: float) -> str:
    """A protobuf Duration."""
    return f"{value:.3f}s"


def socket_address(host: str, port: int) -> Json:
    """Where Envoy listens or connects."""
    return {"socket_address": {"address": host, "port_value": port}}


def _endpoint(host: str, port: int) -> Json:
    return {"endpoint": {"address": socket_address(host, port)}}


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _prefix_match(prefix: str) -> Json:
    # Envoy's plain prefix would take /apis for /api; its separated one must not end with a slash.
    return {"prefix": prefix} if prefix.endswith("/") else {"path_separated_prefix": prefix}


def _retry_policy() -> Json:
    """Retry what no backend has seen: a connection refused or lost before the request was sent.

    Anything else may have had its effect, and repeating it is the client's decision.
    """
    others: dict[str, Json] = {
        "@type": _TYPE + "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    }
    return {
        "retry_on": "connect-failure,refused-stream,reset-before-request",
        "num_retries": 3,
        "retry_back_off": {
            "base_interval": seconds(_FIRST_PAUSE_S),
            "max_interval": seconds(RETRY_INTERVAL_S),
        },
        "retry_host_predicate": [
            {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": others}
        ],
        "host_selection_retry_max_attempts": 3,
    }


def _weighted(service: Service, colour: Colour, backends: Backends) -> Json:
    return {
        "name": cluster_name(service.name, colour, backends),
        "weight": service.weights.of(colour),
        "response_headers_to_add": [_mark(COLOUR_HEADER, colour)],
    }


def _mark(name: str, value: str) -> Json:
    return {
        "header": {"key": name, "value": value},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }


def _never_withdrawn(host: dict[str, Json]) -> Json:
    """A virtual host without the routes that fail a health endpoint."""
    routes = host["routes"]
    assert isinstance(routes, list)
    return {**host, "routes": [one for one in routes if "runtime_fraction" not in one["match"]]}


def _local_host(host: str, status: int, body: str) -> dict[str, Json]:
    return {"name": host, "domains": [host], "routes": [_local_route(status, body)]}


def _local_route(status: int, body: str, match: Json | None = None) -> dict[str, Json]:
    return {
        "match": match or {"prefix": "/"},
        "direct_response": {"status": status, "body": {"inline_string": body}},
    }
