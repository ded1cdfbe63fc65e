"""Real servers on loopback, raw clients, and certificates made for the test."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import attrs
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.types import ASGIApp

from turnout.runtime.http.limits import HttpLimits
from turnout.runtime.http.server import Server
from turnout.runtime.tls import TlsFiles


class StartServer(Protocol):
    """Starts a server on a free port; it is stopped when the test ends."""

    async def __call__(
        self,
        app: ASGIApp,
        *,
        ssl_context: ssl.SSLContext | None = None,
        limits: HttpLimits | None = None,
    ) -> Running: ...


@attrs.frozen(kw_only=True)
class Running:
    """A server under test."""

    server: Server
    port: int
    stopped: trio.Event
    """Set when `serve` has returned."""

    clients: list[RawClient] = attrs.field(factory=list)

    def url(self, scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}"

    async def connect(self) -> RawClient:
        self.clients.append(RawClient(await trio.open_tcp_stream("127.0.0.1", self.port)))
        return self.clients[-1]


class RawClient:
    """Bytes on a socket, for requests that no decent client would send."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._received = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def read_until(self, mark: bytes) -> bytes:
        """What came up to and with the mark; the rest stays for later."""
        while mark not in self._received:
            data = await self.stream.receive_some()
            assert data, f"closed before {mark!r}: {self._received!r}"
            self._received += data
        end = self._received.index(mark) + len(mark)
        taken, self._received = self._received[:end], self._received[end:]
        return taken

    async def read_answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, header fields and body of an answer with a content-length."""
        head = (await self.read_until(b"\r\n\r\n")).decode()
        status_line, *lines = head.strip().split("\r\n")
        headers = {n.lower(): v for n, _, v in (one.partition(": ") for one in lines)}
        body = await self.read_exactly(int(headers.get("content-length", "0")))
        return int(status_line.split()[1]), headers, body

    async def read_exactly(self, count: int) -> bytes:
        while len(self._received) < count:
            data = await self.stream.receive_some()
            assert data, "closed in the middle of a body"
            self._received += data
        taken, self._received = self._received[:count], self._received[count:]
        return taken

    async def read_problem(self) -> tuple[int, dict[str, object]]:
        status, headers, body = await self.read_answer()
        assert headers["content-type"] == "application/problem+json"
        return status, json.loads(body)

    async def read_to_end(self) -> bytes:
        """All that comes until the server closes, by reset or not."""
        try:
            while data := await self.stream.receive_some():
                self._received += data
        except trio.BrokenResourceError:
            pass
        return self._received


async def until(condition: Callable[[], bool]) -> None:
    """Waits for something that no event tells of."""
    while not condition():  # noqa: ASYNC110 - see above
        await trio.sleep(0.001)


class Authority:
    """A certificate authority for one test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("authority")
        self.certificate = folder / "authority.pem"
        basics = x509.BasicConstraints(ca=True, path_length=None)
        self._write(self.certificate, self._sign(self._name, self._key.public_key(), basics))

    def issue(self, name: str) -> TlsFiles:
        key = ec.generate_private_key(ec.SECP256R1())
        basics = x509.BasicConstraints(ca=False, path_length=None)
        files = TlsFiles(
            certificate=self._folder / f"{name}.pem",
            private_key=self._folder / f"{name}.key",
            authority=self.certificate,
        )
        self._write(files.certificate, self._sign(_name(name), key.public_key(), basics))
        files.private_key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return files

    def _sign(
        self, name: x509.Name, key: ec.EllipticCurvePublicKey, basics: x509.BasicConstraints
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(basics, critical=True)
            .add_extension(x509.SubjectAlternativeName([loopback]), critical=False)
        )
        return builder.sign(self._key, hashes.SHA256())

    @staticmethod
    def _write(path: Path, certificate: x509.Certificate) -> None:
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
