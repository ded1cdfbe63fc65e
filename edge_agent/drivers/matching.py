"""Which service a request belongs to: the one rule that every proxy's routes must implement.

The most specific host wins, then the longest path prefix among the services of that host. A host
is exact (``a.example``), a suffix (``*.example``), a prefix (``a.*``) or everything (``*``), in this
order, whatever the case of its letters and without a dot at its end; a request whose host matched but
whose path did not belongs to nobody. A prefix matches whole path elements, as in the Kubernetes Gateway
API: ``/api`` matches ``/api`` and ``/api/x``, not ``/apis``. A path is what was sent: nothing is decoded, and
``..`` is not resolved, for what a backend makes of it is the backend's affair.
"""

from __future__ import annotations

from collections.abc import Iterable

from turnout.protocol.routing import RoutingTable, Service

EVERYTHING = "*"


def owner(table: RoutingTable, host: str, path: str) -> Service | None:
    """Return the service that a request for ``host`` and ``path`` (without query) belongs to."""
    matched = best_host({h for service in table.services for h in service.hosts}, host)
    candidates = [
        service
        for service in table.services
        if matched in service.hosts and prefix_matches(service.path_prefix, path)
    ]
    return max(candidates, key=lambda service: len(service.path_prefix), default=None)


def best_host(patterns: Iterable[str], host: str) -> str | None:
    """Return the most specific pattern that matches ``host``."""
    asked = host.lower().removesuffix(".")
    matching = [pattern for pattern in patterns if _host_matches(pattern, asked)]
    return max(matching, key=_specificity, default=None)


def prefix_matches(prefix: str, path: str) -> bool:
    """Whether ``path`` lies at or below ``prefix``, by whole path elements."""
    if prefix.endswith("/"):
        return path.startswith(prefix)
    return path == prefix or path.startswith(prefix + "/")


def _host_matches(pattern: str, host: str) -> bool:
    if pattern.startswith("*"):
        return host.endswith(pattern[1:]) and (pattern == EVERYTHING or host != pattern[1:])
    if pattern.endswith("*"):
        return host.startswith(pattern[:-1]) and host != pattern[:-1]
    return host == pattern


def _specificity(pattern: str) -> tuple[bool, bool, int]:
    exact = "*" not in pattern
    suffix = pattern.startswith("*") and pattern != EVERYTHING
    return exact, suffix, len(pattern)
