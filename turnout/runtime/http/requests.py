"""From a request's head to an ASGI scope: what is refused before any application sees it."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

import attrs
import h11

from turnout.runtime import problems
from turnout.runtime.http.channel import RefusedError
from turnout.runtime.http.limits import HttpLimits


@attrs.frozen(kw_only=True)
class Peer:
    """What stays the same for all requests of one connection."""

    scheme: str
    client: tuple[str, int] | None
    server: tuple[str, int] | None
    extensions: Mapping[str, object]


def check_head(request: h11.Request, limits: HttpLimits) -> None:
    """Refuses a head over the limits, or of a kind we do not serve. Raises RefusedError."""
    headers = request.headers.raw_items()
    if len(request.target) > limits.max_target_bytes:
        detail = f"The address may have {limits.max_target_bytes} bytes."
        raise RefusedError(problems.TARGET_TOO_LONG.problem(detail))
    if len(headers) > limits.max_headers:
        detail = f"A request may have {limits.max_headers} header fields, not {len(headers)}."
        raise RefusedError(problems.HEAD_TOO_LARGE.problem(detail))
    if sum(len(name) + len(value) for name, value in headers) > limits.max_head_bytes:
        detail = f"The header fields may have {limits.max_head_bytes} bytes."
        raise RefusedError(problems.HEAD_TOO_LARGE.problem(detail))
    if request.method == b"CONNECT":
        raise RefusedError(problems.METHOD_NOT_ALLOWED.problem("This server is no proxy."))
    _check_body_length(request, limits)


def _check_body_length(request: h11.Request, limits: HttpLimits) -> None:
    length = chunked = None
    for name, value in request.headers:
        if name == b"content-length":
            length = int(value)  # h11 let nothing but digits through
        elif name == b"transfer-encoding":
            chunked = value
    if length is not None and chunked is not None:
        # Proxies that disagree on which of the two counts are how requests are smuggled.
        detail = "A request with both Content-Length and Transfer-Encoding is refused."
        raise RefusedError(problems.MALFORMED_REQUEST.problem(detail))
    if length is not None and length > limits.max_body_bytes:
        raise RefusedError(body_too_large(limits))


def body_too_large(limits: HttpLimits) -> problems.Problem:
    """What a body over the limit is told, announced or found out while it arrives."""
    return problems.TOO_LARGE.problem(f"A body may have {limits.max_body_bytes} bytes.")


def scope_of(request: h11.Request, peer: Peer) -> dict[str, object]:
    """The ASGI scope of a request. Raises RefusedError for an address that has no path."""
    raw_path, _, query = _origin_form(request).partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": request.http_version.decode("ascii"),
        "method": request.method.decode("ascii"),
        "scheme": peer.scheme,
        "path": unquote(raw_path.decode("ascii")),
        "raw_path": raw_path,
        "query_string": query,
        "root_path": "",
        "headers": list(request.headers),
        "client": peer.client,
        "server": peer.server,
        "extensions": dict(peer.extensions),
    }


def _origin_form(request: h11.Request) -> bytes:
    """Path and query; RFC 9112, section 3.2 has servers accept whole URLs and ``OPTIONS *`` too."""
    target = request.target
    if target.startswith(b"/") or (target == b"*" and request.method == b"OPTIONS"):
        return target
    try:
        url = urlsplit(target)
    except ValueError:
        url = urlsplit(b"")
    if url.scheme not in (b"http", b"https") or not url.netloc:
        detail = "The address of a request is a path that begins with a slash, or a whole URL."
        raise RefusedError(problems.MALFORMED_REQUEST.problem(detail))
    return (url.path or b"/") + (b"?" + url.query if url.query else b"")
