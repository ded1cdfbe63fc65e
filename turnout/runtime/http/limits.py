"""Every bound of the HTTP server, with its unit and its reason."""

from __future__ import annotations

import attrs
from attrs.validators import gt


@attrs.frozen(kw_only=True)
class HttpLimits:
    """What one server grants its clients; what goes beyond is answered with a problem document.

    A held stream costs one connection, so ``max_connections`` bounds streams and callers alike;
    the process needs that many file descriptors and a few more.
    """

    max_connections: int = attrs.field(default=4096, validator=gt(0))
    # Request line and header fields together. Ours take 300 bytes, a browser's with cookies 4,000.
    max_head_bytes: int = attrs.field(default=16 * 1024, validator=gt(0))
    max_headers: int = attrs.field(default=64, validator=gt(0))
    max_target_bytes: int = attrs.field(default=4 * 1024, validator=gt(0))
    # A raw table may have 16 MiB (DESIGN.md section 4); JSON around it adds a little.
    max_body_bytes: int = attrs.field(default=17 * 1024 * 1024, validator=gt(0))
    # Time spent waiting for the client to send one request, head and body together. Time our own
    # application takes in between does not count.
    request_timeout_s: float = attrs.field(default=20.0, validator=gt(0))
    # From one answer to the next request's first byte. Above the 60 s of common connection pools,
    # so that the client closes first and never writes into a connection we are closing.
    idle_timeout_s: float = attrs.field(default=75.0, validator=gt(0))
    # For each piece of 32 KiB: a client that takes less than that in this time is evicted.
    write_timeout_s: float = attrs.field(default=5.0, validator=gt(0))
    handshake_timeout_s: float = attrs.field(default=5.0, validator=gt(0))
    # TLS handshakes cost milliseconds each: a reconnect storm is spread out rather than let every
    # handshake finish late. This is the rate that H in DESIGN.md section 5 divides by.
    handshakes_per_s: float = attrs.field(default=200.0, validator=gt(0))
    # What requests in flight get on shutdown; held streams are told at its start.
    drain_timeout_s: float = attrs.field(default=5.0, validator=gt(0))
