"""How long a proxy's work takes, each figure with its source."""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from turnout.protocol.clock import MS, SECOND

Span: TypeAlias = tuple[int, int]
"""The least and the most, drawn evenly between."""


@frozen(kw_only=True)
class ProxyKnobs:
    """How long a proxy's work takes, and how long its agent waits for it.

    The defaults are Envoy 1.40's behind our driver, measured on two cores.

    Attributes:
        staging_ns, staging_per_service_ns: staging 10 ms with one service, 0.5 s with 1,000; up to
            three times that with clusters that are new.
        flip_ns, flip_per_service_ns: 2.1 ms quiet and 3.1 ms under load with a small table, 79-96
            ms at 1,000 virtual hosts.
        health_ns: one request to a backend nearby and its answer.
        proof_ns: three probes in a row on new connections.
        silence_ns: the pause between two readings of the source's request counter.
        start_ns: from a crash until it serves again: Envoy starts in 0.2 to 0.4 s.
        staging_limit_ns, flip_limit_ns, proof_limit_ns, start_limit_ns: when the driver gives up:
            its default settings, and the flip and probe timeout of the protocol.
        restart_limit_ns: how long work waits for a proxy that is being started.
    """

    staging_ns: Span = (10 * MS, 30 * MS)
    staging_per_service_ns: int = MS // 2
    flip_ns: Span = (2 * MS, 3 * MS)
    flip_per_service_ns: int = MS // 10
    health_ns: Span = (MS, 5 * MS)
    proof_ns: Span = (3 * MS, 6 * MS)
    silence_ns: int = 20 * MS
    start_ns: Span = (200 * MS, 400 * MS)
    staging_limit_ns: int = 4 * SECOND
    flip_limit_ns: int = 3 * SECOND
    proof_limit_ns: int = 1500 * MS
    start_limit_ns: int = 20 * SECOND
    restart_limit_ns: int = 2 * SECOND


ENVOY = ProxyKnobs()
"""As measured."""
