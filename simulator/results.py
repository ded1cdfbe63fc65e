"""What a run came to, as values: what reports, sweeps and tests read, and nothing reads back.

All moments are true ones, in nanoseconds of virtual time since the run began.
"""

from __future__ import annotations

import enum

from attrs import frozen

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


@frozen(kw_only=True)
class AgentResult:
    """One agent's part in one switch; None where a thing did not happen."""

    agent: AgentId
    region: Region
    vote: str | None = None
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
        scheduled: whether all were to flip at one instant.
        laggards: as the outcome names them.
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
    skew_ns: int | None = None
    bound_ns: int | None = None
    lower_bound_ns: int | None = None
    laggards: tuple[AgentId, ...] = ()
    agents: tuple[AgentResult, ...] = ()


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
        trace_digest: SHA-256 over every event and effect, in order.
        findings: one for each invariant, by number, then the scenario's expectations.
        reached: the marks of rare states that were reached, sorted.
        nodes: every process with its region, in the order to draw them.
    """

    name: str
    seed: int
    verdict: Verdict
    trace_digest: str
    findings: tuple[Finding, ...]
    switches: tuple[SwitchResult, ...]
    requests: Requests
    reached: tuple[str, ...]
    events: int
    simulated_ns: int
    wall_ns: int
    fault_kinds: tuple[str, ...] = ()
    nodes: tuple[tuple[str, Region], ...] = ()
    story: Story = Story()
