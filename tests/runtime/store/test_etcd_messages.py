"""etcd3's messages under the protobuf that is installed, and the keys as others see them."""

from __future__ import annotations

import subprocess
import sys

from turnout.protocol.transactions import Put, Transaction, Won
from turnout.runtime.etcd_server import EtcdCluster
from turnout.runtime.store.etcd import EtcdStore
from turnout.runtime.store.etcd_options import EtcdOptions


def test_import_of_the_store_gives_no_warning() -> None:
    command = [sys.executable, "-W", "error", "-c", "import turnout.runtime.store.etcd"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


async def test_keys_are_seen_by_another_client_below_the_domains_prefix(
    etcd: EtcdCluster, domain: str
) -> None:
    import etcd3  # noqa: PLC0415 - importable only after our messages have taken their places

    async with EtcdStore(EtcdOptions(endpoints=etcd.endpoints, domain=domain)) as store:
        put = Transaction(name="put", guards=(), writes=(Put("head", b"1"), Put("a/b", b"2")))
        assert isinstance(await store.transact(put), Won)
    host, port = etcd.endpoints[0].split(":")
    with etcd3.client(host=host, port=int(port)) as other:
        seen = [(value, meta.key) for value, meta in other.get_prefix("/turnout/" + domain)]
    prefix = f"/turnout/{domain}/".encode()
    assert seen == [(b"2", prefix + b"a/b"), (b"1", prefix + b"head")]
