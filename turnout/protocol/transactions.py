"""What the store is asked for, as plain values: ranges to read and guarded transactions.

A *guarded transaction* is etcd's compare-and-write: all guards are checked and all writes made at
one revision, or nothing is written. Safety rests on these guards alone (DESIGN.md section 4);
leases, watches and clocks only buy speed. The transactions themselves are built in
``writes.py``; the real store, the memory store and the simulator's all carry out these values.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen


@frozen
class Absent:
    """Guard: there is no such key (etcd: create-revision = 0)."""

    key: str


@frozen
class Present:
    """Guard: the key exists (etcd: create-revision > 0)."""

    key: str


@frozen
class CreatedAt:
    """Guard: the key exists and its create-revision is this one (the fencing token's guard)."""

    key: str
    revision: int


@frozen
class ModifiedAt:
    """Guard: the key's mod-revision is this one; 0 means that it does not exist."""

    key: str
    revision: int


@frozen
class Equals:
    """Guard: the key exists and has exactly this value."""

    key: str
    value: bytes


Guard: TypeAlias = Absent | Present | CreatedAt | ModifiedAt | Equals


@frozen
class Put:
    """Write a key. ``leased`` ties it to the lease that the transaction is sent with."""

    key: str
    value: bytes
    leased: bool = False


@frozen
class Delete:
    """Delete one key; deleting what is not there is no error (as in etcd)."""

    key: str


Write: TypeAlias = Put | Delete


@frozen(kw_only=True)
class Transaction:
    """All guards hold and all writes are made at one revision, or nothing is written.

    ``name`` is the row of DESIGN.md section 4 (``accept``, ``decide``, ...), for logs and metrics.
    """

    name: str
    guards: tuple[Guard, ...]
    writes: tuple[Write, ...]


@frozen
class Range:
    """Keys to read: one key, all that start with it (``prefix``), or all from it to ``until``.

    They come in key order, or (``descending``) the other way round; of those that exist, only the
    first ``limit`` where that is not 0. With ``keys_only`` their values stay in the store, and are
    told as empty: to list a thousand tables is then a matter of their names. A key that another
    range of the same read asks for too comes with its value.

    Attributes:
        until: the first key that is too high; empty for none. Not together with ``prefix``.
    """

    key: str
    prefix: bool = False
    keys_only: bool = False
    until: str = ""
    limit: int = 0
    descending: bool = False


@frozen(kw_only=True)
class KeyValue:
    """One key as it stood at the revision that was read; ``value`` is empty if only listed."""

    key: str
    value: bytes
    create_revision: int
    mod_revision: int


@frozen(kw_only=True)
class Snapshot:
    """The answer to a read: the keys that exist, in the order of the ranges, at one revision."""

    revision: int
    items: tuple[KeyValue, ...]

    def get(self, key: str) -> KeyValue | None:
        """Return the entry of one key, or None where the store had none."""
        return next((item for item in self.items if item.key == key), None)

    def below(self, prefix: str) -> tuple[KeyValue, ...]:
        """Return the entries whose key starts with ``prefix``, in the order that they were read in."""
        return tuple(item for item in self.items if item.key.startswith(prefix))


@frozen(kw_only=True)
class Won:
    """The transaction was carried out, at this revision."""

    revision: int


@frozen(kw_only=True)
class Lost:
    """A guard did not hold and nothing was written. ``found``: the guarded keys as they stood."""

    found: Snapshot


@frozen(kw_only=True)
class Unknown:
    """No reply: it may have been carried out, now or later. Read linearizably before telling."""

    reason: str


Result: TypeAlias = Won | Lost | Unknown
