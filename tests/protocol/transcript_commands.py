"""The commands of transcripts: what is done to a fabric, and what must then hold."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import partial

from attrs import evolve

from simulator.explore.nodes import DOMAIN, Disk
from simulator.explore.store import FakeStore
from tests.protocol import fabric_domains as domains
from tests.protocol.fabric import Fabric
from tests.protocol.fabric_nodes import Edge
from tests.protocol.fabric_operators import Wish
from tests.protocol.transcript_trace import Transcript
from turnout.protocol import keys
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.codec import canonical_bytes, decode
from turnout.protocol.effects import Accepted, Refused, Transact
from turnout.protocol.events import (
    AbortRequested,
    ExcludeRequested,
    FromAgent,
    FromLeader,
    IncludeRequested,
    RemoveRequested,
    WaiveRequested,
)
from turnout.protocol.identifiers import (
    NO_DIGEST,
    NO_EPOCH,
    AgentId,
    Epoch,
    Region,
    ReplicaId,
    ServiceName,
)
from turnout.protocol.limits import MAX_TABLE_BYTES
from turnout.protocol.messages import Prepare, Report, Sync, Vote
from turnout.protocol.records import (
    Activation,
    Decision,
    Head,
    Incarnation,
    IncarnationRecord,
    Mode,
    Outcome,
    Request,
    Standing,
    StandingEntry,
    Status,
)
from turnout.protocol.routing import Colour, OnFailure, RoutingTable
from turnout.protocol.signing import signed
from turnout.protocol.transactions import Put, Transaction

WORLDS: dict[str, Callable[[], Fabric]] = {
    "empty": domains.empty,
    "good-order": domains.in_good_order,
}
UNITS = {"ms": MS, "s": SECOND, "min": 60 * SECOND}


class Story:
    """One transcript being played."""

    def __init__(self, world: str) -> None:
        self.fabric = WORLDS[world]()
        self.transcript = Transcript(self.fabric)
        self.wishes: dict[str, Wish] = {}
        self._saved: FakeStore | None = None

    def play(self, line: str) -> list[str]:
        """Carry out one command; return what happened.

        Raises AssertionError: what was expected does not hold, or an invariant is broken.
        """
        name, *words = shlex.split(line)
        options = dict(word.split("=", 1) for word in words if "=" in word)
        plain = [word for word in words if "=" not in word]
        command = getattr(self, "do_" + name.replace("-", "_"))
        command(*plain, **options)
        return self.transcript.take()

    def _edge(self, agent: str) -> Edge:
        return self.fabric.edges[AgentId(agent)]

    def _edges(self, where: str) -> list[Edge]:
        """One agent, or all of a region."""
        edges = self.fabric.edges
        if where in edges:
            return [edges[AgentId(where)]]
        return [edge for edge in edges.values() if edge.node.region == where]

    # --- operators ---------------------------------------------------------------------------

    def _request(self, request: Request, **options: str) -> None:
        allowed = options.get("allow-stale", "")
        request = evolve(
            request,
            activation=Mode(options.get("activation", "immediate")),
            allow_stale=tuple(AgentId(a) for a in allowed.split(",") if a.startswith("a")),
            allow_stale_count=int(allowed) if allowed.isdigit() else 0,
            point_of_no_return=options.get("final"),
            override=tuple(o for o in [options.get("override")] if o),
        )
        self.wishes[request.key] = self.fabric.request(request)

    def do_switch(self, colour: str, key: str, **options: str) -> None:
        self._request(domains.switch(Colour(colour), key), **options)

    def do_rollback(self, key: str, **options: str) -> None:
        undo = Epoch(int(options["undo"])) if "undo" in options else None
        self._request(domains.rollback(key, undo), **options)

    def do_apply(self, key: str, **changes: str) -> None:
        """The first table, with ``on_failure`` or ``retain_s`` changed, or another ``service``."""
        (service,) = domains.first_table().services
        if "on_failure" in changes:
            service = evolve(service, on_failure=OnFailure(changes["on_failure"]))
        if "retain_s" in changes:
            service = evolve(service, retain_ms=1000 * int(changes["retain_s"]))
        table = RoutingTable(services=(service,))
        if "service" in changes:
            other = evolve(
                service,
                name=ServiceName(changes["service"]),
                hosts=(changes["service"] + ".example",),
            )
            table = table.with_service(other)
        self._request(domains.apply(key, table))

    def _ask(self, name: str, make: Callable[..., object]) -> None:
        self.wishes[name] = self.fabric.ask(name, lambda ticket: make(ticket=ticket))  # type: ignore[arg-type, return-value]

    def do_abort(self, epoch: str) -> None:
        make = partial(AbortRequested, epoch=Epoch(int(epoch)), actor="op", reason="a hunch")
        self._ask(f"abort-{epoch}", make)

    def do_exclude(self, region: str) -> None:
        make = partial(ExcludeRequested, region=Region(region), actor="op", reason="works there")
        self._ask(f"exclude-{region}", make)

    def do_include(self, region: str) -> None:
        self._ask(f"include-{region}", partial(IncludeRequested, region=Region(region), actor="op"))

    def do_enrol(self, agent: str, region: str) -> None:
        self.fabric.add_agent(AgentId(agent), Region(region))
        domains.enrol(self.fabric, AgentId(agent))

    def do_remove(self, agent: str) -> None:
        make = partial(RemoveRequested, agent=AgentId(agent), actor="op")
        self._ask(f"remove-{agent}", make)

    def do_waive(self, agent: str, epoch: str) -> None:
        make = partial(
            WaiveRequested, epoch=Epoch(int(epoch)), agent=AgentId(agent), actor="op", reason="lost"
        )
        self._ask(f"waive-{agent}", make)

    # --- time and faults ---------------------------------------------------------------------

    def do_run(self, span: str) -> None:
        self.fabric.run_for(_ns(span))

    def do_elect(self, replica: str) -> None:
        self.fabric.elect(ReplicaId(replica))

    def do_crash(self, replica: str) -> None:
        self.fabric.crash(self.fabric.replicas[ReplicaId(replica)])

    def do_start(self, replica: str) -> None:
        self.fabric.start(self.fabric.replicas[ReplicaId(replica)])

    def do_doom(self, who: str, effects: str) -> None:
        """It dies in its next step that has more effects than this, after so many."""
        if who in self.fabric.edges:
            self._edge(who).dies_after = int(effects)
        else:
            self.fabric.replicas[ReplicaId(who)].dies_after = int(effects)

    def do_zombies(self, span: str) -> None:
        """A leader that loses the key goes on for so long before it knows."""
        ns = _ns(span)
        self.fabric.weather = evolve(self.fabric.weather, zombie_ns=(ns, ns))

    def do_kill(self, where: str) -> None:
        for edge in self._edges(where):
            self.fabric.kill(edge)

    def do_boot(self, where: str, what: str = "") -> None:
        for edge in self._edges(where):
            self.fabric.boot(edge, proxy_too=what == "with-proxy")

    def do_die_at(self, agent: str, operation: str) -> None:
        self._edge(agent).dies_at = operation

    def do_new_disk(self, agent: str) -> None:
        edge = self._edge(agent)
        self.fabric.kill(edge)
        edge.node = evolve(edge.node, disk=Disk(replaced=edge.node.disk.replaced + 1))

    def do_disk(self, agent: str, what: str) -> None:
        """``full``: its journal's fsync fails; until it is ``well``."""
        self._edge(agent).host.disk_is_full = what == "full"

    def do_refuse(self, agent: str, operation: str) -> None:
        self._edge(agent).refuses.add(operation)

    def do_hang(self, agent: str, operation: str) -> None:
        self._edge(agent).hangs.add(operation)

    def do_obey(self, agent: str) -> None:
        edge = self._edge(agent)
        edge.refuses.clear()
        edge.hangs.clear()

    def do_busy(self, agent: str, in_flight: str) -> None:
        self._edge(agent).in_flight = int(in_flight)

    def do_clock(self, agent: str, error: str) -> None:
        self._edge(agent).clock.error_ns += _ns(error)

    def do_leader_clock(self, replica: str, error: str) -> None:
        self.fabric.replicas[ReplicaId(replica)].clock.error_ns += _ns(error)

    def do_cut(self, where: str, way: str = "both") -> None:
        for edge in self._edges(where):
            self.fabric.cut(edge, up=way != "down", down=way != "up")

    def do_heal(self, where: str) -> None:
        for edge in self._edges(where):
            self.fabric.heal(edge)

    def do_hold(self, kind: str, agent: str) -> None:
        """Keep such messages in a box; ``Down``: all that the agent should hear."""
        kinds = ("Sync", "Prepare", "Receipt", "Rebase") if kind == "Down" else (kind,)
        self.fabric.held = lambda a, m: a == agent and type(m).__name__ in kinds

    def do_release(self, order: str = "") -> None:
        """Hold no more, and deliver what is in the box, the newest first if ``reversed``."""
        self.fabric.held = None
        box, self.fabric.box = self.fabric.box, []
        for arrive in reversed(box) if order else box:
            arrive()

    def do_discard(self) -> None:
        """Hold no more, and lose what is in the box."""
        self.fabric.held, self.fabric.box = None, []

    def do_replay(self, kind: str, agent: str, which: str = "last") -> None:
        """Deliver a message again: the first or last of its kind from or to an agent."""
        found = [m for a, m in self.transcript.messages if a == agent and type(m).__name__ == kind]
        message = found[0 if which == "first" else -1]
        self.transcript.say(f"replayed: {kind} of {agent}")
        if isinstance(message, Vote | Report):
            for replica in self.fabric.replicas.values():
                self.fabric.tell_replica(replica, FromAgent(message=message))
        else:
            self.fabric.tell_agent(self._edge(agent), FromLeader(message=message))

    def do_forge(self, kind: str, agent: str, **changes: str) -> None:
        """Deliver the last message of a kind, changed and with its old signature."""
        found = [m for a, m in self.transcript.messages if a == agent and type(m).__name__ == kind]
        message = found[-1]
        self.transcript.say(f"forged: {kind} of {agent}: {changes}")
        if isinstance(message, Vote):
            forged = evolve(message, epoch=Epoch(int(changes.get("epoch", message.epoch))))
            for replica in self.fabric.replicas.values():
                self.fabric.tell_replica(replica, FromAgent(message=forged))
        elif isinstance(message, Report):
            assert message.committed is not None
            head = evolve(message.committed, decided=Epoch(int(changes["decided"])))
            edge = self._edge(agent)
            lie = signed(evolve(message, committed=head), edge.host.signer)
            for replica in self.fabric.replicas.values():
                self.fabric.tell_replica(replica, FromAgent(message=lie))
        else:
            assert isinstance(message, Sync | Prepare)
            assert message.head is not None
            epoch = Epoch(int(changes["committed"]))
            head = evolve(message.head, committed=epoch, decided=epoch)
            self.fabric.tell_agent(
                self._edge(agent), FromLeader(message=evolve(message, head=head))
            )

    # --- the store ---------------------------------------------------------------------------

    def do_store(self, what: str, name: str = "", times: str = "1") -> None:
        """``unheard``, ``kept`` or ``unsent``: what befalls the next such transactions; ``land``;
        ``cut`` and ``join`` a replica; ``save`` a backup and ``restore`` it."""
        fabric = self.fabric
        if what in ("unheard", "kept", "unsent"):
            fabric.fate = partial(self._befall, [what] * int(times), name)
        elif what == "land":
            landing, fabric.late_writes = fabric.late_writes, []
            for write in landing:
                write()
        elif what in ("cut", "join"):
            fabric.cut_store(fabric.replicas[ReplicaId(name)], cut=what == "cut")
        elif what == "save":
            self._saved = fabric.store
        else:
            assert what == "restore"
            assert self._saved is not None
            fabric.store = self._saved

    def _befall(self, fates: list[str], name: str, effect: Transact) -> str:
        if not effect.transaction.name.startswith(name):
            return ""
        fate = fates.pop()
        if not fates:
            self.fabric.fate = None
        return fate

    def do_rebase(self, first_epoch: str) -> None:
        """What ``turnout domain rebase`` writes: the next incarnation, with the head's table."""
        items = self.fabric.store.items
        before = decode(items[keys.INCARNATION].value, IncarnationRecord, limit=MAX_TABLE_BYTES)
        old = decode(items[keys.HEAD].value, Head, limit=MAX_TABLE_BYTES)
        number = before.incarnation.number + 1
        record = signed(
            IncarnationRecord(
                incarnation=Incarnation(number=number, id=f"number-{number}"),
                predecessor=before.incarnation,
                first_epoch=Epoch(int(first_epoch)),
            ),
            DOMAIN,
        )
        head = signed(
            evolve(
                old,
                incarnation=record.incarnation,
                decided=record.first_epoch,
                committed=record.first_epoch,
                base=NO_DIGEST,
                base_epoch=NO_EPOCH,
                activation=Activation(),
                signature="",
            ),
            DOMAIN,
        )
        stale = tuple(
            StandingEntry(agent=agent, status=Status.STALE, reason="rebased")
            for agent in sorted(self.fabric.edges)
        )
        self.fabric.store, _ = self.fabric.store.apply(
            Transaction(
                name="rebase",
                guards=(),
                writes=(
                    Put(keys.INCARNATION, canonical_bytes(record)),
                    Put(keys.HEAD, canonical_bytes(head)),
                    Put(keys.STANDING, canonical_bytes(Standing(entries=stale))),
                ),
            ),
            self.fabric.term,
        )
        self.fabric.witness.begin_anew(head, self.fabric.store.items)

    # --- what must hold ----------------------------------------------------------------------

    def do_expect(self, what: str, *words: str) -> None:
        """Raises AssertionError where it does not hold."""
        seen = " ".join(getattr(self, "_seen_" + what.replace("-", "_"))(*words[:1]))
        wanted = " ".join(words[1:] if what not in _WITHOUT_NAME else words)
        assert seen == wanted, f"{what} {' '.join(words)}: it is {seen!r}"

    def _seen_serves(self, agent: str) -> list[str]:
        serving = self._edge(agent).serving
        return [str(serving.epoch), self.transcript.table(serving.digest)]

    def _seen_standing(self, agent: str) -> list[str]:
        return [self.fabric.witness.fleet.status(AgentId(agent))]

    def _seen_doubt(self, agent: str) -> list[str]:
        prepared = self._edge(agent).record.prepared
        return [str(prepared.epoch)] if prepared else ["none"]

    def _seen_decided(self, epoch: str) -> list[str]:
        entry = self.fabric.store.items.get(keys.decision(Epoch(int(epoch))))
        if entry is None:
            return ["nothing"]
        return [decode(entry.value, Decision, limit=MAX_TABLE_BYTES).verdict]

    def _seen_absent(self, epoch: str) -> list[str]:
        entry = self.fabric.store.items[keys.decision(Epoch(int(epoch)))]
        return list(decode(entry.value, Decision, limit=MAX_TABLE_BYTES).absent)

    def _outcome(self, epoch: str) -> Outcome | None:
        entry = self.fabric.store.items.get(keys.outcome(Epoch(int(epoch))))
        return decode(entry.value, Outcome, limit=MAX_TABLE_BYTES) if entry else None

    def _seen_outcome(self, epoch: str) -> list[str]:
        outcome = self._outcome(epoch)
        return [outcome.outcome] if outcome else ["nothing"]

    def _seen_laggards(self, epoch: str) -> list[str]:
        outcome = self._outcome(epoch)
        return [lag.agent for lag in outcome.laggards] if outcome else []

    def _seen_sla(self, epoch: str) -> list[str]:
        outcome = self._outcome(epoch)
        return ["met" if outcome and outcome.sla_met else "missed"]

    def _seen_known(self, epoch: str) -> list[str]:
        """When its leader knew what a switch came to, in whole seconds since it was accepted."""
        outcome = self._outcome(epoch)
        assert outcome is not None
        assert outcome.known_ns is not None
        return [f"{outcome.known_ns // SECOND}s"]

    def _seen_released(self, epoch: str) -> list[str]:
        return ["yes" if keys.released(Epoch(int(epoch))) in self.fabric.store.items else "no"]

    def _seen_intent(self, epoch: str) -> list[str]:
        return ["yes" if keys.intent(Epoch(int(epoch))) in self.fabric.store.items else "no"]

    def _seen_answer(self, key: str) -> list[str]:
        answer = self.wishes[key].answer
        if isinstance(answer, Accepted):
            return ["epoch", str(answer.epoch), *(["noop"] if answer.noop else [])]
        if isinstance(answer, Refused):
            return ["refused", answer.code]
        return ["done" if answer else "none"]

    def _seen_role(self, replica: str) -> list[str]:
        return [self.fabric.replicas[ReplicaId(replica)].state.role]

    def _seen_flips(self, agent: str) -> list[str]:
        """How often the proxy was told to serve something."""
        return [str(len(self._edge(agent).node.ghosts.served))]

    def _seen_skew_below(self, epoch: str) -> list[str]:
        outcome = self._outcome(epoch)
        assert outcome is not None
        assert outcome.skew_ns is not None
        return [f"{next(ms for ms in (10, 100, 1000, 10**6) if outcome.skew_ns <= ms * MS)}ms"]

    def _seen_head(self, _: str) -> list[str]:
        head = decode(self.fabric.store.items[keys.HEAD].value, Head, limit=MAX_TABLE_BYTES)
        return ["decided", str(head.decided), "committed", str(head.committed)]

    def _seen_tables(self, _: str) -> list[str]:
        return [str(sum(key.startswith(keys.TABLES) for key in self.fabric.store.items))]

    def _seen_box(self, _: str) -> list[str]:
        return [str(len(self.fabric.box))]


_WITHOUT_NAME = ("head", "box", "tables")


def _ns(span: str) -> int:
    """``500ms``, ``-1s``, ``3min``."""
    unit = next(u for u in ("ms", "min", "s") if span.endswith(u))
    return int(span.removesuffix(unit)) * UNITS[unit]
