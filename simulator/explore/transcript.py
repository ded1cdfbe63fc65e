"""A history in words: who does what, and what comes of it in messages, records, and the proxies.

The leader and the agents are those of the world: ``r0`` leads at first. Each step is one line, and
below it stands what it changed: in the store, in replicas, proxies and journals, what is asked of
the store and sent. That is not the order in which it came about, and what is not named stayed as it
was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from simulator.explore.nodes import AgentNode
from simulator.explore.parcels import LEADER, Fact
from simulator.explore.search import Moment
from simulator.explore.steps import Step, StepKind
from simulator.explore.wording import Wording
from simulator.explore.world import Call, Space, World
from turnout.protocol.effects import Activate, Prove, Stage
from turnout.protocol.messages import Report, Vote

_TIMERS = {
    "prepare": "waited long enough for votes",
    "undo": "waited long enough with a rollback",
    "live": "waited long enough for all to be live",
    "store": "asks the store once more",
    "retry": "tries once more",
    "reprove": "looks at the proxy once more",
}


def transcript(space: Space, history: Sequence[Moment]) -> tuple[str, ...]:
    """The lines; those that begin with blanks belong to the step above them."""
    teller = _Teller(space)
    lines = list[str]()
    for number, (before, step, after) in enumerate(history, start=1):
        lines.append(f"{number:>3}  {teller.step(before, step)}")
        lines += [f"       {line}" for line in teller.changes(before, after)]
    return tuple(lines)


class _Teller:
    def __init__(self, space: Space) -> None:
        self.space = space
        self.words = Wording(space)
        self.agents = [host.agent for host in space.agents]
        self.replicas = [host.replica for host in space.replicas]

    # --- what happens ------------------------------------------------------------------------

    def step(self, before: World, step: Step) -> str:
        """What happens."""
        text = self._step(before, step)
        if step.cut:
            text += f"; it dies after durable write {step.cut} of that, and starts again"
        return text

    def _step(self, before: World, step: Step) -> str:
        match step.kind:
            case StepKind.AGENT_HEARS:
                return f"{self.agents[step.who]} hears {self._parcel(step.number)}"
            case StepKind.AGENT_WAKES:
                return f"{self.agents[step.who]} {_TIMERS[step.timer]}"
            case StepKind.AGENT_DIES:
                return f"{self.agents[step.who]} dies, and starts again"
            case StepKind.PROXY_DIES:
                return f"{self.agents[step.who]} and its proxy die, and start again"
            case StepKind.AGENT_FINISHES | StepKind.AGENT_IS_REFUSED | StepKind.AGENT_DIES_FLIPPED:
                return self._proxy(before, step)
            case StepKind.REPLICA_HEARS:
                agent = self._sender(step.number)
                return f"{self.replicas[step.who]} hears {agent}'s {self._parcel(step.number)}"
            case StepKind.REPLICA_WAKES:
                return f"{self.replicas[step.who]} {_TIMERS[step.timer]}"
            case StepKind.REPLICA_IS_ASKED:
                asked = self.words.request(self.space.events[step.number])
                return f"an operator asks {self.replicas[step.who]}: {asked}"
            case StepKind.REPLICA_IS_ELECTED:
                leader = self.replicas[step.who]
                return f"the leader key goes to {leader}, whether its last holder knows or not"
            case _:
                return self._call(step)

    def _proxy(self, before: World, step: Step) -> str:
        node = self.space.nodes[before[2][step.who]]
        what = f"{node.agent}'s proxy {self._operation(node.operations[step.number])}"
        if step.kind is StepKind.AGENT_IS_REFUSED:
            return f"{what}: refused"
        if step.kind is StepKind.AGENT_DIES_FLIPPED:
            return f"{what}; {node.agent} dies before it hears of that, and starts again"
        return what

    def _operation(self, operation: Stage | Activate | Prove) -> str:
        match operation:
            case Stage():
                return f"stages {self.words.table(operation.digest)}"
            case Activate():
                return f"flips to epoch {operation.epoch}, {self.words.table(operation.digest)}"
            case Prove():
                return f"is probed for epoch {operation.epoch}"

    def _call(self, step: Step) -> str:
        call = self.space.calls[step.number]
        name, replica = call.transaction.name, self.replicas[call.replica]
        taken = f"the store comes to {name} of {replica}"
        match step.kind:
            case StepKind.STORE_ANSWERS:
                return f"{taken}, and answers"
            case StepKind.STORE_IS_UNHEARD:
                return f"{taken}; its answer is lost"
            case StepKind.STORE_ACTS_AT_LAST:
                return f"{taken} at last, and nobody waits for it any more"
            case _:
                return f"{replica} has no answer to {name} in time"

    def _parcel(self, number: int) -> str:
        message = self.space.parcels[number].message
        assert not isinstance(message, Fact)
        return self.words.message(message)

    def _sender(self, number: int) -> str:
        message = self.space.parcels[number].message
        assert isinstance(message, Vote | Report)
        return message.agent

    # --- what comes of it --------------------------------------------------------------------

    def changes(self, before: World, after: World) -> Iterator[str]:
        """What is different afterwards, the store first and messages last."""
        if before[0] != after[0]:
            stores = self.space.stores
            yield from self.words.store(stores[before[0]], stores[after[0]])
        for name, was, now in zip(self.replicas, before[1], after[1], strict=True):
            roles = self.space.states[was].role, self.space.states[now].role
            if roles[0] is not roles[1]:
                yield f"{name}: {roles[0]} -> {roles[1]}"
        for was, now in zip(before[2], after[2], strict=True):
            yield from self._node(self.space.nodes[was], self.space.nodes[now])
        yield from self._asked(before[4], after[4])
        yield from self._sent(after[3] & ~before[3])

    def _node(self, before: AgentNode, after: AgentNode) -> Iterator[str]:
        name = after.agent
        if before.staged != after.staged and after.staged is not None:
            yield f"{name}'s proxy has staged {self.words.table(after.staged)}"
        if before.serving != after.serving:
            active = after.serving
            yield f"{name}'s proxy serves epoch {active.epoch}, {self.words.table(active.digest)}"
        if before.disk.journal != after.disk.journal:
            changed = self.words.record(before.disk.record, after.disk.record)
            if changed:
                yield f"{name} journals {changed}"

    def _asked(self, before: tuple[int, ...], after: tuple[int, ...]) -> Iterator[str]:
        known = {_plain(self.space.calls[number]) for number in before}
        for number in after:
            call = self.space.calls[number]
            if _plain(call) not in known:
                yield f"{self.replicas[call.replica]} asks the store for {call.transaction.name}"

    def _sent(self, net: int) -> Iterator[str]:
        """Every message that is new, with all it is addressed to."""
        told: dict[str, list[str]] = {}
        for number, parcel in self.space.in_network(net):
            if isinstance(parcel.message, Fact):
                continue
            if parcel.to == LEADER:
                yield f"{self._sender(number)} says {self._parcel(number)}"
            else:
                text = self._parcel(number)
                told.setdefault(text, []).append(self.agents[parcel.to])
        for text, agents in told.items():
            yield (
                f"{_listed(agents)} are told {text}"
                if agents[1:]
                else f"{agents[0]} is told {text}"
            )


def _plain(call: Call) -> tuple[int, str, int]:
    return call.replica, call.transaction.name, call.operation.term


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
