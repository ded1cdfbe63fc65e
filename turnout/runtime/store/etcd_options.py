"""How to reach etcd: addresses, deadlines, TLS, log-in."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen, validators


@frozen(kw_only=True)
class Login:
    """User and password for an etcd with authentication enabled."""

    user: str
    password: str = field(repr=False)


@frozen(kw_only=True)
class ClientTls:
    """PEM files: who is trusted to be etcd, and (both or neither) who we are."""

    ca: Path
    certificate: Path | None = None
    key: Path | None = None

    def __attrs_post_init__(self) -> None:
        """Refuse half an identity."""
        if (self.certificate is None) != (self.key is None):
            raise ValueError("etcd TLS: give both the client certificate and its key, or neither")


def _check_address(address: str) -> None:
    host, _colon, port = address.rpartition(":")
    if not host or "/" in address or not (port.isascii() and port.isdigit()):
        raise ValueError(
            f"etcd endpoint {address!r} is not HOST:PORT (without a scheme; TLS is switched on by"
            " naming a CA)"
        )


@frozen(kw_only=True)
class EtcdOptions:
    """Everything an ``EtcdStore`` must be told.

    ``timeout_s`` bounds one request at one endpoint. A put that was in flight when etcd's leader
    died hangs for 5-7 s whatever etcd's settings, so waiting longer than a few round trips to the
    quorum only delays the read that tells what became of it.
    ``lifesign_s`` is how long a watch may be silent before its server is asked whether it lives.
    ``quota_bytes`` is etcd's ``--quota-backend-bytes``, which etcd 3.4 does not tell.
    """

    endpoints: tuple[str, ...] = field(validator=validators.min_len(1))
    domain: str
    timeout_s: float = field(default=0.5, validator=validators.gt(0))
    lifesign_s: float = field(default=1.0, validator=validators.gt(0))
    quota_bytes: int = field(default=2 * 1024**3, validator=validators.gt(0))
    tls: ClientTls | None = None
    login: Login | None = None

    def __attrs_post_init__(self) -> None:
        """Refuse what cannot be an address or a domain."""
        for address in self.endpoints:
            _check_address(address)
        if not self.domain or "/" in self.domain:
            raise ValueError(f"domain {self.domain!r}: a name is needed, without a slash")

    @property
    def prefix(self) -> str:
        """What all keys of the domain start with in etcd."""
        return f"/turnout/{self.domain}/"
