"""What the network does by itself, nothing being broken: each knob with where its default is from."""

from __future__ import annotations

from attrs import frozen

from turnout.protocol.clock import MS, SECOND


@frozen(kw_only=True)
class NetworkKnobs:
    """The weather of a run.

    Attributes:
        jitter_median_share: the median of what is added to each way, as a share of the round trip:
            0.2 %, from ping runs between EC2 regions (fantoch, June 2020).
        jitter_p99_ns: what one in a hundred exceeds: 8 ms, the 90th percentile of max - min over the
            same runs; never more than twice the round trip, as inside one region there.
        loss: the share of packets that get lost on every path: none; 0.1 to 1 % is what people see
            across the internet.
        spikes: whether one message in a thousand is late by ``spike_least_ns`` to ``spike_most_ns``:
            an assumption, of what rerouting and full queues cost; those ping runs show none.
        retransmit_after_ns: Linux's least time, beside the round trip, until TCP sends a lost
            segment again (TCP_RTO_MIN, 200 ms); it doubles each time.
        retransmit_most_ns: where the doubling ends (TCP_RTO_MAX, 120 s).
        give_up_ns: how long bytes may go unacknowledged until TCP gives the connection up: 924.6 s,
            what Linux's documentation counts for its 15 retransmissions (tcp_retries2).
        first_after_ns: until the first packet of a handshake is sent again (RFC 6298: 1 s).
        duplicate_share: of the requests that may be repeated, how many an intermediary delivers a
            second time: none, for Turnout needs no intermediary.
        straggler_share: how many of them come late instead, by up to ``straggler_ns``: 90 s, as long
            as GitHub's network stood still on 22 December 2012, commands to power hosts off in it.
    """

    jitter_median_share: float = 0.002
    jitter_p99_ns: int = 8 * MS
    loss: float = 0.0
    spikes: bool = False
    spike_share: float = 0.001
    spike_least_ns: int = 100 * MS
    spike_most_ns: int = 900 * MS
    retransmit_after_ns: int = 200 * MS
    retransmit_most_ns: int = 120 * SECOND
    give_up_ns: int = 924_600 * MS
    first_after_ns: int = SECOND
    duplicate_share: float = 0.0
    straggler_share: float = 0.0
    straggler_ns: int = 90 * SECOND


QUIET = NetworkKnobs()
"""Jitter and nothing else."""
