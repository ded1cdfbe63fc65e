"""Every step that a small world can take: deliveries, operations, deadlines, the store, faults.

Reductions made here; ``settling.py`` has those of the worlds that the steps lead to:

- reads are answered in the step that asks: reading later is the same as asking later;
- a leader that has been superseded hears agents and deadlines no more: all that it would write from
  then on loses (S4 judges every write that wins), so nobody could tell that it heard them. What it
  sent before may still take effect, it hears the store's answers, repeats what was not answered,
  and takes requests for switches, whose prepares go out. A region it would exclude or include in
  vain, and nothing is sent for that: it is not asked to;
- a replica that is elected anew learns first that its old reign is over, as it does where it runs.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import NamedTuple

from attrs import evolve

from simulator.explore.nodes import WAKE
from simulator.explore.plain import AGENT_TIMERS, REPLICA_TIMERS
from simulator.explore.world import Call, Input, Space, World
from turnout.protocol.coordinator_state import CoordinatorState, Role
from turnout.protocol.effects import Activate
from turnout.protocol.events import (
    CoordinatorEvent,
    Deposed,
    Elected,
    ExcludeRequested,
    FromAgent,
    IncludeRequested,
    Transacted,
)
from turnout.protocol.messages import Report, Vote
from turnout.protocol.records import Status
from turnout.protocol.transactions import Unknown


class StepKind(enum.Enum):
    """What can happen next."""

    AGENT_HEARS = enum.auto()
    AGENT_FINISHES = enum.auto()
    AGENT_IS_REFUSED = enum.auto()
    AGENT_WAKES = enum.auto()
    AGENT_DIES = enum.auto()
    AGENT_DIES_FLIPPED = enum.auto()
    PROXY_DIES = enum.auto()
    REPLICA_HEARS = enum.auto()
    REPLICA_WAKES = enum.auto()
    REPLICA_IS_ASKED = enum.auto()
    REPLICA_IS_ELECTED = enum.auto()
    STORE_ANSWERS = enum.auto()
    STORE_IS_UNHEARD = enum.auto()
    STORE_IS_LATE = enum.auto()
    STORE_IS_SILENT = enum.auto()
    STORE_ACTS_AT_LAST = enum.auto()


class Step(NamedTuple):
    """One thing that happens.

    Attributes:
        who: the index of the agent or the replica that it happens to.
        number: which parcel, operation, event or call it is about.
        timer: which deadline.
        cut: 0, or after how many durable writes the agent dies in the middle of it.
    """

    kind: StepKind
    who: int
    number: int = 0
    timer: str = ""
    cut: int = 0


Taken = tuple[Step, World]

_INPUTS = {
    StepKind.AGENT_HEARS: "message",
    StepKind.AGENT_FINISHES: "finish",
    StepKind.AGENT_IS_REFUSED: "refuse",
    StepKind.AGENT_WAKES: "timer",
    StepKind.AGENT_DIES: "restart",
    StepKind.AGENT_DIES_FLIPPED: "flip-and-restart",
}


class Steps:
    """Takes a world of one space each step further; remembers what falls on deaf ears."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._arrivals: dict[tuple[int, bool], int] = {}
        self._deaf_agents: dict[tuple[int, int], int] = {}
        self._deaf_replicas: dict[tuple[int, int], int] = {}
        self._wishes: dict[tuple[int, int], tuple[int, ...]] = {}

    def __call__(self, world: World) -> Iterator[Taken]:
        """Every world one step away, with the step."""
        yield from self._deliveries(world)
        yield from self._agents_alone(world)
        yield from self._replicas_alone(world)
        yield from self._calls(world)
        yield from self._faults(world)

    # --- the network -------------------------------------------------------------------------

    def _deliveries(self, world: World) -> Iterator[Taken]:
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
                        yield from self._agent(world, Step(StepKind.AGENT_HEARS, agent, number))
                else:
                    deaf |= 1 << number
            self._deaf_agents[agent, node] = deaf
        for replica, state in enumerate(states):
            if self.space.reigns_on(world[0], state):
                yield from self._deliveries_to(world, replica, state)

    def _deliveries_to(self, world: World, replica: int, number: int) -> Iterator[Taken]:
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
                yield Step(StepKind.REPLICA_HEARS, replica, parcel_number), after
        self._deaf_replicas[replica, number] = deaf

    def _arrival(self, parcel: int, message: Vote | Report, *, opened: bool) -> int:
        event = self._arrivals.get((parcel, opened))
        if event is None:
            event = self.space.events(FromAgent(message=message, opened=opened))
            self._arrivals[parcel, opened] = event
        return event

    # --- the nodes by themselves -------------------------------------------------------------

    def _agent(self, world: World, step: Step, budget: int | None = None) -> Iterator[Taken]:
        """Whatever the step can come to: done, or cut short by a death."""
        store, states, agents, net, calls, old = world
        agent = step.who
        given = (
            Input("restart", name="proxy")
            if step.kind is StepKind.PROXY_DIES
            else Input(_INPUTS[step.kind], step.number, step.timer)
        )
        outcomes = self.space.agent_outcomes(agent, agents[agent], given)
        for cut, (after, sent) in enumerate(outcomes):
            changed = (*agents[:agent], after, *agents[agent + 1 :])
            spent = old if budget is None else budget
            yield (
                step._replace(cut=cut) if cut else step,
                (store, states, changed, net | sent, calls, spent),
            )

    def _agents_alone(self, world: World) -> Iterator[Taken]:
        agents, budget = world[2], self.space.budgets[world[5]]
        for agent, number in enumerate(agents):
            node = self.space.nodes[number]
            for index in range(len(node.operations)):
                yield from self._agent(world, Step(StepKind.AGENT_FINISHES, agent, index))
            for timer in AGENT_TIMERS:
                if node.state.timers.armed(timer):
                    yield from self._agent(world, Step(StepKind.AGENT_WAKES, agent, timer=timer))
            if budget.refusals:
                less = self.space.less(world[5], "refusals")
                for index in range(len(node.operations)):
                    yield from self._agent(
                        world, Step(StepKind.AGENT_IS_REFUSED, agent, index), less
                    )

    def _replicas_alone(self, world: World) -> Iterator[Taken]:
        budget = self.space.budgets[world[5]]
        for replica, number in enumerate(world[1]):
            state = self.space.states[number]
            superseded = self.space.is_superseded(world[0], state)
            for timer in ("store",) if superseded else REPLICA_TIMERS:
                if state.timers.armed(timer):
                    yield (
                        Step(StepKind.REPLICA_WAKES, replica, timer=timer),
                        self.space.replica_step(world, replica, WAKE, timer),
                    )
            if state.role is not Role.LEADING:
                continue
            if budget.requests:
                asked = self.space.events(budget.requests[0])
                yield self._asked(world, replica, asked, "requests")
            if budget.standing_changes and not superseded:
                for wish in self._wishes_at(replica, number):
                    yield self._asked(world, replica, wish, "standing_changes")

    def _asked(self, world: World, replica: int, event: int, budget: str) -> Taken:
        spent = (*world[:5], self.space.less(world[5], budget))
        after = self.space.step_replica(spent, replica, event)
        return Step(StepKind.REPLICA_IS_ASKED, replica, event), after

    def _wishes_at(self, replica: int, number: int) -> tuple[int, ...]:
        """Every region excluded or, where it is excluded already, included, as events' numbers."""
        known = self._wishes.get((replica, number))
        if known is None:
            state = self.space.states[number]
            found = (self._wish(state, agent) for agent in range(len(self.space.agents)))
            known = self._wishes[replica, number] = tuple(map(self.space.events, found))
        return known

    def _wish(self, state: CoordinatorState, agent: int) -> CoordinatorEvent:
        host = self.space.agents[agent]
        if state.fleet.status(host.agent) is Status.EXCLUDED:
            return IncludeRequested(ticket=8, region=host.region, actor="")
        return ExcludeRequested(ticket=9, region=host.region, actor="", reason="wanted")

    # --- the store ---------------------------------------------------------------------------

    def _calls(self, world: World) -> Iterator[Taken]:
        """The store carries a transaction out and answers; or the answer is lost or late.

        A reply that comes late is one that counts as lost until then: the leader knows nothing in
        between, so both are the budget's ``lost_replies``.
        """
        store, states, agents, net, calls, budget = world
        for index, number in enumerate(calls):
            call = self.space.calls[number]
            rest = calls[:index] + calls[index + 1 :]
            who = call.replica
            if call.silent:
                unheard = (store, states, agents, net, rest, budget)
                yield Step(StepKind.STORE_IS_SILENT, who, number), self._unknown(unheard, call)
                continue
            after, event = self.space.carry_out(store, number, agents)
            done = (after, states, agents, net, rest, budget)
            if call.orphan:
                yield Step(StepKind.STORE_ACTS_AT_LAST, who, number), done
                continue
            heard = self.space.step_replica(done, who, event)
            yield Step(StepKind.STORE_ANSWERS, who, number), heard
            if self.space.budgets[budget].lost_replies:
                less = self.space.less(budget, "lost_replies")
                silent = tuple(sorted((*rest, self.space.calls(evolve(call, silent=True)))))
                yield Step(StepKind.STORE_IS_UNHEARD, who, number), (*done[:4], silent, less)
                late = tuple(sorted((*rest, self.space.calls(evolve(call, orphan=True)))))
                waiting = (store, states, agents, net, late, less)
                yield Step(StepKind.STORE_IS_LATE, who, number), self._unknown(waiting, call)

    def _unknown(self, world: World, call: Call) -> World:
        event = Transacted(operation=call.operation, result=Unknown(reason="no reply"))
        return self.space.replica_step(world, call.replica, event)

    # --- what goes wrong ---------------------------------------------------------------------

    def _faults(self, world: World) -> Iterator[Taken]:
        allowed = self.space.budgets[world[5]]
        if allowed.elections:
            yield self._elected(world, allowed.elections[0])
        for agent, number in enumerate(world[2]):
            if allowed.agent_crashes:
                less = self.space.less(world[5], "agent_crashes")
                yield from self._agent(world, Step(StepKind.AGENT_DIES, agent), less)
                for index, operation in enumerate(self.space.nodes[number].operations):
                    if isinstance(operation, Activate):
                        step = Step(StepKind.AGENT_DIES_FLIPPED, agent, index)
                        yield from self._agent(world, step, less)
            if allowed.proxy_restarts:
                less = self.space.less(world[5], "proxy_restarts")
                yield from self._agent(world, Step(StepKind.PROXY_DIES, agent), less)

    def _elected(self, world: World, replica: int) -> Taken:
        less = self.space.less(world[5], "elections")
        elected, term = self.space.stores[world[0]].elect(self.space.replicas[replica].replica)
        after: World = (self.space.stores(elected), *world[1:5], less)
        if self.space.states[world[1][replica]].role is not Role.FOLLOWER:
            after = self.space.replica_step(after, replica, Deposed(reason="its reign is over"))
        after = self.space.replica_step(after, replica, Elected(term=term))
        return Step(StepKind.REPLICA_IS_ELECTED, replica), after
