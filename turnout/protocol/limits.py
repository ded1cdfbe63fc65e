"""Every bound with its unit and reason, and the relations between them, asserted at start.

The 30-second promise is an inequality over configured times (DESIGN.md section 5):
``2*T_prep + F + H + G_max + 1.5*D_max + W + V <= budget``. A configuration that breaks it is
refused with the sum spelled out, so that nobody finds out during a failover.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from turnout.protocol.clock import MS, SECOND

MAX_TABLE_BYTES = 16 * 1024 * 1024
"""Raw canonical bytes of one table; 1,000 services x 4 backends x 19 regions are 5.1 MB."""

MAX_STORED_TABLE_BYTES = 1024 * 1024
"""Compressed, as stored: etcd's request limit is 1.5 MiB, and a transaction holds more."""

MAX_MESSAGE_BYTES = 2 * 1024 * 1024
"""One message on the wire: a compressed table in base64 and its envelope."""

MAX_REPORT_BYTES = 256 * 1024
"""One vote or report: a few hundred bytes, and a drain line for each service."""

MAX_HEALTH_TIMEOUT_MS = 60_000
"""One health check's time: longer than any switch would wait for it."""

MAX_DRAIN_TIMEOUT_MS = 86_400_000
"""A day: the longest drain that may be asked for."""

MAX_HOST = 253
"""Characters of a host: a DNS name has no more (RFC 1035 section 2.3.4, without the last dot)."""

MAX_PATH_PREFIX = 1024
"""Characters of a path prefix: what every proxy can hold."""

MAX_PORT = 65_535
"""The last TCP port."""

MAX_TEXT = 1000
"""Characters of a reason or comment that are kept."""

MAX_KEY = 128
"""Characters of an idempotency key."""

MAX_AGENTS_PER_TRANSACTION = 100
"""Agents registered by one transaction: etcd allows 128 operations."""

MAX_DELETIONS_PER_TRANSACTION = 100
"""Keys deleted by one transaction: etcd allows 128 operations."""

MAX_DECISIONS_PER_READ = 50
"""Decisions looked up by one read: etcd allows 128 ranges."""

TIDY_INTERVAL_NS = 600 * SECOND
"""Between two looks for garbage: 14,400 deletions a day, and nothing that anybody notices."""

KEPT_NS = 86_400 * SECOND
"""A day: how long beyond the longest ``retain`` a commit's table and its key are kept."""

MAX_QUOTA_USED = 0.8
"""Above this share of etcd's quota new switches are refused; rollbacks and aborts are not."""

CLOCK_SAMPLES = 16
"""Exchanges that an agent's clock bound is taken from."""

DRIFT_PPM = 500
"""Quartz drifts 78 ppm at the median and rarely above 500."""

RETRANSMISSION_ROOM_NS = 1300 * MS
"""Room in G for two TCP retransmissions."""

LEAST_CONVERGENCE_NS = 15 * SECOND
"""L3 with a nearby etcd: five replicas of which four swallow everything can be tried within it."""

LEAST_STORE_TIMEOUT_NS = 500 * MS
"""Of one request to etcd, however near it is: a slow sync of its disk is no silence."""

KERNEL_BOUND_FLOOR_NS = 10 * MS
"""A kernel's bound below this is not believed without chrony (H16)."""


@frozen(kw_only=True)
class Timing:
    """The protocol's times, by their configuration names. All in nanoseconds.

    Attributes:
        prepare_timeout_ns: T_prep, a switch's time to collect every yes.
        undo_timeout_ns: T_undo, after which a rollback goes on without the silent.
        live_timeout_ns: T_live, after the activation time, until ``partial`` is written.
        budget_ns: the promise.
        lease_ttl_ns, election_ns: the leader key's lease and etcd's election timeout; together
            they give F.
        streams_per_replica, handshakes_per_s: give H, the herd after a replica's loss.
        max_g_ns, max_round_trip_ns: G_max and D_max; votes outside make a switch immediate.
        store_write_ns: W, by way of the slowest member, whichever leads; twice that is waited.
        flip_ns: V, flip and probe timeout.
        max_clock_bound_ns: bounds above are named in the report.
        sync_interval_ns: how often the leader repeats the head on every stream.
        silence_ns: how long an agent takes silence for a leader's.
        retry_ns: pause before a refused flip or an unanswered store call is tried again.
    """

    prepare_timeout_ns: int = 5 * SECOND
    undo_timeout_ns: int = 2 * SECOND
    live_timeout_ns: int = 5 * SECOND
    budget_ns: int = 30 * SECOND
    lease_ttl_ns: int = 5 * SECOND
    election_ns: int = 1 * SECOND
    streams_per_replica: int = 100
    handshakes_per_s: int = 200
    max_g_ns: int = 2500 * MS
    max_round_trip_ns: int = 500 * MS
    store_write_ns: int = 250 * MS
    flip_ns: int = 1500 * MS
    max_clock_bound_ns: int = 50 * MS
    sync_interval_ns: int = 1 * SECOND
    silence_ns: int = 4 * SECOND
    retry_ns: int = 1 * SECOND

    @property
    def failover_ns(self) -> int:
        """F, the worst failover: two lease times, two elections, 1.5 s.

        Measured with three members whose leader dies just before the holder of the lease does.
        """
        return 2 * self.lease_ttl_ns + 2 * self.election_ns + 1500 * MS

    @property
    def convergence_ns(self) -> int:
        """L3: F and V, and never below 15 s, which is what they are by default.

        Where etcd's members are far from each other its elections alone take longer, two of them at
        the worst, and then it lets the lease of a dead leader live for another election besides.
        Where F is short it is agents that take their time: they must find out that a stream is
        silent, and try one replica after another.
        """
        return max(LEAST_CONVERGENCE_NS, self.failover_ns + self.flip_ns)

    @property
    def herd_ns(self) -> int:
        """H: moving the streams of a lost replica at the admitted rate."""
        return self.streams_per_replica * SECOND // self.handshakes_per_s

    @property
    def store_timeout_ns(self) -> int:
        """How long one request to etcd may take before it counts as unanswered: twice W, or a little.

        Where it is shorter than etcd is away, a write that was made at once is sent again and again
        before anybody hears of it; where it is much longer, so is every wait for a member that died.
        """
        return max(LEAST_STORE_TIMEOUT_NS, 2 * self.store_write_ns)

    @property
    def worst_case_ns(self) -> int:
        """The left side of the SLA inequality."""
        return (
            2 * self.prepare_timeout_ns
            + self.failover_ns
            + self.herd_ns
            + self.max_g_ns
            + 3 * self.max_round_trip_ns // 2
            + self.store_write_ns
            + self.flip_ns
        )


def broken_relations(timing: Timing) -> tuple[str, ...]:
    """Name every relation between the times that does not hold; empty means fit to start."""
    return tuple(_broken(timing))


def _broken(t: Timing) -> Iterator[str]:
    for name in Timing.__attrs_attrs__:
        if getattr(t, name.name) <= 0:
            yield f"{name.name} must be above 0"
    if t.handshakes_per_s > 0 and t.worst_case_ns > t.budget_ns:
        terms = (
            ("2*T_prep", 2 * t.prepare_timeout_ns),
            ("F", t.failover_ns),
            ("H", t.herd_ns),
            ("G_max", t.max_g_ns),
            ("1.5*D_max", 3 * t.max_round_trip_ns // 2),
            ("W", t.store_write_ns),
            ("V", t.flip_ns),
        )
        sums = " + ".join(f"{name} {ns / SECOND:g}" for name, ns in terms)
        yield (
            f"{sums} = {t.worst_case_ns / SECOND:g} s is above the budget of "
            f"{t.budget_ns / SECOND:g} s: shorten prepare_timeout_s or lease_ttl_s, "
            "or admit more handshakes"
        )
    if t.undo_timeout_ns > t.prepare_timeout_ns:
        yield "undo_timeout_s must not be above prepare_timeout_s: a rollback is never slower"
    if t.silence_ns < 2 * t.sync_interval_ns:
        yield "silence_s must be at least twice sync_interval_s, or one lost line ends a stream"
    if t.store_timeout_ns >= t.lease_ttl_ns:
        yield (
            "twice store_write_s must be below lease_ttl_s, or one request that etcd does not answer "
            "costs the leader its lease"
        )
    if 2 * t.lease_ttl_ns < 3 * t.election_ns:
        yield "lease_ttl_s must be at least 1.5 x election_s: etcd grants no shorter lease"
