"""Reach marks: rare states by name, so that a sweep can say that it was there.

A sweep that finds nothing has shown nothing unless it has been where faults hide (the idea is
FoundationDB's ``CODE_PROBE`` and TigerBeetle's ``marks.zig``). Each mark is seen from outside.
"""

from __future__ import annotations

from collections.abc import Mapping

from simulator.etcd.ledger import Committed
from simulator.judging.stored import value_of
from simulator.world import AgentView, ReplicaView
from turnout.protocol import keys
from turnout.protocol.coordinator_state import CoordinatorState, Role
from turnout.protocol.events import (
    AgentEvent,
    Booted,
    CoordinatorEvent,
    Deposed,
    PersistFailed,
    ProxyRestarted,
    Staged,
    Transacted,
    Wake,
)
from turnout.protocol.identifiers import Epoch, ReplicaId
from turnout.protocol.participant_state import ParticipantState
from turnout.protocol.records import (
    Active,
    AgentRecord,
    Decision,
    Kind,
    Mode,
    Outcome,
    OutcomeKind,
    Verdict,
)
from turnout.protocol.recovery import Action, recover
from turnout.protocol.storing import DECIDE
from turnout.protocol.transactions import Lost, Put, Unknown

MARKS: Mapping[str, str] = {
    "commit-immediate": "a commit that flips on receipt",
    "commit-scheduled": "a commit that flips at one instant",
    "schedule-given-up": "a scheduled switch whose votes made it immediate",
    "abort": "a switch that was aborted",
    "rollback-committed": "a rollback that was committed",
    "rollback-without-absent": "a rollback that went on without those who said no or nothing",
    "outcome-partial": "a commit with laggards",
    "outcome-rolled-back": "a switch undone before it was live",
    "takeover": "a leader elected while a switch was under way",
    "takeover-of-open-intent": "a new leader that found an intent without decision",
    "takeover-of-commit": "a new leader that found a commit without outcome",
    "number-burnt": "a number aborted because an overlapped prepare may have been out under it",
    "two-leaders": "two replicas that both took themselves for the leader",
    "lease-lost": "a leader that heard nothing from the store for one lease time",
    "decision-reply-lost": "a decide transaction without a reply",
    "decision-resent-lost": "one that was sent again and refused, for it had been carried out",
    "halted": "a leader that was shown that the store went back",
    "in-doubt-restart": "an agent that started with a yes on disk and no decision",
    "committed-restart": "an agent that started with a commit on disk that it had not flipped to",
    "flip-adopted": "an agent that died between the flip and its record",
    "proxy-restored": "a proxy that came back with less than it had been told to serve",
    "journal-distrusted": "an agent that lost what it may have promised",
    "late-commit": "an agent that learnt of a commit after the fact",
    "epoch-skipped": "an agent that went from one commit over another to a newer one",
    "write-failed": "a record that the disk refused",
    "yes-withdrawn": "a prepared table that could not be staged again",
    "proxy-restarted": "a proxy that restarted under an agent's eyes",
    "vote-no": "a no",
    "drain-timeout": "a source whose drain had had all its time",
    "released": "a source that may be scaled down",
    "excluded": "an agent taken out of switches",
}


AT_THE_START = Epoch(2)
"""The number that the first leader of every run uses up: it cannot know of none."""


class Marks:
    """Those reached in one run."""

    def __init__(self) -> None:
        self._reached: set[str] = set()
        self._leading: set[ReplicaId] = set()

    @property
    def reached(self) -> tuple[str, ...]:
        """Their names, sorted."""
        return tuple(sorted(self._reached))

    def reach(self, name: str) -> None:
        """One is reached."""
        assert name in MARKS, name
        self._reached.add(name)

    # ---------------------------------------------------------------- agents

    def agent_stepped(
        self,
        _node: AgentView,
        before: ParticipantState,
        event: AgentEvent | Wake,
        after: ParticipantState,
    ) -> None:
        """An agent's machine took an event."""
        if isinstance(event, Booted):
            self._booted(event)
        elif isinstance(event, PersistFailed):
            self.reach("write-failed")
        elif isinstance(event, ProxyRestarted):
            self.reach("proxy-restarted")
            self._compared(before.record, event.serving)
        elif isinstance(event, Staged) and event.refusal is not None:
            self.reach("vote-no")
        if after.staged_lost and not before.staged_lost:
            self.reach("yes-withdrawn")
        if before.record is not after.record:
            self._journalled(before, after)
        if after.drains is not before.drains and any(d.ended == "timeout" for d in after.drains):
            self.reach("drain-timeout")

    def _booted(self, event: Booted) -> None:
        record = event.record
        self._compared(record, event.serving)
        if record.prepared is not None:
            self.reach("in-doubt-restart")
        if record.committed is not None and record.committed.active != record.active:
            self.reach("committed-restart")
        if not record.committed and event.serving.epoch:
            self.reach("journal-distrusted")

    def _compared(self, record: AgentRecord, serving: Active) -> None:
        """Journal and proxy tell different stories."""
        action, _ = recover(record, serving)
        if action is Action.ADOPT:
            self.reach("flip-adopted")
        if action is Action.RESTORE and record.active.epoch:
            self.reach("proxy-restored")

    def _journalled(self, before: ParticipantState, after: ParticipantState) -> None:
        committed = after.record.committed
        if committed is not None and committed != before.record.committed and committed.late:
            self.reach("late-commit")
        was, now = before.record.active.epoch, after.record.active.epoch
        flipped = was and committed is not None and was < now == committed.epoch
        if flipped and committed is not None and committed.head.base_epoch > was:
            self.reach("epoch-skipped")

    # ---------------------------------------------------------------- replicas

    def replica_stepped(
        self,
        node: ReplicaView,
        before: CoordinatorState,
        event: CoordinatorEvent | Wake,
        after: CoordinatorState,
    ) -> None:
        """A replica's machine took an event."""
        if before.role is not after.role:
            self._changed_role(node, before, event, after)
        burning = after.burning
        if burning is not None and before.burning is None and burning.epoch > AT_THE_START:
            self.reach("number-burnt")
        if isinstance(event, Transacted) and event.operation.name == DECIDE:
            if isinstance(event.result, Unknown):
                self.reach("decision-reply-lost")
            elif isinstance(event.result, Lost) and after.role is Role.LEADING:
                self.reach("decision-resent-lost")

    def _changed_role(
        self,
        node: ReplicaView,
        before: CoordinatorState,
        event: CoordinatorEvent | Wake,
        after: CoordinatorState,
    ) -> None:
        if after.role is Role.LEADING:
            self._leading.add(node.replica)
            if after.attempt is not None or after.continuing is not None:
                self.reach("takeover-of-open-intent")
            if after.unfinished is not None:
                self.reach("takeover-of-commit")
            if after.attempt is not None or after.unfinished is not None:
                self.reach("takeover")
            if len(self._leading) > 1:
                self.reach("two-leaders")
        else:
            self._leading.discard(node.replica)
        if after.role is Role.HALTED:
            self.reach("halted")
        if isinstance(event, Deposed) and "for one lease time" in event.reason:
            self.reach("lease-lost")
        if before.role is Role.LEADING and after.role is Role.TAKING_OVER:
            self._leading.discard(node.replica)

    def died(self, replica: ReplicaId) -> None:
        """A replica's process died."""
        self._leading.discard(replica)

    # ---------------------------------------------------------------- the store

    def committed(self, committed: Committed) -> None:
        """The store has carried something out."""
        for write in committed.writes:
            if not isinstance(write, Put):
                continue
            if write.key.startswith(keys.DECISIONS):
                self._decided(value_of(write.value, Decision))
            elif write.key.startswith(keys.OUTCOMES):
                outcome = value_of(write.value, Outcome).outcome
                if outcome is OutcomeKind.PARTIAL:
                    self.reach("outcome-partial")
                elif outcome is OutcomeKind.ROLLED_BACK:
                    self.reach("outcome-rolled-back")
            elif write.key.startswith(keys.RELEASED):
                self.reach("released")
            elif write.key == keys.STANDING and b'"excluded"' in write.value:
                self.reach("excluded")

    def _decided(self, decision: Decision) -> None:
        if decision.verdict is Verdict.ABORT:
            if decision.kind is not None:  # a used-up number was no switch
                self.reach("abort")
            return
        activation = decision.head.activation
        self.reach("commit-scheduled" if activation.mode is Mode.SCHEDULED else "commit-immediate")
        if activation.reason:
            self.reach("schedule-given-up")
        if decision.kind is Kind.ROLLBACK:
            self.reach("rollback-committed")
            if decision.absent:
                self.reach("rollback-without-absent")
