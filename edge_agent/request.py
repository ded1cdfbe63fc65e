"""One HTTP/1.1 request on a connection of its own: what probes, health checks and admin calls send.

A pooled client would hide what probes are for: a kept connection may be served by a worker that
another has overtaken. So every request here opens a connection, says ``connection: close``, and
reads one answer. Works over TCP and over UNIX sockets.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import h11
import trio
from attrs import field, frozen

Endpoint = tuple[str, int] | Path
"""Where to connect: (host, port), or the path of a UNIX socket."""

MAX_BODY_BYTES = 1 << 20
_PIECE_BYTES = 1 << 16


class AskError(Exception):
    """No complete answer came; the text says what happened instead."""


@frozen(kw_only=True)
class Request:
    """One request; its body, if it has one, is sent whole."""

    host: str
    path: str = "/"
    method: str = "GET"
    headers: Mapping[str, str] = field(factory=dict)
    body: bytes = b""


@frozen(kw_only=True)
class Answer:
    """Status, header fields (lower-case names, repeated ones joined by ``", "``) and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def endpoint_of(address: str) -> tuple[str, int]:
    """Split ``host:port``; brackets around an IPv6 address are taken off."""
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


async def ask(
    endpoint: Endpoint, request: Request, *, timeout_s: float, max_body_bytes: int = MAX_BODY_BYTES
) -> Answer:
    """Send one request on a new connection and return the whole answer.

    Raises:
        AskError: refused, cut, not HTTP, too large, or not complete within ``timeout_s``.
    """
    try:
        with trio.fail_after(timeout_s):
            stream = await connect(endpoint)
            async with stream:
                await stream.send_all(_encoded(request))
                return await _read_answer(stream, request, max_body_bytes)
    except trio.TooSlowError:
        raise AskError(f"no answer within {timeout_s:g} s") from None
    except (OSError, trio.BrokenResourceError) as error:
        raise AskError(_words(error)) from error
    except h11.ProtocolError as error:
        raise AskError(f"not a complete HTTP answer: {error}") from error


async def connect(endpoint: Endpoint) -> trio.SocketStream:
    """Open a connection.

    Raises:
        OSError: nobody listens there, or it cannot be reached.
    """
    if isinstance(endpoint, Path):
        return await trio.open_unix_socket(endpoint)
    return await trio.open_tcp_stream(*endpoint)


def _encoded(request: Request) -> bytes:
    connection = h11.Connection(h11.CLIENT)
    headers = [("host", request.host), ("connection", "close"), *request.headers.items()]
    if request.body:
        headers.append(("content-length", str(len(request.body))))
    head = h11.Request(method=request.method, target=request.path, headers=headers)
    events = (head, *((h11.Data(request.body),) if request.body else ()), h11.EndOfMessage())
    return b"".join(connection.send(event) or b"" for event in events)


async def _read_answer(stream: trio.SocketStream, request: Request, max_body_bytes: int) -> Answer:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_PIECE_BYTES)
    connection.send(h11.Request(method=request.method, target=request.path, headers=[("host", "")]))
    connection.send(h11.EndOfMessage())
    head: h11.Response | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(_PIECE_BYTES))
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > max_body_bytes:
                raise AskError(f"the answer has more than {max_body_bytes} bytes")
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None, "h11 gives the head before the end"
            return Answer(status=head.status_code, headers=_joined(head), body=bytes(body))


def _joined(head: h11.Response) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in head.headers:
        name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _words(error: BaseException) -> str:
    """What went wrong in the system's words, also where trio wraps one attempt per address."""
    causes = error.__cause__.exceptions if isinstance(error.__cause__, ExceptionGroup) else ()
    first = next(iter(causes), error)
    number = first.errno if isinstance(first, OSError) else None
    return (os.strerror(number) if number else str(first) or type(first).__name__).lower()
