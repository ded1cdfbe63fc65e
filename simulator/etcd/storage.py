"""A member's disk: its log, term and vote, and how much of that a crash would leave.

Syncs follow one another. What is written while one is under way goes with the next, all at once. While
one is under way the member sends nothing but what it sent before (etcd's loop writes, then sends): so a
disk that takes longer than an election timeout silences even a leader.
"""

from __future__ import annotations

from simulator.etcd.entries import Entry
from simulator.process import Process
from simulator.virtual_time import Act


class Storage:
    """What one member keeps.

    Attributes:
        entries: the log as the member sees it; the first has the index 1.
        term, vote: as the member sees them; ``vote`` is a member's place.
        synced: how many entries are on the disk.
        fsync_ns, add_ns: how long a sync takes, and how much longer while the disk is slow.
        on_idle: called when a sync is over, before anything else happens.
    """

    def __init__(self, process: Process, fsync_ns: int, on_idle: Act) -> None:
        self.process = process
        self.fsync_ns, self.add_ns = fsync_ns, 0
        self.on_idle = on_idle
        self.entries: list[Entry] = []
        self.term = 0
        self.vote: int | None = None
        self.synced = 0
        self.is_busy = False
        self._on_disk: tuple[int, int | None] = (0, None)
        self._going: tuple[int, int | None] = (0, None)
        self._going_length = 0
        self._waiting: list[Act] = []
        self._going_acts: list[Act] = []

    def truncate(self, length: int) -> None:
        """Forget the entries after the first so many, which another leader has made void."""
        del self.entries[length:]
        self.synced = min(self.synced, length)
        self._going_length = min(self._going_length, length)

    def sync(self, then: Act) -> None:
        """Have everything as it is now on the disk, then do something; the dead write nothing."""
        if not self.process.is_alive:
            return
        self._waiting.append(then)
        if not self.is_busy:
            self._begin()

    def _begin(self) -> None:
        self.is_busy = True
        self._going_acts, self._waiting = self._waiting, []
        self._going, self._going_length = (self.term, self.vote), len(self.entries)
        self.process.after(self.fsync_ns + self.add_ns, self._done)

    def _done(self) -> None:
        self.is_busy = False
        self._on_disk, self.synced = self._going, self._going_length
        self.on_idle()
        for act in self._going_acts:
            act()
        if self._waiting and not self.is_busy:
            self._begin()

    def crash(self) -> None:
        """The process dies: what is not on the disk is gone."""
        del self.entries[self.synced :]
        self.term, self.vote = self._on_disk
        self.is_busy = False
        self._waiting, self._going_acts = [], []

    def format(self) -> None:
        """Begin anew, with an empty log."""
        self.truncate(0)
        self.term, self.vote = self._on_disk = (0, None)
