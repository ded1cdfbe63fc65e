"""Results such as a simulation would give, made by hand: what reports are developed and tested on."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, evolve, field

from simulator.matrices import load
from simulator.randomness import Randomness
from simulator.results import (
    AgentResult,
    Arrow,
    CanaryResult,
    FaultSpan,
    Finding,
    Mark,
    Note,
    Requests,
    RunResult,
    SeedResult,
    Serving,
    Story,
    SweepResult,
    SwitchResult,
    Verdict,
)
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.identifiers import AgentId, Epoch, Region

MAP = load("aws-19")
LEADER = Region("us-east-1")
THREE = tuple(Region(name) for name in ("us-east-1", "eu-west-1", "ap-northeast-1"))
CONTROL = tuple(Region(name) for name in ("us-east-1", "us-east-2", "ca-central-1"))
NUMBERS = (*(f"S{n}" for n in range(1, 12)), "L1", "L2", "L3")
STAGING_NS, FLIP_NS, WRITE_NS = 25 * MS, 3 * MS, 18 * MS


def held() -> tuple[Finding, ...]:
    """Every invariant held."""
    return tuple(Finding(number=number, verdict=Verdict.VALID) for number in NUMBERS)


@define
class Storyteller:
    """Tells switches one after another, with the distances of a real map."""

    regions: tuple[Region, ...] = THREE
    per_region: int = 2
    chance: Randomness = field(factory=lambda: Randomness(7))
    arrows: list[Arrow] = field(factory=list)
    serving: list[Serving] = field(factory=list)
    faults: list[FaultSpan] = field(factory=list)
    notes: list[Note] = field(factory=list)
    switches: list[SwitchResult] = field(factory=list)

    @property
    def agents(self) -> list[tuple[AgentId, Region]]:
        return [(AgentId(f"{r}/{n + 1}"), r) for r in self.regions for n in range(self.per_region)]

    def way_ns(self, region: Region) -> int:
        jitter = self.chance.stream("jitter").lognormvariate(0, 0.8)
        return MAP.round_trip_ns(LEADER, region) // 2 + round(jitter * MS)

    def send(self, what: str, agent: AgentId, region: Region, at_ns: int, *, up: bool) -> int:
        """A message between the leader and an agent; return when it arrives."""
        ends = (f"agent {agent}", f"coordinator {LEADER}")
        sender, receiver = ends if up else ends[::-1]
        there_ns = at_ns + self.way_ns(region)
        lost = self.is_cut(region, at_ns)
        received_ns = None if lost else there_ns
        self.arrows.append(
            Arrow(
                what=what, sender=sender, receiver=receiver, sent_ns=at_ns, received_ns=received_ns
            )
        )
        return there_ns

    def is_cut(self, region: Region, at_ns: int) -> bool:
        return any(
            fault.kind == "partition"
            and f"agent {region}/1" in fault.nodes
            and fault.since_ns <= at_ns < (fault.until_ns or at_ns + 1)
            for fault in self.faults
        )

    def boot(self, epoch: int, colour: str) -> None:
        for agent, _ in self.agents:
            self.serve(agent, 0, epoch, colour)

    def serve(self, agent: AgentId, since_ns: int, epoch: int, colour: str) -> None:
        colours = (("checkout", colour), ("search", "blue"))
        self.serving.append(
            Serving(agent=agent, since_ns=since_ns, epoch=Epoch(epoch), colours=colours)
        )

    def switch(
        self, epoch: int, at_ns: int, colour: str, *, kind: str = "switch", scheduled: bool = True
    ) -> SwitchResult:
        """A whole switch; agents that are cut off at its decision get it when they are back."""
        self.notes.append(
            Note(at_ns=at_ns, node="operator us-east-1", text=f"{kind} checkout {colour}")
        )
        accepted_ns = at_ns + WRITE_NS
        self.store("accept", at_ns + MS)
        voted = {a: self.vote(a, r, at_ns) for a, r in self.agents}
        decided_ns = max(counted for _, counted in voted.values()) + WRITE_NS
        self.store("decide", decided_ns - WRITE_NS)
        due_ns = decided_ns + 420 * MS if scheduled else None
        results = [
            self.follow(a, r, epoch, colour, voted[a][0], decided_ns, due_ns)
            for a, r in self.agents
        ]
        late = [one for one in results if (one.live_ns or 0) > decided_ns + 5 * SECOND]
        in_time = [one for one in results if one not in late]
        flips = [one.flipped_ns for one in in_time if one.flipped_ns is not None]
        live_ns = max(one.live_ns or 0 for one in in_time)
        d_ns = max(MAP.round_trip_ns(LEADER, region) for region in self.regions)
        known_ns = decided_ns + 5 * SECOND if late else live_ns + 110 * MS
        result = SwitchResult(
            epoch=Epoch(epoch),
            kind=kind,
            outcome="partial" if late else "live",
            accepted_ns=accepted_ns,
            decided_ns=decided_ns,
            live_ns=None if late else live_ns,
            elapsed_ns=(known_ns if late else live_ns) - accepted_ns,
            known_ns=known_ns - accepted_ns,
            sla_met=True,
            scheduled=scheduled,
            due_ns=due_ns,
            skew_ns=max(flips) - min(flips),
            bound_ns=2 * MS,
            lower_bound_ns=3 * d_ns // 2 + STAGING_NS + FLIP_NS,
            laggards=tuple(one.agent for one in late),
            reasons=("unconfirmed: not heard in time",) * len(late),
            agents=tuple(results),
        )
        self.switches.append(result)
        return result

    def store(self, what: str, at_ns: int) -> None:
        for member in CONTROL:
            self.arrows.append(
                Arrow(
                    what=what,
                    sender=f"coordinator {LEADER}",
                    receiver=f"etcd {member}",
                    sent_ns=at_ns,
                    received_ns=at_ns + max(MS, MAP.round_trip_ns(LEADER, member) // 2),
                )
            )

    def vote(self, agent: AgentId, region: Region, at_ns: int) -> tuple[int, int]:
        """When the agent voted, and when its vote counted."""
        asked_ns = self.send("prepare", agent, region, at_ns + 2 * MS, up=False)
        staging = self.chance.stream("staging").uniform(0.8, 1.4)
        voted_ns = asked_ns + round(STAGING_NS * staging)
        return voted_ns, self.send("vote", agent, region, voted_ns, up=True)

    def follow(
        self,
        agent: AgentId,
        region: Region,
        epoch: int,
        colour: str,
        voted_ns: int,
        decided_ns: int,
        due_ns: int | None,
    ) -> AgentResult:
        told_ns = self.send("sync", agent, region, decided_ns, up=False)
        if self.is_cut(region, decided_ns):
            heal_ns = self.faults[-1].until_ns or 0
            told_ns = self.send("sync", agent, region, heal_ns + 900 * MS, up=False)
            due_ns = None
        error_ns = self.chance.stream("clock").randrange(-MS, MS)
        flipped_ns = max(told_ns, (due_ns or 0) + error_ns) + FLIP_NS
        live_ns = flipped_ns + 6 * MS
        self.serve(agent, flipped_ns, epoch, colour)
        self.send("report", agent, region, live_ns, up=True)
        return AgentResult(
            agent=agent,
            region=region,
            vote="yes",
            voted_ns=voted_ns,
            flipped_ns=flipped_ns,
            live_ns=live_ns,
        )

    def result(self, name: str) -> RunResult:
        nodes = [(f"agent {agent}", region) for agent, region in self.agents]
        nodes += [(f"coordinator {region}", region) for region in CONTROL]
        nodes += [(f"etcd {region}", region) for region in CONTROL]
        return RunResult(
            name=name,
            seed=7,
            verdict=Verdict.VALID,
            budget_ns=30 * SECOND,
            trace_digest="9f2c" * 16,
            findings=held(),
            switches=tuple(self.switches),
            requests=Requests(sent=138_889),
            reached=("commit", "drain", "in-doubt", "laggard-converged"),
            events=48_211,
            simulated_ns=120 * SECOND,
            wall_ns=160 * MS,
            fault_kinds=tuple(sorted({fault.kind for fault in self.faults})),
            nodes=(*nodes, ("operator us-east-1", LEADER)),
            story=Story(
                arrows=tuple(sorted(self.arrows, key=lambda one: one.sent_ns)),
                faults=tuple(self.faults),
                serving=tuple(sorted(self.serving, key=lambda one: one.since_ns)),
                notes=tuple(self.notes),
            ),
        )


def in_doubt() -> RunResult:
    """A region that is cut off after its vote, a partial switch, and a rollback later."""
    teller = Storyteller()
    teller.boot(1, "blue")
    tokyo = ("agent ap-northeast-1/1", "agent ap-northeast-1/2")
    teller.faults.append(
        FaultSpan(
            kind="partition",
            text="partition ap-northeast-1 | * for 40 s",
            nodes=tokyo,
            since_ns=5_200 * MS,
            until_ns=45_200 * MS,
        )
    )
    teller.switch(2, 5 * SECOND, "green")
    teller.faults.append(
        FaultSpan(
            kind="pause",
            text="pause agent eu-west-1/2 for 0.3 s",
            nodes=("agent eu-west-1/2",),
            since_ns=60_150 * MS,
            until_ns=60_450 * MS,
        )
    )
    teller.switch(3, 60 * SECOND, "blue", kind="rollback", scheduled=False)
    return teller.result("tokyo-in-doubt")


def calm_world() -> RunResult:
    """One switch all over the world, nothing going wrong."""
    teller = Storyteller(regions=MAP.regions, per_region=1)
    teller.boot(1, "blue")
    teller.switch(2, 5 * SECOND, "green", scheduled=False)
    return teller.result("calm-world")


def broken() -> RunResult:
    """A run that broke an invariant and an expectation."""
    run = in_doubt()
    wrong = (
        Finding(
            number="S7",
            verdict=Verdict.INVALID,
            violations=("at 5.812 s: eu-west-1/1 is good and serves epoch 1, which is not newest",),
        ),
        Finding(
            number="expect outcome",
            verdict=Verdict.INVALID,
            violations=("the last switch came to live, not to partial",),
        ),
    )
    kept = tuple(one for one in run.findings if one.number != "S7")
    return evolve(run, verdict=Verdict.INVALID, findings=(*kept, *wrong))


KINDS = ("clock-step", "crash", "disk-torn", "loss", "partition", "pause", "proxy-refuse-flip")


def seed_result(seed: int, *, verdict: Verdict = Verdict.VALID) -> SeedResult:
    """One run of a sweep, its figures drawn from its seed."""
    chance = Randomness(seed).stream("sample")
    kinds = tuple(kind for kind in KINDS if chance.random() < 0.4)
    switches = []
    for number in range(chance.randint(1, 4)):
        bound_ns = round(chance.uniform(0.3, 0.55) * SECOND)
        factor = chance.uniform(1.02, 1.3)
        if chance.random() < 0.1 * len(kinds):
            factor *= chance.lognormvariate(1.4, 0.9)
        elapsed_ns = min(round(bound_ns * factor), 27 * SECOND)
        scheduled = chance.random() < 0.5
        spread = chance.uniform(0.1, 0.95)
        outcome = chance.choice(["live"] * 8 + ["aborted", "partial"])
        switches.append(
            SwitchResult(
                epoch=Epoch(number + 2),
                kind="switch",
                outcome=outcome,
                accepted_ns=(5 + 40 * number) * SECOND,
                elapsed_ns=elapsed_ns,
                known_ns=elapsed_ns + 90 * MS,
                sla_met=True,
                scheduled=scheduled,
                skew_ns=round((4 if scheduled else 117) * spread * MS),
                bound_ns=2 * MS,
                lower_bound_ns=bound_ns,
            )
        )
    broken_one = verdict is Verdict.INVALID
    return SeedResult(
        seed=seed,
        verdict=verdict,
        budget_ns=30 * SECOND,
        violated=("S5",) if broken_one else (),
        first="at 91.2 s: eu-west-1/1 went from epoch 4 to 3" if broken_one else "",
        fault_kinds=kinds,
        switches=tuple(switches),
        requests=Requests(sent=694_444),
        events=240_000,
        simulated_ns=600 * SECOND,
        wall_ns=700 * MS,
    )


def sweep(seeds: Sequence[int] = range(300), *, invalid: Sequence[int] = ()) -> SweepResult:
    """A sweep that is too weak: a mark is missed, and one canary lives."""
    verdicts = dict.fromkeys(invalid, Verdict.INVALID)
    return SweepResult(
        name="swarm",
        runs=tuple(seed_result(s, verdict=verdicts.get(s, Verdict.VALID)) for s in seeds),
        marks=(
            Mark(name="commit", runs=len(seeds)),
            Mark(name="in-doubt", runs=41),
            Mark(name="two-takeovers", runs=0),
        ),
        canaries=(
            CanaryResult(name="vote-before-fsync", number="S3", seed=12, tried=13, seen=("S3",)),
            CanaryResult(name="flip-unjournalled", number="S1", seed=3, tried=4, seen=("S1", "S5")),
            CanaryResult(name="stale-abort", number="S2", seed=None, tried=1000),
        ),
        wall_ns=240 * SECOND,
        workers=2,
    )


def strong_sweep() -> SweepResult:
    """A sweep with nothing to object to."""
    whole = sweep()
    marks = tuple(mark for mark in whole.marks if mark.runs)
    return evolve(whole, marks=marks, canaries=whole.canaries[:2])
