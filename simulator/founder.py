"""An operator begins the domain's history anew, as ``turnout domain rebase`` does, by hand and with care.

Every coordinator is stopped; when the last lease has run out the next incarnation is written; then they
are started again. A store that answers nothing, or that somebody leads, is asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from simulator.etcd.client import EtcdClient
from simulator.process import NodeName, Process
from simulator.world import World
from turnout.protocol import keys
from turnout.protocol.candidacy import LeaseGone
from turnout.protocol.clock import SECOND
from turnout.protocol.codec import decode
from turnout.protocol.identifiers import Epoch
from turnout.protocol.limits import MAX_TABLE_BYTES
from turnout.protocol.rebasing import NEEDED, Wanted, next_incarnation, rebase
from turnout.protocol.records import IncarnationRecord
from turnout.protocol.transactions import Result, Snapshot, Won

PAUSE_NS = SECOND
"""Until an operator whose command was refused runs it again. Our choice."""

ACTOR = "operator"


class Founder:
    """One rebase.

    Attributes:
        is_done: whether it was carried out.
    """

    def __init__(
        self,
        me: Process,
        store: EtcdClient,
        coordinators: Mapping[NodeName, Process],
        world: World,
        highest: Callable[[], tuple[int, Epoch]],
    ) -> None:
        """``highest`` tells the highest incarnation and the highest epoch that any edge has met."""
        self._me = me
        self._store = store
        self._coordinators = coordinators
        self._world = world
        self._highest = highest
        self._stopped: dict[NodeName, Process] = {}
        self.is_done = False

    def begin(self) -> None:
        """Run the command; again until it was carried out."""
        for name, process in self._coordinators.items():
            if process.is_alive:
                self._stopped[name] = process
                process.kill()
        self._store.read(NEEDED, 0, self._seen)

    def _again(self) -> None:
        self._me.after(PAUSE_NS, self.begin)

    def _seen(self, snapshot: Snapshot | None) -> None:
        stored = None if snapshot is None else snapshot.get(keys.INCARNATION)
        if snapshot is None or stored is None or snapshot.get(keys.LEADER) is not None:
            self._again()
            return
        before = decode(stored.value, IncarnationRecord, limit=MAX_TABLE_BYTES)
        number, above = self._highest()
        wanted = Wanted(
            id=f"founded at {self._me.agenda.now_ns}",
            above=above,
            at_ns=self._me.now().wall_ns,
            actor=ACTOR,
            reason="the store went back",
        )
        record = next_incarnation(snapshot, before, self._world.domain, wanted)
        transaction = rebase(snapshot, record, self._world.domain, wanted)
        self._store.transact(transaction, partial(self._written, record, number))

    def _written(self, record: IncarnationRecord, number: int, result: Result | LeaseGone) -> None:
        """An incarnation that some edge has met under another id helps nobody: the next one does."""
        incarnation = record.incarnation
        if not isinstance(result, Won) or incarnation.number <= number:
            self._again()
            return
        said = f"incarnation {incarnation.number} begins at epoch {record.first_epoch}"
        self._world.observer.noted(self._me, said)
        self.is_done = True
        for process in self._stopped.values():
            process.start()
