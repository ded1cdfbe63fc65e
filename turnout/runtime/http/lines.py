"""Messages as lines: one JSON document each, made by whoever sends and split by whoever reads."""

from __future__ import annotations

NDJSON = "application/x-ndjson"


def line(message: bytes) -> bytes:
    """One JSON message as a line, once for all streams it is sent to."""
    assert message, "a line without a message says nothing"
    assert b"\n" not in message, "a JSON message on one line has no line break"
    return message + b"\n"


class LineTooLongError(Exception):
    """The other side sent a line longer than the limit."""


class LineSplitter:
    """Bytes as they arrive -> whole lines, without their ends. Pure."""

    def __init__(self, max_line_bytes: int) -> None:
        self._max_line_bytes = max_line_bytes
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that these bytes completed. Raises LineTooLongError.

        Each byte is searched once, however many pieces a long line comes in.
        """
        first_end = data.find(b"\n")
        longest = len(self._rest) + (len(data) if first_end < 0 else first_end)
        if longest > self._max_line_bytes:
            raise LineTooLongError(f"a line has more than {self._max_line_bytes} bytes")
        self._rest += data
        if first_end < 0:
            return []
        *lines, rest = bytes(self._rest).split(b"\n")
        if any(len(one) > self._max_line_bytes for one in lines):
            raise LineTooLongError(f"a line has more than {self._max_line_bytes} bytes")
        self._rest = bytearray(rest)
        return lines
