"""An agent's journal on its disk: the real bytes, and what crashes, rot and failed syncs make of them.

The rules are those of the real journal's file; what its bytes mean is ``turnout.protocol.journal``'s
affair. What is modelled:

- **A record is appended, then synced.** Until the sync returns it is *pending*: a crash may keep it,
  lose it, cut it short, or leave zeros in its place, as file systems do that grow a file before its
  data are written (Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014).
- **A new file replaces the old one by its name**: a crash leaves one of the two, whole.
- **A failed sync is not believed either way.** What was pending fares as in a crash, nothing is ever
  appended to that file again, and what counts is the last record whose sync returned (Rebello et al.,
  "Can Applications Recover from fsync Failures?", ATC 2020).
- **A journal that is missing, or damaged at its end, proves nothing**: the newest record that can be
  read goes on under a new journal id.
"""

from __future__ import annotations

import enum

from attrs import evolve, frozen

from simulator.randomness import Stream
from turnout.protocol.journal import encode, recover
from turnout.protocol.records import AgentRecord

_ID_BITS = 128
_END = b"\n"


class Fate(enum.StrEnum):
    """What becomes of bytes that were written and not synced."""

    KEPT = "kept"
    LOST = "lost"
    TORN = "torn"
    ZEROED = "zeroed"


_FATES = (Fate.KEPT, Fate.LOST, Fate.TORN, Fate.ZEROED)
_FATE_WEIGHTS = (8, 8, 3, 1)
"""How often each is drawn. No study counts them; damage is made rare, since all of it is one case to
the agent, and it costs a resynchronisation."""


class DiskError(Exception):
    """The disk does not do what an agent needs to start."""


@frozen
class _Pending:
    """A record on its way to the disk, as the next line or as a whole new file."""

    record: AgentRecord
    line: bytes
    replaces: bool


class JournalFile:
    """One journal. Whoever calls says when a sync returns, fails, or never comes to its end.

    Attributes:
        record: the last record whose sync returned; ``line`` is what was written for it.
        finding: what was wrong when it was opened, for people; empty if nothing.
    """

    def __init__(self, chance: Stream, *, compact_above_bytes: int) -> None:
        self._chance = chance
        self._compact_above_bytes = compact_above_bytes
        self._bytes: bytes | None = None
        self._pending: _Pending | None = None
        self._distrusted = False
        self.record = AgentRecord(journal_id="")
        self.line = b""
        self.finding = ""

    def install(self, record: AgentRecord) -> None:
        """Let this be what the file holds when the run begins."""
        self.record, self._bytes = record, encode(record)

    def open(self, trouble: str = "") -> None:
        """Read it as an agent does when it starts; ``trouble``: why nothing can be written.

        Raises:
            DiskError: a new journal has to be begun, and cannot be.
        """
        found = recover(self._bytes or b"")
        if found.trusted and found.record is not None:
            self.record = found.record
        else:
            self._begin(found.record or AgentRecord(journal_id=""), trouble)
        self.finding = _finding(
            damaged=found.damaged, torn=len(self._bytes or b"") - found.keep, trusted=found.trusted
        )
        self._distrusted = bool(self.finding) and found.trusted

    def _begin(self, record: AgentRecord, trouble: str) -> None:
        if trouble:
            raise DiskError(trouble)
        fresh_id = f"{self._chance.getrandbits(_ID_BITS):032x}"
        self.record = evolve(record, journal_id=fresh_id)
        self._bytes = encode(self.record)

    def write(self, record: AgentRecord) -> None:
        """Write the record; it is not synced yet.

        Raises:
            MalformedError: it is longer than a record may be.
        """
        held = self._bytes
        replaces = self._distrusted or held is None or len(held) >= self._compact_above_bytes
        self._pending = _Pending(record, encode(record), replaces)

    def synced(self) -> None:
        """The sync returned: the record is on the disk for good."""
        assert self._pending is not None, "a record is written before it is synced"
        written = self._pending
        self._settle(Fate.KEPT)
        self._distrusted = False
        self.record, self.line = written.record, written.line

    def sync_failed(self) -> bool:
        """The sync failed; return whether the file still holds what was synced before."""
        assert self._pending is not None, "a record is written before it is synced"
        either = (self.record, self._pending.record)
        held = self._bytes or b""
        self._settle(self._draw())
        self._distrusted = True
        readings = (recover(held), recover(self._bytes or b""))
        return any(reading.trusted and reading.record in either for reading in readings)

    def crash(self, fate: Fate | None = None) -> bool:
        """The host dies; return whether anything was pending, to which ``fate`` (else chance) falls."""
        if self._pending is None:
            return False
        self._settle(fate or self._draw())
        return True

    def replace(self) -> None:
        """A new disk: there is no journal, and what is pending begins one."""
        self._bytes = None
        if self._pending is not None:
            self._pending = evolve(self._pending, replaces=True)

    def rot(self, *, last: bool | None = None) -> bool:
        """Let one byte rot, of the last record or an earlier one (None: chance says which).

        Returns whether there was such a record.
        """
        lines = [line + _END for line in (self._bytes or b"").split(_END)[:-1]]
        earlier = len(lines) - 1
        if last is None:
            last = earlier < 1 or self._chance.randrange(2) == 0
        if earlier < 0 or (not last and earlier < 1):
            return False
        chosen = earlier if last else self._chance.randrange(earlier)
        lines[chosen] = self._rotted(lines[chosen])
        tail = (self._bytes or b"").rpartition(_END)[2]
        self._bytes = b"".join(lines) + tail
        return True

    def _rotted(self, line: bytes) -> bytes:
        place = self._chance.randrange(len(line))
        rotted = line[place] ^ self._chance.randrange(1, 256)
        return line[:place] + bytes((rotted,)) + line[place + 1 :]

    def _draw(self) -> Fate:
        return self._chance.choices(_FATES, _FATE_WEIGHTS)[0]

    def _settle(self, fate: Fate) -> None:
        """What is pending meets its fate; a new file takes its name or does not."""
        pending, self._pending = self._pending, None
        assert pending is not None
        if pending.replaces:
            self._bytes = pending.line if fate is Fate.KEPT else self._bytes
        else:
            self._bytes = (self._bytes or b"") + self._left_of(pending.line, fate)

    def _left_of(self, line: bytes, fate: Fate) -> bytes:
        match fate:
            case Fate.KEPT:
                return line
            case Fate.LOST:
                return b""
            case Fate.TORN:
                return line[: self._chance.randrange(1, len(line))]
            case Fate.ZEROED:
                return bytes(len(line))


def _finding(*, damaged: str, torn: int, trusted: bool) -> str:
    """What was wrong, for people."""
    if not trusted:
        return f"the journal proves nothing ({damaged or 'it holds no record'}): a new id is taken"
    if damaged:
        return f"damaged before its last record ({damaged}), which is whole"
    return f"{torn} bytes of a record that a crash cut short are dropped" if torn > 0 else ""
