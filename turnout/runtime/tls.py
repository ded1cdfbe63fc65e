"""TLS contexts: version 1.3 only, both sides authenticated, one shared context for a process.

Making a context reads the authorities again and costs an httpx client 36 ms and 970 KiB
(measured), a shared one next to nothing: hence the cache.
"""

from __future__ import annotations

import functools
import ssl
from pathlib import Path

import attrs


class TlsError(Exception):
    """A certificate, key or authority cannot be used; the text names the file and what to do."""


@attrs.frozen(kw_only=True)
class TlsFiles:
    """One identity, as PEM files.

    ``certificate`` may hold intermediate certificates after its own; ``authority`` holds the
    certificates that vouch for the other side.
    """

    certificate: Path
    private_key: Path
    authority: Path


@functools.cache
def server_context(files: TlsFiles) -> ssl.SSLContext:
    """For listeners: a client without a certificate of the authority is refused.

    Raises TlsError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    # No session tickets: our clients never resume, and a resumed session would skip the check of
    # a certificate that was revoked since.
    context.num_tickets = 0
    return _prepared(context, files)


@functools.cache
def client_context(files: TlsFiles) -> ssl.SSLContext:
    """For everything that dials out: presents the certificate, checks the server's host name.

    Raises TlsError.
    """
    return _prepared(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), files)


@functools.cache
def trusting_nobody() -> ssl.SSLContext:
    """For clients that speak plain HTTP: an https address fails to verify rather than passing."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def reload_identity(context: ssl.SSLContext, files: TlsFiles) -> None:
    """Takes renewed files into a context in use; the next handshake shows them.

    Raises TlsError and leaves the old certificate in place if they do not fit together.
    """
    _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), files)
    _load(context, files)


def _prepared(context: ssl.SSLContext, files: TlsFiles) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    _load(context, files)
    return context


def _load(context: ssl.SSLContext, files: TlsFiles) -> None:
    for path in (files.certificate, files.private_key, files.authority):
        _check_readable(path)
    try:
        context.load_verify_locations(files.authority)
    except ssl.SSLError as error:
        raise TlsError(f"{files.authority} holds no PEM certificates of authorities") from error
    try:
        # Without a password OpenSSL would ask for one on the terminal and wait.
        context.load_cert_chain(files.certificate, files.private_key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise TlsError(_key_trouble(files, error)) from error


def _key_trouble(files: TlsFiles, error: Exception) -> str:
    if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
        return f"{files.private_key} is not the private key of {files.certificate}"
    if b"ENCRYPTED" in files.private_key.read_bytes():
        return f"{files.private_key} is encrypted; a daemon cannot ask for its password"
    return f"{files.certificate} and {files.private_key} are not a PEM certificate and its key"


def _check_readable(path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise TlsError(f"{path}: {error.strerror or error}") from error
