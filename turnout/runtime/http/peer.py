"""Who is at the other end of a connection, as ASGI tells it to applications."""

from __future__ import annotations

import ssl

import trio
from cryptography import x509

from turnout.runtime.http.channel import ClientStream

_TLS_NUMBERS = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}


def tls_extension(stream: ClientStream) -> dict[str, object] | None:
    """The ASGI ``tls`` extension of a connection whose handshake is done; None without TLS.

    ``client_cert_chain`` holds the client's certificate as PEM text, or nothing;
    ``client_cert_name`` its subject as RFC 4514 writes it (``CN=edge-1,O=eu-west-1``).
    """
    if not isinstance(stream, trio.SSLStream):
        return None
    certificate: bytes | None = stream.getpeercert(binary_form=True)
    return {
        "server_cert": None,
        "client_cert_chain": [ssl.DER_cert_to_PEM_cert(certificate)] if certificate else [],
        "client_cert_name": _subject(certificate) if certificate else None,
        "client_cert_error": None,
        "tls_version": _TLS_NUMBERS.get(stream.version()),
        "cipher_suite": None,
    }


def _subject(certificate: bytes) -> str:
    return x509.load_der_x509_certificate(certificate).subject.rfc4514_string()


def addresses(stream: ClientStream) -> tuple[tuple[str, int] | None, tuple[str, int] | None]:
    """The client's address and ours, each as (host, port); None once the socket is gone."""
    plain = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    try:
        client, server = plain.socket.getpeername(), plain.socket.getsockname()
    except OSError:
        return None, None
    return (client[0], client[1]), (server[0], server[1])
