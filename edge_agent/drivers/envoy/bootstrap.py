"""How an owned Envoy is set up: two listeners, three watched files, one private admin socket.

- The *live* listener serves users, the *staging* listener (a UNIX socket only the agent can open)
  serves the next table. Both read their routes from a file of their own and share all clusters.
- The admin interface can end the process, so it is a UNIX socket with mode 0600 too, never a port.
- The runtime's admin layer holds which services are withdrawn (``resources.py``).
- ``deferred_stat_options``: a cluster's counters exist from its first request on, which keeps the
  idle colour of a thousand services cheap. Counters of features that our clusters never use are
  left out: Envoy looks at every name to answer for one, 75 ms of its main thread for a thousand
  services with them and 20 ms without.
"""

from __future__ import annotations

import json
from pathlib import Path

from edge_agent.drivers.envoy.files import Files
from edge_agent.drivers.envoy.resources import (
    CLUSTER_PREFIX,
    ROUTES_NAME,
    Json,
    seconds,
    socket_address,
)
from edge_agent.drivers.envoy.settings import EnvoySettings
from edge_agent.request import endpoint_of

LIVE_STATS = "turnout_live"
STAGING_STATS = "turnout_staging"

_TYPE = "type.googleapis.com/"
_OWNER_ONLY = 0o600

_SPARED_STATS: Json = {
    "safe_regex": {
        "regex": rf"cluster\.{CLUSTER_PREFIX}.*\.(assignment_.*|lb_subsets_.*|lb_zone_.*|"
        r"circuit_breakers\.high\..*|default\.total_match_count)"
    }
}


def bootstrap(settings: EnvoySettings, files: Files) -> bytes:
    """Envoy's bootstrap configuration as JSON."""
    live = _listener(
        LIVE_STATS, socket_address(*endpoint_of(settings.listen)), files.live, settings
    )
    staging = _listener(STAGING_STATS, _pipe(files.staging_socket), files.staged, settings)
    config: dict[str, Json] = {
        "node": {"id": "turnout", "cluster": "turnout"},
        "admin": {"address": _pipe(files.admin_socket)},
        "dynamic_resources": {"cds_config": _watched(files.clusters)},
        "static_resources": {"listeners": [live, staging]},
        "layered_runtime": {"layers": [{"name": "turnout", "admin_layer": {}}]},
        "deferred_stat_options": {"enable_deferred_creation_stats": True},
        "stats_config": {"stats_matcher": {"exclusion_list": {"patterns": [_SPARED_STATS]}}},
    }
    return json.dumps(config, indent=1).encode()


def _pipe(path: Path) -> Json:
    return {"pipe": {"path": str(path), "mode": _OWNER_ONLY}}


def _watched(path: Path) -> Json:
    """A file that Envoy reads again whenever something is renamed into its folder."""
    return {
        "resource_api_version": "V3",
        "path_config_source": {
            "path": str(path),
            "watched_directory": {"path": str(path.parent)},
        },
    }


def _listener(name: str, address: Json, routes: Path, settings: EnvoySettings) -> Json:
    router: dict[str, Json] = {
        "@type": _TYPE + "envoy.extensions.filters.http.router.v3.Router",
        "suppress_envoy_headers": True,
    }
    manager: dict[str, Json] = {
        "@type": _TYPE + "envoy.extensions.filters.network.http_connection_manager.v3."
        "HttpConnectionManager",
        "stat_prefix": name,
        "rds": {"route_config_name": ROUTES_NAME, "config_source": _watched(routes)},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
        "use_remote_address": True,
        "normalize_path": False,
        "strip_trailing_host_dot": True,
        "server_header_transformation": "PASS_THROUGH",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "stream_idle_timeout": seconds(settings.stream_idle_timeout_s),
        "request_headers_timeout": "10s",
    }
    chain: dict[str, Json] = {
        "filters": [
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
        ]
    }
    return {"name": name, "address": address, "filter_chains": [chain]}
