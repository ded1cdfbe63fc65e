"""What a coordinator's process has of etcd: the questions of Turnout's store, over the members it knows.

This follows ``turnout/runtime/store/etcd_members.py``: everybody in the process asks the same member
until somebody finds that it cannot serve; then everybody asks the next. What is not repeatable is sent
on only while it surely was not carried out, and all within one timeout. The members are tried nearest
first, as operators are told to list them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from attrs import evolve

from simulator.etcd.channel import TIMED_OUT, Call, Channel, Serve
from simulator.etcd.cluster import EtcdCluster
from simulator.etcd.leases import LeaseTime
from simulator.etcd.member import Told
from simulator.etcd.reads import Refusal
from simulator.etcd.watching import Notice, Watch
from simulator.network import Network
from simulator.process import Process
from simulator.randomness import Randomness
from simulator.virtual_time import Act
from turnout.protocol.candidacy import LeaseGone
from turnout.protocol.transactions import (
    Delete,
    KeyValue,
    Lost,
    Put,
    Range,
    Result,
    Snapshot,
    Transaction,
    Unknown,
    Won,
)

MAX_OPERATIONS = 128
"""Guards or writes of one transaction, and ranges of one read: etcd's ``--max-txn-ops``."""

Then = Callable[[Told], None]


class EtcdClient:
    """One process's view of etcd. What it asked for is dropped when the process dies."""

    def __init__(
        self, process: Process, cluster: EtcdCluster, network: Network, randomness: Randomness
    ) -> None:
        self.process, self.knobs = process, cluster.knobs
        self._network, self._stream = network, randomness.stream(f"etcd client {process.name}")
        self._members = sorted(
            cluster.members,
            key=lambda member: network.round_trip_ns(process.region, member.process.region),
        )
        self._channels: list[Channel] = []
        self._current = 0
        self._connect()
        process.on_death.append(self._connect)

    def _connect(self) -> None:
        """Begin with no connection: what a process that died had is nobody's."""
        self._current = 0
        self._channels = [
            Channel(self.process, member, self._network, self.knobs, self._stream)
            for member in self._members
        ]

    # --- the questions --------------------------------------------------------------------------

    def read(
        self, ranges: tuple[Range, ...], revision: int, then: Callable[[Snapshot | None], None]
    ) -> None:
        """Read at one revision: the newest (0), linearizably, or an older one; None: no answer.

        What is too much for one question is read by several, at the revision that the first shows.
        """
        first, rest = ranges[:MAX_OPERATIONS], ranges[MAX_OPERATIONS:]

        def take(told: Told) -> None:
            if not isinstance(told, Snapshot):
                then(None)
            elif rest:
                self.read(rest, told.revision, partial(_join, told, then))
            else:
                then(told)

        self._ask(lambda m, _c, tell: m.read(first, revision, tell), take)

    def transact(
        self,
        transaction: Transaction,
        then: Callable[[Result | LeaseGone], None],
        *,
        lease: int = 0,
        sender: int | None = None,
    ) -> None:
        """Carry out a guarded transaction, sent at most once; ``Unknown`` when no answer came."""

        def take(told: Told) -> None:
            if isinstance(told, Won | Lost | LeaseGone):
                then(told)
            else:
                assert isinstance(told, Refusal)
                then(Unknown(reason=told.reason))

        if refused := why_refused(transaction):
            self.process.after(0, lambda: then(Unknown(reason=refused)))
            return
        self._ask(
            lambda m, _c, tell: m.transact(transaction, lease, sender, tell), take, repeatable=False
        )

    def grant(self, ttl_s: int, then: Callable[[int | None], None]) -> None:
        """Make a lease; None: no answer."""
        self._ask(
            lambda m, _c, tell: m.grant(ttl_s, tell),
            lambda told: then(told if isinstance(told, int) else None),
        )

    def keep_alive(self, lease: int, then: Callable[[bool | None], None]) -> None:
        """Give a lease its whole time again; False: it is gone, None: no answer."""
        self._ask(
            lambda m, _c, tell: m.keep_alive(lease, tell),
            lambda told: then(told if isinstance(told, bool) else None),
        )

    def lease_time(self, lease: int, then: Callable[[LeaseTime | None], None]) -> None:
        """Ask how long a lease has left; None: it is gone, or no answer."""
        self._ask(
            lambda m, _c, tell: m.lease_time(lease, tell),
            lambda told: then(told if isinstance(told, LeaseTime) else None),
        )

    def revoke(self, lease: int, then: Callable[[bool], None]) -> None:
        """End a lease and delete its keys; False: no answer."""
        self._ask(
            lambda m, _c, tell: m.revoke(lease, tell),
            lambda told: then(not isinstance(told, Refusal)),
        )

    def watch(self, key: str, from_revision: int, notice: Notice, ended: Act) -> Act:
        """Follow one key from a revision on, whatever happens to connections; return how to stop.

        ``ended`` is called when what comes next has been compacted away, and only then.
        """
        watch = Watch(self, key, from_revision, notice, ended)
        watch.open()
        return watch.cancel

    # --- whom to ask ----------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """How many members there are."""
        return len(self._channels)

    @property
    def current(self) -> Channel:
        """The member in use."""
        return self._channels[self._current]

    def leave(self, channel: Channel) -> None:
        """Turn to the next member, unless somebody already has."""
        if self.current is channel:
            self._current = (self._current + 1) % len(self._channels)

    def _ask(self, serve: Serve, then: Then, *, repeatable: bool = True) -> None:
        _Question(self, serve, then, repeatable=repeatable).ask()


class _Question:
    """Asked until somebody serves; of every member at most once, and of the first one again."""

    def __init__(self, client: EtcdClient, serve: Serve, then: Then, *, repeatable: bool) -> None:
        self._client, self._serve, self._then = client, serve, then
        self._repeatable = repeatable
        self._attempts = client.size + 1
        self._deadline_ns = self._now_ns() + client.knobs.timeout_ns

    def _now_ns(self) -> int:
        return self._client.process.agenda.now_ns

    def ask(self) -> None:
        """Ask the member in use."""
        client = self._client
        channel = client.current
        timeout_ns = client.knobs.timeout_ns
        if not self._repeatable:
            timeout_ns = self._deadline_ns - self._now_ns()
        call = Call(self._serve, lambda told: self._told(channel, told))
        self._timer = client.process.after(timeout_ns, lambda: self._timed_out(channel, call))
        channel.ask(call)

    def _timed_out(self, channel: Channel, call: Call) -> None:
        channel.drop(call)
        self._told(channel, TIMED_OUT)

    def _told(self, channel: Channel, told: Told) -> None:
        self._timer.cancel()
        if not isinstance(told, Refusal) or told.helps_nowhere:
            self._then(told)
            return
        self._client.leave(channel)
        self._attempts -= 1
        in_time = told.surely_not_done and self._now_ns() < self._deadline_ns
        if self._attempts and (self._repeatable or in_time):
            self.ask()
        else:
            self._then(told)


def why_refused(transaction: Transaction) -> str:
    """Say why a store would not take a transaction, which is an error of whoever made it."""
    operations = max(len(transaction.guards), len(transaction.writes))
    if operations > MAX_OPERATIONS:
        return f"transaction {transaction.name!r} has {operations} guards or writes"
    puts = [write.key for write in transaction.writes if isinstance(write, Put)]
    deletes = [write.key for write in transaction.writes if isinstance(write, Delete)]
    if len(puts) + len(set(deletes)) > len({*puts, *deletes}):
        return f"transaction {transaction.name!r} writes a key twice"
    return ""


def _join(first: Snapshot, then: Callable[[Snapshot | None], None], rest: Snapshot | None) -> None:
    """Put two parts of one read together: a key that one of them only listed comes with its value."""
    if rest is None:
        then(None)
        return
    items: dict[str, KeyValue] = {}
    for item in (*first.items, *rest.items):
        if item.value or item.key not in items:
            items[item.key] = item
    then(evolve(first, items=tuple(items.values())))
