"""What intermediaries between HTTP clients and servers do to a request of its own.

A load balancer or a proxy may send a request again whose answer it missed, or hold one in a queue
for longer than anybody waits for it. Such a copy is a request of its own: it arrives in no order with
the connection's others, also after that connection has ended, and at whichever life the server is in.
"""

from __future__ import annotations

from functools import partial

from simulator.connections import Way
from simulator.network_knobs import NetworkKnobs
from simulator.randomness import Stream
from simulator.virtual_time import Act

HALVINGS = 10
"""A copy is late by up to ``straggler_ns``, or half of that, or a quarter ...: soon as often as late."""


class Repeats:
    """The intermediaries of a run."""

    def __init__(self, knobs: NetworkKnobs, stream: Stream) -> None:
        self._knobs, self._stream = knobs, stream
        self._are_off = not (knobs.duplicate_share or knobs.straggler_share)

    def see(self, way: Way, act: Act) -> bool:
        """A repeatable request is sent; return whether it comes late instead of in order."""
        if self._are_off:
            return False
        die = self._stream.random()
        is_straggler = die < self._knobs.straggler_share
        if is_straggler or die < self._knobs.straggler_share + self._knobs.duplicate_share:
            most_ns = self._knobs.straggler_ns >> self._stream.randrange(HALVINGS)
            way.path.agenda.after(self._stream.randint(0, most_ns), partial(self._send, way, act))
        return is_straggler

    def _send(self, way: Way, act: Act) -> None:
        way.path.throw(partial(self._arrive, way, act))

    def _arrive(self, way: Way, act: Act) -> None:
        process = way.target.process
        process.deliver(act, process.life)
