"""What happened, as one digest: runs that differ in what lasts, or in when anything happens, differ in it.

Each step of each machine goes in, with its moment and the kinds of its event and effects in their order;
and all that lasts, whole: each record as it went to a disk, each value as it went to the store. Nothing is
kept but the digest (BLAKE2b), unless somebody wants to read along.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from simulator.process import NodeName
from simulator.virtual_time import Agenda

LINES = 256
"""So many are taken in at once, which is quicker than one by one."""


class Trace:
    """Takes in every step of a run.

    Attributes:
        steps: how many there were.
        listener: is told each line, where somebody reads along (``sim run --trace``).
    """

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self._hash = hashlib.blake2b(digest_size=32)
        self._lines: list[str] = []
        self.steps = 0
        self.listener: Callable[[str], None] | None = None

    def step(self, node: NodeName, event: object, effects: tuple[object, ...]) -> None:
        """A machine took an event and asked for these effects."""
        self.steps += 1
        asked = " ".join([type(effect).__name__ for effect in effects]) if effects else ""
        self._write(f"{self._agenda.now_ns} {node} {type(event).__name__} > {asked}\n")
        if self.listener is not None:
            self.listener(f"{event}")
            for effect in effects:
                self.listener(f"    {effect}")

    def record(self, node: NodeName, what: str, data: bytes = b"") -> None:
        """Something went to a disk or the store, or befell a node."""
        self._write(f"{self._agenda.now_ns} {node} {what}\n")
        if data:
            self._take_in()
            self._hash.update(data)

    def _write(self, line: str) -> None:
        self._lines.append(line)
        if len(self._lines) == LINES:
            self._take_in()
        if self.listener is not None:
            self.listener(line.rstrip("\n"))

    def _take_in(self) -> None:
        self._hash.update("".join(self._lines).encode())
        self._lines.clear()

    @property
    def digest(self) -> str:
        """Of all that was taken in so far, in hex."""
        self._take_in()
        return self._hash.hexdigest()
