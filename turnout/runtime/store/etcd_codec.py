"""Our values as etcd's requests, and etcd's answers as our values. Keys get and lose the prefix."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from attrs import frozen

from turnout.protocol.transactions import (
    Absent,
    CreatedAt,
    Delete,
    Equals,
    Guard,
    KeyValue,
    Lost,
    ModifiedAt,
    Present,
    Put,
    Range,
    Snapshot,
    Transaction,
    Won,
    Write,
)
from turnout.runtime.store.contract import Batch
from turnout.runtime.store.etcd_messages import Message, rpc

_DELETE = 1  # mvccpb.Event.EventType


def _after(prefix: bytes) -> bytes:
    """Return the first key beyond all that start with ``prefix`` (which never ends in 0xff)."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


@frozen
class EtcdCodec:
    """Translates for one prefix, ``/turnout/<domain>/``."""

    prefix: str

    def read_request(self, ranges: Iterable[Range], revision: int) -> Message:
        """Return one read-only transaction: all ranges are read at one revision."""
        return rpc.TxnRequest(
            success=[rpc.RequestOp(request_range=self._range(r, revision)) for r in ranges]
        )

    def snapshot(self, responses: Iterable[Message], revision: int) -> Snapshot:
        """Return what the ranges of transactions at one revision found, each key once."""
        items: dict[bytes, KeyValue] = {}
        answers = (op.response_range for response in responses for op in response.responses)
        for kv in (kv for answer in answers for kv in answer.kvs):
            if kv.value or kv.key not in items:  # another range may only have listed the key
                items[kv.key] = self._key_value(kv)
        return Snapshot(revision=revision, items=tuple(items.values()))

    def transaction_request(self, transaction: Transaction, lease: int) -> Message:
        """Return the transaction; its failure branch reads the guarded keys."""
        guarded = dict.fromkeys(guard.key for guard in transaction.guards)
        return rpc.TxnRequest(
            compare=[self._compare(guard) for guard in transaction.guards],
            success=[self._write(write, lease) for write in transaction.writes],
            failure=[rpc.RequestOp(request_range=self._range(Range(key), 0)) for key in guarded],
        )

    def result(self, response: Message) -> Won | Lost:
        """Return what became of a transaction that was answered."""
        if response.succeeded:
            return Won(revision=response.header.revision)
        return Lost(found=self.snapshot([response], response.header.revision))

    def watch_request(self, prefix: str, from_revision: int) -> Message:
        """Return the request that opens a watch."""
        key = self._key(prefix)
        return rpc.WatchRequest(
            create_request=rpc.WatchCreateRequest(
                key=key, range_end=_after(key), start_revision=from_revision
            )
        )

    def batches(self, response: Message, from_revision: int) -> list[Batch]:
        """Return a watch's news by revision, without what is older than ``from_revision``.

        etcd never spreads one revision over two answers unless asked to fragment.
        """
        fresh = (event for event in response.events if event.kv.mod_revision >= from_revision)
        return [
            self._batch(revision, list(events))
            for revision, events in groupby(fresh, key=lambda event: int(event.kv.mod_revision))
        ]

    def _batch(self, revision: int, events: list[Message]) -> Batch:
        return Batch(
            revision=revision,
            puts=tuple(self._key_value(e.kv) for e in events if e.type != _DELETE),
            deletes=tuple(self._relative(e.kv.key) for e in events if e.type == _DELETE),
        )

    def _range(self, wanted: Range, revision: int) -> Message:
        key = self._key(wanted.key)
        end = _after(key) if wanted.prefix else self._key(wanted.until) if wanted.until else b""
        # Sorted only where it has to be: etcd collects the whole of a range before it sorts it.
        order = rpc.RangeRequest.DESCEND if wanted.descending else rpc.RangeRequest.NONE
        return rpc.RangeRequest(
            key=key,
            range_end=end,
            revision=revision,
            keys_only=wanted.keys_only,
            limit=wanted.limit,
            sort_order=order,
        )

    def _compare(self, guard: Guard) -> Message:
        key, equal = self._key(guard.key), rpc.Compare.EQUAL
        created, modified = rpc.Compare.CREATE, rpc.Compare.MOD
        match guard:
            case Absent():
                return rpc.Compare(key=key, target=created, result=equal, create_revision=0)
            case Present():
                more = rpc.Compare.GREATER
                return rpc.Compare(key=key, target=created, result=more, create_revision=0)
            case CreatedAt(revision=revision):
                return rpc.Compare(key=key, target=created, result=equal, create_revision=revision)
            case ModifiedAt(revision=revision):
                return rpc.Compare(key=key, target=modified, result=equal, mod_revision=revision)
            case Equals(value=value):
                return rpc.Compare(key=key, target=rpc.Compare.VALUE, result=equal, value=value)

    def _write(self, write: Write, lease: int) -> Message:
        match write:
            case Put(key=key, value=value, leased=leased):
                put = rpc.PutRequest(key=self._key(key), value=value, lease=lease if leased else 0)
                return rpc.RequestOp(request_put=put)
            case Delete(key=key):
                gone = rpc.DeleteRangeRequest(key=self._key(key))
                return rpc.RequestOp(request_delete_range=gone)

    def _key_value(self, kv: Message) -> KeyValue:
        return KeyValue(
            key=self._relative(kv.key),
            value=kv.value,
            create_revision=kv.create_revision,
            mod_revision=kv.mod_revision,
        )

    def _key(self, key: str) -> bytes:
        return (self.prefix + key).encode(errors="surrogateescape")

    def _relative(self, key: bytes) -> str:
        return key.decode(errors="surrogateescape").removeprefix(self.prefix)
