"""What a coordinator counts and measures; each metric's help text is its documentation.

Counters and histograms move when a step has changed what they count. Gauges are read from the
machine's state when somebody scrapes, which costs nothing while nobody does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from coordinator.views.fleet import standings
from turnout.protocol.clock import SECOND
from turnout.protocol.coordinator_state import CoordinatorState, Following, Role
from turnout.protocol.events import Deposed, Elected
from turnout.protocol.identifiers import AgentId
from turnout.protocol.records import Status
from turnout.runtime.metrics import new_registry

_SWITCH_S = (0.1, 0.2, 0.5, 1, 2, 3, 5, 8, 13, 20, 30, 60)
_FAST_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)

IDLE = "idle"
PHASES = (IDLE, "preparing", "deciding", "committed", "live", "draining", "retained")


class Metrics:
    """One replica's metrics, in a registry of their own."""

    def __init__(self, version: str) -> None:
        self.registry: CollectorRegistry = new_registry("coordinator", version)
        self._votes = self._counter("votes", "Votes counted, by answer.", "vote", "reason")
        self._outcomes = self._counter(
            "switches", "Switches that ended, by what they came to.", "kind", "outcome"
        )
        self._leadership = self._counter(
            "leader_changes", "How often this replica was elected or deposed.", "change"
        )
        self._refused = self._counter(
            "agent_messages_refused", "Votes and reports refused, by reason.", "reason"
        )
        self._requests_refused = self._counter(
            "requests_refused", "Operators' attempts that were refused, by code.", "code"
        )
        self._taken_over = self._counter(
            "stream_takeovers", "Streams that another of the same agent took the place of.", "agent"
        )
        self._evicted = self._counter("evicted_streams", "Agents' streams cut for not keeping up.")
        self._durations = self._histogram(
            "switch_seconds", "From accepted to live, or aborted.", _SWITCH_S, "kind", "outcome"
        )
        self._lag = self._histogram(
            "propagation_seconds", "From the decision to an agent's flip.", _FAST_S
        )
        self._skew = self._histogram(
            "skew_seconds", "From the earliest flip of a switch to its latest.", _FAST_S
        )
        self._store = self._histogram(
            "store_seconds", "Calls to the store.", _FAST_S, "call", "result"
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"turnout_{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(f"turnout_{name}", text, labels, buckets=buckets, registry=self.registry)

    # ---------------------------------------------------------------- what happens

    def store_call(self, name: str, result: str, took_s: float) -> None:
        """Count a call to the store."""
        self._store.labels(name, result).observe(took_s)

    def announced(self, event: Elected | Deposed) -> None:
        """Count a change of leadership."""
        self._leadership.labels("elected" if isinstance(event, Elected) else "deposed").inc()

    def message_refused(self, reason: str) -> None:
        """Count a vote or report that was refused."""
        self._refused.labels(reason).inc()

    def request_refused(self, code: str) -> None:
        """Count an attempt to change something that was refused."""
        self._requests_refused.labels(code).inc()

    def stream_taken_over(self, agent: AgentId) -> None:
        """Count a stream that was opened while another of the same agent was open."""
        self._taken_over.labels(agent).inc()

    def forget(self, agent: AgentId) -> None:
        """The agent is no more, or is another one under its name."""
        with suppress(KeyError):  # nothing was counted of it
            self._taken_over.remove(agent)

    def stream_evicted(self) -> None:
        """Count an agent that did not keep up."""
        self._evicted.inc()

    def stepped(self, before: CoordinatorState, after: CoordinatorState) -> None:
        """Count what a step of the leader changed."""
        if before.role is not Role.LEADING or after.role is not Role.LEADING:
            return
        if before.attempt is not after.attempt:
            self._count_votes(before, after)
        if before.following is not after.following:
            for epoch, following in before.following.items():
                self._follow(following, after.following.get(epoch))

    def _count_votes(self, before: CoordinatorState, after: CoordinatorState) -> None:
        old, new = before.attempt, after.attempt
        if old is not None and new is None:
            decision = after.library.get(old.epoch)
            if decision is not None and decision.verdict == "abort":
                kind = old.intent.request.kind
                self._outcomes.labels(kind, "aborted").inc()
                spent_ns = decision.decided_at_ns - (old.accepted_at_ns or decision.decided_at_ns)
                self._durations.labels(kind, "aborted").observe(spent_ns / SECOND)
        elif old is not None and new is not None and old.epoch == new.epoch:
            self._votes.labels("yes", "").inc(max(0, len(new.yes) - len(old.yes)))
            for agent in new.no if new.no is not old.no else ():
                if agent not in old.no:
                    self._votes.labels("no", new.no[agent].no or "").inc()

    def _follow(self, old: Following, new: Following | None) -> None:
        if new is None:
            if old.writing is not None:  # undone before it was live: no longer followed
                self._outcomes.labels(old.intent.request.kind, old.writing.outcome).inc()
            return
        if old.outcome is None and new.outcome is not None:
            for agent in new.live:
                self._landed(new, agent)
            labels = new.intent.request.kind, new.outcome.outcome
            self._outcomes.labels(*labels).inc()
            if new.outcome.elapsed_ns is not None:
                self._durations.labels(*labels).observe(new.outcome.elapsed_ns / SECOND)
            if new.outcome.skew_ns is not None:
                self._skew.observe(new.outcome.skew_ns / SECOND)

    def _landed(self, following: Following, agent: AgentId) -> None:
        flipped_at_ns = following.live[agent].flipped_at_ns
        if flipped_at_ns is not None:
            self._lag.observe(max(0, flipped_at_ns - following.decision.decided_at_ns) / SECOND)

    # ---------------------------------------------------------------- how things are

    def show(self, state: Callable[[], CoordinatorState], streams: Callable[[], int]) -> None:
        """Have the state told at each scrape."""
        self.registry.register(_StateCollector(state, streams))


class _StateCollector(Collector):
    """The gauges."""

    def __init__(self, state: Callable[[], CoordinatorState], streams: Callable[[], int]) -> None:
        self._state = state
        self._streams = streams

    def collect(self) -> Iterable[Metric]:
        """All gauges of one state."""
        state = self._state()
        head = state.head
        yield _one_of("turnout_role", "1 for what this replica is doing.", Role, state.role)
        yield _one_of("turnout_phase", "1 for the newest switch's phase.", PHASES, _phase(state))
        yield _gauge("turnout_term", "The reign of this leader; 0 for a follower.", state.term)
        yield _gauge("turnout_decided_epoch", "Last decided.", head.decided if head else 0)
        yield _gauge("turnout_committed_epoch", "Last committed.", head.committed if head else 0)
        yield _gauge("turnout_streams", "Streams that agents hold open.", self._streams())
        yield _gauge("turnout_pending_writes", "Transactions not yet settled.", len(state.pending))
        yield _labelled("turnout_agents", "Enrolled agents by standing.", standings(state.fleet))


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _labelled(name: str, text: str, values: dict[Status, int]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=("standing",))
    for label, value in values.items():
        family.add_metric([label], value)
    return family


def _one_of(name: str, text: str, choices: Iterable[str], chosen: str) -> Metric:
    family = GaugeMetricFamily(name, text, labels=(name.removeprefix("turnout_"),))
    for choice in choices:
        family.add_metric([choice], choice == chosen)
    return family


def _phase(state: CoordinatorState) -> str:
    """The phase of the newest switch that is not over."""
    if state.attempt is not None:
        return state.attempt.phase
    newest = max(state.following, default=None)
    return IDLE if newest is None else state.following[newest].phase
