"""Who asks the fabric for something, and asks again until there is an answer."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping
from typing import Protocol

from attrs import define

from tests.protocol.fabric_nodes import Replica
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.effects import Accepted, Done, Refused, Reply
from turnout.protocol.events import CoordinatorEvent
from turnout.protocol.identifiers import ReplicaId


@define(eq=False)
class Wish:
    """What an operator wants, asked again with the same key until it is answered."""

    name: str
    make: Callable[[int], CoordinatorEvent]
    answer: Accepted | Refused | Done | None = None


class Cluster(Protocol):
    """What operators see of a fabric."""

    random: random.Random

    @property
    def replicas(self) -> Mapping[ReplicaId, Replica]: ...
    def after(self, delay_ns: int, act: Callable[[], None]) -> None: ...
    def say(self, text: str) -> None: ...
    def tell_replica(self, replica: Replica, event: CoordinatorEvent) -> None: ...


class Operators:
    """All of them, with what they asked."""

    def __init__(self, cluster: Cluster) -> None:
        self.wishes: list[Wish] = []
        self._cluster = cluster
        self._asked: dict[tuple[ReplicaId, int, int], Wish] = {}
        self._tickets = itertools.count(1)

    def ask(self, name: str, make: Callable[[int], CoordinatorEvent]) -> Wish:
        """Ask whoever leads, until there is an answer."""
        wish = Wish(name, make)
        self.wishes.append(wish)
        self._submit(wish)
        return wish

    def _submit(self, wish: Wish) -> None:
        if wish.answer is not None:
            return
        leading = [r for r in self._cluster.replicas.values() if r.leads]
        if not leading:
            self._submit_later(wish, 500 * MS)
            return
        replica = self._cluster.random.choice(leading)
        ticket = next(self._tickets)
        self._asked[replica.replica, replica.life, ticket] = wish
        self._submit_later(wish, 9 * SECOND)
        self._cluster.tell_replica(replica, wish.make(ticket))

    def _submit_later(self, wish: Wish, delay_ns: int) -> None:
        self._cluster.after(delay_ns, lambda: self._submit(wish))

    def replied(self, replica: Replica, reply: Reply) -> None:
        """A leader answers."""
        wish = self._asked.pop((replica.replica, replica.life, reply.ticket), None)
        if wish is None or wish.answer is not None:
            return
        answer = reply.answer
        if isinstance(answer, Refused) and answer.code == "no-leader":
            self._submit_later(wish, 500 * MS)
            return
        wish.answer = answer
        self._cluster.say(f"answer to {wish.name}: {_told(answer)}")

    def send_away(self, replica: Replica) -> None:
        """A leader is gone, and so are its answers: the next one is asked."""
        for key in [key for key in self._asked if key[0] == replica.replica]:
            self._submit_later(self._asked.pop(key), 500 * MS)


def _told(answer: Accepted | Refused | Done) -> str:
    match answer:
        case Accepted(epoch=epoch, noop=noop):
            return f"epoch {epoch}" + (", nothing to do" if noop else "")
        case Refused(code=code, text=text):
            return f"refused ({code}): {text}"
        case Done(text=text):
            return text
