"""A watch of one key that outlives its streams, as ``turnout/runtime/store/etcd_watch.py`` has it.

A stream that ends means "resume elsewhere from the last revision + 1", never "done". Whether a silent
member lives is asked by its channel, one question for all streams on it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from simulator.etcd.channel import Call, Channel
from simulator.etcd.member import Changed, Compacted, Told
from simulator.etcd.reads import Refusal
from simulator.virtual_time import Act
from turnout.protocol.transactions import KeyValue

if TYPE_CHECKING:
    from simulator.etcd.client import EtcdClient

Notice: TypeAlias = Callable[[int, KeyValue | None], None]


class Watch:
    """One key, followed from a revision on."""

    def __init__(
        self, client: EtcdClient, key: str, from_revision: int, notice: Notice, ended: Act
    ) -> None:
        self._client, self._key, self._next_revision = client, key, from_revision
        self._notice, self._ended = notice, ended
        self._channel: Channel | None = None
        self._call: Call | None = None
        self._losses = 0
        self._is_over = False

    def open(self) -> None:
        """Ask the member in use for the stream."""
        if self._is_over:
            return
        self._channel = self._client.current
        key, revision = self._key, self._next_revision
        self._call = Call(
            lambda member, connection, tell: member.watch(key, revision, connection, tell),
            self._told,
            is_stream=True,
        )
        self._channel.ask(self._call)

    def cancel(self) -> None:
        """Hear nothing more; again is no error."""
        self._is_over = True
        if self._channel is not None and self._call is not None:
            self._channel.drop(self._call)

    def _told(self, told: Told) -> None:
        if isinstance(told, Refusal):
            self._lose()
            return
        self._losses = 0
        if isinstance(told, Changed) and told.revision >= self._next_revision:
            self._next_revision = told.revision + 1
            self._notice(told.revision, told.entry)
        elif isinstance(told, Compacted):
            self.cancel()
            self._ended()

    def _lose(self) -> None:
        """Give up the stream; wait a little once every member has been tried in vain."""
        assert self._channel is not None
        self._client.leave(self._channel)
        self._losses += 1
        rounds = self._losses // self._client.size
        pause_ns = self._client.knobs.watch_pause_ns << min(rounds, 10)
        longest_ns = self._client.knobs.longest_watch_pause_ns
        self._client.process.after(min(pause_ns, longest_ns) if rounds else 0, self.open)
