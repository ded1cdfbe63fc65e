"""Reports as JSON documents: what scripts rely on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from simulator.report.figures import (
    Spread,
    by_kind,
    expectations,
    invariants,
    milliseconds,
    rule_of_three,
    seconds,
)
from simulator.results import (
    Finding,
    OperationResult,
    Requests,
    RunResult,
    SeedResult,
    SweepResult,
    SwitchResult,
    Verdict,
)


def run_document(run: RunResult) -> dict[str, Any]:
    """A run; ``violations`` has the sentences of whatever is not valid."""
    return {
        "name": run.name,
        "verdict": run.verdict,
        "seed": run.seed,
        "budget_s": seconds(run.budget_ns),
        "trace_digest": run.trace_digest,
        "invariants": _verdicts(invariants(run.findings)),
        "expectations": _verdicts(expectations(run.findings)),
        "violations": _violations(run.findings),
        "operations": [_operation(one) for one in run.operations],
        "switches": [switch_document(one) for one in run.switches],
        "requests": attrs.asdict(run.requests),
        "reached": list(run.reached),
        "never_struck": list(run.never_struck),
        "events": run.events,
        "wall_s": seconds(run.wall_ns),
        "simulated_s": seconds(run.simulated_ns),
    }


def _verdicts(findings: Sequence[Finding]) -> dict[str, str]:
    """The verdict of each number; of several findings about one, the worst."""
    order = list(Verdict)
    found: dict[str, Verdict] = {}
    for one in findings:
        found[one.number] = max(found.get(one.number, one.verdict), one.verdict, key=order.index)
    return {number: str(verdict) for number, verdict in found.items()}


def _violations(findings: Sequence[Finding]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in findings:
        if one.violations:
            found.setdefault(one.number, []).extend(one.violations)
    return found


def _operation(one: OperationResult) -> dict[str, Any]:
    """Something that operators did; ``at_s`` None: its moment never came."""
    return {
        "at_s": seconds(one.asked_ns),
        "what": one.what,
        "answer": one.answer,
        "code": one.code,
    }


def switch_document(switch: SwitchResult) -> dict[str, Any]:
    """A switch; moments are seconds since the run began."""
    return {
        "epoch": switch.epoch,
        "kind": switch.kind,
        "outcome": switch.outcome,
        "accepted_s": seconds(switch.accepted_ns),
        "live_s": seconds(switch.live_ns),
        "elapsed_s": seconds(switch.elapsed_ns),
        "known_s": seconds(switch.known_ns),
        "sla_met": switch.sla_met,
        "skew_ms": milliseconds(switch.skew_ns),
        "laggards": list(switch.laggards),
        "reasons": dict(zip(switch.laggards, switch.reasons, strict=True)),
        "lower_bound_s": seconds(switch.lower_bound_ns),
    }


def sweep_document(sweep: SweepResult) -> dict[str, Any]:
    """A sweep: the whole of it, then every run in a few keys."""
    return {
        "name": sweep.name,
        "verdict": sweep.verdict,
        "too_weak": sweep.is_too_weak,
        "seeds": len(sweep.runs),
        "invalid_seeds": [run.seed for run in sweep.runs if run.verdict is Verdict.INVALID],
        "unknown_seeds": [run.seed for run in sweep.runs if run.verdict is Verdict.UNKNOWN],
        "proves": rule_of_three(sweep),
        "not_judged": dict(sorted(sweep.unjudged.items())),
        "elapsed": _spread(Spread.of(one.elapsed_ns for one in sweep.switches)),
        "known": _spread(Spread.of(one.known_ns for one in sweep.switches)),
        "sla_missed": sum(one.sla_met is False for one in sweep.switches),
        "fault_kinds": {
            one.kind: {
                "runs": one.runs,
                **{str(verdict): number for verdict, number in one.verdicts.items()},
                "outcomes": dict(one.outcomes),
                "elapsed": _spread(one.elapsed),
            }
            for one in by_kind(sweep)
        },
        "marks": {mark.name: mark.runs for mark in sweep.marks},
        "missed": list(sweep.missed),
        "canaries": [{**attrs.asdict(o), "caught": o.is_caught} for o in sweep.canaries],
        "events": sum(run.events for run in sweep.runs),
        "wall_s": seconds(sweep.wall_ns),
        "simulated_s": seconds(sum(run.simulated_ns for run in sweep.runs)),
        "workers": sweep.workers,
        "requests": _added([run.requests for run in sweep.runs]),
        "runs": [_seed_document(run) for run in sweep.runs],
    }


def _spread(spread: Spread) -> dict[str, Any]:
    return {
        "count": spread.count,
        "median_s": seconds(spread.median_ns),
        "p99_s": seconds(spread.p99_ns),
        "p999_s": seconds(spread.p999_ns),
        "max_s": seconds(spread.largest_ns),
    }


def _added(requests: Sequence[Requests]) -> dict[str, int]:
    names = [field.name for field in attrs.fields(Requests)]
    return {name: sum(getattr(one, name) for one in requests) for name in names}


def _seed_document(run: SeedResult) -> dict[str, Any]:
    return {
        "seed": run.seed,
        "verdict": run.verdict,
        "budget_s": seconds(run.budget_ns),
        "violated": list(run.violated),
        "first": run.first,
        "fault_kinds": list(run.fault_kinds),
        "switches": [switch_document(one) for one in run.switches],
    }
