"""A member's linearizable reads: which of them wait for an index, and which for its being applied.

As in etcd one question to the leader is under way at a time, and reads that come meanwhile share the
next. Its answer may be lost; then a later read asks again for all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from attrs import frozen

from simulator.etcd.knobs import EtcdKnobs
from simulator.process import Process
from simulator.virtual_time import Act


@frozen
class Refusal:
    """A question that failed.

    Attributes:
        surely_not_done: it was not carried out, and never will be.
        helps_nowhere: no other member would answer otherwise.
    """

    reason: str
    surely_not_done: bool = False
    helps_nowhere: bool = False


Fail: TypeAlias = Callable[[Refusal], None]
Waiting: TypeAlias = tuple[Act, Fail]

NO_LEADER = Refusal("etcdserver: no leader", surely_not_done=True)
LEADER_CHANGED = Refusal("etcdserver: leader changed")


class Reads:
    """All reads that wait at one member. ``ask`` asks for an index, under a number."""

    def __init__(self, process: Process, knobs: EtcdKnobs, ask: Callable[[int], None]) -> None:
        self._process, self._knobs, self._ask_index = process, knobs, ask
        self._number = 0
        self._asked_ns = 0
        self._new: list[Waiting] = []
        self._asked: list[Waiting] = []
        self._ready: list[tuple[int, list[Waiting]]] = []

    def forget(self) -> None:
        """The process has died."""
        self._new, self._asked, self._ready = [], [], []

    def add(self, serve: Act, fail: Fail) -> None:
        """Have something done as soon as what is read then is up to date."""
        self._new.append((serve, fail))
        since_ns = self._process.agenda.now_ns - self._asked_ns
        if not self._asked or since_ns >= self._knobs.read_retry_ns:
            self._ask()

    def _ask(self) -> None:
        self._asked += self._new
        self._new = []
        self._number += 1
        self._asked_ns = self._process.agenda.now_ns
        self._ask_index(self._number)

    def index_told(self, number: int, index: int, applied: int) -> None:
        """The answer to a question: all that waited for it may be served at this index."""
        if number != self._number or not self._asked:
            return
        self._ready.append((index, self._asked))
        self._asked = []
        self.applied(applied)
        if self._new and not self._asked:
            self._ask()

    def applied(self, index: int) -> None:
        """So many entries have been applied."""
        if not self._ready:
            return
        served = [waiting for at, waiting in self._ready if at <= index]
        self._ready = [(at, waiting) for at, waiting in self._ready if at > index]
        for waiting in served:
            for serve, _fail in waiting:
                serve()

    def fail(self, refusal: Refusal) -> None:
        """Whoever is to answer is not there any more."""
        failed, self._asked, self._new = self._asked + self._new, [], []
        for _serve, fail in failed:
            fail(refusal)
