"""A small world as a tuple of small numbers, and what its parts do when they are given something.

Values (nodes, stores, messages, events) are interned: each is given a number once, and every local
step is computed once and remembered as (number, input) -> numbers. A global step is then a few
look-ups, which is what makes exhausting millions of worlds feasible in plain Python.

Abstractions, each of which only adds behaviour:

- the network is one growing set: a message may be delivered never, late, repeatedly, in any order;
- any armed deadline may fire at any moment, before or after any other;
- a call to the store may take effect at any later moment, even after its sender's death, and its
  reply may be lost;
- a crash loses all but disk and proxy. Between two effects of one step nothing can observe a host
  but its own disk, so crashes are placed after each durable effect and nowhere else.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

from attrs import evolve, frozen

from simulator.explore.nodes import WAKE, AgentHost, AgentNode, ReplicaHost, only_due
from simulator.explore.parcels import NOWHERE, Parcel, facts_of
from simulator.explore.plain import plain_agent, plain_replica
from simulator.explore.store import FakeStore
from turnout.protocol import keys
from turnout.protocol.clock import ZERO
from turnout.protocol.coordinator_state import CoordinatorState, Role
from turnout.protocol.effects import (
    Activate,
    CoordinatorEffect,
    Operation,
    Persist,
    Read,
    SaveTable,
    Tell,
    Transact,
)
from turnout.protocol.events import (
    AgentEvent,
    CoordinatorEvent,
    FromLeader,
    ReadDone,
    Refusal,
    Transacted,
)
from turnout.protocol.messages import Message, No
from turnout.protocol.transactions import Transaction

T = TypeVar("T", bound=Hashable)


class Interned(Generic[T]):
    """Numbers for values: equal values have one number."""

    def __init__(self) -> None:
        self._number: dict[T, int] = {}
        self.values: list[T] = []

    def __call__(self, value: T) -> int:
        """The value's number."""
        number = self._number.get(value)
        if number is None:
            number = self._number[value] = len(self.values)
            self.values.append(value)
        return number

    def __getitem__(self, number: int) -> T:
        return self.values[number]

    def __len__(self) -> int:
        return len(self.values)


@frozen
class Call:
    """A transaction on its way.

    Attributes:
        orphan: nobody waits for its answer any more, but it may still take effect.
        silent: it took effect, and its answer was lost.
    """

    replica: int
    operation: Operation
    transaction: Transaction
    orphan: bool = False
    silent: bool = False


@frozen
class Budget:
    """What may still go wrong, or be asked.

    Attributes:
        requests: what is asked of whoever takes itself for the leader, in this order.
        elections: the replicas that win the leader key, in this order.
        agent_crashes: agents that die, between any two steps, and start again.
        proxy_restarts: proxies that die with their agent: what was staged is gone.
        lost_replies: the store's answers that are lost, or come late.
        refusals: operations that a proxy refuses.
        standing_changes: regions that are excluded, or included again, at any moment.
    """

    requests: tuple[CoordinatorEvent, ...] = ()
    elections: tuple[int, ...] = ()
    agent_crashes: int = 0
    proxy_restarts: int = 0
    lost_replies: int = 0
    refusals: int = 0
    standing_changes: int = 0


class Input(NamedTuple):
    """What an agent is given: a kind, and the parcel, operation or timer that it is about."""

    kind: str
    number: int = 0
    name: str = ""


class Asked(NamedTuple):
    """What a replica's step came to: its state, what it sent, its calls, and what is to be read."""

    state: int
    sent: int
    calls: tuple[int, ...]
    reads: tuple[Read, ...]


World = tuple[int, tuple[int, ...], tuple[int, ...], int, tuple[int, ...], int]
"""Store, replicas, agents, network as a bit set of parcels, calls (sorted), budget."""


class Space:
    """All that is shared by the worlds of one exploration: hosts, numbers, remembered steps."""

    def __init__(
        self,
        replicas: tuple[ReplicaHost, ...],
        agents: tuple[AgentHost, ...],
        *,
        prompt_proxies: bool = False,
    ) -> None:
        self.replicas = replicas
        self.agents = agents
        self.prompt_proxies = prompt_proxies
        self.index = {host.agent: i for i, host in enumerate(agents)}
        self.stores: Interned[FakeStore] = Interned()
        self.states: Interned[CoordinatorState] = Interned()
        self.nodes: Interned[AgentNode] = Interned()
        self.parcels: Interned[Parcel] = Interned()
        self.calls: Interned[Call] = Interned()
        self.budgets: Interned[Budget] = Interned()
        self.events: Interned[CoordinatorEvent] = Interned()
        self._agent_steps: dict[tuple[int, int, Input], list[tuple[int, int]]] = {}
        self._replica_steps: dict[tuple[int, int, int, str], Asked] = {}
        self._whole_steps: dict[tuple[int, int, int, int, str], Asked] = {}
        self._carried_out: dict[tuple[int, int, tuple[int, ...]], tuple[int, int]] = {}
        self._spent: dict[tuple[int, str], int] = {}
        self._reigns: dict[tuple[int, int], bool] = {}
        self._facts = 0
        self._known_parcels = 0

    # --- the network -------------------------------------------------------------------------

    def bit(self, to: int, message: Message) -> int:
        """The network's bit of a parcel."""
        bit = 1 << self.parcels(Parcel(to, message))
        for fact in facts_of(message):
            bit |= 1 << self.parcels(Parcel(NOWHERE, fact))
        return bit

    def fact_bits(self) -> int:
        """The bits of a network that are facts."""
        for number in range(self._known_parcels, len(self.parcels)):
            if self.parcels[number].to == NOWHERE:
                self._facts |= 1 << number
        self._known_parcels = len(self.parcels)
        return self._facts

    def in_network(self, net: int) -> Iterator[tuple[int, Parcel]]:
        """The parcels of a network, with their numbers."""
        while net:
            number = (net & -net).bit_length() - 1
            yield number, self.parcels[number]
            net &= net - 1

    # --- one agent's steps -------------------------------------------------------------------

    def agent_outcomes(self, agent: int, node: int, given: Input) -> list[tuple[int, int]]:
        """Every (node, parcels sent) that one input can lead to: whole, or cut by a crash."""
        key = (agent, node, given)
        known = self._agent_steps.get(key)
        if known is None:
            known = self._agent_steps[key] = self._agent_outcomes(agent, node, given)
        return known

    def _agent_outcomes(self, agent: int, number: int, given: Input) -> list[tuple[int, int]]:
        host, node = self.agents[agent], self.nodes[number]
        if given.kind == "restart":
            return [self._sent(host, *host.restart(node, proxy_too=given.name == "proxy"))]
        if given.kind == "flip-and-restart":
            operation = node.operations[given.number]
            assert isinstance(operation, Activate)
            flipped = host.flip(node, operation)
            return [self._sent(host, *host.restart(flipped))]
        event: AgentEvent
        if given.kind == "timer":
            state = evolve(node.state, timers=only_due(node.state.timers, given.name))
            node, event = evolve(node, state=state), WAKE
        elif given.kind == "message":
            event = FromLeader(message=self.parcels[given.number].message)  # type: ignore[arg-type]
        else:
            refusal = Refusal(no=No.REFUSED, reason="refused") if given.kind == "refuse" else None
            node, event = host.finish(node, given.number, refusal=refusal)
        return [self._sent(host, *host.step(node, event)), *self._cut(host, node, event)]

    def _cut(self, host: AgentHost, node: AgentNode, event: AgentEvent) -> list[tuple[int, int]]:
        """The same step with a crash after each durable effect but the last."""
        effects = host.machine.step(node.state, event, ZERO)[1]
        durable = [i for i, e in enumerate(effects) if isinstance(e, Persist | SaveTable)]
        found = []
        for last in durable[:-1]:
            cut, _ = host.step(node, event, effects=last + 1)
            found.append(self._sent(host, *host.restart(cut)))
        return found

    def _settled(
        self, host: AgentHost, node: AgentNode, messages: tuple[Message, ...]
    ) -> tuple[AgentNode, tuple[Message, ...]]:
        """With prompt proxies: let staging and probing finish in the step that began them.

        Flips are never merged: a crash and a newer decision may come between.
        """
        while self.prompt_proxies:
            quick = [i for i, o in enumerate(node.operations) if not isinstance(o, Activate)]
            if not quick:
                break
            node, event = host.finish(node, quick[0])
            node, more = host.step(node, event)
            messages = (*messages, *more)
        return node, messages

    def _sent(
        self, host: AgentHost, node: AgentNode, messages: tuple[Message, ...]
    ) -> tuple[int, int]:
        node, messages = self._settled(host, node, messages)
        net = 0
        for message in messages:
            net |= self.bit(-1, message)
        return self.nodes(evolve(node, state=plain_agent(node.state))), net

    # --- one replica's steps -----------------------------------------------------------------

    def replica_step(
        self, world: World, replica: int, event: CoordinatorEvent, timer: str = ""
    ) -> World:
        """Give one replica an event, and carry out what it asks for."""
        return self.step_replica(world, replica, self.events(event), timer)

    def step_replica(self, world: World, replica: int, event: int, timer: str = "") -> World:
        """The same with an event's number."""
        store, states, agents, net, calls, budget = world
        after, sent, asked, _ = self._whole_step(store, replica, states[replica], event, timer)
        if after != states[replica]:
            states = (*states[:replica], after, *states[replica + 1 :])
        if asked:
            calls = tuple(sorted(calls + asked))
        return store, states, agents, net | sent, calls, budget

    def _whole_step(self, store: int, replica: int, state: int, event: int, timer: str) -> Asked:
        """A step with the answers to what it reads, and to what they make it read."""
        key = (store, replica, state, event, timer)
        known = self._whole_steps.get(key)
        if known is None:
            after, sent, calls, reads = self._step(replica, state, event, timer)
            waiting = list(reads)
            while waiting:
                asked = waiting.pop(0)
                snapshot = self.stores[store].read(asked.ranges, asked.revision)
                done = self.events(ReadDone(operation=asked.operation, snapshot=snapshot))
                after, more, called, reads = self._step(replica, after, done, "")
                sent, calls = sent | more, calls + called
                waiting.extend(reads)
            known = self._whole_steps[key] = Asked(after, sent, calls, ())
        return known

    def is_deaf(self, replica: int, state: int, event: int) -> bool:
        """Whether an event changes nothing, and nothing comes of it."""
        return self._step(replica, state, event, "") == (state, 0, (), ())

    def _step(self, replica: int, number: int, event: int, timer: str) -> Asked:
        key = (replica, number, event, timer)
        known = self._replica_steps.get(key)
        if known is None:
            state = self.states[number]
            if timer:
                state = evolve(state, timers=only_due(state.timers, timer))
            after, effects = self.replicas[replica].step(state, self.events[event])
            known = self._asked(replica, self.states(plain_replica(after)), effects)
            self._replica_steps[key] = known
        return known

    def _asked(self, replica: int, after: int, effects: tuple[CoordinatorEffect, ...]) -> Asked:
        sent, calls, reads = 0, list[int](), list[Read]()
        for effect in effects:
            if isinstance(effect, Tell):
                for agent in effect.agents:
                    sent |= self.bit(self.index[agent], effect.message)
            elif isinstance(effect, Transact):
                calls.append(self.calls(Call(replica, effect.operation, effect.transaction)))
            elif isinstance(effect, Read):
                reads.append(effect)
        return Asked(after, sent, tuple(calls), tuple(reads))

    def carry_out(self, store: int, number: int, agents: tuple[int, ...]) -> tuple[int, int]:
        """The store after a call, and the event that answers it."""
        call = self.calls[number]
        decides = call.transaction.name.startswith("decide")
        key = (store, number, agents if decides else ())
        known = self._carried_out.get(key)
        if known is None:
            nodes = [self.nodes[n] for n in agents] if decides else []
            disks = {node.agent: node.disk.record for node in nodes}
            after, result = self.stores[store].apply(call.transaction, call.operation.term, disks)
            event = self.events(Transacted(operation=call.operation, result=result))
            known = self._carried_out[key] = (self.stores(after), event)
        return known

    def less(self, budget: int, field: str) -> int:
        """A budget after one more of its things: a count less, or the rest of what is to be asked."""
        key = (budget, field)
        known = self._spent.get(key)
        if known is None:
            allowed = self.budgets[budget]
            left = getattr(allowed, field)
            rest = left[1:] if isinstance(left, tuple) else left - 1
            spent: dict[str, Any] = {field: rest}
            known = self._spent[key] = self.budgets(evolve(allowed, **spent))
        return known

    # --- who leads -------------------------------------------------------------------------

    def reigns_on(self, store: int, state: int) -> bool:
        """Whether a replica leads, and nobody has taken the leader key from it."""
        key = (store, state)
        known = self._reigns.get(key)
        if known is None:
            leads = self.states[state].role is Role.LEADING
            superseded = self.is_superseded(store, self.states[state])
            known = self._reigns[key] = leads and not superseded
        return known

    def is_superseded(self, store: int, state: CoordinatorState) -> bool:
        """Whether somebody else has got the leader key."""
        leader = self.stores[store].items.get(keys.LEADER)
        return leader is not None and leader.create_revision != state.term
