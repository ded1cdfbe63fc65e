"""One etcd endpoint: a gRPC channel of its own, etcd3's stubs on it, and the bridge to trio.

gRPC calls back from its own thread; ``ask`` waits in trio and cancels the call when it is itself
cancelled, so there is no thread per request. Two of etcd's methods are streams both ways in which
Turnout says exactly one thing. On the wire a request that is followed by the end of our side is
the same as a stream of one, so they are called that way: LeaseKeepAlive as one question and one
answer, Watch as one question and a stream of answers (etcd keeps a watch after our end is
closed). That saves a sending thread for each.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TypeAlias

import grpc
import trio

from turnout.runtime.store.errors import StoreUnavailable
from turnout.runtime.store.etcd_failures import from_grpc
from turnout.runtime.store.etcd_messages import Message, Stub, rpc, stubs
from turnout.runtime.store.etcd_options import ClientTls

Metadata: TypeAlias = tuple[tuple[str, str], ...]

# A member that knows no leader must say so instead of waiting for one.
HAS_LEADER: Metadata = (("hasleader", "true"),)

_CHANNEL_OPTIONS = (
    # A watch that catches up gets up to 1,000 revisions in one message: no bound fits them all.
    ("grpc.max_receive_message_length", -1),
    # gRPC must never send a transaction twice on its own.
    ("grpc.enable_retries", 0),
    # Stores do not share connections; the address given is the one to talk to.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    # A member that was restarted is found again within a second, not after two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # etcd hangs up on who pings more often than every 5 s, or without anything under way.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.http2.max_pings_without_data", 0),
)


class EtcdMember:
    """One endpoint and the methods that Turnout uses of it."""

    def __init__(self, address: str, tls: ClientTls | None) -> None:
        """Make the channel; nothing is connected before the first request."""
        self.address = address
        self._channel = _channel(address, tls)
        self._closed = False
        kv, lease = stubs.KVStub(self._channel), stubs.LeaseStub(self._channel)
        self.txn: Stub = kv.Txn
        self.compact: Stub = kv.Compact
        self.grant: Stub = lease.LeaseGrant
        self.revoke: Stub = lease.LeaseRevoke
        self.time_to_live: Stub = lease.LeaseTimeToLive
        self.keep_alive: Stub = self._channel.unary_unary(
            "/etcdserverpb.Lease/LeaseKeepAlive",
            request_serializer=rpc.LeaseKeepAliveRequest.SerializeToString,
            response_deserializer=rpc.LeaseKeepAliveResponse.FromString,
        )
        self._watch: Stub = self._channel.unary_stream(
            "/etcdserverpb.Watch/Watch",
            request_serializer=rpc.WatchRequest.SerializeToString,
            response_deserializer=rpc.WatchResponse.FromString,
        )
        self.status: Stub = stubs.MaintenanceStub(self._channel).Status
        self.authenticate: Stub = stubs.AuthStub(self._channel).Authenticate

    async def ask(
        self, method: Stub, request: Message, *, timeout_s: float, metadata: Metadata
    ) -> Message:
        """Ask one question; raise ``RpcFailed``. A cancel cancels the call and returns at once."""
        self._check_open()
        token, done = trio.lowlevel.current_trio_token(), trio.Event()

        def wake(_: object) -> None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(done.set)

        future = method.future(request, timeout=timeout_s, metadata=metadata)
        future.add_done_callback(wake)
        try:
            await done.wait()
        except BaseException:
            future.cancel()
            raise
        try:
            return future.result()
        except grpc.RpcError as error:
            raise from_grpc(error, self.address) from None

    def follow(self, request: Message, *, metadata: Metadata) -> Stub:
        """Open a watch and return gRPC's call, an iterator of answers that blocks."""
        self._check_open()
        return self._watch(request, metadata=metadata)

    def close(self) -> None:
        """Cancel everything under way and hang up; again is no error."""
        self._closed = True
        self._channel.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("this store has been closed")


def _channel(address: str, tls: ClientTls | None) -> grpc.Channel:
    target = f"dns:///{address}"
    if tls is None:
        return grpc.insecure_channel(target, options=_CHANNEL_OPTIONS)
    credentials = grpc.ssl_channel_credentials(
        root_certificates=tls.ca.read_bytes(),
        private_key=tls.key.read_bytes() if tls.key else None,
        certificate_chain=tls.certificate.read_bytes() if tls.certificate else None,
    )
    return grpc.secure_channel(target, credentials, options=_CHANNEL_OPTIONS)
