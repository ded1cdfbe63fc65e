"""What no store takes, refused before anything is sent, so that every store refuses alike.

The two bounds are etcd's defaults (``--max-txn-ops``, ``--max-request-bytes``). An etcd that was
set up with lower ones refuses for itself.
"""

from __future__ import annotations

from turnout.protocol.transactions import Delete, Equals, Put, Transaction
from turnout.runtime.store.errors import StoreRefused

MAX_OPERATIONS = 128
MAX_REQUEST_BYTES = 1536 * 1024


def check_transaction(transaction: Transaction, lease: int) -> None:
    """Raise ``StoreRefused`` for what breaks a limit, ``ValueError`` for a put without its lease."""
    name = transaction.name
    if lease == 0 and any(isinstance(write, Put) and write.leased for write in transaction.writes):
        raise ValueError(f"transaction {name!r} has a leased put but was sent without a lease")
    operations = max(len(transaction.guards), len(transaction.writes))
    if operations > MAX_OPERATIONS:
        raise StoreRefused(
            f"transaction {name!r} has {operations} guards or writes; the store takes"
            f" {MAX_OPERATIONS} at once: split it"
        )
    if (size := _size_bytes(transaction)) > MAX_REQUEST_BYTES:
        raise StoreRefused(
            f"transaction {name!r} is {size} bytes; the store takes {MAX_REQUEST_BYTES} at once"
        )
    _check_written_once(transaction)


def check_ttl(ttl_s: int) -> None:
    """Raise ``ValueError`` for a lease that would be born dead."""
    if ttl_s < 1:
        raise ValueError(f"a lease needs at least 1 s to live, not {ttl_s}")


def check_from_revision(revision: int) -> None:
    """Raise ``ValueError`` for a watch from "now": whoever watches has listed at a revision."""
    if revision < 1:
        raise ValueError(f"a watch starts at a revision of at least 1, not {revision}")


def _size_bytes(transaction: Transaction) -> int:
    guards = sum(len(g.key) + len(g.value) for g in transaction.guards if isinstance(g, Equals))
    return guards + sum(len(w.key) + len(w.value) for w in transaction.writes if isinstance(w, Put))


def _check_written_once(transaction: Transaction) -> None:
    """Hold to etcd's rule: a put key occurs in no other write; deletes may repeat each other."""
    puts = [write.key for write in transaction.writes if isinstance(write, Put)]
    deletes = {write.key for write in transaction.writes if isinstance(write, Delete)}
    seen: set[str] = set()
    for key in puts:
        if key in seen or key in deletes:
            raise StoreRefused(f"transaction {transaction.name!r} writes the key {key!r} twice")
        seen.add(key)
