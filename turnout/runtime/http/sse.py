"""Server-sent events (WHATWG HTML, section 9.2): formatting for the server, parsing for a client."""

from __future__ import annotations

import re

import attrs

MEDIA_TYPE = "text/event-stream"


class MalformedEventError(Exception):
    """The stream is not one of server-sent events, or an event is over the limit."""


@attrs.frozen(kw_only=True)
class ServerEvent:
    """One event; ``id`` is what the client names to go on after it."""

    data: str
    event: str = "message"
    id: str | None = None


def format_event(event: ServerEvent) -> bytes:
    """The bytes of an event, ready for an OutboundStream."""
    lines = [] if event.id is None else [f"id: {_one_line(event.id)}"]
    if event.event != "message":
        lines.append(f"event: {_one_line(event.event)}")
    # Every way of ending a line must start a new data line, or text could forge other fields.
    text = event.data.replace("\r\n", "\n").replace("\r", "\n")
    lines.extend(f"data: {part}" for part in text.split("\n"))
    return ("\n".join(lines) + "\n\n").encode()


def format_comment(text: str = "") -> bytes:
    """A comment: clients pass over it, and both sides see that the connection lives."""
    return f": {_one_line(text)}\n\n".encode()


def _one_line(text: str) -> str:
    assert not set(text) & {"\r", "\n", "\0"}, f"{text!r} does not fit on one line"
    return text


class EventParser:
    """Bytes as they arrive -> events. Pure.

    ``last_event_id`` and ``retry_ms`` are what the stream said so far; the id outlives a
    connection, so hand it to the parser of the next one.
    """

    def __init__(self, *, max_event_bytes: int, last_event_id: str | None = None) -> None:
        self._max_event_bytes = max_event_bytes
        self._rest = b""
        self._at_start = True
        self._data: list[str] = []
        self._event = ""
        self._event_bytes = 0
        self._id = last_event_id
        self.last_event_id = last_event_id
        self.retry_ms: int | None = None

    def feed(self, data: bytes) -> list[ServerEvent]:
        """The events that these bytes completed. Raises MalformedEventError."""
        self._rest += data
        if self._at_start and len(self._rest) >= len(b"\xef\xbb\xbf"):
            self._rest = self._rest.removeprefix(b"\xef\xbb\xbf")
            self._at_start = False
        # A final CR may be half of a CRLF: it waits for what follows.
        held = self._rest.endswith(b"\r")
        text = self._rest[:-1] if held else self._rest
        *lines, rest = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = rest + (b"\r" if held else b"")
        events = [event for one in lines if (event := self._take_line(one)) is not None]
        self._check_size(len(self._rest))
        return events

    def _take_line(self, raw: bytes) -> ServerEvent | None:
        if not raw:
            return self._dispatch()
        self._event_bytes += len(raw)
        self._check_size(0)
        try:
            name, _, value = raw.decode().partition(":")
        except UnicodeDecodeError as error:
            raise MalformedEventError("an event is not UTF-8 text") from error
        self._take_field(name, value.removeprefix(" "))
        return None

    def _take_field(self, name: str, value: str) -> None:
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and re.fullmatch("[0-9]{1,9}", value):
            self.retry_ms = int(value)

    def _dispatch(self) -> ServerEvent | None:
        """A blank line ends an event; one without data only moves the id on."""
        data, event = self._data, self._event
        self._data, self._event, self._event_bytes = [], "", 0
        self.last_event_id = self._id
        if not data:
            return None
        return ServerEvent(data="\n".join(data), event=event or "message", id=self._id)

    def _check_size(self, waiting_bytes: int) -> None:
        if self._event_bytes + waiting_bytes > self._max_event_bytes:
            raise MalformedEventError(f"an event has more than {self._max_event_bytes} bytes")
