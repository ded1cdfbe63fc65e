"""What an etcd store may be told, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from turnout.runtime.store.etcd_options import ClientTls, EtcdOptions


@pytest.mark.parametrize("address", ["127.0.0.1:2379", "etcd.example:2379", "[::1]:2379"])
def test_endpoint_that_is_host_and_port_is_taken(address: str) -> None:
    assert EtcdOptions(endpoints=(address,), domain="d").endpoints == (address,)


@pytest.mark.parametrize(
    "address", ["", "etcd", ":2379", "https://etcd:2379", "etcd:", "etcd:port", "etcd:2379/path"]
)
def test_endpoint_that_is_anything_else_is_refused_by_name(address: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        EtcdOptions(endpoints=("127.0.0.1:2379", address), domain="d")


def test_no_endpoint_is_refused() -> None:
    with pytest.raises(ValueError, match="endpoints"):
        EtcdOptions(endpoints=(), domain="d")


@pytest.mark.parametrize("domain", ["", "a/b", "/"])
def test_domain_that_is_no_name_is_refused(domain: str) -> None:
    with pytest.raises(ValueError, match="domain"):
        EtcdOptions(endpoints=("127.0.0.1:2379",), domain=domain)


def test_domain_gives_the_prefix() -> None:
    assert EtcdOptions(endpoints=("h:1",), domain="shop").prefix == "/turnout/shop/"


def test_half_a_client_identity_is_refused() -> None:
    with pytest.raises(ValueError, match="both"):
        ClientTls(ca=Path("ca.pem"), key=Path("client.key"))
