"""One agent against every order of events that a true history of decisions allows.

The world is random but honest about decisions: each epoch has one digest and one verdict. Messages
are lost, repeated and reordered, results come when they like, the disk fails, agent and proxy die.
Whatever happens, the machine takes no way that its tables do not have, and never breaks S1 to S6.
"""

from __future__ import annotations

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol.participant.bench import (
    BLUE,
    GREEN,
    OTHER,
    TABLES,
    Bench,
    fresh_record,
    head_at,
    of,
    prepare,
    refusal,
    scheduled,
    sync,
    votes,
)
from turnout.protocol.clock import SECOND
from turnout.protocol.effects import Activate, AgentEffect, Persist, SaveTable, Stage
from turnout.protocol.events import (
    Activated,
    AgentEvent,
    LinkDown,
    LinkUp,
    PersistFailed,
    Proven,
    ProxyRestarted,
    Staged,
    Wake,
)
from turnout.protocol.identifiers import Digest, Epoch
from turnout.protocol.records import Activation, Active, AgentRecord, Head, SignedTable

EPOCHS = 5


def true_history(choices: list[tuple[int, bool, bool]]) -> list[tuple[SignedTable, Head, Head]]:
    """For each epoch its table, the head before it and the head after it."""
    heads = [head_at(0)]
    history = []
    for number, (which, commits, late) in enumerate(choices, start=1):
        table = (BLUE, GREEN, OTHER)[which]
        before = heads[-1]
        activation = scheduled(number * SECOND) if late else Activation()
        if commits:
            base = TABLES.get(before.digest)
            after = head_at(number, number, table, base=base, activation=activation)
        else:
            committed = TABLES.get(before.digest)
            after = head_at(
                number, before.committed, committed, base=TABLES.get(before.base),
                activation=before.activation,
            )  # fmt: skip
        heads.append(after)
        history.append((table, before, after))
    return history


class World:
    """An agent with a disk and a proxy, and ghosts that remember what both ever did."""

    def __init__(self, choices: list[tuple[int, bool, bool]]) -> None:
        self.history = true_history(choices)
        self.bench = Bench(fresh_record())
        self.disk: AgentRecord = self.bench.state.record
        self.files: dict[Digest, SignedTable] = dict(self.bench.state.tables)
        self.serving = Active()
        self.served: list[Active] = []
        self.greatest_promise = 0

    def carry_out(self, effects: tuple[AgentEffect, ...], fails_at: int | None = None) -> None:
        """Carry effects out in order; the durable one numbered ``fails_at`` fails."""
        durable = 0
        for index, effect in enumerate(effects):
            if isinstance(effect, Persist | SaveTable):
                durable += 1
                if durable == fails_at:
                    self.fail(effects[index:])
                    return
            if isinstance(effect, Persist):
                self.disk = effect.record
                self.greatest_promise = max(self.greatest_promise, effect.record.promised)
            elif isinstance(effect, SaveTable):
                self.files[effect.table.digest] = effect.table
            for vote in votes((effect,)):
                assert vote.term >= self.disk.promised, "S4"
                if vote.no is None:
                    prepared = self.disk.prepared
                    assert prepared is not None, "S3"
                    assert (prepared.epoch, prepared.digest, prepared.term) == (
                        vote.epoch,
                        vote.digest,
                        vote.term,
                    ), "S3"
        self.check()

    def fail(self, undone: tuple[AgentEffect, ...]) -> None:
        failed = PersistFailed(
            reason="disk", record=self.disk, tables=tuple(self.files), undone=undone
        )
        self.carry_out(self.bench.give(failed))

    def check(self) -> None:
        state = self.bench.state
        assert state.record == self.disk, "memory and disk agree between steps"
        assert state.record.promised <= self.greatest_promise
        assert set(state.tables) <= set(self.files)
        assert isinstance(hash(state), int)

    def flip(self, operation: Activate) -> None:
        target = Active(
            incarnation=operation.incarnation, epoch=operation.epoch, digest=operation.digest
        )
        table, _, after = self.history[operation.epoch - 1]
        assert (after.committed, table.digest) == (operation.epoch, operation.digest), "S1"
        assert self.disk.committed_epoch >= operation.epoch, "S1"
        assert target.rank > self.serving.rank, "S5"
        assert not self.served or target.rank >= self.served[-1].rank, "S5"
        self.serving = target
        self.served.append(target)

    def finish_operation(self, ok: bool, fails_at: int | None = None) -> None:
        operation = self.bench.state.operation
        if isinstance(operation, Stage):
            event: Staged | Activated = Staged(
                epoch=operation.epoch,
                digest=operation.digest,
                refusal=None if ok and operation.digest in self.files else refusal(),
            )
        elif isinstance(operation, Activate):
            if ok:
                self.flip(operation)
            event = Activated(
                epoch=operation.epoch,
                digest=operation.digest,
                refusal=None if ok else refusal(),
            )
        else:
            return
        self.carry_out(self.bench.give(event), fails_at)

    def finish_proof(self, failure: str | None = None) -> None:
        proof = self.bench.state.proof
        if proof is not None:
            proven = Proven(epoch=proof.epoch, failure=failure)
            self.carry_out(self.bench.give(proven))

    def lose_flip(self) -> None:
        """The proxy flips, and the agent dies before it hears of it."""
        operation = self.bench.state.operation
        if isinstance(operation, Activate):
            self.flip(operation)
            self.carry_out(self.bench.reboot(self.serving))


Step = tuple[str, int, int, bool]

ORDERLY = ("prepare", "finish", "sync", "finish", "finish", "prove")
"""An undisturbed switch: to reach deep states, most scripts have pieces of it."""

DISORDERLY = ("prepare", "sync", "finish", "prove", "wake", "reboot", "proxy", "link", "unlink",
              "lost-flip")  # fmt: skip


def scripts() -> st.SearchStrategy[list[Step]]:
    """Pieces of undisturbed switches, and disturbances between them."""
    numbers = (st.integers(-1, 2), st.integers(0, 3), st.booleans())
    disturbance = st.tuples(st.sampled_from(DISORDERLY), *numbers).map(lambda step: [step])
    piece = st.integers(1, len(ORDERLY)).map(
        lambda length: [(name, 0, 0 if name == "sync" else 1, False) for name in ORDERLY[:length]]
    )
    pieces = st.lists(piece | disturbance, min_size=5, max_size=30)
    return pieces.map(lambda found: [step for part in found for step in part])


def play(world: World, step: Step) -> None:
    """Carry out one step; it speaks of an epoch near the first that the agent has not heard of."""
    name, offset, number, flag = step
    bench = world.bench
    known = bench.state.head.decided if bench.state.head else bench.state.record.committed_epoch
    epoch = min(max(1, known + 1 + offset), EPOCHS)
    table, before, after = world.history[epoch - 1]
    term = 10 + number % 2
    fails_at = number if flag and number else None
    match name:
        case "prepare":
            message = prepare(epoch, table, before, term=term, bare=number > 2)
            world.carry_out(bench.hear(message), fails_at)
        case "sync":
            sent = TABLES.get(after.digest) if number else None
            world.carry_out(bench.hear(sync(after, term=term, table=sent)), fails_at)
        case "finish":
            world.finish_operation(number > 0, fails_at)
        case "prove":
            world.finish_proof(None if number else "503")
        case "lost-flip":
            world.lose_flip()
        case "reboot":
            world.carry_out(bench.reboot(world.serving))
        case "proxy":
            world.serving = Active() if flag else world.serving
            world.carry_out(bench.give(ProxyRestarted(serving=world.serving)))
        case _:
            bench.now_ns += number * SECOND if name == "wake" else 0
            events: dict[str, AgentEvent] = {
                "wake": Wake(),
                "link": LinkUp(),
                "unlink": LinkDown(),
            }
            world.carry_out(bench.give(events[name]))


def settle(world: World) -> None:
    """Everything works from here on: the newest head arrives, and the proxy does as it is told."""
    bench = world.bench
    world.carry_out(bench.give(LinkUp()))
    _, _, newest = world.history[-1]
    for _ in range(40):
        world.carry_out(bench.hear(sync(newest, term=12, table=TABLES.get(newest.digest))))
        world.finish_operation(ok=True)
        world.finish_proof()
        bench.now_ns += SECOND
        world.carry_out(bench.give(Wake()))


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.booleans(), st.booleans()),
        min_size=EPOCHS,
        max_size=EPOCHS,
    ),
    scripts(),
)
@settings(max_examples=300)
def test_agent_in_any_history_keeps_s1_to_s6_and_ends_at_the_newest_commit(
    choices: list[tuple[int, bool, bool]], script: list[Step]
) -> None:
    world = World(choices)
    for step in script:
        play(world, step)
    settle(world)
    state, newest = world.bench.state, world.history[-1][2]
    assert state.record.prepared is None
    assert state.candidate is None
    assert (state.record.committed_epoch, state.record.committed_digest) == (
        newest.committed,
        newest.digest,
    )
    if newest.committed:
        assert world.serving == state.record.active == state.newest
        assert state.live_ns is not None


def test_agent_given_the_same_events_twice_decides_alike() -> None:
    script = [("prepare", 0, 1, False), ("finish", 0, 1, False), ("sync", 0, 1, False)]
    worlds = [World([(0, True, False)] * EPOCHS) for _ in range(2)]
    for world in worlds:
        for step in script:
            play(world, step)
    first, second = (world.bench.state for world in worlds)
    assert first == second
    assert hash(first) == hash(second)
    assert first.record.committed_epoch == Epoch(1)
    assert evolve(first, linked=False) != second
    assert of(worlds[0].bench.effects, Activate) == of(worlds[1].bench.effects, Activate)
