"""The words for what the machines send, write and ask for, in the worlds that are explored."""

from __future__ import annotations

from collections.abc import Iterator

from simulator.explore.store import FakeStore
from simulator.explore.world import Space
from turnout.protocol import keys
from turnout.protocol.codec import decode
from turnout.protocol.events import (
    CoordinatorEvent,
    ExcludeRequested,
    IncludeRequested,
    Requested,
)
from turnout.protocol.identifiers import Digest
from turnout.protocol.limits import MAX_TABLE_BYTES
from turnout.protocol.messages import Message, Prepare, Rebase, Receipt, Report, Sync, Vote
from turnout.protocol.records import AgentRecord, Head, Kind
from turnout.protocol.transactions import KeyValue
from turnout.protocol.wire import unpack_table

_NO_HEAD = "no head"


class Wording:
    """Names tables by the colour that they give the traffic to, and says the rest in words."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._names: dict[Digest, str] = {Digest(""): "nothing"}
        self._known_stores = 0

    # --- tables ------------------------------------------------------------------------------

    def table(self, digest: Digest) -> str:
        """A table's name: its colour, with a number where there are several such."""
        if digest not in self._names:
            self._look_for_tables()
        return self._names.get(digest, digest[:8])

    def _look_for_tables(self) -> None:
        for parcel in self.space.parcels.values:
            table = getattr(parcel.message, "table", None)
            if table is not None:
                self._name(table.digest, table.table.services[0].active)
        for number in range(self._known_stores, len(self.space.stores)):
            for key, item in self.space.stores[number].items.items():
                if key.startswith(keys.TABLES):
                    packed = unpack_table(item.value)
                    self._name(packed.digest, packed.table.services[0].active)
        self._known_stores = len(self.space.stores)

    def _name(self, digest: Digest, colour: str) -> None:
        if digest not in self._names:
            alike = sum(name.startswith(colour) for name in self._names.values())
            self._names[digest] = f"{colour}{alike + 1}" if alike else colour

    # --- messages ----------------------------------------------------------------------------

    def message(self, message: Message) -> str:
        """What a message says."""
        match message:
            case Vote():
                return self._vote(message)
            case Report():
                return self._report(message)
            case Prepare():
                what = f"epoch {message.epoch}, {self.table(message.digest)}, term {message.term}"
                return f"prepare {what}; {self._head(message.head)}"
            case Sync():
                return f"{self._head(message.head)} (term {message.term})"
            case Rebase():
                return f"incarnation {message.record.incarnation.number}"
            case Receipt():
                return "receipt"

    def _vote(self, vote: Vote) -> str:
        what = f"epoch {vote.epoch}, {self.table(vote.digest)}, term {vote.term}"
        return f"yes to {what}" if vote.no is None else f"no ({vote.no}) to {what}"

    def _report(self, report: Report) -> str:
        parts = [f"committed {report.committed_epoch}", f"active {report.active.epoch}"]
        if report.prepared is not None:
            parts.append(f"prepared {report.prepared.epoch}")
        return f"report: {', '.join([*parts, report.progress])}"

    def _head(self, head: Head | None) -> str:
        if head is None:
            return _NO_HEAD
        return (
            f"head: decided {head.decided}, committed {head.committed} ({self.table(head.digest)})"
        )

    # --- requests, records, the store --------------------------------------------------------

    def request(self, event: CoordinatorEvent) -> str:
        """What an operator asks for."""
        match event:
            case ExcludeRequested():
                return f"exclude {event.region}"
            case IncludeRequested():
                return f"include {event.region}"
            case Requested():
                return self._requested(event)
            case _:
                return type(event).__name__

    def _requested(self, event: Requested) -> str:
        request = event.request
        match request.kind:
            case Kind.SWITCH:
                return f"switch {request.service} to {request.to}"
            case Kind.ROLLBACK:
                return f"roll {request.service} back"
            case _:
                return str(request.kind)

    def record(self, before: AgentRecord, after: AgentRecord) -> str:
        """What is new in an agent's journal."""
        parts = list[str]()
        if after.promised != before.promised:
            parts.append(f"promised {after.promised}")
        if after.prepared != before.prepared:
            prepared = after.prepared
            parts.append(
                f"prepared {prepared.epoch} {self.table(prepared.digest)} (term {prepared.term})"
                if prepared
                else "nothing prepared"
            )
        if after.committed != before.committed and after.committed is not None:
            committed = after.committed
            parts.append(f"committed {committed.epoch} {self.table(committed.digest)}")
        if after.active != before.active:
            parts.append(f"active {after.active.epoch} {self.table(after.active.digest)}")
        return ", ".join(parts)

    def store(self, before: FakeStore, after: FakeStore) -> Iterator[str]:
        """What is new in the store."""
        changed = {key: item for key, item in after.items.items() if before.items.get(key) != item}
        written = [self._written(item) for key, item in sorted(changed.items()) if _is_told(key)]
        if written:
            yield f"the store has {', '.join(written)}"

    def _written(self, item: KeyValue) -> str:
        if item.key == keys.HEAD:
            return self._head(decode(item.value, Head, limit=MAX_TABLE_BYTES))
        if item.key == keys.LEADER:
            return f"the leader key, term {item.create_revision}"
        kind, slash, name = item.key.partition("/")
        return f"{kind}{slash}{int(name)}" if name.isdigit() else item.key


def _is_told(key: str) -> bool:
    """History and requests' keys say the same once more; a table is told of by who names it."""
    return not key.startswith((keys.HISTORY, keys.REQUESTS, keys.TABLES, keys.FOLLOWING))
