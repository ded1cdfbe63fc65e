"""A world's normal form: without what nobody can tell any more, so that equal futures are one world.

Each reduction and why it is sound:

- a superseded leader's call that is refused for its term now is refused for ever, and its answer
  tells nobody but its sender: it need not be waited for. Where that leader cannot take a request
  either, what it remembers is forgotten. A call whose earlier copy may have won is no such call, nor
  is one that lacks the guard;
- messages that can change nothing any more leave the network: only what the machine itself, given
  them now, passes over, for a reason that can but stay. A promise is such a reason only where
  nobody can die and forget it, since that it is kept is what is to be shown. What they said stays
  as facts (S2);
- the invariants judge each world before it is settled, so what was judged once, and cannot be
  broken by anything later, is forgotten: what a proxy served before, votes that nothing rests on;
- what ``plain.py`` leaves out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable

from tests.protocol.explore.parcels import LEADER, Fact
from tests.protocol.explore.plain import (
    is_dead_order,
    is_dead_report,
    marker_of,
    plain_node,
    plain_store,
)
from tests.protocol.explore.world import Call, Input, Space, World
from tests.protocol.fake_store import FakeStore, holds
from turnout.protocol import keys
from turnout.protocol.coordinator_state import CoordinatorState, Role
from turnout.protocol.messages import Message
from turnout.protocol.transactions import CreatedAt, Put


class Settling:
    """Settles the worlds of one space; remembers what it has worked out."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._nobody = space.states(CoordinatorState())
        self._doomed: dict[tuple[int, int], bool] = {}
        self._plain_stores: dict[tuple[int, frozenset[str]], int] = {}
        self._plain_nodes: dict[Hashable, int] = {}
        self._asked: dict[Hashable, tuple[int, int]] = {}

    def __call__(self, world: World) -> World:
        """A world that was judged, without what nobody can tell any more: see the reductions."""
        store, states, agents, net, calls, budget = world
        requests = bool(self.space.budgets[budget].requests)
        kept = list(states)
        for replica, number in enumerate(states):
            state = self.space.states[number]
            if state.role is Role.FOLLOWER or not self.space.is_superseded(store, state):
                continue
            own = [n for n in calls if self.space.calls[n].replica == replica]
            if all(self._is_doomed(store, n) for n in own) and not state.unanswered:
                calls = tuple(n for n in calls if n not in own)
                if not requests or state.attempt is not None or self._writes_standing(state):
                    kept[replica] = self._nobody
        at_stake = self._at_stake(tuple(kept), calls)
        store = self._plain_store(store, at_stake)
        agents = tuple(self._plain_node(store, node) for node in agents)
        net &= ~self._dead(store, tuple(kept), agents, net, budget)
        return store, tuple(kept), agents, net, calls, budget

    def _plain_node(self, store: int, number: int) -> int:
        rulings = self.space.stores[store].rulings
        key = (rulings, number)
        known = self._plain_nodes.get(key)
        if known is None:
            node = plain_node(self.space.nodes[number], rulings)
            known = self._plain_nodes[key] = self.space.nodes(node)
        return known

    def _dead(
        self, store: int, states: tuple[int, ...], agents: tuple[int, ...], net: int, budget: int
    ) -> int:
        """The parcels of a network that nobody will ever take again."""
        dead = 0
        allowed = self.space.budgets[budget]
        may_forget = bool(allowed.agent_crashes or allowed.proxy_restarts)
        for agent, number in enumerate(agents):
            is_dead = functools.partial(self._is_dead_order, agent, number, may_forget)
            dead |= self._those((agent, number, may_forget), net, agent, is_dead)
        if not allowed.elections:
            dead |= self._dead_reports(store, states, net)
        return dead

    def _is_dead_order(
        self, agent: int, number: int, may_forget: bool, parcel: int, message: Message
    ) -> bool:
        node, given = self.space.nodes[number], Input("message", parcel)
        outdated = is_dead_order(message, node, may_forget=may_forget)
        return outdated and self.space.agent_outcomes(agent, number, given) == [(number, 0)]

    def _dead_reports(self, store: int, states: tuple[int, ...], net: int) -> int:
        dead = 0
        for number in states:
            state = self.space.states[number]
            if state.role is Role.LEADING and not self.space.is_superseded(store, state):
                key = ("reports", number)
                dead |= self._those(
                    key, net, LEADER, functools.partial(self._is_dead_report, state)
                )
        return dead

    @staticmethod
    def _is_dead_report(state: CoordinatorState, _parcel: int, message: Message) -> bool:
        return is_dead_report(state, message)

    def _those(
        self, key: Hashable, net: int, to: int, is_dead: Callable[[int, Message], bool]
    ) -> int:
        """The dead of a network among those sent to somebody; each is asked about once a key."""
        seen, dead = self._asked.get(key, (0, 0))
        fresh = net & ~seen
        if fresh:
            for number, parcel in self.space.in_network(fresh):
                message = parcel.message
                if parcel.to == to and not isinstance(message, Fact) and is_dead(number, message):
                    dead |= 1 << number
            self._asked[key] = seen | fresh, dead
        return dead & net

    @staticmethod
    def _writes_standing(state: CoordinatorState) -> bool:
        """Whether what it waits for keeps it from taking any request."""
        return any(
            write.key == keys.STANDING
            for transaction in state.pending.values()
            for write in transaction.writes
        )

    def _is_doomed(self, store: int, number: int) -> bool:
        """Whether a call can only be refused, and its sender only learn that it leads no more.

        The leader key never gets an older create-revision again, so what is refused for its term
        once is refused for ever; unless an earlier copy had won, which the refusal would show.
        """
        key = (store, number)
        known = self._doomed.get(key)
        if known is None:
            call = self.space.calls[number]
            known = not call.silent and self._fails(self.space.stores[store], call)
            self._doomed[key] = known
        return known

    def _fails(self, store: FakeStore, call: Call) -> bool:
        items = store.items
        late = (g for g in call.transaction.guards if isinstance(g, CreatedAt))
        if all(holds(items, guard) for guard in late):
            return False
        marker = call.transaction.writes[0]
        assert isinstance(marker, Put)
        found = items.get(marker.key)
        return found is None or found.value != marker.value

    def _at_stake(self, states: tuple[int, ...], calls: tuple[int, ...]) -> frozenset[str]:
        found = {marker_of(self.space.calls[number].transaction) for number in calls}
        for number in states:
            pending = self.space.states[number].pending
            found |= {marker_of(transaction) for transaction in pending.values()}
        return frozenset(found)

    def _plain_store(self, store: int, at_stake: frozenset[str]) -> int:
        key = (store, at_stake)
        known = self._plain_stores.get(key)
        if known is None:
            known = self._plain_stores[key] = self.space.stores(
                plain_store(self.space.stores[store], at_stake)
            )
        return known
