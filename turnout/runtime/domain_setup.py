"""What an operator does to a domain's history by hand: begin it, and begin it anew (rebase).

These are the only writes that no leader makes. Both are signed with the domain's key, guarded, and
safe to repeat; a rebase, worked out in ``turnout.protocol.rebasing``, requires that nobody leads.
"""

from __future__ import annotations

import secrets

from attrs import frozen

from turnout.protocol import keys
from turnout.protocol.codec import canonical_bytes, decode
from turnout.protocol.identifiers import Epoch
from turnout.protocol.limits import MAX_TABLE_BYTES
from turnout.protocol.rebasing import NEEDED, Wanted, next_incarnation, rebase
from turnout.protocol.records import Incarnation, IncarnationRecord
from turnout.protocol.signing import Ed25519Verifier, Signer, is_signed_by, signed
from turnout.protocol.transactions import (
    Absent,
    KeyValue,
    Lost,
    Put,
    Range,
    Transaction,
    Unknown,
)
from turnout.runtime.store.contract import Store

INIT_ATTEMPTS = 6
"""An etcd that has just been started, on a busy host, may not answer the first write in time. The same
record may be written again: its guards let it in once."""


class DomainError(Exception):
    """The domain cannot be begun (anew); the text says why and what to do."""


@frozen(kw_only=True)
class Begun:
    """A domain's incarnation; ``created`` is false where it was there already."""

    record: IncarnationRecord
    created: bool


async def init_domain(store: Store, signer: Signer) -> Begun:
    """Begins a domain's history, unless the same key has begun it already.

    Raises DomainError where another key has, or no reply tells; StoreError.
    """
    first = IncarnationRecord(incarnation=Incarnation(number=1, id=secrets.token_hex(8)))
    record = signed(first, signer)
    transaction = Transaction(
        name="init-domain",
        guards=(Absent(keys.INCARNATION), Absent(keys.HEAD)),
        writes=(Put(keys.INCARNATION, canonical_bytes(record)),),
    )
    for _ in range(INIT_ATTEMPTS):
        await store.transact(transaction)
        stored = (await store.read(Range(keys.INCARNATION))).get(keys.INCARNATION)
        if stored is not None:
            found = _incarnation(stored, signer)
            return Begun(record=found, created=found == record)
    raise DomainError("the store did not take the domain's first record; try again")


async def rebase_domain(
    store: Store, signer: Signer, *, above: Epoch, at_ns: int, actor: str, reason: str
) -> IncarnationRecord:
    """Begins the next incarnation, in which the table of the head as stored is in force.

    For after a restore of the store that went back (S11). Its first epoch is above every epoch
    that the store knows and above ``above``, the highest that any edge is known to serve. Every
    agent is stale until it reports that epoch. Raises DomainError, StoreError.
    """
    snapshot = await store.read(*NEEDED)
    stored = snapshot.get(keys.INCARNATION)
    if stored is None:
        raise DomainError("there is no domain here: `turnout domain init` begins one")
    if snapshot.get(keys.LEADER) is not None:
        raise DomainError(
            "a coordinator leads this domain: stop every coordinator, wait until the lease of the"
            " last one has run out, and run this again"
        )
    wanted = Wanted(id=secrets.token_hex(8), above=above, at_ns=at_ns, actor=actor, reason=reason)
    record = next_incarnation(snapshot, _incarnation(stored, signer), signer, wanted)
    result = await store.transact(rebase(snapshot, record, signer, wanted))
    if isinstance(result, Lost):
        raise DomainError("the domain changed meanwhile; nothing was written. Run this again")
    if isinstance(result, Unknown):
        raise DomainError(
            f"no reply from the store ({result.reason}): `turnout domain init` shows which"
            " incarnation it has"
        )
    return record


def _incarnation(stored: KeyValue, signer: Signer) -> IncarnationRecord:
    record = decode(stored.value, IncarnationRecord, limit=MAX_TABLE_BYTES)
    if not is_signed_by(record, signer.public_key, Ed25519Verifier()):
        raise DomainError(
            "this domain was begun with another key: use that key, or another domain's name"
        )
    return record
