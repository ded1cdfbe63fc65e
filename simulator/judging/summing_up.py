"""A run, summed up: its switches as the true clock saw them, and a verdict by number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from attrs import evolve

from simulator.judging.chronicle import Chronicle, Switch
from simulator.judging.cores import core_of, named_core
from simulator.judging.course import Core, course_of, live_ns
from simulator.judging.expectations import judged
from simulator.lower_bound import lower_bound_ns
from simulator.results import (
    AgentResult,
    Finding,
    RunResult,
    SwitchResult,
    Verdict,
)
from turnout.protocol.identifiers import AgentId, Epoch
from turnout.protocol.invariants import COURSE, SAFETY, judge_course
from turnout.protocol.records import Mode, OutcomeKind
from turnout.protocol.records import Verdict as Decided

if TYPE_CHECKING:
    from simulator.simulation import Simulation

LIVENESS = frozenset({"L1", "L2", "L3"})
NUMBERS = tuple(dict.fromkeys(number for number, _ in (*SAFETY, *COURSE)))


def summed_up(simulation: Simulation, *, wall_ns: int) -> RunResult:
    """What a run came to."""
    now_ns, judge = simulation.agenda.now_ns, simulation.judge
    agents = [node.agent for node in simulation.agents.values()]
    core = _core(simulation, agents)
    course = course_of(judge.chronicle, core, simulation.timing, now_ns)
    for violation in judge_course(course):
        judge.breaks(violation.number, violation.text)
    switches = tuple(
        _switch(simulation, epoch, switch)
        for epoch, switch in sorted(judge.chronicle.switches.items())
    )
    findings = [_finding(simulation, number, has_core=core is not None) for number in NUMBERS]
    expected = [*_as_broken(simulation, findings), *judged(simulation, switches)]
    story = judge.story.told()
    return RunResult(
        name=simulation.scenario.name,
        seed=simulation.randomness.seed,
        verdict=_verdict(simulation, findings, expected),
        budget_ns=simulation.timing.budget_ns,
        trace_digest=simulation.trace.digest,
        findings=(*findings, *expected),
        operations=simulation.director.results(),
        switches=switches,
        requests=simulation.users.requests(),
        reached=judge.marks.reached,
        events=simulation.agenda.events,
        simulated_ns=now_ns,
        wall_ns=wall_ns,
        fault_kinds=tuple(dict.fromkeys(span.kind for span in judge.story.faults)),
        never_struck=tuple(
            f"{fault.text}, {fault.moment}" for fault in simulation.injector.never_struck
        ),
        nodes=tuple((str(node.name), node.region) for node in simulation.nodes),
        story=story,
    )


def _core(simulation: Simulation, agents: list[AgentId]) -> Core | None:
    """Who can be held to liveness; after a restore nobody, until the domain is founded anew."""
    core, judge = _working(simulation, agents), simulation.judge
    if core is None or judge.witness.doubts:
        return None
    return evolve(core, healed_ns=max(core.healed_ns, judge.founded_ns))


def _working(simulation: Simulation, agents: list[AgentId]) -> Core | None:
    section = simulation.scenario.core
    if section is None:
        return core_of(simulation.nodes, simulation.injector.befell, agents)
    if simulation.agenda.now_ns < section.at_ns:
        return None
    names = [name for name in simulation.processes if name in simulation.injector.core]
    return named_core(section, names, simulation.nodes, agents)


def _finding(simulation: Simulation, number: str, *, has_core: bool) -> Finding:
    broken = tuple(simulation.judge.violations.get(number, ()))
    if broken:
        return Finding(number=number, verdict=Verdict.INVALID, violations=broken)
    is_judged = has_core if number in LIVENESS else number in simulation.judge.promised
    return Finding(number=number, verdict=Verdict.VALID if is_judged else Verdict.UNKNOWN)


def _worst(findings: Sequence[Finding]) -> Verdict:
    order = list(Verdict)
    judged = (finding.verdict for finding in findings if finding.is_judged)
    return max(judged, key=order.index, default=Verdict.VALID)


def _verdict(
    simulation: Simulation, found: Sequence[Finding], expected: Sequence[Finding]
) -> Verdict:
    """Of the run: what its scenario expects to be broken is no fault, and anything else is."""
    as_broken = simulation.scenario.expect.verdict == "invalid"
    return _worst(expected if as_broken else (*found, *expected))


def _as_broken(simulation: Simulation, found: Sequence[Finding]) -> Iterator[Finding]:
    """Where a scenario expects that something breaks: whether that broke, and nothing else."""
    expect = simulation.scenario.expect
    if expect.verdict == "valid":
        return
    broken = [finding.number for finding in found if finding.verdict is Verdict.INVALID]
    if set(broken) == set(expect.violated):
        yield Finding(number="expect.verdict", verdict=Verdict.VALID)
        return
    text = f"broken is {', '.join(broken) or 'nothing'}, not {', '.join(expect.violated)}"
    yield Finding(number="expect.verdict", verdict=Verdict.INVALID, violations=(text,))


def _switch(simulation: Simulation, epoch: Epoch, switch: Switch) -> SwitchResult:
    chronicle = simulation.judge.chronicle
    decision, outcome = switch.decision, switch.outcome
    landed_ns, over_ns = live_ns(chronicle, epoch, switch), _over_ns(chronicle, epoch, switch)
    elapsed_ns = None if over_ns is None else over_ns - switch.accepted_ns
    committed = decision is not None and decision.verdict is Decided.COMMIT
    activation = decision.head.activation if decision is not None and committed else None
    agents = tuple(_agents(simulation, epoch, switch))
    asked = set(switch.required) - _late(switch)
    on_time = [a.flipped_ns for a in agents if a.flipped_ns is not None and a.agent in asked]
    return SwitchResult(
        epoch=epoch,
        kind=switch.intent.request.kind,
        outcome=outcome.outcome if outcome else None,
        accepted_ns=switch.accepted_ns,
        decided_ns=switch.decided_ns,
        live_ns=landed_ns if committed else None,
        elapsed_ns=elapsed_ns,
        known_ns=None if switch.ended_ns is None else switch.ended_ns - switch.accepted_ns,
        sla_met=None if elapsed_ns is None else elapsed_ns <= simulation.timing.budget_ns,
        scheduled=activation is not None and activation.mode is Mode.SCHEDULED,
        due_ns=chronicle.due_ns(decision.head) if decision is not None and committed else None,
        skew_ns=max(on_time) - min(on_time) if committed and on_time else None,
        bound_ns=activation.bound_ns if activation else None,
        lower_bound_ns=lower_bound_ns(simulation, switch),
        laggards=tuple(laggard.agent for laggard in outcome.laggards) if outcome else (),
        reasons=tuple(laggard.reason for laggard in outcome.laggards) if outcome else (),
        agents=agents,
    )


def _over_ns(chronicle: Chronicle, epoch: Epoch, switch: Switch) -> int | None:
    """When it was live everywhere, or came to something else: a partial one is over with its outcome."""
    outcome = switch.outcome
    if outcome is not None and outcome.outcome is OutcomeKind.PARTIAL:
        return switch.ended_ns
    return live_ns(chronicle, epoch, switch)


def _late(switch: Switch) -> set[AgentId]:
    return {laggard.agent for laggard in switch.outcome.laggards} if switch.outcome else set()


def _agents(simulation: Simulation, epoch: Epoch, switch: Switch) -> Iterator[AgentResult]:
    for node in simulation.agents.values():
        days = simulation.judge.chronicle.days_of(node.agent)
        flipped = [ns for ns, active in days.served if active.epoch == epoch]
        vote, voted_ns = switch.votes.get(node.agent, (None, None))
        yield AgentResult(
            agent=node.agent,
            region=node.process.region,
            vote=vote,
            voted_ns=voted_ns,
            flipped_ns=flipped[0] if flipped else None,
            live_ns=days.live.get(epoch),
        )
