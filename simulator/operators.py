"""Operators: they ask a coordinator for something, and ask again until there is an answer.

As the command does it: each of its coordinators in turn, a redirect followed at once, half a second
between two rounds without success; the same idempotency key every time, so asking again is safe.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from attrs import define

from simulator.door import Answer, Moved, TurnedAway
from simulator.network import Connection
from simulator.operations import ASKED_AGAIN
from simulator.process import Process
from simulator.replica_node import ReplicaNode
from simulator.world import World
from turnout.protocol.clock import SECOND
from turnout.protocol.effects import Accepted, Done, Refused
from turnout.protocol.events import CoordinatorEvent

PAUSE_NS = SECOND // 2
"""Between two rounds of the list (``turnout.cli.api_client``)."""

PATIENCE_NS = 10 * SECOND
"""For one answer."""

HANDSHAKE_ROUND_TRIPS = 2

Said: TypeAlias = Accepted | Refused | Done


@define(eq=False)
class Wish:
    """What an operator wants; ``answer`` None until there is one."""

    name: str
    make: Callable[[int], CoordinatorEvent]
    through: tuple[ReplicaNode, ...]
    asked_ns: int
    answer: Said | None = None
    tries: int = 0


class Operators:
    """Everybody at the keyboard, in one place."""

    def __init__(self, process: Process, replicas: dict[str, ReplicaNode], world: World) -> None:
        self.process = process
        self.wishes: list[Wish] = []
        self._replicas = replicas
        self._world = world

    def ask(
        self,
        name: str,
        make: Callable[[int], CoordinatorEvent],
        through: ReplicaNode | None = None,
    ) -> Wish:
        """Ask for something, of this replica only or of all in turn."""
        replicas = (through,) if through else tuple(self._replicas.values())
        wish = Wish(name, make, replicas, self._world.agenda.now_ns)
        self.wishes.append(wish)
        self._world.observer.noted(self.process, f"asks: {name}")
        self._try(wish, replicas[0])
        return wish

    def _try(self, wish: Wish, replica: ReplicaNode) -> None:
        _Call(self._world, self.process, wish, replica, self._over).begin()

    def _over(self, wish: Wish, said: Said | Answer) -> None:
        """One call has come to something."""
        if wish.answer is not None:
            return
        if isinstance(said, Moved) and said.url in self._replicas:
            self._try(wish, self._replicas[said.url])
            return
        if isinstance(said, Accepted | Done) or (
            isinstance(said, Refused) and said.code not in ASKED_AGAIN
        ):
            wish.answer = said
            self._world.observer.noted(self.process, f"{wish.name}: {told(said)}")
            return
        wish.tries += 1
        following = wish.through[wish.tries % len(wish.through)]
        pause_ns = PAUSE_NS if wish.tries % len(wish.through) == 0 else 0
        self.process.after(pause_ns, lambda: self._try(wish, following))


class _Call:
    """One request to one replica."""

    def __init__(
        self,
        world: World,
        me: Process,
        wish: Wish,
        replica: ReplicaNode,
        over: Callable[[Wish, Said | Answer], None],
    ) -> None:
        self._world = world
        self._me = me
        self._wish = wish
        self._replica = replica
        self._over = over
        self._is_over = False
        self._connection: Connection | None = None

    def begin(self) -> None:
        self._me.after(PATIENCE_NS, lambda: self._end(TurnedAway("no answer")))
        self._connection = self._world.network.dial(
            self._me,
            self._replica.process,
            round_trips=HANDSHAKE_ROUND_TRIPS,
            opened=self._opened,
            ended=lambda reason: self._end(TurnedAway(reason)),
        )

    def _opened(self, connection: Connection) -> None:
        connection.send(self._me, lambda: self._at_desk(connection))

    def _at_desk(self, connection: Connection) -> None:
        process = self._replica.process

        def back(said: Said | Answer) -> None:
            connection.send(process, lambda: self._end(said))

        answer = self._replica.ask(self._wish.make, back)
        if answer is not None:
            back(answer)

    def _end(self, said: Said | Answer) -> None:
        if self._is_over:
            return
        self._is_over = True
        if self._connection is not None:
            self._connection.close(self._me)
        self._over(self._wish, said)


def told(said: Said) -> str:
    """An answer in words."""
    match said:
        case Accepted(epoch=epoch, noop=noop):
            return f"epoch {epoch}" + (", nothing to do" if noop else "")
        case Refused(code=code, text=text):
            return f"refused ({code}): {text}"
        case Done(text=text):
            return text
