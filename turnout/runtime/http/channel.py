"""One connection's bytes in and out: h11 joined to a trio stream, with every wait bounded."""

from __future__ import annotations

import contextlib
import os
import socket
import struct

import h11
import trio

from turnout.runtime import problems
from turnout.runtime.http.limits import HttpLimits
from turnout.runtime.http.stalled_writes import StalledWrites
from turnout.runtime.problems import Problem

ClientStream = trio.SocketStream | trio.SSLStream[trio.SocketStream]

_READ_BYTES = 16 * 1024

# Sent under one write timeout. TLS keeps its buffers as large as the largest piece ever sent, for
# each connection (measured), while smaller pieces cost more CPU for a large message.
_PIECE_BYTES = 32 * 1024


class ClientGoneError(OSError):
    """The client is gone, or was cut off for not reading: nothing can be sent any more.

    An OSError, because that is what ASGI promises applications when they send too late.
    """


class RefusedError(Exception):
    """The request breaks the protocol or a limit; the problem is the answer to it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class Channel:
    """Reads and writes h11 events on one stream.

    Reading and writing may go on at the same time in two tasks, but not two of either.
    """

    def __init__(self, stream: ClientStream, limits: HttpLimits, writes: StalledWrites) -> None:
        self._stream = stream
        self._limits = limits
        self._writes = writes
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.max_head_bytes)
        self._read_budget_s = limits.request_timeout_s
        self._broken = False
        self._gave_up = False

    # ---------------------------------------------------------------- reading

    @property
    def client_waits_for_continue(self) -> bool:
        """Whether the client holds its body back until it is told to go on."""
        return self._http.they_are_waiting_for_100_continue

    @property
    def unread_bytes(self) -> int:
        """How much of later requests came already."""
        return len(self._http.trailing_data[0])

    def begin_request(self) -> None:
        """Gives the next request its full time to arrive."""
        self._read_budget_s = self._limits.request_timeout_s

    def poll_event(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        """The next event, if its bytes are here. Raises RefusedError."""
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise RefusedError(self._objection(error)) from error

    async def next_event(self) -> h11.Event | type[h11.PAUSED]:
        """The next event of the request. Raises RefusedError or ClientGoneError."""
        while (event := self.poll_event()) is h11.NEED_DATA:
            await self._receive_within_budget()
        assert not isinstance(event, type) or event is h11.PAUSED
        return event

    async def receive_more(self) -> None:
        """Waits for bytes, without a bound in time. Raises ClientGoneError at the end of them.

        A client that closes its sending half counts as gone: nobody waits for an answer that way
        and a held stream must learn of it at once.
        """
        try:
            data = await self._read()
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ClientGoneError("the client's connection broke") from error
        if not data:
            raise ClientGoneError("the client closed the connection")
        self._http.receive_data(data)

    async def _read(self) -> bytes:
        """The next bytes; none at the end of them. TLS has its own way.

        Nearly every read begins before its bytes are here, so that trio's, which tries first and then
        waits, is a third dearer.
        """
        if isinstance(self._stream, trio.SSLStream):
            return bytes(await self._stream.receive_some(_READ_BYTES))
        while True:
            await trio.lowlevel.wait_readable(self._stream.socket)
            with contextlib.suppress(BlockingIOError):
                return os.read(self._stream.socket.fileno(), _READ_BYTES)

    async def _receive_within_budget(self) -> None:
        began = trio.current_time()
        with trio.move_on_after(self._read_budget_s) as patience:
            await self.receive_more()
        if patience.cancelled_caught:
            seconds = f"{self._limits.request_timeout_s:g}"
            detail = f"The request did not arrive completely within {seconds} s."
            raise RefusedError(problems.REQUEST_TIMEOUT.problem(detail))
        self._read_budget_s = max(0.0, self._read_budget_s - (trio.current_time() - began))

    def _objection(self, error: h11.RemoteProtocolError) -> Problem:
        """h11 hints 431 when an event outgrows the buffer; which part it was is for us to see."""
        if error.error_status_hint != problems.HEAD_TOO_LARGE.status:
            return problems.MALFORMED_REQUEST.problem(f"{error}.")
        if b"\n" not in self._http.trailing_data[0]:
            limit = self._limits.max_target_bytes
            return problems.TARGET_TOO_LONG.problem(f"The address may have {limit} bytes.")
        limit = self._limits.max_head_bytes
        return problems.HEAD_TOO_LARGE.problem(f"The header fields may have {limit} bytes.")

    # ---------------------------------------------------------------- writing

    def encode(self, event: h11.Event) -> bytes:
        """The bytes of an event. Raises h11.LocalProtocolError where the application erred."""
        return self._http.send(event) or b""

    def frame(self, body: bytes) -> list[bytes]:
        """A part of the body between the marks of its framing, not copied."""
        return self._http.send_with_data_passthrough(h11.Data(data=body)) or []

    async def write(self, *parts: bytes) -> None:
        """Sends all of it, or raises ClientGoneError: gone, or not reading for too long.

        Small parts go out together; a long one goes out in pieces, so that thousands of streams
        can send the same large message without a copy of it for each.
        """
        together = b""
        for part in parts:
            if len(together) + len(part) <= _PIECE_BYTES:
                together += part
                continue
            await self._write_piece(together)
            together, view = b"", memoryview(part)
            for at in range(0, len(part), _PIECE_BYTES):
                await self._write_piece(view[at : at + _PIECE_BYTES])
        await self._write_piece(together)

    async def _write_piece(self, piece: bytes | memoryview) -> None:
        if self._broken:
            raise ClientGoneError("the connection was cut")
        left = self._write_at_once(piece)
        if not left:
            return
        # Until all is sent the channel counts as broken: a cancelled send leaves half a message.
        self._broken = True
        self._writes.begin(self)
        try:
            await self._stream.send_all(left)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            reason = "the client stopped reading" if self._gave_up else "its connection broke"
            raise ClientGoneError(reason) from error
        finally:
            self._writes.end(self)
        self._broken = False

    def _write_at_once(self, piece: bytes | memoryview) -> bytes | memoryview:
        """Hands the kernel what it has room for, and returns the rest. Raises ClientGoneError.

        Nearly every write fits, and then need not wait for anybody's turn. TLS has its own order.
        """
        if not piece or isinstance(self._stream, trio.SSLStream):
            return piece
        try:
            return piece[os.write(self._stream.socket.fileno(), piece) :]
        except BlockingIOError:
            return piece
        except OSError as error:
            self._broken = True
            raise ClientGoneError("its connection broke") from error

    def give_up(self) -> None:
        """End a write that takes too long: it raises ClientGoneError."""
        self._gave_up = True
        self.cut()

    # ---------------------------------------------------------------- ending

    def next_cycle(self) -> bool:
        """Makes ready for another request; False if this connection takes no more."""
        if self._broken or (self._http.our_state, self._http.their_state) != (h11.DONE, h11.DONE):
            return False
        self._http.start_next_cycle()
        return True

    @property
    def may_answer(self) -> bool:
        """Whether an answer can still be begun."""
        return not self._broken and self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE)

    async def linger(self, seconds: float) -> None:
        """Reads and forgets what still comes, so that a refusal reaches the client.

        Closing with unread bytes would reset the connection, and the reset may overtake the
        answer (RFC 9112, section 9.6).
        """
        with trio.move_on_after(seconds):
            try:
                if isinstance(self._stream, trio.SocketStream):
                    await self._stream.send_eof()
                while await self._stream.receive_some(_READ_BYTES):
                    pass
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return

    async def close(self) -> None:
        """Closes properly; a TLS client is told, but not waited for longer than a write."""
        if self._broken:
            self.cut()
            return
        with trio.move_on_after(self._limits.write_timeout_s):
            await self._stream.aclose()

    def cut(self) -> None:
        """Resets the connection, so that the kernel drops what the client does not read."""
        self._broken = True
        cut_socket(self._stream)


def cut_socket(stream: ClientStream) -> None:
    """Closes the socket below with a reset, without waiting for anything."""
    plain = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    with contextlib.suppress(OSError):  # it is closed already
        plain.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    plain.socket.close()
