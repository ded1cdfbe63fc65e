"""What the wire and the store do to what is given to them."""

from __future__ import annotations

from attrs import frozen

from turnout.protocol.clock import MS


@frozen(kw_only=True)
class Weather:
    """What the wire and the store do to what is given to them.

    Attributes:
        delay_ns: one way on the wire, least and most: what has most overtakes what has least.
        drop, repeat: shares of messages lost and delivered twice.
        store_ns: a store call's time.
        unheard: share of transactions that take effect and whose reply is lost.
        belated: share whose caller gives up first, and which take effect later or never.
        deafness: share of reads without an answer.
        proxy_ns: how long each of a proxy's operations takes.
        zombie_ns: how long a leader that lost the key may go on believing that it leads.
        lease_ns: how much later than its time a dead holder's lease is gone: each new leader of
            etcd itself gives every lease its whole time again.
    """

    delay_ns: tuple[int, int] = (20 * MS, 20 * MS)
    drop: float = 0.0
    repeat: float = 0.0
    store_ns: tuple[int, int] = (5 * MS, 5 * MS)
    unheard: float = 0.0
    belated: float = 0.0
    deafness: float = 0.0
    proxy_ns: tuple[int, int] = (10 * MS, 10 * MS)
    zombie_ns: tuple[int, int] = (0, 0)
    lease_ns: tuple[int, int] = (0, 0)


CALM = Weather()
