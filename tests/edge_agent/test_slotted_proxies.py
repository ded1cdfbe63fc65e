"""What every proxy with slots must show (``edge_agent/drivers/slots.py``): HAProxy and nginx."""

from __future__ import annotations

import pytest

from edge_agent.drivers.base import RefusalCode, Refused
from tests.edge_agent.proxy_harness import (
    BLUE,
    GREEN,
    HAProxyHarness,
    NginxHarness,
    active,
    marks,
    no_file_longer_than,
)
from turnout.protocol.identifiers import Epoch


@pytest.fixture(params=["haproxy", "nginx"])
def slotted(request: pytest.FixtureRequest) -> HAProxyHarness | NginxHarness:
    harness: HAProxyHarness | NginxHarness = request.getfixturevalue(request.param)
    return harness


async def test_full_disk_at_the_flip_changes_nothing(
    slotted: HAProxyHarness | NginxHarness,
) -> None:
    blue, green = slotted.table(BLUE), slotted.table(GREEN)
    await slotted.serve(5, blue)
    await slotted.stage(6, green)
    with no_file_longer_than(1), pytest.raises(Refused, match="cannot write") as refused:
        await slotted.driver.activate(active(6, green))
    assert refused.value.code is RefusalCode.DISK
    assert (await slotted.driver.status()).serving == active(5, blue)
    assert not list(slotted.files.ready_folder.glob("*.new"))
    await slotted.driver.activate(active(6, green))
    assert (await slotted.driver.status()).serving == active(6, green)


async def test_full_disk_at_stage_changes_nothing(slotted: HAProxyHarness | NginxHarness) -> None:
    blue, green = slotted.table(BLUE), slotted.table(GREEN)
    await slotted.serve(1, blue)
    with no_file_longer_than(10), pytest.raises(Refused, match="cannot write slot") as refused:
        await slotted.driver.stage(Epoch(2), green, green.services)
    assert refused.value.code is RefusalCode.DISK
    assert (await slotted.driver.status()).serving == active(1, blue)
    slotted.kill_proxy()
    await slotted.driver.wait_stopped()
    assert (await slotted.driver.start()).serving == active(1, blue)
    await slotted.serve(2, green)


async def test_maps_changed_by_somebody_are_refused_with_what_to_do(
    slotted: HAProxyHarness | NginxHarness,
) -> None:
    await slotted.serve(1, slotted.table(BLUE))
    slotted.files.active.write_text("live q:1\n")
    with pytest.raises(Refused, match="not as Turnout wrote them") as refused:
        await slotted.driver.start()
    assert refused.value.code is RefusalCode.DISK


async def test_admin_socket_that_is_gone_refuses_and_changes_nothing(
    slotted: HAProxyHarness | NginxHarness,
) -> None:
    blue, green = slotted.table(BLUE), slotted.table(GREEN)
    await slotted.serve(1, blue)
    aside = slotted.files.admin_socket.rename(slotted.files.root / "aside.sock")
    with pytest.raises(Refused, match=r"does not answer on .*admin\.sock") as refused:
        await slotted.stage(2, green)
    assert refused.value.code is RefusalCode.PROXY_DOWN
    assert marks(await slotted.get()) == (200, "1", "checkout", "blue")
    aside.rename(slotted.files.admin_socket)
    await slotted.serve(2, green)


async def test_flip_that_was_written_down_and_not_told_is_completed(
    slotted: HAProxyHarness | NginxHarness,
) -> None:
    blue, green = slotted.table(BLUE), slotted.table(GREEN)
    await slotted.serve(1, blue)
    was = slotted.files.active.read_text()
    await slotted.serve(2, green)
    slot, incarnation = was.splitlines()[0].removeprefix("live ").split(":")
    await slotted.turn("live", slot, incarnation)
    driver = await slotted.restart_driver()
    assert (await driver.status()).serving == active(1, blue)
    await slotted.stage(3, blue)  # takes neither the slot that is served nor the one that was told
    await driver.activate(active(2, green))
    assert marks(await slotted.get()) == (200, "2", "checkout", "green")
