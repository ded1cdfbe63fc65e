"""Etcd restored from a backup, and what its operators then do (S11)."""

from __future__ import annotations

from attrs import evolve

from simulator.explore.nodes import DOMAIN
from simulator.explore.store import FakeStore
from tests.protocol.fabric import Fabric
from turnout.protocol import keys
from turnout.protocol.codec import canonical_bytes, decode
from turnout.protocol.identifiers import NO_DIGEST, NO_EPOCH, Epoch
from turnout.protocol.limits import MAX_TABLE_BYTES
from turnout.protocol.records import (
    Activation,
    Head,
    Incarnation,
    IncarnationRecord,
    Standing,
    StandingEntry,
    Status,
)
from turnout.protocol.signing import signed
from turnout.protocol.transactions import Delete, Put, Transaction, Write


def restore(fabric: Fabric, backup: FakeStore) -> None:
    """Etcd comes back as it was once. Coordinators are started anew; agents and proxies go on.

    What was on its way to the old etcd died with it. The checker's ghosts remain.
    """
    fabric.store_life += 1
    for replica in fabric.replicas.values():
        fabric.crash(replica)
    fabric.store = evolve(backup, items=backup.items.drop(keys.LEADER))
    fabric.holder = None
    fabric.witness.doubt(fabric.store.items)
    _start(fabric)


def rebase(fabric: Fabric) -> None:
    """What ``turnout domain rebase`` writes: the next incarnation, with the head's table."""
    for replica in fabric.replicas.values():
        fabric.crash(replica)
    items = fabric.store.items
    before = decode(items[keys.INCARNATION].value, IncarnationRecord, limit=MAX_TABLE_BYTES)
    old = decode(items[keys.HEAD].value, Head, limit=MAX_TABLE_BYTES)
    number, first = before.incarnation.number + 1, _above_all(fabric)
    incarnation = Incarnation(number=number, id=f"number-{number}")
    record = IncarnationRecord(
        incarnation=incarnation, predecessor=before.incarnation, first_epoch=first
    )
    head = evolve(
        old,
        incarnation=incarnation,
        decided=first,
        committed=first,
        base=NO_DIGEST,
        base_epoch=NO_EPOCH,
        activation=Activation(),
        signature="",
    )
    stale = tuple(
        StandingEntry(agent=agent, status=Status.STALE, reason="rebased")
        for agent in sorted(fabric.witness.fleet.agents)
    )
    writes: tuple[Write, ...] = (
        Put(keys.INCARNATION, canonical_bytes(signed(record, DOMAIN))),
        Put(keys.HEAD, canonical_bytes(signed(head, DOMAIN))),
        Put(keys.STANDING, canonical_bytes(Standing(entries=stale))),
        *(Delete(key) for key in items if key.startswith(keys.FOLLOWING)),
    )
    transaction = Transaction(name="rebase", guards=(), writes=writes)
    fabric.store, _ = fabric.store.apply(transaction, fabric.term)
    fabric.witness.begin_anew(head, fabric.store.items)
    fabric.chronicle.begin_anew(first, fabric.now_ns)
    _start(fabric)


def _start(fabric: Fabric) -> None:
    for replica in fabric.replicas.values():
        fabric.start(replica)
    fabric.elect()


def _above_all(fabric: Fabric) -> Epoch:
    """The first epoch that no agent can have heard of: the operator asks them all."""
    ghosts = fabric.witness.ghosts.values()
    ruled = [ruling.decision.epoch for ruling in fabric.witness.rulings]
    served = [active.epoch for ghost in ghosts for active in ghost.served]
    prepared = [yes.epoch for ghost in ghosts for yes in ghost.yes]
    return Epoch(max(*ruled, *served, *prepared, 0) + 1)
