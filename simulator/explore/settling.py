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

from simulator.explore.parcels import LEADER, Fact
from simulator.explore.plain import (
    is_dead_order,
    is_dead_report,
    named_by,
    plain_node,
    plain_store,
)
from simulator.explore.store import FakeStore, holds
from simulator.explore.world import Call, Input, Interned, Space, World
from turnout.protocol import keys
from turnout.protocol.coordinator_state import CoordinatorState, Role
from turnout.protocol.invariants import Ruling
from turnout.protocol.messages import Message
from turnout.protocol.transactions import CreatedAt, Put


class Settling:
    """Settles the worlds of one space; remembers what it has worked out."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._nobody = space.states(CoordinatorState())
        self._doomed: dict[tuple[int, int], bool] = {}
        self._stakes: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
        self._at_stake: Interned[frozenset[str]] = Interned()
        self._rulings: dict[int, int] = {}
        self._pasts: Interned[tuple[Ruling, ...]] = Interned()
        self._plain_stores: dict[tuple[int, int], int] = {}
        self._plain_nodes: dict[tuple[int, int], int] = {}
        self._deposed: dict[tuple[int, int], bool] = {}
        self._asked: dict[tuple[int, int, bool], tuple[int, int]] = {}

    def __call__(self, world: World) -> World:
        """A world that was judged, without what nobody can tell any more: see the reductions."""
        store, states, agents, net, calls, budget = world
        requests = bool(self.space.budgets[budget].requests)
        kept = list(states)
        for replica, number in enumerate(states):
            if not self._is_deposed(store, number):
                continue
            state = self.space.states[number]
            own = [n for n in calls if self.space.calls[n].replica == replica]
            if all(self._is_doomed(store, n) for n in own) and not state.unanswered:
                calls = tuple(n for n in calls if n not in own)
                if not requests or state.attempt is not None or self._writes_standing(state):
                    kept[replica] = self._nobody
        states = tuple(kept)
        store = self._plain_store(store, self._stake(states, calls))
        past = self._past(store)
        agents = tuple(self._plain_node(past, node) for node in agents)
        net &= ~self._dead(store, states, agents, net, budget)
        return store, states, agents, net, calls, budget

    def _is_deposed(self, store: int, number: int) -> bool:
        """Whether a replica takes itself for the leader, and is none any more."""
        key = (store, number)
        known = self._deposed.get(key)
        if known is None:
            state = self.space.states[number]
            leads = state.role is not Role.FOLLOWER
            known = self._deposed[key] = leads and self.space.is_superseded(store, state)
        return known

    def _past(self, store: int) -> int:
        known = self._rulings.get(store)
        if known is None:
            known = self._rulings[store] = self._pasts(self.space.stores[store].rulings)
        return known

    def _plain_node(self, past: int, number: int) -> int:
        key = (past, number)
        known = self._plain_nodes.get(key)
        if known is None:
            node = plain_node(self.space.nodes[number], self._pasts[past])
            known = self._plain_nodes[key] = self.space.nodes(node)
        return known

    def _dead(
        self, store: int, states: tuple[int, ...], agents: tuple[int, ...], net: int, budget: int
    ) -> int:
        """The parcels of a network that nobody will ever take again."""
        allowed = self.space.budgets[budget]
        may_forget = bool(allowed.agent_crashes or allowed.proxy_restarts)
        dead = 0
        for agent, node in enumerate(agents):
            dead |= self._those((agent, node, may_forget), net)
        if not allowed.elections:
            for state in states:
                if self.space.reigns_on(store, state):
                    dead |= self._those((LEADER, state, False), net)
        return dead

    def _those(self, whose: tuple[int, int, bool], net: int) -> int:
        """The dead of a network among those sent to somebody; each is asked about once."""
        seen, dead = self._asked.get(whose, (0, 0))
        fresh = net & ~seen
        if fresh:
            for number, parcel in self.space.in_network(fresh):
                if parcel.to == whose[0] and self._is_dead(whose, number, parcel.message):
                    dead |= 1 << number
            self._asked[whose] = seen | fresh, dead
        return dead & net

    def _is_dead(self, whose: tuple[int, int, bool], parcel: int, message: Message | Fact) -> bool:
        to, number, may_forget = whose
        if isinstance(message, Fact):
            return False
        if to == LEADER:
            return is_dead_report(self.space.states[number], message)
        given = Input("message", parcel)
        outdated = is_dead_order(message, self.space.nodes[number], may_forget=may_forget)
        return outdated and self.space.agent_outcomes(to, number, given) == [(number, 0)]

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

    def _stake(self, states: tuple[int, ...], calls: tuple[int, ...]) -> int:
        """The keys that a write on its way, or one to be repeated, is judged by."""
        key = (states, calls)
        known = self._stakes.get(key)
        if known is None:
            found = set[str]()
            for number in calls:
                found |= named_by(self.space.calls[number].transaction)
            for number in states:
                for transaction in self.space.states[number].pending.values():
                    found |= named_by(transaction)
            known = self._stakes[key] = self._at_stake(frozenset(found))
        return known

    def _plain_store(self, store: int, stake: int) -> int:
        key = (store, stake)
        known = self._plain_stores.get(key)
        if known is None:
            plain = plain_store(self.space.stores[store], self._at_stake[stake])
            known = self._plain_stores[key] = self.space.stores(plain)
        return known
