"""What runs came to, as values: what reports, sweeps and tests read, and nothing reads back.

All moments are true ones, in nanoseconds of virtual time since the run began.
"""

from __future__ import annotations

import enum
import shlex
from collections import Counter
from collections.abc import Mapping

from attrs import evolve, frozen

from turnout.protocol.identifiers import AgentId, Epoch, Region


class Verdict(enum.StrEnum):
    """What is known of a promise after a run; the worst of several is the last of these."""

    VALID = "valid"
    UNKNOWN = "unknown"
    INVALID = "invalid"


@frozen(kw_only=True)
class Finding:
    """One invariant or expectation: its number (``S1``, ``L3``, ``expect``), and what broke it.

    ``violations`` are sentences, each with its moment; none where it held.
    """

    number: str
    verdict: Verdict
    violations: tuple[str, ...] = ()

    @property
    def is_judged(self) -> bool:
        """Whether there was anything to judge: liveness is promised by a working core only."""
        return self.verdict is not Verdict.UNKNOWN or bool(self.violations)


@frozen(kw_only=True)
class AgentResult:
    """One agent's part in one switch; None where a thing did not happen.

    ``vote`` is ``yes``, or ``no`` with its code; ``voted_ns`` is when it left.
    """

    agent: AgentId
    region: Region
    vote: str | None = None
    voted_ns: int | None = None
    flipped_ns: int | None = None
    live_ns: int | None = None


@frozen(kw_only=True)
class SwitchResult:
    """One epoch, as the true clock saw it.

    Attributes:
        kind, outcome: as in the API; ``outcome`` None where none was written before the run ended.
        accepted_ns: when the store took the intent.
        decided_ns: when it took the decision.
        live_ns: when the last required agent was proven live; None where that did not happen.
        elapsed_ns: from accepted until live everywhere, aborted or (a rollback's) partial.
        known_ns: from accepted until the outcome was written.
        skew_ns: between the first and the last flip of those that were not late.
        bound_ns: the largest clock bound among the votes.
        lower_bound_ns: ``1.5 D + W + staging + flip`` on this map, nothing going wrong.
        scheduled: whether all were to flip at one instant, and ``due_ns``: which.
        laggards: as the outcome names them, and ``reasons``: what it says of each.
    """

    epoch: Epoch
    kind: str
    outcome: str | None
    accepted_ns: int
    decided_ns: int | None = None
    live_ns: int | None = None
    elapsed_ns: int | None = None
    known_ns: int | None = None
    sla_met: bool | None = None
    scheduled: bool = False
    due_ns: int | None = None
    skew_ns: int | None = None
    bound_ns: int | None = None
    lower_bound_ns: int | None = None
    laggards: tuple[AgentId, ...] = ()
    reasons: tuple[str, ...] = ()
    agents: tuple[AgentResult, ...] = ()


@frozen(kw_only=True)
class OperationResult:
    """One thing that operators did, or were to do.

    Attributes:
        what: in words; ``again`` where the same request was repeated.
        moment: when it was to be done, in words.
        asked_ns: when it was first asked for; None: its moment never came.
        answer: ``accepted epoch 3``, ``done``, ``refused``, or ``none`` before the run ended.
        code: of a refusal, the problem's name.
    """

    what: str
    moment: str
    asked_ns: int | None
    answer: str = "none"
    code: str | None = None

    @property
    def is_answered(self) -> bool:
        """Whether anything came of it."""
        return self.answer != "none"


@frozen(kw_only=True)
class Requests:
    """Users' requests, counted: see ``users.py`` for what each word means."""

    sent: int = 0
    failed: int = 0
    misrouted: int = 0
    cut: int = 0
    regressed: int = 0


@frozen(kw_only=True)
class Arrow:
    """One message of the protocol on its way. ``received_ns`` None: it never arrived.

    ``what`` is the message's type (``prepare``, ``sync``, ``vote``, ``report``, ...).
    """

    what: str
    sender: str
    receiver: str
    sent_ns: int
    received_ns: int | None


@frozen(kw_only=True)
class FaultSpan:
    """One fault as it was injected. ``until_ns`` None: it never healed.

    ``nodes`` are the processes that it touched, for shading.
    """

    kind: str
    text: str
    nodes: tuple[str, ...]
    since_ns: int
    until_ns: int | None


@frozen(kw_only=True)
class Serving:
    """What one proxy served from a moment on (until its next)."""

    agent: AgentId
    since_ns: int
    epoch: Epoch
    colours: tuple[tuple[str, str], ...]
    """(service, colour) of each service of the table."""


@frozen(kw_only=True)
class Note:
    """Something worth a line in the timeline: an election, a crash, an operator's request."""

    at_ns: int
    node: str
    text: str


@frozen(kw_only=True)
class Story:
    """What is drawn: kept for ``sim run``, left out of sweeps, which would drown in it."""

    arrows: tuple[Arrow, ...] = ()
    faults: tuple[FaultSpan, ...] = ()
    serving: tuple[Serving, ...] = ()
    notes: tuple[Note, ...] = ()


@frozen(kw_only=True)
class RunResult:
    """One run.

    Attributes:
        budget_ns: within which every switch is to be over (L1): what ``sla_met`` is of.
        trace_digest: of every step, and of every record as it went to disk or store (``trace.py``).
        findings: one for each invariant, by number, then the scenario's expectations.
        operations: in the order in which they were asked for, then those whose moment never came.
        reached: the marks of rare states that were reached, sorted.
        never_struck: the faults that the scenario asked for and that hurt nobody, a line each.
        nodes: every process with its region, in the order to draw them.
    """

    name: str
    seed: int
    verdict: Verdict
    budget_ns: int
    trace_digest: str
    findings: tuple[Finding, ...]
    operations: tuple[OperationResult, ...] = ()
    switches: tuple[SwitchResult, ...]
    requests: Requests
    reached: tuple[str, ...]
    events: int
    simulated_ns: int
    wall_ns: int
    fault_kinds: tuple[str, ...] = ()
    never_struck: tuple[str, ...] = ()
    nodes: tuple[tuple[str, Region], ...] = ()
    story: Story = Story()

    @property
    def violated(self) -> tuple[str, ...]:
        """The numbers of what was broken, once each; ``run`` if it broke down."""
        broken = (one.number for one in self.findings if one.violations)
        return tuple(dict.fromkeys(broken))


# --- many runs --------------------------------------------------------------------------------


@frozen(kw_only=True)
class SeedResult:
    """One run of a sweep, without what only a report of that run would show.

    Attributes:
        violated: the numbers of what was broken; ``first`` is the first violation's sentence.
        unjudged: the numbers of what nothing was said about: nothing worked that could keep it.
        fault_kinds: the kinds that were injected, sorted.
    """

    seed: int
    verdict: Verdict
    budget_ns: int
    violated: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()
    first: str = ""
    fault_kinds: tuple[str, ...] = ()
    switches: tuple[SwitchResult, ...] = ()
    requests: Requests = Requests()
    events: int = 0
    simulated_ns: int = 0
    wall_ns: int = 0

    @classmethod
    def of(cls, run: RunResult) -> SeedResult:
        """What a sweep keeps of a run: its switches without their agents, and no story."""
        sentences = (text for one in run.findings for text in one.violations)
        return cls(
            seed=run.seed,
            verdict=run.verdict,
            budget_ns=run.budget_ns,
            violated=run.violated,
            unjudged=tuple(one.number for one in run.findings if one.verdict is Verdict.UNKNOWN),
            first=next(sentences, ""),
            fault_kinds=tuple(sorted(set(run.fault_kinds))),
            switches=tuple(evolve(one, agents=()) for one in run.switches),
            requests=run.requests,
            events=run.events,
            simulated_ns=run.simulated_ns,
            wall_ns=run.wall_ns,
        )


@frozen(kw_only=True)
class Mark:
    """A rare state that a sweep must reach, and in how many of its runs it did."""

    name: str
    runs: int


@frozen(kw_only=True)
class CanaryResult:
    """A machine that is broken on purpose: whether the sweep saw it.

    Attributes:
        number: the invariant that it must break.
        seed: the first that broke it; None where none did, and ``tried`` says how many were run.
        seen: every number that was broken under that seed.
    """

    name: str
    number: str
    seed: int | None
    tried: int
    seen: tuple[str, ...] = ()

    @property
    def is_caught(self) -> bool:
        """Whether the right invariant caught it."""
        return self.seed is not None and self.number in self.seen


@frozen(kw_only=True)
class SweepResult:
    """Many runs, each of its own seed, in the order of seeds.

    Attributes:
        name: what was swept: ``swarm``, or a scenario's name.
        scenario: what ``sim run`` is given to run that scenario; empty: it was the swarm.
        marks: every mark there is, those that no run reached included.
        wall_ns: from start to end, on ``workers`` processes.
    """

    name: str
    runs: tuple[SeedResult, ...]
    marks: tuple[Mark, ...] = ()
    canaries: tuple[CanaryResult, ...] = ()
    wall_ns: int = 0
    workers: int = 1
    scenario: str = ""

    def again(self, seed: int) -> str:
        """The command that runs one of the seeds again."""
        if not self.scenario:
            return f"turnout sim replay {seed}"
        return f"turnout sim run {shlex.quote(self.scenario)} --seed {seed}"

    @property
    def verdict(self) -> Verdict:
        """The worst of the runs'; unknown where there was none."""
        found = {run.verdict for run in self.runs}
        worst = (Verdict.INVALID, Verdict.UNKNOWN, Verdict.VALID)
        return next((one for one in worst if one in found), Verdict.UNKNOWN)

    @property
    def budgets_ns(self) -> tuple[int, ...]:
        """What its runs promise, once each, in order: a world's distances may ask for more time."""
        return tuple(sorted({run.budget_ns for run in self.runs}))

    @property
    def unjudged(self) -> Mapping[str, int]:
        """By number: in how many runs nothing could be said, as after a restore of the store."""
        return Counter(number for run in self.runs for number in run.unjudged)

    @property
    def missed(self) -> tuple[str, ...]:
        """The marks that no run reached."""
        return tuple(mark.name for mark in self.marks if not mark.runs)

    @property
    def uncaught(self) -> tuple[CanaryResult, ...]:
        """The canaries that no run caught, or only by another invariant."""
        return tuple(one for one in self.canaries if not one.is_caught)

    @property
    def is_too_weak(self) -> bool:
        """Whether it proves little: a rare state was never reached, or a canary lives."""
        return bool(self.missed or self.uncaught)

    @property
    def switches(self) -> tuple[SwitchResult, ...]:
        """Those of all runs."""
        return tuple(switch for run in self.runs for switch in run.switches)
