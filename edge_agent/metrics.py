"""What an agent's /metrics shows: where it stands, read when scraped; what happened, counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edge_agent.agent import Agent
from edge_agent.watcher import Watcher
from turnout.protocol.clock import SECOND
from turnout.protocol.messages import Progress, Up, Vote
from turnout.protocol.participant_state import ParticipantState

# A staging is milliseconds with a small table, and must be below T_prep (5 s) to count.
_SECONDS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 2.0, 5.0)


class CountingWatcher(Watcher):
    """Counts what an agent does."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._votes = Counter(
            "turnout_agent_votes",
            "Votes said, by answer and reason code; repeated ones count again.",
            ["answer", "reason"],
            registry=registry,
        )
        self._staging = Histogram(
            "turnout_agent_staging_seconds",
            "How long the proxy took to stage a table that was voted yes on.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._flips = Counter(
            "turnout_agent_flips",
            "Flips, by whether the commit came in time.",
            ["late"],
            registry=registry,
        )
        self._proving = Histogram(
            "turnout_agent_proving_seconds",
            "From a flip until probes through the proxy had proven it.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._links = Counter(
            "turnout_agent_links", "Streams to a leader that were opened.", registry=registry
        )
        self._turned_away = Counter(
            "turnout_agent_turned_away",
            "Streams and messages that a coordinator would not have, by its problem type.",
            ["reason"],
            registry=registry,
        )
        self._disk_failures = Counter(
            "turnout_agent_disk_failures",
            "Journal records and tables that could not be written.",
            registry=registry,
        )

    def sent(self, message: Up) -> None:
        """Count a vote."""
        if isinstance(message, Vote):
            self._votes.labels("no" if message.no else "yes", message.no or "").inc()
            if message.no is None and message.staging_ns:
                self._staging.observe(message.staging_ns / SECOND)

    def disk_failed(self, reason: str) -> None:  # noqa: ARG002 - the log has the reason
        """Count a failed write."""
        self._disk_failures.inc()

    def turned_away(self, code: str) -> None:
        """Count a refusal."""
        self._turned_away.labels(code).inc()

    def stepped(self, before: ParticipantState, after: ParticipantState) -> None:
        """Count flips, proofs and links."""
        if after.linked and not before.linked:
            self._links.inc()
        if after.flipped_ns is not None and before.flipped_ns is None:
            committed = after.record.committed
            self._flips.labels(str(committed is not None and committed.late).lower()).inc()
        if after.live_ns is not None and before.live_ns is None and after.flipped_ns is not None:
            self._proving.observe((after.live_ns - after.flipped_ns) / SECOND)


class StateCollector(Collector):
    """Reads an agent's state whenever the registry is scraped; ``registry.register`` it."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def collect(self) -> Iterator[Metric]:
        """Everything that has a value now."""
        state = self._agent.state
        yield _epochs(state)
        yield _progress(state)
        yield _in_flight(state)
        yield _gauge(
            "turnout_agent_isolation_seconds",
            "For how long no leader has been heard; 0 while one is.",
            self._agent.isolated_ns / SECOND,
        )
        yield _gauge(
            "turnout_agent_withdrawn",
            "Services whose health endpoint fails, for want of a coordinator.",
            len(self._agent.withdrawal.names or ()),
        )
        yield _gauge(
            "turnout_agent_proxy_up",
            "1 while the proxy runs, as far as the agent knows.",
            0 if self._agent.proxy.trouble else 1,
        )
        yield _gauge(
            "turnout_agent_mistrust",
            "1 while what the coordinators say is not believed: a wrong key, or another domain's.",
            1 if state.mistrust else 0,
        )
        bound_ns = self._agent.clock_bound_ns
        if bound_ns is not None:
            yield _gauge(
                "turnout_agent_clock_bound_seconds",
                "How far the leader's clock may be from what this agent takes it for.",
                bound_ns / SECOND,
            )


def _gauge(name: str, text: str, value: float) -> Metric:
    family = GaugeMetricFamily(name, text)
    family.add_metric([], value)
    return family


def _epochs(state: ParticipantState) -> Metric:
    family = GaugeMetricFamily(
        "turnout_agent_epoch",
        "Epochs: served by the proxy, active and committed in the journal, prepared (0: none).",
        labels=["of"],
    )
    record = state.record
    family.add_metric(["serving"], state.serving.epoch)
    family.add_metric(["active"], record.active.epoch)
    family.add_metric(["committed"], record.committed_epoch)
    family.add_metric(["prepared"], record.prepared.epoch if record.prepared else 0)
    return family


def _progress(state: ParticipantState) -> Metric:
    family = GaugeMetricFamily(
        "turnout_agent_progress",
        "1 for where the agent is with the newest commit, 0 for the other phases.",
        labels=["phase"],
    )
    for phase in Progress:
        family.add_metric([phase], 1 if state.progress is phase else 0)
    return family


def _in_flight(state: ParticipantState) -> Metric:
    family = GaugeMetricFamily(
        "turnout_agent_in_flight",
        "Requests that a draining source still has to finish.",
        labels=["service", "colour"],
    )
    for drain in state.drains:
        if not drain.ended:
            family.add_metric([drain.service, drain.colour], drain.in_flight)
    return family
