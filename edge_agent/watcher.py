"""Those who watch an agent and do nothing about it: metrics and logs."""

from __future__ import annotations

from turnout.protocol.messages import Up
from turnout.protocol.participant_state import ParticipantState


class Watcher:
    """Told of everything, after it was done. This one does not listen."""

    def stepped(self, before: ParticipantState, after: ParticipantState) -> None:
        """The machine took an event, and its effects have been carried out."""

    def sent(self, message: Up) -> None:
        """A vote or report was handed to the link."""

    def disk_failed(self, reason: str) -> None:
        """Something durable could not be kept."""

    def turned_away(self, code: str) -> None:
        """A coordinator would not have this agent's stream, or a message: its problem type."""


class Watchers(Watcher):
    """Several watchers as one: each is told, in order."""

    def __init__(self, *watchers: Watcher) -> None:
        self._watchers = watchers

    def stepped(self, before: ParticipantState, after: ParticipantState) -> None:
        """See :class:`Watcher`."""
        for watcher in self._watchers:
            watcher.stepped(before, after)

    def sent(self, message: Up) -> None:
        """See :class:`Watcher`."""
        for watcher in self._watchers:
            watcher.sent(message)

    def disk_failed(self, reason: str) -> None:
        """See :class:`Watcher`."""
        for watcher in self._watchers:
            watcher.disk_failed(reason)

    def turned_away(self, code: str) -> None:
        """See :class:`Watcher`."""
        for watcher in self._watchers:
            watcher.turned_away(code)
