"""One of etcd's answer streams, read by a thread of its own and handed to trio.

gRPC's streams block whoever reads them. The thread takes one answer, hands it over, and takes
the next when few are waiting, so a slow reader slows etcd down (HTTP/2 flow control) and does not
fill our memory. It ends with the stream, and a cancelled call ends the stream.
"""

from __future__ import annotations

import math
import threading
from contextlib import suppress

import grpc
import trio

from turnout.runtime.store.etcd_failures import RpcFailed, from_grpc
from turnout.runtime.store.etcd_messages import Message, Stub

_ANSWERS_AHEAD = 16


class EtcdStream:
    """The answers of one call, until it fails or is closed."""

    def __init__(self, call: Stub, address: str) -> None:
        """Start to read. Must be called in trio, and closed there."""
        self._call = call
        self._address = address
        self._token = trio.lowlevel.current_trio_token()
        self._send, self._receive = trio.open_memory_channel[Message | RpcFailed](math.inf)
        self._ended = trio.Event()
        self._may_read = threading.Semaphore(_ANSWERS_AHEAD)
        self._thread = threading.Thread(target=self._read, name="etcd-watch", daemon=True)
        self._thread.start()

    async def receive(self) -> Message:
        """Return the next answer; raise ``RpcFailed`` when there is none any more."""
        answer = await self._receive.receive()
        self._may_read.release()
        if isinstance(answer, RpcFailed):
            raise answer
        return answer

    async def aclose(self) -> None:
        """Cancel the call and see the thread off, also when cancelled."""
        self._call.cancel()
        self._may_read.release()
        with trio.CancelScope(shield=True):
            await self._ended.wait()
        self._thread.join()

    def _read(self) -> None:
        end = RpcFailed("UNAVAILABLE", "the stream was ended by the server", self._address)
        try:
            for answer in self._call:
                self._hand_over(answer)
                self._may_read.acquire()
        except grpc.RpcError as error:
            end = from_grpc(error, self._address)
        self._hand_over(end)
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._ended.set)

    def _hand_over(self, answer: Message | RpcFailed) -> None:
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._send.send_nowait, answer)
