"""Every step that a small world can take: deliveries, operations, deadlines, the store, faults.

Two reductions; ``settling.py`` has those of the worlds that the steps lead to:

- reads are answered in the step that asks: reading later is the same as asking later;
- a leader that has been superseded hears agents and deadlines no more: all that it would write from
  then on loses (S4 judges every write that wins), so nobody could tell that it heard them. What it
  sent before may still take effect, it hears the store's answers, repeats what was not answered,
  and takes requests, whose prepares go out.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import evolve

from tests.protocol.explore.plain import AGENT_TIMERS, REPLICA_TIMERS
from tests.protocol.explore.world import Call, Input, Space, World
from tests.protocol.nodes import WAKE
from turnout.protocol.coordinator_state import Role
from turnout.protocol.effects import Activate
from turnout.protocol.events import Elected, FromAgent, Transacted
from turnout.protocol.messages import Report, Vote
from turnout.protocol.transactions import Unknown


class Steps:
    """Takes a world of one space each step further; remembers what falls on deaf ears."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._arrivals: dict[tuple[int, bool], int] = {}
        self._deaf_agents: dict[tuple[int, int], int] = {}
        self._deaf_replicas: dict[tuple[int, int], int] = {}

    def __call__(self, world: World) -> Iterator[tuple[str, World]]:
        """Every world one step away, with the step's name."""
        for kind in (
            self._deliveries,
            self._agents_alone,
            self._replicas_alone,
            self._calls,
            self._faults,
        ):
            yield from kind(world)

    def _deliveries(self, world: World) -> Iterator[tuple[str, World]]:
        """Every delivery that changes something; what falls on deaf ears is remembered."""
        _, states, agents, net, _, _ = world
        for agent, node in enumerate(agents):
            deaf = self._deaf_agents.get((agent, node), 0)
            for number, parcel in self.space.in_network(net & ~deaf):
                if parcel.to == agent:
                    given = Input("message", number)
                    if self.space.agent_outcomes(agent, node, given) == [(node, 0)]:
                        deaf |= 1 << number
                    else:
                        yield from self._agent(world, agent, node, given)
                else:
                    deaf |= 1 << number
            self._deaf_agents[agent, node] = deaf
        for replica, state in enumerate(states):
            if self.space.reigns_on(world[0], state):
                yield from self._deliveries_to(world, replica, state)

    def _deliveries_to(
        self, world: World, replica: int, number: int
    ) -> Iterator[tuple[str, World]]:
        state = self.space.states[number]
        deaf = self._deaf_replicas.get((replica, number), 0)
        for parcel_number, parcel in self.space.in_network(world[3] & ~deaf):
            message = parcel.message
            if parcel.to != -1:
                deaf |= 1 << parcel_number
                continue
            assert isinstance(message, Vote | Report)
            opened = isinstance(message, Report) and message.agent not in state.connected
            event = self._arrival(parcel_number, message, opened=opened)
            if self.space.is_deaf(replica, number, event):
                deaf |= 1 << parcel_number
            else:
                after = self.space.step_replica(world, replica, event)
                yield f"deliver {parcel_number} to {replica}", after
        self._deaf_replicas[replica, number] = deaf

    def _arrival(self, parcel: int, message: Vote | Report, *, opened: bool) -> int:
        event = self._arrivals.get((parcel, opened))
        if event is None:
            event = self.space.events(FromAgent(message=message, opened=opened))
            self._arrivals[parcel, opened] = event
        return event

    def _agent(
        self, world: World, agent: int, node: int, given: Input, budget: int | None = None
    ) -> Iterator[tuple[str, World]]:
        store, states, agents, net, calls, old = world
        for after, sent in self.space.agent_outcomes(agent, node, given):
            changed = (*agents[:agent], after, *agents[agent + 1 :])
            spent = old if budget is None else budget
            yield (
                f"{given.kind} {given.name or given.number} at {agent}",
                (store, states, changed, net | sent, calls, spent),
            )

    def _agents_alone(self, world: World) -> Iterator[tuple[str, World]]:
        agents, budget = world[2], self.space.budgets[world[5]]
        for agent, number in enumerate(agents):
            node = self.space.nodes[number]
            for index in range(len(node.operations)):
                yield from self._agent(world, agent, number, Input("finish", index))
            for timer in AGENT_TIMERS:
                if node.state.timers.armed(timer):
                    yield from self._agent(world, agent, number, Input("timer", name=timer))
            if budget.refusals:
                less = self.space.less(world[5], "refusals")
                for index in range(len(node.operations)):
                    yield from self._agent(world, agent, number, Input("refuse", index), less)

    def _replicas_alone(self, world: World) -> Iterator[tuple[str, World]]:
        budget = self.space.budgets[world[5]]
        for replica, number in enumerate(world[1]):
            state = self.space.states[number]
            superseded = self.space.is_superseded(world[0], state)
            for timer in ("store",) if superseded else REPLICA_TIMERS:
                if state.timers.armed(timer):
                    yield (
                        f"{timer} at {replica}",
                        self.space.replica_step(world, replica, WAKE, timer),
                    )
            if state.role is Role.LEADING and budget.requests:
                spent = (*world[:5], self.space.less(world[5], "requests"))
                asked = self.space.replica_step(spent, replica, budget.requests[0])
                yield f"request at {replica}", asked

    def _calls(self, world: World) -> Iterator[tuple[str, World]]:
        """The store carries a transaction out and answers; or the answer is lost or late.

        A reply that comes late is one that counts as lost until then: the leader knows nothing in
        between, so both are the budget's ``lost_replies``.
        """
        store, states, agents, net, calls, budget = world
        for index, number in enumerate(calls):
            call = self.space.calls[number]
            rest = calls[:index] + calls[index + 1 :]
            name = call.transaction.name
            if call.silent:
                unheard = (store, states, agents, net, rest, budget)
                yield f"silence after {name}", self._unknown(unheard, call)
                continue
            after, event = self.space.carry_out(store, number, agents)
            done = (after, states, agents, net, rest, budget)
            if call.orphan:
                yield f"store carries out {name} at last", done
                continue
            yield f"store carries out {name}", self.space.step_replica(done, call.replica, event)
            if self.space.budgets[budget].lost_replies:
                less = self.space.less(budget, "lost_replies")
                silent = tuple(sorted((*rest, self.space.calls(evolve(call, silent=True)))))
                yield f"store carries out {name} unheard", (*done[:4], silent, less)
                late = tuple(sorted((*rest, self.space.calls(evolve(call, orphan=True)))))
                waiting = (store, states, agents, net, late, less)
                yield f"no reply to {name}", self._unknown(waiting, call)

    def _unknown(self, world: World, call: Call) -> World:
        event = Transacted(operation=call.operation, result=Unknown(reason="no reply"))
        return self.space.replica_step(world, call.replica, event)

    def _faults(self, world: World) -> Iterator[tuple[str, World]]:
        store, states, agents, net, calls, budget = world
        allowed = self.space.budgets[budget]
        if allowed.elections:
            replica, less = allowed.elections[0], self.space.less(budget, "elections")
            elected, term = self.space.stores[store].elect(self.space.replicas[replica].replica)
            after = (self.space.stores(elected), states, agents, net, calls, less)
            yield f"elect {replica}", self.space.replica_step(after, replica, Elected(term=term))
        for agent, number in enumerate(agents):
            node = self.space.nodes[number]
            if allowed.agent_crashes:
                less = self.space.less(budget, "agent_crashes")
                yield from self._agent(world, agent, number, Input("restart"), less)
                for index, operation in enumerate(node.operations):
                    if isinstance(operation, Activate):
                        given = Input("flip-and-restart", index)
                        yield from self._agent(world, agent, number, given, less)
            if allowed.proxy_restarts:
                less = self.space.less(budget, "proxy_restarts")
                yield from self._agent(world, agent, number, Input("restart", name="proxy"), less)
