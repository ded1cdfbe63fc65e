"""mTLS on real sockets: who is let in, who is not, and what the application is told."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import httpx
import pytest
import structlog
import trio
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from tests.runtime.http.harness import Authority, StartServer, until
from turnout.runtime.http.answers import reason_of
from turnout.runtime.http.channel import ClientGoneError
from turnout.runtime.http.limits import HttpLimits
from turnout.runtime.tls import (
    TlsError,
    TlsFiles,
    client_context,
    reload_identity,
    server_context,
    trusting_nobody,
)

pytestmark = pytest.mark.timeout(30)


async def tell_peer(scope: Scope, receive: Receive, send: Send) -> None:
    await JSONResponse(scope["extensions"]["tls"])(scope, receive, send)


async def ask(url: str, context: ssl.SSLContext) -> httpx.Response:
    async with httpx.AsyncClient(verify=context, trust_env=False) as client:
        return await client.get(url)


async def test_application_sees_the_clients_certificate(
    start_server: StartServer, authority: Authority, server_tls: ssl.SSLContext
) -> None:
    running = await start_server(tell_peer, ssl_context=server_tls)
    files = authority.issue("edge-1")
    told = (await ask(running.url("https"), client_context(files))).json()
    assert told["client_cert_name"] == "CN=edge-1"
    assert told["tls_version"] == 0x0304
    shown = x509.load_pem_x509_certificate(told["client_cert_chain"][0].encode())
    assert shown == x509.load_pem_x509_certificate(files.certificate.read_bytes())


async def test_client_without_certificate_is_refused(
    start_server: StartServer, authority: Authority, server_tls: ssl.SSLContext
) -> None:
    running = await start_server(tell_peer, ssl_context=server_tls)
    context = ssl.create_default_context(cafile=authority.certificate)
    with structlog.testing.capture_logs() as logs, pytest.raises(httpx.TransportError):
        await ask(running.url("https"), context)
    assert logs[0]["event"] == "TLS handshake refused"
    assert "peer did not return a certificate" in logs[0]["reason"]


async def test_client_of_another_authority_is_refused(
    start_server: StartServer,
    authority: Authority,
    server_tls: ssl.SSLContext,
    make_authority: Callable[[str], Authority],
) -> None:
    running = await start_server(tell_peer, ssl_context=server_tls)
    stranger = make_authority("stranger").issue("edge-1")
    context = ssl.create_default_context(cafile=authority.certificate)
    context.load_cert_chain(stranger.certificate, stranger.private_key)
    with structlog.testing.capture_logs() as logs, pytest.raises(httpx.TransportError):
        await ask(running.url("https"), context)
    assert "certificate verify failed" in logs[0]["reason"]


async def test_client_with_tls_1_2_is_refused(
    start_server: StartServer, authority: Authority, server_tls: ssl.SSLContext
) -> None:
    running = await start_server(tell_peer, ssl_context=server_tls)
    files = authority.issue("edge-1")
    context = ssl.create_default_context(cafile=authority.certificate)
    context.load_cert_chain(files.certificate, files.private_key)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with structlog.testing.capture_logs(), pytest.raises(httpx.ConnectError):
        await ask(running.url("https"), context)


async def test_client_refuses_a_server_of_another_authority(
    start_server: StartServer,
    server_tls: ssl.SSLContext,
    make_authority: Callable[[str], Authority],
) -> None:
    running = await start_server(tell_peer, ssl_context=server_tls)
    elsewhere = client_context(make_authority("elsewhere").issue("edge-1"))
    with structlog.testing.capture_logs(), pytest.raises(httpx.ConnectError) as caught:
        await ask(running.url("https"), elsewhere)
    assert "certificate verify failed" in reason_of(caught.value)


async def test_client_that_trusts_nobody_refuses_any_server(
    start_server: StartServer, server_tls: ssl.SSLContext
) -> None:
    running = await start_server(tell_peer, ssl_context=server_tls)
    with structlog.testing.capture_logs(), pytest.raises(httpx.ConnectError) as caught:
        await ask(running.url("https"), trusting_nobody())
    assert "certificate verify failed" in reason_of(caught.value)


async def test_client_that_never_shakes_hands_is_dropped(
    start_server: StartServer, server_tls: ssl.SSLContext
) -> None:
    running = await start_server(
        tell_peer, ssl_context=server_tls, limits=HttpLimits(handshake_timeout_s=0.1)
    )
    client = await running.connect()
    with structlog.testing.capture_logs() as logs:
        assert await client.read_to_end() == b""
    assert logs[0]["reason"] == "no handshake within 0.1 s"


async def test_plain_client_of_a_tls_server_is_dropped(
    start_server: StartServer, server_tls: ssl.SSLContext
) -> None:
    running = await start_server(tell_peer, ssl_context=server_tls)
    client = await running.connect()
    with structlog.testing.capture_logs() as logs:
        await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await client.read_to_end()
    assert "http request" in logs[0]["reason"].lower()


async def test_handshakes_beyond_the_burst_are_spaced_out(
    start_server: StartServer,
    authority: Authority,
    server_tls: ssl.SSLContext,
    nursery: trio.Nursery,
) -> None:
    running = await start_server(
        tell_peer, ssl_context=server_tls, limits=HttpLimits(handshakes_per_s=100)
    )
    context = client_context(authority.issue("edge-1"))
    began = trio.current_time()
    async with trio.open_nursery() as clients:
        for _ in range(36):
            clients.start_soon(ask, running.url("https"), context)
    assert trio.current_time() - began >= 0.19  # 16 at once, 20 more at 10 ms each


async def test_renewed_certificate_is_shown_without_a_restart(
    start_server: StartServer, authority: Authority
) -> None:
    context = server_context(authority.issue("old"))
    running = await start_server(tell_peer, ssl_context=context)
    reload_identity(context, authority.issue("new"))
    stream = await trio.open_ssl_over_tcp_stream(
        "127.0.0.1", running.port, ssl_context=client_context(authority.issue("edge-1"))
    )
    async with stream:
        await stream.do_handshake()
        shown = x509.load_der_x509_certificate(stream.getpeercert(binary_form=True))
    assert shown.subject.rfc4514_string() == "CN=new"


def test_context_is_made_once_for_the_same_files(authority: Authority) -> None:
    files = authority.issue("edge-1")
    assert client_context(files) is client_context(files)
    assert server_context(files) is server_context(files)


def _swapped(files: TlsFiles, other: TlsFiles) -> TlsFiles:
    return TlsFiles(
        certificate=files.certificate, private_key=other.private_key, authority=files.authority
    )


def test_key_of_another_certificate_is_refused_by_name(authority: Authority) -> None:
    files = _swapped(authority.issue("a"), authority.issue("b"))
    with pytest.raises(TlsError, match=r"b\.key is not the private key of .*a\.pem"):
        client_context(files)


def test_encrypted_key_is_refused_without_asking_for_a_password(authority: Authority) -> None:
    files = authority.issue("a")
    key = serialization.load_pem_private_key(files.private_key.read_bytes(), None)
    files.private_key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"sesame"),
        )
    )
    with pytest.raises(TlsError, match="is encrypted"):
        client_context(files)


def test_missing_file_is_refused_by_name(authority: Authority) -> None:
    files = authority.issue("a")
    files.private_key.unlink()
    with pytest.raises(TlsError, match=r"a\.key: No such file"):
        server_context(files)


def test_authority_without_certificates_is_refused_by_name(authority: Authority) -> None:
    files = authority.issue("a")
    authority.certificate.write_text("nothing of use")
    with pytest.raises(TlsError, match=r"authority\.pem holds no PEM certificates"):
        server_context(files)


def test_files_that_are_no_certificate_are_refused(authority: Authority) -> None:
    files = authority.issue("a")
    files.certificate.write_text("nothing of use")
    with pytest.raises(TlsError, match="are not a PEM certificate and its key"):
        server_context(files)


async def test_tls_connection_beyond_the_limit_is_cut_before_its_handshake(
    start_server: StartServer, authority: Authority, server_tls: ssl.SSLContext
) -> None:
    limits = HttpLimits(max_connections=1)
    running = await start_server(tell_peer, ssl_context=server_tls, limits=limits)
    await running.connect()
    await until(lambda: running.server.open_connections == 1)
    second = await running.connect()
    assert await second.read_to_end() == b""


async def test_tls_client_that_stops_reading_is_evicted(
    start_server: StartServer, authority: Authority, server_tls: ssl.SSLContext
) -> None:
    evicted, reasons = trio.Event(), list[str]()

    async def torrent(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
        except ClientGoneError as error:
            reasons.append(str(error))
            evicted.set()
            raise

    limits = HttpLimits(write_timeout_s=0.2)
    running = await start_server(torrent, ssl_context=server_tls, limits=limits)
    plain = await trio.open_tcp_stream("127.0.0.1", running.port)
    context = client_context(authority.issue("deaf"))
    deaf = trio.SSLStream(plain, context, server_hostname="127.0.0.1", https_compatible=True)
    async with plain:
        await deaf.send_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await evicted.wait()
    assert reasons == ["the client stopped reading"]
