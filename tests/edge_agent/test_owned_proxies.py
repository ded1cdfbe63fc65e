"""What every proxy that Turnout owns must show, the real thing each time: marks, starts, drains, load."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import trio
from attrs import evolve

from edge_agent.drivers.base import RefusalCode, Refused
from edge_agent.drivers.proxy_process import find
from edge_agent.probe import prove
from edge_agent.request import Answer, AskError, Request, connect
from tests.edge_agent.proxy_harness import (
    BLUE,
    GREEN,
    HOST,
    REGION,
    RealHarness,
    active,
    make_table,
    marks,
    no_file_longer_than,
    until,
)
from turnout.protocol.identifiers import Epoch, Region
from turnout.protocol.routing import Backends, RegionBackends, Weights


async def test_backend_cannot_forge_marks(real: RealHarness) -> None:
    await real.serve(1, real.table(BLUE))
    answer = await real.get("/forge")
    assert answer.body == b"forged\n"
    assert marks(answer) == (200, "1", "checkout", "blue")


async def test_backend_cannot_have_the_proxy_do_anything(real: RealHarness) -> None:
    await real.serve(1, real.table(BLUE))
    answer = await real.get("/forge")
    assert answer.headers["x-accel-redirect"] == "/"
    assert await real.driver.in_flight(real.service(), BLUE) == 0


async def test_large_and_odd_requests_pass(real: RealHarness) -> None:
    await real.serve(1, real.table(BLUE))
    for request in (
        Request(host=HOST, path="/?" + "x" * 1900),
        Request(host=HOST, headers={"cookie": "c=" + "x" * 9000}),
        Request(host=HOST, headers={"x_api_key": "1"}),
        Request(host=HOST.upper()),
        Request(host=f"{HOST}."),
        Request(host=HOST, path="/a/../b"),
    ):
        assert marks(await real.driver.ask(request)) == (200, "1", "checkout", "blue"), request


async def test_unreachable_backend_is_a_marked_error(real: RealHarness) -> None:
    nowhere = RegionBackends(
        region=REGION,
        blue=Backends(addresses=("127.0.0.1:1",)),
        green=Backends(addresses=("127.0.0.1:2",)),
    )
    service = real.service(backends=(nowhere,))
    lenient = evolve(service, health=evolve(service.health, min_healthy_percent=0))
    await real.serve(1, make_table(lenient))
    assert marks(await real.get()) == (real.unreachable, "1", "checkout", "blue")
    await real.serve(2, make_table(evolve(lenient, weights=Weights(blue=1, green=99))))
    status, epoch, service_mark, colour = marks(await real.get())
    assert (status, epoch, service_mark) == (real.unreachable, "2", "checkout")
    assert colour in {"blue", "green"}


async def test_service_without_backends_here_is_a_marked_503(real: RealHarness) -> None:
    elsewhere = RegionBackends(region=Region("us-east-1"), blue=real.blue, green=real.green)
    absent = real.service(name="absent", hosts=("absent.example",), backends=(elsewhere,))
    await real.serve(1, make_table(real.service()))
    table = make_table(real.service(), absent)
    await real.driver.stage(Epoch(2), table, ())
    await real.driver.activate(active(2, table))
    assert marks(await real.get(host="absent.example")) == (503, "2", "absent", "blue")


async def test_host_with_a_port_belongs_to_its_service(real: RealHarness) -> None:
    await real.serve(1, real.table(BLUE))
    assert marks(await real.get(host=f"{HOST}:8080")) == (200, "1", "checkout", "blue")


async def test_backend_named_by_host_name_is_resolved(real: RealHarness) -> None:
    port = real.blue.addresses[0].rpartition(":")[2]
    by_name = Backends(addresses=(f"localhost:{port}",))
    entry = RegionBackends(region=REGION, blue=by_name, green=real.green)
    await real.serve(1, make_table(real.service(backends=(entry,))))
    assert marks(await real.get()) == (200, "1", "checkout", "blue")


async def test_state_folder_that_cannot_be_made_is_refused(real: RealHarness) -> None:
    below_a_file = real.driver_with(state_dir=real.files.pid / "state")
    with pytest.raises(Refused, match="cannot use the state folder") as refused:
        await below_a_file.start()
    assert refused.value.code is RefusalCode.DISK


async def test_state_folder_with_too_long_a_path_is_refused(real: RealHarness) -> None:
    deep = real.driver_with(state_dir=real.files.root / ("x" * 100))
    with pytest.raises(Refused, match="choose a shorter state folder"):
        await deep.start()


async def test_address_that_cannot_be_bound_is_refused_with_its_last_words(
    real: RealHarness,
) -> None:
    # TEST-NET-1: no address of any machine
    other = real.driver_with(state_dir=real.files.root / "other", listen="192.0.2.1:80")
    with pytest.raises(Refused, match=r"192\.0\.2\.1:80") as refused:
        await other.start()
    assert refused.value.code is RefusalCode.PROXY_DOWN


async def test_two_agents_starting_at_once_get_one_proxy(real: RealHarness) -> None:
    await real.driver.stop_proxy()
    drivers = [real.new_driver() for _ in range(3)]
    async with trio.open_nursery() as nursery:
        for driver in drivers:
            nursery.start_soon(driver.start)
    assert len({(await driver.status()).started_id for driver in drivers}) == 1
    for driver in drivers:
        await driver.aclose()


def agent_that_is_killed(real: RealHarness) -> str:
    driver, settings = type(real.driver), type(real.settings)
    return f"""
import sys
from pathlib import Path
import trio
from {driver.__module__} import {driver.__name__}
from {settings.__module__} import {settings.__name__}

async def main():
    settings = {settings.__name__}(
        region="eu-west-1", state_dir=Path("{real.files.root}"), listen="{real.settings.listen}"
    )
    status = await {driver.__name__}(settings).start()
    sys.stdout.write(status.started_id + "\\n")
    sys.stdout.flush()
    await trio.sleep_forever()

trio.run(main)
"""


async def test_proxy_survives_the_kill_of_its_agent_and_is_adopted(real: RealHarness) -> None:
    await real.serve(1, real.table(BLUE))
    await real.driver.stop_proxy()
    agent = await trio.lowlevel.open_process(
        [sys.executable, "-c", agent_that_is_killed(real)], stdout=subprocess.PIPE
    )
    assert agent.stdout is not None
    async with agent.stdout:
        started_id = (await agent.stdout.receive_some()).decode().strip()
    agent.kill()
    await agent.wait()
    assert marks(await real.get()) == (200, "1", "checkout", "blue")
    status = await real.driver.start()
    assert (status.started_id, status.serving.epoch) == (started_id, 1)


async def test_proxy_that_hangs_is_named_and_not_doubled(real: RealHarness) -> None:
    hasty = real.driver_with(start_timeout_s=0.3)
    real.signal_all(signal.SIGSTOP)
    try:
        with pytest.raises(Refused, match=f"process {real.pid}.* is not ready") as refused:
            await hasty.start()
        assert refused.value.code is RefusalCode.PROXY_DOWN
    finally:
        real.signal_all(signal.SIGCONT)
    assert (await hasty.start()).running
    await hasty.aclose()


async def test_changed_settings_wait_for_the_next_start_of_the_proxy(real: RealHarness) -> None:
    await real.driver.aclose()
    slower = real.driver_with(stream_idle_timeout_s=60.0)
    real.driver = slower
    assert (await slower.start()).restart_needed
    real.kill_proxy()
    await slower.wait_stopped()
    assert not (await slower.start()).restart_needed


async def test_proxy_has_its_own_session_and_private_sockets(real: RealHarness) -> None:
    assert os.getsid(real.pid) == real.pid
    for path in (real.files.admin_socket, real.files.staging_socket):
        assert path.stat().st_mode & 0o777 == 0o600
    process = await find(real.files)
    assert process is not None
    assert process.pid == real.pid
    process.release()


async def test_slow_request_finishes_at_the_source_across_the_flip(real: RealHarness) -> None:
    await real.serve(1, real.table(BLUE))
    await real.hold_request(BLUE, seconds=0.5)
    await real.serve(2, real.table(GREEN))
    assert await real.driver.in_flight(real.service(), BLUE) == 1

    async def drained() -> bool:
        return await real.driver.in_flight(real.service(), BLUE) == 0

    await until(drained)
    answer = real.held[0]
    assert isinstance(answer, Answer)
    assert (answer.status, answer.headers["x-turnout-colour"]) == (200, "blue")


async def test_two_hundred_slow_requests_finish_and_are_counted_down(real: RealHarness) -> None:
    await real.serve(1, real.table(BLUE))
    for _ in range(200):
        real.nursery.start_soon(real.hold, 2.0)

    async def all_there() -> bool:
        return await real.driver.in_flight(real.service(), BLUE) == 200

    await until(all_there)
    await real.serve(2, real.table(GREEN))
    counts = [200]

    async def drained() -> bool:
        counts.append(await real.driver.in_flight(real.service(), BLUE))
        return counts[-1] == 0

    await until(drained)
    assert counts == sorted(counts, reverse=True)
    await until(lambda: have_ended(real, 200))
    assert {answered_by(one) for one in real.held} == {(200, "blue")}


async def have_ended(real: RealHarness, number: int) -> bool:
    return len(real.held) == number


def answered_by(answer: Answer | AskError) -> tuple[int, str]:
    assert isinstance(answer, Answer), answer
    return answer.status, answer.headers["x-turnout-colour"]


async def test_close_cuts_what_is_left_and_says_how_many(real: RealHarness) -> None:
    await real.serve(1, real.table(BLUE))
    for seconds in (0.5, 300, 0.5, 300, 300):
        await real.hold_request(BLUE, seconds)
    await real.serve(2, real.table(GREEN))
    await real.hold_request(GREEN, 1.5)
    await until(lambda: have_ended(real, 2))
    assert await real.driver.close(real.service(), BLUE) == 3
    await until(lambda: have_ended(real, 6))
    finished = [one for one in real.held if isinstance(one, Answer) and one.status == 200]
    assert sorted(map(answered_by, finished)) == [(200, "blue"), (200, "blue"), (200, "green")]
    assert await real.driver.close(real.service(), BLUE) == 0


async def test_rollback_in_the_middle_of_a_drain_loses_nothing(real: RealHarness) -> None:
    await real.serve(1, real.table(BLUE))
    for epoch, colour in ((2, GREEN), (3, BLUE), (4, GREEN)):
        for _ in range(10):
            await real.hold_request(colour.other, 1.0)
        await real.serve(epoch, real.table(colour))
    await until(lambda: have_ended(real, 30))
    assert {answered_by(one) for one in real.held} == {(200, "blue"), (200, "green")}


async def test_upgraded_stream_counts_as_in_flight_until_it_ends(
    real: RealHarness, nursery: trio.Nursery
) -> None:
    async def switch_protocols(stream: trio.SocketStream) -> None:
        while not (await stream.receive_some()).endswith(b"\r\n\r\n"):
            pass
        await stream.send_all(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"  # RFC 6455 section 1.3
        )
        while await stream.receive_some():
            pass

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, switch_protocols, listeners)
    port = listeners[0].socket.getsockname()[1]
    sockets = Backends(addresses=(f"127.0.0.1:{port}",))
    entry = RegionBackends(region=REGION, blue=sockets, green=real.green)
    table = make_table(real.service(backends=(entry,)))
    await real.driver.stage(Epoch(1), table, ())
    await real.driver.activate(active(1, table))
    client = await connect(real.settings.asked_at)
    async with client:
        await client.send_all(
            b"GET / HTTP/1.1\r\nhost: checkout.example\r\nconnection: upgrade\r\n"
            b"upgrade: websocket\r\nsec-websocket-version: 13\r\n"
            b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert b" 101 " in await client.receive_some()
        assert await real.driver.in_flight(table.services[0], BLUE) == 1

    async def ended() -> bool:
        return await real.driver.in_flight(table.services[0], BLUE) == 0

    await until(ended)


class Load:
    """Clients that never pause; remembers what each request was answered, and when it was sent."""

    def __init__(self, real: RealHarness) -> None:
        self._real = real
        self.answered = 0
        self.failed: list[str] = []
        self.misrouted: list[str] = []
        self._newest = 0
        self._newest_since = 0.0

    def note(self, sent_at: float, status: int, epoch: int, colour: str, body: str) -> None:
        self.answered += 1
        expected = "blue" if epoch % 2 else "green"
        if status != 200:
            self.failed.append(f"status {status} at epoch {epoch}")
        if colour != expected or not body.startswith(expected):
            self.misrouted.append(f"epoch {epoch} answered by {colour}, {body}")
        if sent_at > self._newest_since and epoch < self._newest:
            self.misrouted.append(f"epoch {epoch} for a request sent after {self._newest} was seen")
        if epoch > self._newest:
            self._newest, self._newest_since = epoch, trio.current_time()

    async def on_new_connections(self) -> None:
        while True:
            sent_at = trio.current_time()
            answer = await self._real.get()
            headers = answer.headers
            epoch, colour = int(headers["x-turnout-epoch"]), headers["x-turnout-colour"]
            self.note(sent_at, answer.status, epoch, colour, answer.body.decode())

    async def on_one_connection(self) -> None:
        stream = await connect(self._real.settings.asked_at)
        async with stream:
            while True:
                sent_at = trio.current_time()
                await stream.send_all(b"GET / HTTP/1.1\r\nhost: checkout.example\r\n\r\n")
                raw = b""
                while b"\r\n\r\n" not in raw or not raw.endswith(b"\n"):
                    piece = await stream.receive_some()
                    if not piece:
                        self.failed.append("connection closed")
                        return
                    raw += piece
                head, _, body = raw.decode().partition("\r\n\r\n")
                lines = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
                status = int(head.split(" ")[1])
                epoch, colour = int(lines["x-turnout-epoch"]), lines["x-turnout-colour"]
                self.note(sent_at, status, epoch, colour, body)


async def test_twenty_flips_under_load_lose_and_misroute_nothing(real: RealHarness) -> None:
    await real.serve(1, real.table(BLUE))
    load = Load(real)
    served = []
    async with trio.open_nursery() as clients:
        for _ in range(4):
            clients.start_soon(load.on_one_connection)
            clients.start_soon(load.on_new_connections)
        for epoch in range(2, 22):
            target, source = (BLUE, GREEN) if epoch % 2 else (GREEN, BLUE)
            table = real.table(target)
            await real.serve(epoch, table)
            abandoned = [(real.service(), source)]
            await prove(real.driver, Epoch(epoch), table, table.services, abandoned)
            served.append((await real.driver.status()).serving.epoch)
        clients.cancel_scope.cancel()
    assert load.failed == []
    assert load.misrouted == []
    assert served == list(range(2, 22))
    assert load.answered > 20 * 8


async def test_users_notice_nothing_of_what_an_agent_goes_through(real: RealHarness) -> None:
    await real.serve(1, real.table(BLUE))
    load = Load(real)
    green = real.table(GREEN)
    async with trio.open_nursery() as clients:
        for _ in range(3):
            clients.start_soon(load.on_one_connection)
            clients.start_soon(load.on_new_connections)
        await real.restart_driver()
        aside = real.files.admin_socket.rename(real.files.root / "aside.sock")
        with pytest.raises(Refused) as gone:
            await real.stage(2, green)
        aside.rename(real.files.admin_socket)
        with no_file_longer_than(1), pytest.raises(Refused) as full:
            await real.stage(2, green)
        await real.break_backend(GREEN)
        with pytest.raises(Refused) as refused:
            await real.stage(2, green)
        real.backends[GREEN].healthy = True
        await real.serve(2, green)
        clients.cancel_scope.cancel()
    codes = [one.value.code for one in (gone, full, refused)]
    assert codes == [RefusalCode.PROXY_DOWN, RefusalCode.DISK, RefusalCode.PROBE]
    assert (load.failed, load.misrouted) == ([], [])


@pytest.mark.parametrize("after_ms", [0, 1, 2, 4, 8])
async def test_s5_proxy_killed_in_the_middle_of_a_flip_serves_what_it_was_told(
    real: RealHarness, after_ms: int
) -> None:
    await real.serve(1, real.table(BLUE))
    await real.stage(2, real.table(GREEN))
    refusals: list[Refused] = []

    async def flip() -> None:
        try:
            await real.driver.activate(active(2, real.table(GREEN)))
        except Refused as refusal:
            refusals.append(refusal)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flip)
        await trio.sleep(after_ms / 1000)
        real.kill_proxy()
    await real.driver.wait_stopped()
    serving = (await real.driver.start()).serving
    assert serving.epoch in {1, 2}
    assert refusals or serving.epoch == 2
    if serving.epoch == 1:
        await real.stage(2, real.table(GREEN))
    evidence = await real.driver.activate(active(2, real.table(GREEN)))
    assert evidence.serving == active(2, real.table(GREEN))
    assert marks(await real.get()) == (200, "2", "checkout", "green")


async def test_proxy_killed_between_flips_never_serves_a_lower_epoch(real: RealHarness) -> None:
    await real.serve(1, real.table(BLUE))
    await real.serve(2, real.table(GREEN))
    await real.driver.stage(Epoch(3), real.table(BLUE), real.table(BLUE).services)
    seen = []
    for _ in range(2):
        real.kill_proxy()
        await real.driver.wait_stopped()
        seen.append((await real.driver.start()).serving.epoch)
        answer = await real.driver.ask(Request(host=HOST))
        seen.append(Epoch(int(answer.headers["x-turnout-epoch"])))
    assert seen == [2, 2, 2, 2]
