"""A member's connections to the others: one for each pair, dialled by the one that comes first.

What is said while there is none is lost, as in etcd; Raft begins anew with each connection. A connection
on which nothing has come back for 5 s is given up, which is how one is found out whose other end lives
behind a cut, or forgot about it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from attrs import define

from simulator.etcd.knobs import EtcdKnobs
from simulator.network import Connection, Network
from simulator.process import Process
from simulator.virtual_time import Act, Appointment


@define(eq=False)
class Link:
    """One end of the connection to another member.

    Attributes:
        connection: if it is there; ``is_open`` once it may be used.
        asked_ns: since when nothing has come back; -1: it has.
    """

    connection: Connection | None = None
    is_open: bool = False
    asked_ns: int = -1
    awaits_start: bool = False
    timer: Appointment | None = None


class Peers:
    """All connections of one member.

    ``of`` returns another member's ``Peers``; ``connected`` hears of each connection that opens.
    """

    def __init__(
        self,
        me: int,
        size: int,
        process: Process,
        network: Network,
        knobs: EtcdKnobs,
        of: Callable[[int], Peers],
        connected: Callable[[int], None],
    ) -> None:
        self.me, self.size, self.process, self.of = me, size, process, of
        self._network, self._knobs, self._connected = network, knobs, connected
        self._links: dict[int, Link] = {}
        self.at_rest = False
        """Whether silence means nothing (``quiet.py``)."""

    @property
    def all_open(self) -> bool:
        """Whether every other member is connected."""
        return all(link.is_open for link in self._links.values())

    def wake(self) -> None:
        """Silence means something again, from now on."""
        self.at_rest = False
        for link in self._links.values():
            link.asked_ns = -1

    def start(self) -> None:
        """The process has started: dial those that come later; those before will dial."""
        self._links = {peer: Link() for peer in range(self.size) if peer != self.me}
        for peer in range(self.me + 1, self.size):
            self._dial(peer)
        for peer in range(self.me):
            self.of(peer).started(self.me)

    def forget(self) -> None:
        """The process has died."""
        self._links = {}

    def started(self, peer: int) -> None:
        """Another process has started; if its absence was the reason for waiting, dial soon."""
        link = self._links.get(peer)
        if link is not None and link.awaits_start:
            self._dial_later(peer)

    def send(self, peer: int, act: Act) -> None:
        """Have another member do something, if it is connected."""
        link = self._links.get(peer)
        if link is None or link.connection is None or not link.is_open:
            return
        now_ns = self.process.agenda.now_ns
        if link.asked_ns < 0:
            link.asked_ns = now_ns
        elif now_ns - link.asked_ns > self._knobs.peer_silence_ns and not self.at_rest:
            self._give_up(peer)
            return
        link.connection.send(self.process, act)

    def heard(self, peer: int) -> None:
        """Something came from there."""
        self._links[peer].asked_ns = -1

    def _dial(self, peer: int) -> None:
        link = self._links[peer] = Link()
        link.connection = self._network.dial(
            self.process,
            self.of(peer).process,
            round_trips=1,
            opened=partial(self._opened, peer),
            ended=lambda _reason: self._ended(peer, link),
        )
        timeout_ns = self._knobs.peer_dial_timeout_ns
        link.timer = self.process.after(timeout_ns, lambda: self._timed_out(peer, link))

    def _opened(self, peer: int, connection: Connection) -> None:
        link = self._links[peer]
        assert link.connection is connection
        if link.timer is not None:
            link.timer.cancel()
        connection.send(self.process, partial(self.of(peer).accept, self.me, connection))
        link.is_open = True
        self._connected(peer)

    def accept(self, peer: int, connection: Connection) -> None:
        """Another member has dialled this one; whatever was there before is over."""
        before = self._links[peer]
        if before.connection is not None:
            before.connection.close(self.process)
        link = self._links[peer] = Link(connection, is_open=True)
        connection.when_ended(self.process, lambda _reason: self._ended(peer, link))
        self._connected(peer)

    def _timed_out(self, peer: int, link: Link) -> None:
        if self._links.get(peer) is link and not link.is_open:
            self._give_up(peer)

    def _give_up(self, peer: int) -> None:
        link = self._links[peer]
        assert link.connection is not None
        link.connection.close(self.process)
        self._ended(peer, link)

    def _ended(self, peer: int, link: Link) -> None:
        if self._links.get(peer) is not link:
            return
        if link.timer is not None:
            link.timer.cancel()
        self._links[peer] = waiting = Link()
        if peer > self.me:
            waiting.awaits_start = True
            if self.of(peer).process.is_alive:
                self._dial_later(peer)

    def _dial_later(self, peer: int) -> None:
        """After a pause; if nobody is there then, once somebody is: etcd would try all the while."""
        self._links[peer].awaits_start = False
        self.process.after(self._knobs.peer_redial_ns, partial(self._dial, peer))
