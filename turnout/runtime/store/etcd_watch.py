"""A watch that outlives its streams.

A stream that ends, for whatever reason, means "resume elsewhere from the last revision + 1",
never "done". A server that is paused ends nothing and says nothing, so silence is questioned:
after ``lifesign_s`` without an answer the member is asked for its status over the very same
connection, and left if it does not answer or knows no leader. etcd's own progress notifications
are no such sign of life: current versions send none while the watch starts at a revision that
does not exist yet (``progressIfSync`` in ``watchable_store.go``), which is where a reader that has
just listed starts.
"""

from __future__ import annotations

from collections import deque

import trio

from turnout.runtime.store.contract import Compacted, WatchEvent
from turnout.runtime.store.etcd_codec import EtcdCodec
from turnout.runtime.store.etcd_failures import Remedy, RpcFailed, from_cancelled_watch
from turnout.runtime.store.etcd_member import Metadata
from turnout.runtime.store.etcd_members import EtcdMembers
from turnout.runtime.store.etcd_messages import Message
from turnout.runtime.store.etcd_options import EtcdOptions
from turnout.runtime.store.etcd_stream import EtcdStream

_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0


class EtcdWatch:
    """The iterator behind ``Store.watch``; connects at the first ``anext``."""

    def __init__(
        self,
        members: EtcdMembers,
        codec: EtcdCodec,
        options: EtcdOptions,
        *,
        prefix: str,
        from_revision: int,
    ) -> None:
        """Remember what to follow."""
        self._members = members
        self._codec = codec
        self._options = options
        self._prefix = prefix
        self._next_revision = from_revision
        self._news: deque[WatchEvent] = deque()
        self._ended = False
        self._stream: EtcdStream | None = None
        self._member = members.current
        self._metadata: Metadata = ()
        self._losses = 0
        self._login_was_refused = False

    def __aiter__(self) -> EtcdWatch:
        """Return itself."""
        return self

    async def __anext__(self) -> WatchEvent:
        """Return the next event, however long that takes; end after ``Compacted``."""
        if self._ended:
            raise StopAsyncIteration
        while not self._news:
            try:
                self._take(await self._receive(self._stream or await self._open()))
            except RpcFailed as failure:
                await self._lose(failure)
        event = self._news.popleft()
        self._ended = isinstance(event, Compacted)
        return event

    async def aclose(self) -> None:
        """End the stream; again is no error."""
        if self._stream is not None:
            stream, self._stream = self._stream, None
            await stream.aclose()

    async def _open(self) -> EtcdStream:
        self._member = self._members.current
        self._metadata = await self._members.metadata(self._member)
        request = self._codec.watch_request(self._prefix, self._next_revision)
        call = self._member.follow(request, metadata=self._metadata)
        self._stream = EtcdStream(call, self._member.address)
        return self._stream

    async def _receive(self, stream: EtcdStream) -> Message:
        while True:
            with trio.move_on_after(self._options.lifesign_s):
                return await stream.receive()
            await self._members.status(self._member)

    def _take(self, answer: Message) -> None:
        if answer.compact_revision:
            self._news.append(Compacted(revision=answer.compact_revision))
            return
        if answer.canceled:
            raise from_cancelled_watch(answer.cancel_reason, self._member.address)
        self._losses, self._login_was_refused = 0, False
        batches = self._codec.batches(answer, self._next_revision)
        if batches:
            self._news.extend(batches)
            self._next_revision = batches[-1].revision + 1

    async def _lose(self, failure: RpcFailed) -> None:
        """Give up the stream; wait a little once every endpoint has been tried in vain."""
        await self.aclose()
        if failure.remedy is Remedy.LOG_IN or self._log_in_again_helps(failure):
            self._login_was_refused = True
            self._members.forget_login(self._metadata)
        elif failure.remedy is Remedy.NOTHING:
            raise failure.translated() from None
        else:
            self._members.leave(self._member)
        self._losses += 1
        rounds = self._losses // len(self._members.everyone)
        if rounds:
            await trio.sleep(min(_LONGEST_PAUSE_S, _PAUSE_S * 2 ** min(rounds, 10)))

    def _log_in_again_helps(self, failure: RpcFailed) -> bool:
        """Whether to try a fresh log-in: etcd 3.4 calls a stale token "permission denied" too."""
        denied = failure.code in ("PERMISSION_DENIED", "UNAUTHENTICATED")
        return denied and self._options.login is not None and not self._login_was_refused
