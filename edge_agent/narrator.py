"""The log of an agent: a line for what an operator would ask about afterwards."""

from __future__ import annotations

import structlog

from edge_agent.watcher import Watcher
from turnout.protocol.messages import Up, Vote
from turnout.protocol.participant_state import ParticipantState

_log = structlog.get_logger(__name__)


class Narrator(Watcher):
    """Logs votes, decisions, flips, proofs, troubles, and when a leader is heard, lost, doubted."""

    def sent(self, message: Up) -> None:
        """Tell a vote."""
        if not isinstance(message, Vote):
            return
        if message.no is None:
            staging_ms = message.staging_ns // 1_000_000
            _log.info("voted yes", epoch=message.epoch, term=message.term, staging_ms=staging_ms)
        else:
            _log.warning("voted no", epoch=message.epoch, code=message.no, reason=message.reason)

    def disk_failed(self, reason: str) -> None:
        """Tell a failed write."""
        _log.error("the disk failed: nothing is promised on it", reason=reason)

    def stepped(self, before: ParticipantState, after: ParticipantState) -> None:
        """Tell what changed."""
        if after.linked != before.linked:
            _log.info("a leader is heard" if after.linked else "the stream to the leader is lost")
        if after.mistrust and after.mistrust != before.mistrust:
            _log.error("the coordinators are not believed", reason=after.mistrust)
        elif before.mistrust and not after.mistrust:
            _log.info("the coordinators are believed again")
        if after.record.committed_epoch != before.record.committed_epoch:
            committed = after.record.committed
            late = committed is not None and committed.late
            _log.info("commit journalled", epoch=after.record.committed_epoch, late=late)
        if after.serving != before.serving:
            _log.info("the proxy serves", epoch=after.serving.epoch, digest=after.serving.digest)
        if after.live_ns is not None and before.live_ns is None:
            _log.info("live: probes saw it through the proxy", epoch=after.serving.epoch)
        if after.trouble and after.trouble != before.trouble:
            _log.warning("not live", progress=after.progress, reason=after.trouble)
        if after.staged_lost and not before.staged_lost:
            _log.warning("what was promised cannot be staged again", reason=after.staged_lost)
