"""The store on a real etcd v3 (3.4 or newer), over one or several endpoints.

Requests go over gRPC with etcd3's messages; ``etcd_members.py`` finds an endpoint that serves,
``etcd_watch.py`` keeps watches going, ``etcd_failures.py`` says what an error means. Here is only
what each operation asks and what its answer tells.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from turnout.protocol.transactions import Range, Result, Snapshot, Transaction, Unknown
from turnout.runtime.store.checks import (
    MAX_OPERATIONS,
    check_from_revision,
    check_transaction,
    check_ttl,
)
from turnout.runtime.store.contract import LeaseTime, Store, WatchEvent
from turnout.runtime.store.errors import LeaseExpired, RevisionCompacted, StoreError
from turnout.runtime.store.etcd_codec import EtcdCodec
from turnout.runtime.store.etcd_failures import RpcFailed
from turnout.runtime.store.etcd_member import EtcdMember
from turnout.runtime.store.etcd_members import EtcdMembers
from turnout.runtime.store.etcd_messages import Message, Stub, rpc
from turnout.runtime.store.etcd_options import EtcdOptions
from turnout.runtime.store.etcd_watch import EtcdWatch


class EtcdStore(Store):
    """One domain's keys in etcd. Make it, use it and close it in one trio run."""

    def __init__(self, options: EtcdOptions) -> None:
        """Make the channels; reads the PEM files, connects to nothing yet."""
        self._options = options
        self._members = EtcdMembers(options)
        self._codec = EtcdCodec(options.prefix)

    async def read(self, *ranges: Range, revision: int = 0) -> Snapshot:
        """Read all ranges in one transaction, which etcd makes linearizable.

        What is too much for one is read by several, at the revision that the first has shown.
        """
        found: list[Message] = []
        for start in range(0, len(ranges) or 1, MAX_OPERATIONS):
            request = self._codec.read_request(ranges[start : start + MAX_OPERATIONS], revision)
            found.append(await self._ask(lambda member: member.txn, request))
            revision = revision or found[0].header.revision
        return self._codec.snapshot(found, revision)

    async def transact(self, transaction: Transaction, *, lease: int = 0) -> Result:
        """Send the transaction once; sent to another endpoint only if surely not carried out."""
        check_transaction(transaction, lease)
        request = self._codec.transaction_request(transaction, lease)
        try:
            response = await self._members.ask(lambda member: member.txn, request, repeatable=False)
        except RpcFailed as failure:
            if failure.surely_not_done:
                raise failure.translated() from None
            return Unknown(reason=str(failure.translated()))
        return self._codec.result(response)

    async def grant(self, ttl_s: int) -> int:
        """Grant a lease; one whose answer was lost expires unused."""
        check_ttl(ttl_s)
        response = await self._ask(lambda member: member.grant, rpc.LeaseGrantRequest(TTL=ttl_s))
        return int(response.ID)

    async def keep_alive(self, lease: int) -> float:
        """Renew a lease; etcd tells an expired one by a TTL of zero."""
        request = rpc.LeaseKeepAliveRequest(ID=lease)
        response = await self._ask(lambda member: member.keep_alive, request)
        if response.TTL <= 0:
            raise LeaseExpired.of(lease)
        return float(response.TTL)

    async def lease_time(self, lease: int) -> LeaseTime:
        """Ask etcd's leader, by way of any member; it tells one that is gone by a TTL below zero.

        One that ran out more than a second ago, and that etcd is about to revoke, is told so too.
        """
        request = rpc.LeaseTimeToLiveRequest(ID=lease)
        response = await self._ask(lambda member: member.time_to_live, request)
        if response.TTL < 0:
            raise LeaseExpired.of(lease)
        return LeaseTime(granted_s=response.grantedTTL, left_s=response.TTL)

    async def revoke(self, lease: int) -> None:
        """Revoke a lease; the second of two attempts may find the work of the first."""
        try:
            await self._ask(lambda member: member.revoke, rpc.LeaseRevokeRequest(ID=lease))
        except LeaseExpired:
            return

    @asynccontextmanager
    async def watch(
        self, prefix: str = "", *, from_revision: int
    ) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        """Follow a prefix on one stream, resumed as often as needed."""
        check_from_revision(from_revision)
        watch = EtcdWatch(
            self._members, self._codec, self._options, prefix=prefix, from_revision=from_revision
        )
        try:
            yield watch
        finally:
            await watch.aclose()

    async def compact(self, revision: int) -> None:
        """Compact etcd's history, that of all domains."""
        try:
            await self._ask(lambda member: member.compact, rpc.CompactionRequest(revision=revision))
        except RevisionCompacted:
            return

    async def quota(self) -> float:
        """Ask every member, as each counts its own file and the fullest stops all."""
        sizes: list[int] = []
        failures: list[StoreError] = []

        async def ask(member: EtcdMember) -> None:
            try:
                sizes.append((await self._members.status(member)).dbSize)
            except StoreError as error:
                failures.append(error)
            except RpcFailed as failure:
                failures.append(failure.translated())

        async with trio.open_nursery() as nursery:
            for member in self._members.everyone:
                nursery.start_soon(ask, member)
        if not sizes:
            raise failures[0]
        return max(sizes) / self._options.quota_bytes

    async def aclose(self) -> None:
        """Hang up; what is under way fails."""
        self._members.close()
        await trio.lowlevel.checkpoint()

    async def _ask(self, method: Callable[[EtcdMember], Stub], request: Message) -> Message:
        """Ask what can be repeated without harm."""
        try:
            return await self._members.ask(method, request, repeatable=True)
        except RpcFailed as failure:
            raise failure.translated() from None
