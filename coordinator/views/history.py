"""The JSON of the history."""

from __future__ import annotations

from coordinator.archive import Page
from coordinator.views.values import Json, instant
from turnout.protocol.records import HistoryEntry


def history_view(page: Page) -> Json:
    """A page of it, newest first; ``before`` asks for the next, null at the beginning of time."""
    return {"entries": [_entry(entry) for entry in page.entries], "before": page.before}


def _entry(entry: HistoryEntry) -> Json:
    return {
        "epoch": entry.epoch,
        "kind": entry.kind,
        "at": instant(entry.at_ns),
        "actor": entry.actor,
        "replica": entry.replica,
        "term": entry.term,
        "text": entry.text,
        "reason": entry.reason or None,
        "comment": entry.comment or None,
        "digest": entry.digest(),
        "previous": entry.previous or None,
    }
