"""What only a real HAProxy can show: refusals in its words, its pool, reloads, what it forgets."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import trio
from attrs import evolve

from edge_agent.drivers.base import RefusalCode, Refused
from edge_agent.drivers.haproxy.cli import Cli
from edge_agent.drivers.haproxy.pool import SPARES
from edge_agent.drivers.haproxy.settings import find_binary
from edge_agent.drivers.haproxy.workers import Master
from edge_agent.request import Answer, AskError, connect
from tests.edge_agent.proxy_harness import (
    BLUE,
    GREEN,
    REGION,
    HAProxyHarness,
    active,
    make_table,
    marks,
    until,
)
from turnout.protocol.identifiers import Epoch
from turnout.protocol.routing import Backends, Colour, RegionBackends, RoutingTable, Service


def told(haproxy: HAProxyHarness, command: str) -> str:
    return subprocess.run(
        ["python3", "-c", _ASK, str(haproxy.files.admin_socket), command],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


_ASK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as s:
    s.connect(sys.argv[1])
    s.sendall(sys.argv[2].encode() + b"\\n")
    while piece := s.recv(65536):
        sys.stdout.write(piece.decode())
"""


async def worker(haproxy: HAProxyHarness) -> int | None:
    return (await Master(haproxy.files.master_socket).processes()).current


def servers(haproxy: HAProxyHarness) -> dict[str, str]:
    """Administrative states by the servers' names (8: told to drain)."""
    lines = told(haproxy, "show servers state").splitlines()[2:]
    return {fields[3]: fields[6] for fields in map(str.split, lines) if fields}


def named(haproxy: HAProxyHarness, name: str) -> Service:
    entry = RegionBackends(region=REGION, blue=Backends(cluster=name), green=haproxy.green)
    return haproxy.service(backends=(entry,))


# ------------------------------------------------------------------------------------- refusals


async def test_unknown_backend_is_refused(haproxy: HAProxyHarness) -> None:
    first = haproxy.table(BLUE)
    await haproxy.serve(1, first)
    table = make_table(named(haproxy, "nowhere"))
    with pytest.raises(Refused, match="HAProxy has no backend 'nowhere'") as refused:
        await haproxy.driver.stage(Epoch(2), table, table.services)
    assert refused.value.code is RefusalCode.REJECTED
    assert marks(await haproxy.get(staged=True)) == (200, "1", "checkout", "blue")
    await haproxy.serve(3, haproxy.table(GREEN))


async def test_what_haproxy_cannot_read_is_refused_in_its_words(haproxy: HAProxyHarness) -> None:
    await haproxy.serve(1, haproxy.table(BLUE))
    before = haproxy.files.routing.read_bytes()
    bad = RegionBackends(region=REGION, blue=haproxy.blue, green=Backends(addresses=("a..b:80",)))
    table = haproxy.table(BLUE, backends=(bad,))
    with pytest.raises(Refused, match=r"HAProxy refuses it: .*DNS resolution") as refused:
        await haproxy.driver.stage(Epoch(2), table, ())
    assert refused.value.code is RefusalCode.REJECTED
    assert haproxy.files.routing.read_bytes() == before
    await haproxy.serve(3, haproxy.table(GREEN))


@pytest.mark.parametrize("changes", [{"hosts": ("a#b.example",)}, {"path_prefix": "/a\tb"}])
async def test_what_no_map_can_hold_is_refused(
    haproxy: HAProxyHarness, changes: dict[str, object]
) -> None:
    table = haproxy.table(BLUE, **changes)
    with pytest.raises(Refused, match="cannot be in a map of HAProxy") as refused:
        await haproxy.driver.stage(Epoch(1), table, ())
    assert refused.value.code is RefusalCode.INCONSISTENT


def test_missing_binary_says_what_to_do() -> None:
    with pytest.raises(Refused, match="no HAProxy executable at '/nowhere/haproxy'"):
        find_binary(Path("/nowhere/haproxy"))


# ---------------------------------------------------------------------------- what it is told


async def test_restart_brings_back_what_only_the_sockets_were_told(
    haproxy: HAProxyHarness,
) -> None:
    table = haproxy.table(GREEN)
    await haproxy.serve(4, table)
    await haproxy.driver.stop_proxy()
    files = haproxy.files
    command = [str(find_binary(None)), "-W", "-S", f"{files.master_socket},mode,600"]
    command += ["-f", str(files.process), "-f", str(files.routing)]
    process = await trio.lowlevel.open_process(command, stderr=subprocess.DEVNULL)

    async def serves() -> bool:
        try:
            return marks(await haproxy.get()) == (200, "4", "checkout", "green")
        except AskError:
            return False

    try:
        await until(serves)
        assert (await haproxy.driver.start()).serving == active(4, table)
        assert haproxy.pid == process.pid
    finally:
        process.terminate()
        await process.wait()


async def test_agent_killed_between_file_and_servers_is_made_up_for(
    haproxy: HAProxyHarness,
) -> None:
    await haproxy.serve(1, haproxy.table(BLUE))
    cli = Cli(haproxy.files.admin_socket)
    text = haproxy.files.routing.read_text()
    (where,) = [
        before.partition(" from")[0].removeprefix("backend ")
        for before, line in zip(text.splitlines(), text.splitlines()[1:], strict=False)
        if "server checkout.green.1" in line
    ]
    await cli.order(f"set server {where}/checkout.green.1 state maint")
    await cli.order(f"del server {where}/checkout.green.1")
    await haproxy.restart_driver()
    assert "checkout.green.1" in servers(haproxy)
    await haproxy.serve(2, haproxy.table(GREEN))
    assert marks(await haproxy.get()) == (200, "2", "checkout", "green")


async def test_source_is_told_to_drain_and_target_to_serve(haproxy: HAProxyHarness) -> None:
    drain, ready = "8", "0"
    service = haproxy.service()
    await haproxy.serve(1, haproxy.table(BLUE))
    await haproxy.serve(2, haproxy.table(GREEN))
    for colour in (BLUE, GREEN):  # counted, and only the one without new requests is draining
        await haproxy.driver.in_flight(service, colour)
    assert servers(haproxy) == {"checkout.blue.1": drain, "checkout.green.1": ready}
    await haproxy.stage(3, haproxy.table(BLUE))
    await haproxy.driver.in_flight(service, BLUE)
    assert servers(haproxy) == {"checkout.blue.1": ready, "checkout.green.1": ready}
    await haproxy.driver.activate(active(3, haproxy.table(BLUE)))
    await haproxy.driver.in_flight(service, GREEN)
    assert servers(haproxy) == {"checkout.blue.1": ready, "checkout.green.1": drain}
    await haproxy.restart_driver()
    await haproxy.serve(4, haproxy.table(GREEN))
    haproxy.kill_proxy()
    await haproxy.driver.wait_stopped()
    await haproxy.driver.start()
    await haproxy.driver.in_flight(service, BLUE)
    assert servers(haproxy) == {"checkout.blue.1": drain, "checkout.green.1": ready}


async def test_what_is_being_probed_is_not_told_to_drain(haproxy: HAProxyHarness) -> None:
    await haproxy.serve(1, haproxy.table(BLUE))
    await haproxy.break_backend(GREEN)
    asked = haproxy.backends[GREEN].requests
    async with trio.open_nursery() as nursery:
        nursery.start_soon(haproxy.stage, 2, haproxy.table(GREEN))

        async def is_probed() -> bool:
            return haproxy.backends[GREEN].requests > asked

        await until(is_probed)
        await haproxy.driver.in_flight(haproxy.service(), GREEN)
        assert servers(haproxy)["checkout.green.1"] == "0"
        haproxy.backends[GREEN].healthy = True


# ---------------------------------------------------------------------------- pool and reloads


def wide(haproxy: HAProxyHarness, services: int) -> RoutingTable:
    return make_table(
        haproxy.service(), *(haproxy.service(name=f"s{n:02}") for n in range(services - 1))
    )


async def test_servers_come_and_go_without_a_reload(haproxy: HAProxyHarness) -> None:
    first = await worker(haproxy)
    await haproxy.serve(1, haproxy.table(BLUE))
    more = Backends(addresses=(*haproxy.green.addresses, *haproxy.blue.addresses))
    entry = RegionBackends(region=REGION, blue=haproxy.blue, green=more)
    for epoch in range(2, SPARES + 4):  # more often than there are spare backends
        swapped = evolve(entry, blue=entry.green, green=entry.blue)
        entry = swapped
        await haproxy.serve(epoch, haproxy.table(BLUE, backends=(entry,)))
    assert await worker(haproxy) == first
    assert len(servers(haproxy)) <= 9


async def test_pool_that_is_too_small_grows_and_old_requests_are_counted_and_cut(
    haproxy: HAProxyHarness,
) -> None:
    await haproxy.serve(1, haproxy.table(BLUE))
    await haproxy.hold_request(BLUE)
    first = await worker(haproxy)
    table = wide(haproxy, SPARES)
    await haproxy.driver.stage(Epoch(2), table, table.services[:1])
    await haproxy.driver.activate(active(2, table))
    assert await worker(haproxy) != first
    assert await haproxy.driver.in_flight(haproxy.service(), BLUE) == 1
    await haproxy.serve(3, haproxy.table(GREEN))
    assert await haproxy.driver.close(haproxy.service(), BLUE) == 1

    async def cut() -> bool:
        return await haproxy.driver.in_flight(haproxy.service(), BLUE) == 0

    await until(cut)


async def test_s5_flip_that_meets_a_reload_of_ours_is_not_taken_back(
    haproxy: HAProxyHarness, nursery: trio.Nursery
) -> None:
    epochs: list[int] = []

    async def watch() -> None:
        while True:
            epochs.append((await haproxy.driver.status()).serving.epoch)

    await haproxy.serve(1, haproxy.table(BLUE))
    nursery.start_soon(watch)
    for number in range(4):
        epoch = 2 + 2 * number
        target = haproxy.table(GREEN if number % 2 == 0 else BLUE)
        await haproxy.stage(epoch, target)
        larger = wide(haproxy, SPARES * (2 ** (number + 1)))
        async with trio.open_nursery() as both:
            both.start_soon(haproxy.driver.stage, Epoch(epoch + 1), larger, ())
            await trio.sleep(0.04 + 0.02 * number)  # so that they meet in different places
            await haproxy.driver.activate(active(epoch, target))
        await haproxy.driver.activate(active(epoch + 1, larger))
    assert epochs == sorted(epochs)
    assert marks(await haproxy.get()) == (200, "9", "checkout", "blue")


async def test_agent_killed_before_a_reload_is_made_up_for(haproxy: HAProxyHarness) -> None:
    await haproxy.serve(1, haproxy.table(BLUE))
    text = haproxy.files.routing.read_text()
    more = f"backend turnout_{SPARES} from turnout\n  server late.blue.1 127.0.0.1:1 check\n"
    haproxy.files.routing.write_text(text + more)
    await haproxy.restart_driver()
    assert "late.blue.1" in servers(haproxy)
    await haproxy.serve(2, haproxy.table(GREEN))


async def test_worker_that_was_replaced_answers_nothing_by_an_older_table(
    haproxy: HAProxyHarness,
) -> None:
    await haproxy.serve(1, haproxy.table(BLUE))
    late = await connect(haproxy.settings.asked_at)
    async with late:
        await late.send_all(b"GET / HTTP/1.1\r\nhost: checkout.example\r\n")
        table = wide(haproxy, SPARES)
        await haproxy.driver.stage(Epoch(2), table, ())
        await haproxy.serve(3, haproxy.table(GREEN))
        await late.send_all(b"\r\n")
        assert await late.receive_some() == b""


async def test_slow_request_survives_a_reload(haproxy: HAProxyHarness) -> None:
    await haproxy.serve(1, haproxy.table(BLUE))
    await haproxy.hold_request(BLUE, seconds=0.5)
    table = wide(haproxy, SPARES)
    await haproxy.driver.stage(Epoch(2), table, ())

    async def finished() -> bool:
        return bool(haproxy.held)

    await until(finished)
    assert isinstance(haproxy.held[0], Answer)
    assert haproxy.held[0].status == 200


async def test_replaced_addresses_stay_until_their_requests_end(haproxy: HAProxyHarness) -> None:
    def blues() -> int:
        return haproxy.files.routing.read_text().count("server checkout.blue.1")

    await haproxy.serve(1, haproxy.table(BLUE))
    await haproxy.hold_request(BLUE, seconds=1.0)
    swapped = RegionBackends(region=REGION, blue=haproxy.green, green=haproxy.blue)
    table = haproxy.table(BLUE, backends=(swapped,))
    await haproxy.serve(2, table)
    await haproxy.serve(3, table)
    assert blues() == 2

    async def ended() -> bool:
        return bool(haproxy.held)

    await until(ended)
    assert isinstance(haproxy.held[0], Answer)
    await haproxy.serve(4, table)
    assert blues() == 1


async def test_close_cuts_one_colour_where_both_share_an_address(haproxy: HAProxyHarness) -> None:
    both = RegionBackends(region=REGION, blue=haproxy.blue, green=haproxy.blue)
    await haproxy.serve(1, haproxy.table(BLUE, backends=(both,)))
    await haproxy.hold_request(BLUE, seconds=300)
    await haproxy.serve(2, haproxy.table(GREEN, backends=(both,)))
    await haproxy.hold_request(GREEN, seconds=0.5)
    assert await haproxy.driver.close(haproxy.service(), Colour.BLUE) == 1

    async def over() -> bool:
        return len(haproxy.held) == 2

    await until(over)
    cut, finished = haproxy.held
    assert isinstance(cut, AskError) or cut.status != 200
    assert isinstance(finished, Answer)
    assert finished.status == 200
