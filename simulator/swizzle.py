"""Swizzle-clogging, FoundationDB's way to find what depends on the order in which nodes are heard.

The links of some nodes are clogged one node after another, and let go one after another in another
order, so that each of them for a time knows less than some others and more than the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from simulator.network import Heal, Network
from simulator.process import NodeName
from simulator.randomness import Stream
from simulator.virtual_time import Appointment


def swizzle(network: Network, stream: Stream, nodes: Sequence[NodeName], *, over_ns: int) -> Heal:
    """Clog the nodes at random moments within this time, and let them go within as much again.

    What is returned heals all of it at once, and lets nothing more of it happen.
    """
    return _Swizzle(network, stream, nodes, over_ns).heal


class _Swizzle:
    def __init__(
        self, network: Network, stream: Stream, nodes: Sequence[NodeName], over_ns: int
    ) -> None:
        self._network = network
        self._clogs: dict[NodeName, tuple[Heal, ...]] = {}
        self._planned: list[Appointment] = []
        for node in nodes:
            self._plan(stream.randint(0, over_ns), self._clog, node)
            self._plan(over_ns + stream.randint(0, over_ns), self._unclog, node)

    def _plan(self, delay_ns: int, act: Callable[[NodeName], None], node: NodeName) -> None:
        self._planned.append(self._network.agenda.after(delay_ns, partial(act, node)))

    def _clog(self, node: NodeName) -> None:
        network, everyone = self._network, self._network.names
        self._clogs[node] = network.clog([node], everyone), network.clog(everyone, [node])

    def _unclog(self, node: NodeName) -> None:
        for heal in self._clogs.pop(node, ()):
            heal()

    def heal(self) -> None:
        for appointment in self._planned:
            appointment.cancel()
        for node in tuple(self._clogs):
            self._unclog(node)
