"""A replica that could decide nothing does not keep others from leading; one that must not does."""

from __future__ import annotations

import httpx
import trio
from attrs import evolve
from trio.testing import MockClock

from coordinator.candidate import Candidate
from tests.coordinator.conftest import Begin
from tests.coordinator.test_candidate import TIMING, TrioClock
from tests.coordinator.world import World, until
from turnout.protocol import keys
from turnout.protocol.clock import SECOND
from turnout.protocol.codec import canonical_bytes, decode
from turnout.protocol.coordinator_state import Role
from turnout.protocol.election import Election
from turnout.protocol.events import Deposed, Elected
from turnout.protocol.identifiers import Epoch, ReplicaId
from turnout.protocol.records import Head
from turnout.protocol.signing import signed
from turnout.protocol.transactions import Put, Range, Transaction
from turnout.runtime.key_file import load_signer, make_key
from turnout.runtime.store.etcd import EtcdStore
from turnout.runtime.store.memory import MemoryStore
from turnout.runtime.store.memory_database import MemoryDatabase


async def put(store: MemoryStore, key: str, value: bytes) -> None:
    await store.transact(Transaction(name="put", guards=(), writes=(Put(key, value),)))


def begin_candidate(
    database: MemoryDatabase, name: str, unfit_for: bytes
) -> tuple[Candidate, list[Elected | Deposed]]:
    """A candidate that cannot lead a domain with this incarnation, and what it announces."""
    announced: list[Elected | Deposed] = []

    async def announce(event: Elected | Deposed) -> None:
        await trio.lowlevel.checkpoint()
        announced.append(event)

    def why_unfit(incarnation: bytes) -> str:
        return "it has another key" if incarnation == unfit_for else ""

    clock = TrioClock()
    replica = ReplicaId(name)
    begin = Election.begin(replica=replica, url="http://x", timing=TIMING, seed=1, now=clock.now())
    store = MemoryStore(database)
    return Candidate(store, begin, announce, clock, why_unfit=why_unfit), announced


async def test_unfit_replica_gives_the_key_up_whenever_it_gets_it(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    database = MemoryDatabase()
    await put(MemoryStore(database), keys.INCARNATION, b"another's")
    candidate, announced = begin_candidate(database, "c0", b"another's")
    nursery.start_soon(candidate.run)
    await trio.sleep(10 * TIMING.lease_ttl_ns / SECOND)
    assert candidate.unfit == "it has another key"
    assert not [event for event in announced[2:] if isinstance(event, Elected)]
    assert announced
    assert isinstance(announced[-1], Deposed)
    fit, led = begin_candidate(database, "c1", b"")
    nursery.start_soon(fit.run)
    await trio.sleep(3 * TIMING.lease_ttl_ns / SECOND)
    assert isinstance(led[-1], Elected)
    assert candidate.leader is not None
    assert candidate.leader.replica == "c1"


async def test_replica_that_was_unfit_leads_once_the_domain_is_its_own(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    database = MemoryDatabase()
    await put(MemoryStore(database), keys.INCARNATION, b"another's")
    candidate, announced = begin_candidate(database, "c0", b"another's")
    nursery.start_soon(candidate.run)
    await trio.sleep(TIMING.lease_ttl_ns / SECOND)
    await put(MemoryStore(database), keys.INCARNATION, b"its own")
    await trio.sleep(3 * TIMING.lease_ttl_ns / SECOND)
    assert candidate.unfit == ""
    assert isinstance(announced[-1], Elected)


async def test_replica_with_a_wrong_key_leaves_the_lead_to_one_with_the_right_key(
    begin: Begin,
) -> None:
    world = await begin(agents=())
    make_key(world.folder / "other.key")
    await (await world.leader()).stop()
    wrong = await world.start_coordinator(domain_key=world.folder / "other.key")
    await until(lambda: bool(wrong.running.replica.candidate.unfit))
    right = await world.start_coordinator()
    await until(lambda: right.state.role is Role.LEADING)
    async with httpx.AsyncClient(trust_env=False) as client:
        ready = await client.get(f"{wrong.url}/readyz")
    assert ready.status_code == 503
    assert "another key" in ready.json()["detail"]


async def test_s11_halted_leader_keeps_the_key_so_that_nobody_decides(begin: Begin) -> None:
    world = await begin()
    await world.finished((await world.switch("green")).json()["epoch"])
    await world.all_good()
    await lose_the_last_epoch(world)
    await (await world.leader()).stop()
    halted = await world.start_coordinator()
    for name, agent in world.agents.items():
        agent.urls[:] = world.urls
        world.kill_agent(name)
        world.start_agent(name)
    await until(lambda: halted.state.role is Role.HALTED)
    other = await world.start_coordinator()
    await until(lambda: other.running.replica.candidate.leader is not None)
    async with world.store() as store:
        held = (await store.read(Range(keys.LEADER))).items[0]
        await a_lease_has_expired(store, world.timing.lease_ttl_s)
        assert (await store.read(Range(keys.LEADER))).items[0] == held
    assert (halted.state.role, other.state.role) == (Role.HALTED, Role.FOLLOWER)


async def a_lease_has_expired(store: EtcdStore, ttl_s: float) -> None:
    """Wait until a key is gone that nobody keeps alive, and that was there for as long as asked."""
    lease = await store.grant(round(ttl_s))
    write = Put("marker", b"here", leased=True)
    await store.transact(Transaction(name="mark", guards=(), writes=(write,)), lease=lease)
    with trio.fail_after(10 * ttl_s):
        while True:
            if not (await store.read(Range("marker"))).items:
                return
            await trio.sleep(0.05)


async def lose_the_last_epoch(world: World) -> None:
    """Put the head back by one switch, as a restore of an older backup would."""
    async with world.store() as store:
        stored = (await store.read(Range(keys.HEAD))).items[0]
        head = decode(stored.value, Head, limit=10_000)
        epoch = Epoch(head.base_epoch)
        older = evolve(head, decided=epoch, committed=epoch, digest=head.base, signature="")
        value = canonical_bytes(signed(older, load_signer(world.folder / "domain.key")))
        await store.transact(
            Transaction(name="restore", guards=(), writes=(Put(keys.HEAD, value),))
        )
