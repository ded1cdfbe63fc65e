"""What only a real nginx can show: refusals in its words, its workers, what it counts."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import trio

from edge_agent.drivers.base import RefusalCode, Refused
from edge_agent.drivers.nginx.settings import find_binary
from edge_agent.request import Answer, AskError, Request
from edge_agent.sample_backend import SampleBackend
from tests.edge_agent.proxy_harness import (
    BLUE,
    GREEN,
    HOST,
    REGION,
    NginxHarness,
    active,
    make_table,
    marks,
    until,
)
from turnout.protocol.identifiers import Epoch
from turnout.protocol.routing import Backends, RegionBackends, Weights
from turnout.runtime.ports import free_ports


def workers(nginx: NginxHarness) -> set[int]:
    children = Path(f"/proc/{nginx.pid}/task/{nginx.pid}/children").read_text()
    return {int(pid) for pid in children.split()}


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_named_upstream_is_refused(nginx: NginxHarness) -> None:
    await nginx.serve(1, nginx.table(BLUE))
    named = RegionBackends(region=REGION, blue=Backends(cluster="nowhere"), green=nginx.green)
    table = make_table(nginx.service(backends=(named,)))
    with pytest.raises(Refused, match="nginx has no upstream 'nowhere'") as refused:
        await nginx.driver.stage(Epoch(2), table, ())
    assert refused.value.code is RefusalCode.REJECTED
    await nginx.serve(3, nginx.table(GREEN))


async def test_name_that_nobody_knows_is_refused(nginx: NginxHarness) -> None:
    entry = RegionBackends(
        region=REGION, blue=Backends(addresses=("nowhere.invalid:80",)), green=nginx.green
    )
    with pytest.raises(Refused, match=r"'nowhere\.invalid:80' cannot be looked up") as refused:
        await nginx.driver.stage(Epoch(1), nginx.table(BLUE, backends=(entry,)), ())
    assert refused.value.code is RefusalCode.REJECTED


async def test_table_that_memory_cannot_hold_is_refused_in_nginxs_words(
    nginx: NginxHarness,
) -> None:
    await nginx.driver.stop_proxy()
    nginx.driver = nginx.driver_with(table_memory_mib=1)
    await nginx.driver.start()
    first = nginx.table(BLUE)
    await nginx.serve(1, first)
    wide = make_table(
        *(nginx.service(name=f"s{n:04}", hosts=(f"{'x' * 240}{n}",)) for n in range(5000))
    )
    with pytest.raises(Refused, match="no memory") as refused:
        await nginx.driver.stage(Epoch(2), wide, ())
    assert refused.value.code is RefusalCode.REJECTED
    assert (await nginx.driver.status()).serving == active(1, first)
    nginx.kill_proxy()
    await nginx.driver.wait_stopped()
    assert (await nginx.driver.start()).serving == active(1, first)
    await nginx.serve(3, nginx.table(GREEN))


async def test_backends_change_without_a_reload(nginx: NginxHarness) -> None:
    await nginx.serve(1, nginx.table(BLUE))
    before = workers(nginx)
    swapped = RegionBackends(region=REGION, blue=nginx.green, green=nginx.blue)
    await nginx.serve(2, nginx.table(BLUE, backends=(swapped,)))
    assert (await nginx.get()).body.startswith(b"green")
    assert workers(nginx) == before


async def test_workers_end_with_their_master(nginx: NginxHarness) -> None:
    await nginx.serve(1, nginx.table(BLUE))
    before = workers(nginx)
    nginx.kill_proxy()

    async def gone() -> bool:
        return not any(is_alive(pid) for pid in before)

    await until(gone)
    await nginx.driver.wait_stopped()
    assert (await nginx.driver.start()).serving.epoch == 1


async def test_what_a_dead_worker_had_is_counted_no_more(nginx: NginxHarness) -> None:
    await nginx.serve(1, nginx.table(BLUE))
    await nginx.hold_request(BLUE)
    for pid in workers(nginx):
        os.kill(pid, signal.SIGKILL)

    async def none_left() -> bool:
        return await nginx.driver.in_flight(nginx.service(), BLUE) == 0

    await until(none_left)
    assert isinstance(nginx.held[0], AskError)
    await nginx.serve(2, nginx.table(GREEN))


async def test_backend_that_takes_no_connection_is_passed_over(nginx: NginxHarness) -> None:
    dead = (f"127.0.0.1:{port}" for port in free_ports(5))
    six = Backends(addresses=(*dead, *nginx.blue.addresses))
    entry = RegionBackends(region=REGION, blue=six, green=nginx.green)
    await nginx.serve(1, nginx.table(BLUE, backends=(entry,)))
    for method in ("GET", "POST"):
        answers = [await nginx.driver.ask(Request(host=HOST, method=method)) for _ in range(8)]
        assert {answer.status for answer in answers} == {200}


async def test_request_that_was_cut_is_not_sent_to_the_source_again(nginx: NginxHarness) -> None:
    another = await nginx.start_backend(SampleBackend(name="blue"))
    two = Backends(addresses=(*nginx.blue.addresses, another))
    entry = RegionBackends(region=REGION, blue=two, green=nginx.green)
    await nginx.serve(1, nginx.table(BLUE, backends=(entry,)))
    await nginx.hold_request(BLUE)
    await nginx.serve(2, nginx.table(GREEN, backends=(entry,)))
    assert await nginx.driver.close(nginx.service(backends=(entry,)), BLUE) >= 1

    async def answered() -> bool:
        return bool(nginx.held)

    await until(answered)
    assert isinstance(nginx.held[0], Answer)
    assert nginx.held[0].status >= 500
    assert await nginx.driver.in_flight(nginx.service(), BLUE) == 0


async def test_close_finds_what_an_older_table_sent_where_it_was(nginx: NginxHarness) -> None:
    another = await nginx.start_backend(SampleBackend(name="blue"))
    moved = RegionBackends(region=REGION, blue=Backends(addresses=(another,)), green=nginx.green)
    await nginx.serve(1, nginx.table(BLUE))
    await nginx.hold_request(BLUE)
    for epoch in range(2, 8):  # every slot has held another table since
        await nginx.serve(epoch, nginx.table(GREEN, backends=(moved,)))
    assert await nginx.driver.close(nginx.service(backends=(moved,)), BLUE) == 1

    async def cut() -> bool:
        return await nginx.driver.in_flight(nginx.service(), BLUE) == 0

    await until(cut)


async def test_close_spares_addresses_that_another_service_uses(nginx: NginxHarness) -> None:
    neighbour = nginx.service(name="neighbour", hosts=("neighbour.example",))
    await nginx.serve(1, make_table(nginx.service(weights=Weights.all_to(GREEN)), neighbour))
    with pytest.raises(Refused, match=nginx.blue.addresses[0]) as refused:
        await nginx.driver.close(nginx.service(), BLUE)
    assert refused.value.code is RefusalCode.IN_USE


async def test_module_that_is_missing_is_named(nginx: NginxHarness) -> None:
    other = nginx.driver_with(state_dir=nginx.files.root / "other", modules_dir=Path("/nowhere"))
    with pytest.raises(Refused, match=r"/nowhere/ndk_http_module\.so") as refused:
        await other.start()
    assert refused.value.code is RefusalCode.PROXY_DOWN


def test_missing_binary_says_what_to_do() -> None:
    with pytest.raises(Refused, match="no nginx executable at '/nowhere/nginx'"):
        find_binary(Path("/nowhere/nginx"))


async def test_worker_that_dies_is_replaced_with_the_table_in_force(nginx: NginxHarness) -> None:
    table = nginx.table(GREEN)
    await nginx.serve(7, table)
    for pid in workers(nginx):
        os.kill(pid, signal.SIGKILL)
    with trio.fail_after(10):
        while True:
            try:
                assert marks(await nginx.get()) == (200, "7", "checkout", "green")
                break
            except AskError:
                await trio.sleep(0.01)
    assert (await nginx.driver.status()).serving == active(7, table)
