"""The etcd store with TLS, client certificates, users and roles, against real members."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from turnout.protocol.transactions import Put, Range, Transaction, Won
from turnout.runtime.etcd_server import EtcdCluster, EtcdSettings, ServerTls, running_etcd
from turnout.runtime.store.contract import Batch
from turnout.runtime.store.errors import NotAuthorised, StoreUnavailable
from turnout.runtime.store.etcd import EtcdStore
from turnout.runtime.store.etcd_messages import rpc, stubs
from turnout.runtime.store.etcd_options import ClientTls, EtcdOptions, Login

pytestmark = pytest.mark.slow

PUT = Transaction(name="put", guards=(), writes=(Put("a", b"1"),))


# -------------------------------------------------------------------------------------------- TLS


class Authority:
    """A certificate authority that lives in a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.path = self._write(f"{name}.pem", builder)

    def issue(self, name: str) -> tuple[Path, Path]:
        """Make a certificate for loopback, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        builder = self._builder(subject, key).add_extension(
            x509.SubjectAlternativeName([loopback]), critical=False
        )
        key_path = self._folder / f"{name}.key"
        key_path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return self._write(f"{name}.pem", builder), key_path

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
        )

    def _write(self, name: str, builder: x509.CertificateBuilder) -> Path:
        certificate = builder.sign(self._key, hashes.SHA256())
        path = self._folder / name
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return path


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


@pytest.fixture
async def tls_cluster(tmp_path: Path, authority: Authority) -> AsyncIterator[EtcdCluster]:
    certificate, key = authority.issue("server")
    tls = ServerTls(certificate=certificate, key=key, client_ca=authority.path)
    async with running_etcd(tmp_path, 1, EtcdSettings(tls=tls)) as cluster:
        yield cluster


def tls_store(cluster: EtcdCluster, tls: ClientTls | None) -> EtcdStore:
    return EtcdStore(EtcdOptions(endpoints=cluster.endpoints, domain="tls", tls=tls, timeout_s=2))


async def test_store_with_a_client_certificate_works_over_tls(
    tls_cluster: EtcdCluster, authority: Authority
) -> None:
    certificate, key = authority.issue("client")
    tls = ClientTls(ca=authority.path, certificate=certificate, key=key)
    async with tls_store(tls_cluster, tls) as store:
        written = await store.transact(PUT)
        assert isinstance(written, Won)
        async with store.watch(from_revision=written.revision) as events:
            with trio.fail_after(5):
                assert isinstance(await anext(events), Batch)


async def test_store_without_a_client_certificate_is_not_let_in(
    tls_cluster: EtcdCluster, authority: Authority
) -> None:
    async with tls_store(tls_cluster, ClientTls(ca=authority.path)) as store:
        with pytest.raises(StoreUnavailable):
            await store.read()


async def test_store_without_tls_is_not_let_in(tls_cluster: EtcdCluster) -> None:
    async with tls_store(tls_cluster, None) as store:
        with pytest.raises(StoreUnavailable):
            await store.read()


async def test_store_does_not_trust_a_server_of_another_authority(
    tls_cluster: EtcdCluster, authority: Authority, tmp_path: Path
) -> None:
    certificate, key = authority.issue("client")
    stranger = Authority(tmp_path, "stranger")
    tls = ClientTls(ca=stranger.path, certificate=certificate, key=key)
    async with tls_store(tls_cluster, tls) as store:
        with pytest.raises(StoreUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await store.transact(PUT)


# -------------------------------------------------------------------------------- users and roles


def enable_users(cluster: EtcdCluster) -> None:
    """Let ``operator`` do everything below /turnout/mine/, and nothing else."""
    with grpc.insecure_channel(cluster.endpoints[0]) as channel:
        auth = stubs.AuthStub(channel)
        auth.UserAdd(rpc.AuthUserAddRequest(name="root", password="rootpw"))
        auth.UserGrantRole(rpc.AuthUserGrantRoleRequest(user="root", role="root"))
        auth.RoleAdd(rpc.AuthRoleAddRequest(name="mine"))
        grant = rpc.AuthRoleGrantPermissionRequest(name="mine")
        grant.perm.permType = 2  # authpb.Permission.READWRITE
        grant.perm.key, grant.perm.range_end = b"/turnout/mine/", b"/turnout/mine0"
        auth.RoleGrantPermission(grant)
        auth.UserAdd(rpc.AuthUserAddRequest(name="operator", password="secret"))
        auth.UserGrantRole(rpc.AuthUserGrantRoleRequest(user="operator", role="mine"))
        auth.AuthEnable(rpc.AuthEnableRequest())


@pytest.fixture
async def user_cluster(tmp_path: Path) -> AsyncIterator[EtcdCluster]:
    async with running_etcd(tmp_path) as cluster:
        enable_users(cluster)
        yield cluster


def user_store(cluster: EtcdCluster, login: Login | None, *, domain: str = "mine") -> EtcdStore:
    return EtcdStore(
        EtcdOptions(endpoints=cluster.endpoints, domain=domain, login=login, timeout_s=2)
    )


OPERATOR = Login(user="operator", password="secret")


async def test_store_with_user_and_password_does_everything_in_its_domain(
    user_cluster: EtcdCluster,
) -> None:
    async with user_store(user_cluster, OPERATOR) as store:
        lease = await store.grant(60)
        leased = Transaction(name="put", guards=(), writes=(Put("a", b"1", leased=True),))
        written = await store.transact(leased, lease=lease)
        assert isinstance(written, Won)
        assert await store.keep_alive(lease) == 60
        assert 0 < await store.quota() < 0.01
        async with store.watch(from_revision=written.revision) as events:
            with trio.fail_after(5):
                assert isinstance(await anext(events), Batch)
        await store.revoke(lease)
        assert (await store.read(Range("", prefix=True))).items == ()


@pytest.mark.parametrize(
    ("login", "domain"),
    [
        (None, "mine"),
        (Login(user="operator", password="wrong"), "mine"),
        (Login(user="nobody", password="secret"), "mine"),
        (OPERATOR, "theirs"),
    ],
    ids=["no log-in", "wrong password", "wrong user", "another's domain"],
)
async def test_store_that_may_not_is_told_so_and_changes_nothing(
    user_cluster: EtcdCluster, login: Login | None, domain: str
) -> None:
    async with user_store(user_cluster, login, domain=domain) as store:
        with pytest.raises(NotAuthorised, match="does not let us"):
            await store.read(Range("a"))
        with pytest.raises(NotAuthorised):
            await store.transact(PUT)
        with trio.fail_after(10), pytest.raises(NotAuthorised):
            async with store.watch(from_revision=1) as events:
                await anext(events)
    root = Login(user="root", password="rootpw")
    async with user_store(user_cluster, root, domain=domain) as store:
        assert (await store.read(Range("", prefix=True))).items == ()


async def test_store_logs_in_again_when_its_token_is_forgotten(user_cluster: EtcdCluster) -> None:
    member = user_cluster.members[0]
    async with (
        user_store(user_cluster, OPERATOR) as store,
        user_store(user_cluster, OPERATOR) as watcher,
    ):
        written = await store.transact(PUT)
        assert isinstance(written, Won)
        async with watcher.watch(from_revision=written.revision) as events:
            with trio.fail_after(5):
                await anext(events)
            member.kill()
            user_cluster.start(member)
            await user_cluster.ready()
            with trio.fail_after(10):
                again = await _won(store, PUT)
                event = await anext(events)
        assert isinstance(event, Batch)
        assert event.revision == again.revision


async def _won(store: EtcdStore, transaction: Transaction) -> Won:
    """Transact once the restarted member is connected again."""
    while True:
        try:
            result = await store.transact(transaction)
            assert isinstance(result, Won)
            return result
        except StoreUnavailable:
            await trio.sleep(0.05)


async def test_log_in_where_users_are_not_enabled_is_refused_with_advice(
    etcd: EtcdCluster,
) -> None:
    async with user_store(etcd, OPERATOR) as store:
        with pytest.raises(NotAuthorised, match="enable authentication there"):
            await store.read()


def test_password_is_not_printed() -> None:
    assert "secret" not in repr(OPERATOR)
