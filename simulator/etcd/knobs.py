"""What may be set about etcd, with the source of each default."""

from __future__ import annotations

from attrs import field, frozen, validators

from turnout.protocol.clock import MS, SECOND


@frozen(kw_only=True)
class EtcdKnobs:
    """How etcd is set up, how fast it is, and what goes wrong with its answers by itself.

    Attributes:
        heartbeat_ns, election_ns: ``--heartbeat-interval`` and ``--election-timeout``; etcd's
            defaults, 100 and 1000 ms.
        fsync_ns: one sync of a member's log with all that goes with it. A write over emulated wide
            area links took the round trip to the quorum plus 4-5 ms, of which this is the disk's.
        lease_check_ns: how often etcd's leader looks for leases that are over (``lessor.go``: 500 ms).
        lease_retry_ns: after which it asks again for the end of one (``lessor.go``: 3 s).
        peer_silence_ns: after which a member takes a connection to another for dead
            (``rafthttp/peer.go``: reads and writes give up after 5 s).
        peer_redial_ns: pause between two attempts to connect to another member
            (``rafthttp/stream.go``: 100 ms).
        read_retry_ns: after which a member asks its leader again for a read's index
            (``v3_server.go`` of 3.5: 500 ms).
        timeout_ns, lifesign_ns: how long Turnout waits for an answer (its ``Timing`` says), and how
            long it lets a watch be silent: the default of its own ``EtcdOptions``.
        handshake_round_trips: what opening a client's connection takes: one without TLS.
        connect_timeout_ns: after which gRPC gives up connecting (its least, which Turnout sets: 1 s).
        backoff_ns: pause after a connection was refused; Turnout sets gRPC's first one to 100 ms and
            its longest to 1 s.
        client_silence_ns: after which gRPC takes a connection that does not answer for dead:
            Turnout pings after 10 s and waits for 3.
        watch_pause_ns, longest_watch_pause_ns: a watch's pause after all members have failed it
            once, doubling: Turnout's own 50 ms and 1 s.
        unheard: share of the transactions that are carried out and never answered. Not measured:
            a die for what otherwise takes a crash at the right moment.
        late: share of the transactions that a member takes up later than they came, by up to
            ``late_ns``: so after whoever sent them gave up, and asked what became of them.
        first_to_lead: the member, by its place, that stands for election at once when the run
            begins; None leaves it to chance, as etcd does.
        rests: leave heartbeats out while they would change nothing (``quiet.py``): no matter of
            etcd's, but of speed.
    """

    heartbeat_ns: int = field(default=100 * MS, validator=validators.gt(0))
    election_ns: int = field(default=1000 * MS, validator=validators.gt(0))
    fsync_ns: int = field(default=4 * MS, validator=validators.ge(0))
    lease_check_ns: int = field(default=500 * MS, validator=validators.gt(0))
    lease_retry_ns: int = 3 * SECOND
    peer_silence_ns: int = 5 * SECOND
    peer_redial_ns: int = 100 * MS
    read_retry_ns: int = 500 * MS
    timeout_ns: int = field(default=500 * MS, validator=validators.gt(0))
    lifesign_ns: int = field(default=1 * SECOND, validator=validators.gt(0))
    handshake_round_trips: int = 1
    connect_timeout_ns: int = 1 * SECOND
    backoff_ns: int = 100 * MS
    longest_backoff_ns: int = 1 * SECOND
    client_silence_ns: int = 13 * SECOND
    watch_pause_ns: int = 50 * MS
    longest_watch_pause_ns: int = 1 * SECOND
    unheard: float = 0.0
    late: float = 0.0
    late_ns: int = 2 * SECOND
    first_to_lead: int | None = None
    rests: bool = True

    @property
    def peer_dial_timeout_ns(self) -> int:
        """How long a member tries to connect: a second and an election timeout, as etcd does."""
        return SECOND + self.election_ns

    @property
    def least_ttl_s(self) -> int:
        """The shortest lease that is granted: one and a half elections, in whole seconds."""
        return -(-3 * self.election_ns // (2 * SECOND))
