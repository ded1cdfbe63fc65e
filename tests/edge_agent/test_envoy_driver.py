"""What only a real Envoy can show: marks, refusals in its words, files, and what it survives."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from attrs import evolve

from edge_agent.drivers.base import RefusalCode, Refused
from edge_agent.drivers.envoy.driver import EnvoyDriver
from edge_agent.drivers.envoy.settings import find_binary
from edge_agent.drivers.proxy_process import find
from edge_agent.probe import prove
from edge_agent.request import Answer, AskError, Request, connect
from tests.edge_agent.proxy_harness import (
    BLUE,
    GREEN,
    HOST,
    REGION,
    EnvoyHarness,
    active,
    make_table,
    until,
)
from turnout.protocol.identifiers import Epoch, Region
from turnout.protocol.routing import Backends, RegionBackends, Weights


def marks(answer: Answer) -> tuple[int, str | None, str | None, str | None]:
    return (
        answer.status,
        answer.headers.get("x-turnout-epoch"),
        answer.headers.get("x-turnout-service"),
        answer.headers.get("x-turnout-colour"),
    )


# -------------------------------------------------------------------------------------- answers


async def test_backend_cannot_forge_marks(envoy: EnvoyHarness) -> None:
    await envoy.serve(1, envoy.table(BLUE))
    answer = await envoy.get("/forge")
    assert answer.body == b"forged\n"
    assert marks(answer) == (200, "1", "checkout", "blue")


async def test_unreachable_backend_is_a_marked_503(envoy: EnvoyHarness) -> None:
    nowhere = RegionBackends(
        region=REGION,
        blue=Backends(addresses=("127.0.0.1:1",)),
        green=Backends(addresses=("127.0.0.1:2",)),
    )
    service = envoy.service(backends=(nowhere,))
    lenient = evolve(service, health=evolve(service.health, min_healthy_percent=0))
    await envoy.serve(1, make_table(lenient))
    assert marks(await envoy.get()) == (503, "1", "checkout", "blue")
    await envoy.serve(2, make_table(evolve(lenient, weights=Weights(blue=1, green=99))))
    status, epoch, service_mark, colour = marks(await envoy.get())
    assert (status, epoch, service_mark) == (503, "2", "checkout")
    assert colour in {"blue", "green"}


async def test_service_without_backends_here_is_a_marked_503(envoy: EnvoyHarness) -> None:
    elsewhere = RegionBackends(region=Region("us-east-1"), blue=envoy.blue, green=envoy.green)
    absent = envoy.service(name="absent", hosts=("absent.example",), backends=(elsewhere,))
    await envoy.serve(1, make_table(envoy.service()))
    table = make_table(envoy.service(), absent)
    await envoy.driver.stage(Epoch(2), table, ())
    await envoy.driver.activate(active(2, table))
    assert marks(await envoy.get(host="absent.example")) == (503, "2", "absent", "blue")


async def test_host_with_a_port_belongs_to_its_service(envoy: EnvoyHarness) -> None:
    await envoy.serve(1, envoy.table(BLUE))
    assert marks(await envoy.get(host=f"{HOST}:8080")) == (200, "1", "checkout", "blue")


async def test_backend_named_by_host_name_is_resolved(envoy: EnvoyHarness) -> None:
    port = envoy.blue.addresses[0].rpartition(":")[2]
    by_name = Backends(addresses=(f"localhost:{port}",))
    entry = RegionBackends(region=REGION, blue=by_name, green=envoy.green)
    await envoy.serve(1, make_table(envoy.service(backends=(entry,))))
    assert marks(await envoy.get()) == (200, "1", "checkout", "blue")


# ------------------------------------------------------------------------------------- refusals


async def test_unknown_cluster_is_refused_in_envoys_words(envoy: EnvoyHarness) -> None:
    first = envoy.table(BLUE)
    await envoy.serve(1, first)
    named = RegionBackends(region=REGION, blue=Backends(cluster="nowhere"), green=envoy.green)
    table = make_table(envoy.service(backends=(named,)))
    with pytest.raises(Refused, match="unknown cluster 'nowhere'") as refused:
        await envoy.driver.stage(Epoch(2), table, table.services)
    assert refused.value.code is RefusalCode.REJECTED
    assert marks(await envoy.get(staged=True)) == (200, "1", "checkout", "blue")
    assert (await envoy.driver.status()).serving == active(1, first)
    await envoy.serve(3, envoy.table(GREEN))


async def test_routes_rejected_at_the_flip_are_taken_back(envoy: EnvoyHarness) -> None:
    blue, green = envoy.table(BLUE), envoy.table(GREEN)
    await envoy.serve(1, blue)
    await envoy.driver.stage(Epoch(2), green, green.services)
    broken = json.loads(envoy.files.ready.read_bytes())
    broken["resources"][0]["virtual_hosts"][0]["domains"] = []
    envoy.files.ready.write_text(json.dumps(broken))
    with pytest.raises(Refused) as refused:
        await envoy.driver.activate(active(2, green))
    assert refused.value.code is RefusalCode.REJECTED
    assert (await envoy.driver.status()).serving.epoch == 1
    envoy.kill_proxy()
    await envoy.driver.wait_stopped()
    assert (await envoy.driver.start()).serving.epoch == 1
    await envoy.serve(2, green)
    assert (await envoy.driver.status()).serving.epoch == 2


async def test_full_disk_at_a_flip_into_another_incarnation_changes_nothing(
    envoy: EnvoyHarness,
) -> None:
    blue, green = envoy.table(BLUE), envoy.table(GREEN)
    await envoy.serve(5, blue)
    await envoy.stage(1, green)
    with no_file_longer_than(100), pytest.raises(Refused, match="cannot write") as refused:
        await envoy.driver.activate(active(1, green, incarnation=2))
    assert refused.value.code is RefusalCode.DISK
    assert (await envoy.driver.status()).serving == active(5, blue)
    await envoy.driver.activate(active(1, green, incarnation=2))
    assert (await envoy.driver.status()).serving == active(1, green, incarnation=2)


async def test_flip_within_an_incarnation_writes_no_routes(envoy: EnvoyHarness) -> None:
    await envoy.serve(1, envoy.table(BLUE))
    await envoy.stage(2, envoy.table(GREEN))
    laid = envoy.files.ready.stat().st_ino
    await envoy.driver.activate(active(2, envoy.table(GREEN)))
    assert envoy.files.live.stat().st_ino == laid


@contextmanager
def no_file_longer_than(limit_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_disk_that_takes_no_more_refuses_and_changes_nothing(envoy: EnvoyHarness) -> None:
    blue, green = envoy.table(BLUE), envoy.table(GREEN)
    await envoy.serve(1, blue)
    before = {path: path.read_bytes() for path in envoy.files.root.rglob("*.json")}
    with no_file_longer_than(100), pytest.raises(Refused, match="cannot write") as refused:
        await envoy.driver.stage(Epoch(2), green, green.services)
    assert refused.value.code is RefusalCode.DISK
    after = {path: path.read_bytes() for path in envoy.files.root.rglob("*.json")}
    assert after == before
    await envoy.serve(2, green)


async def test_state_folder_that_cannot_be_made_is_refused(envoy: EnvoyHarness) -> None:
    below_a_file = evolve(envoy.settings, state_dir=envoy.files.pid / "state")
    with pytest.raises(Refused, match="cannot use the state folder") as refused:
        await EnvoyDriver(below_a_file).start()
    assert refused.value.code is RefusalCode.DISK


async def test_state_folder_with_too_long_a_path_is_refused(envoy: EnvoyHarness) -> None:
    deep = evolve(envoy.settings, state_dir=envoy.files.root / ("x" * 100))
    with pytest.raises(Refused, match="choose a shorter state folder"):
        await EnvoyDriver(deep).start()


async def test_routes_file_changed_by_somebody_is_refused_with_what_to_do(
    envoy: EnvoyHarness,
) -> None:
    await envoy.serve(1, envoy.table(BLUE))
    envoy.files.live.write_text("{}")
    with pytest.raises(Refused, match="is not as Turnout wrote it"):
        await envoy.driver.start()


async def test_address_that_cannot_be_bound_is_refused_with_envoys_last_words(
    envoy: EnvoyHarness,
) -> None:
    other = evolve(
        envoy.settings, state_dir=envoy.files.root / "other", listen="192.0.2.1:80"
    )  # TEST-NET-1: no address of any machine
    with pytest.raises(Refused, match=r"192\.0\.2\.1:80") as refused:
        await EnvoyDriver(other).start()
    assert refused.value.code is RefusalCode.PROXY_DOWN


def test_missing_binary_says_what_to_do() -> None:
    with pytest.raises(Refused, match="no Envoy executable at '/nowhere/envoy'"):
        find_binary(Path("/nowhere/envoy"))


# ---------------------------------------------------------------------------------- the process


async def test_two_agents_starting_at_once_get_one_envoy(envoy: EnvoyHarness) -> None:
    await envoy.driver.stop_proxy()
    drivers = [envoy.new_driver() for _ in range(3)]
    async with trio.open_nursery() as nursery:
        for driver in drivers:
            nursery.start_soon(driver.start)
    assert len({(await driver.status()).started_id for driver in drivers}) == 1
    for driver in drivers:
        await driver.aclose()


_AGENT_THAT_IS_KILLED = """
import sys
from pathlib import Path
import trio
from edge_agent.drivers.envoy.driver import EnvoyDriver
from edge_agent.drivers.envoy.settings import EnvoySettings

async def main():
    settings = EnvoySettings(region="eu-west-1", state_dir=Path(sys.argv[1]), listen=sys.argv[2])
    status = await EnvoyDriver(settings).start()
    sys.stdout.write(status.started_id + "\\n")
    sys.stdout.flush()
    await trio.sleep_forever()

trio.run(main)
"""


async def test_envoy_survives_the_kill_of_its_agent_and_is_adopted(envoy: EnvoyHarness) -> None:
    await envoy.serve(1, envoy.table(BLUE))
    await envoy.driver.stop_proxy()
    arguments = [str(envoy.files.root), envoy.settings.listen]
    agent = await trio.lowlevel.open_process(
        [sys.executable, "-c", _AGENT_THAT_IS_KILLED, *arguments], stdout=subprocess.PIPE
    )
    assert agent.stdout is not None
    async with agent.stdout:
        started_id = (await agent.stdout.receive_some()).decode().strip()
    agent.kill()
    await agent.wait()
    assert marks(await envoy.get()) == (200, "1", "checkout", "blue")
    status = await envoy.driver.start()
    assert (status.started_id, status.serving.epoch) == (started_id, 1)


async def test_envoy_started_by_somebody_else_serves_and_is_adopted(envoy: EnvoyHarness) -> None:
    table = envoy.table(GREEN)
    await envoy.serve(4, table)
    await envoy.driver.stop_proxy()
    binary, config = str(find_binary(None)), str(envoy.files.bootstrap)
    command = [binary, "--config-path", config, "--disable-hot-restart"]
    process = await trio.lowlevel.open_process(command, stderr=subprocess.DEVNULL)

    async def serves() -> bool:
        try:
            return marks(await envoy.get()) == (200, "4", "checkout", "green")
        except AskError:
            return False

    try:
        await until(serves)
        status = await envoy.driver.start()
        assert status.serving == active(4, table)
        assert envoy.pid == process.pid
    finally:
        process.kill()
        await process.wait()


async def test_envoy_that_hangs_is_named_and_not_doubled(envoy: EnvoyHarness) -> None:
    hasty = EnvoyDriver(evolve(envoy.settings, start_timeout_s=0.3))
    os.kill(envoy.pid, signal.SIGSTOP)
    try:
        with pytest.raises(Refused, match=f"process {envoy.pid}.* is not ready") as refused:
            await hasty.start()
        assert refused.value.code is RefusalCode.PROXY_DOWN
    finally:
        os.kill(envoy.pid, signal.SIGCONT)
    assert (await hasty.start()).running
    await hasty.aclose()


async def test_changed_settings_wait_for_the_next_start_of_envoy(envoy: EnvoyHarness) -> None:
    await envoy.driver.aclose()
    slower = EnvoyDriver(evolve(envoy.settings, stream_idle_timeout_s=60.0))
    envoy.driver = slower
    assert (await slower.start()).restart_needed
    envoy.kill_proxy()
    await slower.wait_stopped()
    assert not (await slower.start()).restart_needed


async def test_envoy_has_its_own_session_and_private_sockets(envoy: EnvoyHarness) -> None:
    assert os.getsid(envoy.pid) == envoy.pid
    for path in (envoy.files.admin_socket, envoy.files.staging_socket):
        assert path.stat().st_mode & 0o777 == 0o600
    process = await find(envoy.files)
    assert process is not None
    assert process.pid == envoy.pid
    process.release()


# ----------------------------------------------------------------------------- drains, clusters


async def test_slow_request_finishes_at_the_source_across_the_flip(envoy: EnvoyHarness) -> None:
    await envoy.serve(1, envoy.table(BLUE))
    await envoy.hold_request(BLUE, seconds=0.5)
    await envoy.serve(2, envoy.table(GREEN))
    assert await envoy.driver.in_flight(envoy.service(), BLUE) == 1

    async def drained() -> bool:
        return await envoy.driver.in_flight(envoy.service(), BLUE) == 0

    await until(drained)
    answer = envoy.held[0]
    assert isinstance(answer, Answer)
    assert (answer.status, answer.headers["x-turnout-colour"]) == (200, "blue")


async def test_upgraded_stream_counts_as_in_flight_until_it_ends(
    envoy: EnvoyHarness, nursery: trio.Nursery
) -> None:
    async def switch_protocols(stream: trio.SocketStream) -> None:
        while not (await stream.receive_some()).endswith(b"\r\n\r\n"):
            pass
        await stream.send_all(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
        )
        while await stream.receive_some():
            pass

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, switch_protocols, listeners)
    port = listeners[0].socket.getsockname()[1]
    sockets = Backends(addresses=(f"127.0.0.1:{port}",))
    entry = RegionBackends(region=REGION, blue=sockets, green=envoy.green)
    table = make_table(envoy.service(backends=(entry,)))
    await envoy.driver.stage(Epoch(1), table, ())
    await envoy.driver.activate(active(1, table))
    client = await connect(envoy.settings.asked_at)
    async with client:
        await client.send_all(
            b"GET / HTTP/1.1\r\nhost: checkout.example\r\nconnection: upgrade\r\n"
            b"upgrade: websocket\r\n\r\n"
        )
        assert b" 101 " in await client.receive_some()
        assert await envoy.driver.in_flight(table.services[0], BLUE) == 1

    async def ended() -> bool:
        return await envoy.driver.in_flight(table.services[0], BLUE) == 0

    await until(ended)


async def test_replaced_addresses_stay_until_their_requests_end(envoy: EnvoyHarness) -> None:
    def clusters() -> list[str]:
        listing = json.loads(envoy.files.clusters.read_bytes())
        return [resource["name"] for resource in listing["resources"]]

    await envoy.serve(1, envoy.table(BLUE))
    (old_blue,) = [name for name in clusters() if "/blue/" in name]
    await envoy.hold_request(BLUE, seconds=1.0)
    swapped = RegionBackends(region=REGION, blue=envoy.green, green=envoy.blue)
    table = envoy.table(BLUE, backends=(swapped,))
    await envoy.serve(2, table)
    await envoy.serve(3, table)
    assert old_blue in clusters()

    async def ended() -> bool:
        return bool(envoy.held)

    await until(ended)
    assert isinstance(envoy.held[0], Answer)
    await envoy.serve(4, table)
    assert old_blue not in clusters()


async def test_close_spares_addresses_that_another_service_uses(envoy: EnvoyHarness) -> None:
    neighbour = envoy.service(name="neighbour", hosts=("neighbour.example",))
    await envoy.serve(1, make_table(envoy.service(weights=Weights.all_to(GREEN)), neighbour))
    with pytest.raises(Refused, match=envoy.blue.addresses[0]) as refused:
        await envoy.driver.close(envoy.service(), BLUE)
    assert refused.value.code is RefusalCode.IN_USE


# --------------------------------------------------------------------------------- under load


class Load:
    """Clients that never pause; remembers what each request was answered, and when it was sent."""

    def __init__(self, envoy: EnvoyHarness) -> None:
        self._envoy = envoy
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
            answer = await self._envoy.get()
            headers = answer.headers
            epoch, colour = int(headers["x-turnout-epoch"]), headers["x-turnout-colour"]
            self.note(sent_at, answer.status, epoch, colour, answer.body.decode())

    async def on_one_connection(self) -> None:
        stream = await connect(self._envoy.settings.asked_at)
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


async def test_twenty_flips_under_load_lose_and_misroute_nothing(envoy: EnvoyHarness) -> None:
    await envoy.serve(1, envoy.table(BLUE))
    load = Load(envoy)
    served = []
    async with trio.open_nursery() as clients:
        for _ in range(4):
            clients.start_soon(load.on_one_connection)
            clients.start_soon(load.on_new_connections)
        for epoch in range(2, 22):
            target, source = (BLUE, GREEN) if epoch % 2 else (GREEN, BLUE)
            table = envoy.table(target)
            await envoy.serve(epoch, table)
            abandoned = [(envoy.service(), source)]
            await prove(envoy.driver, Epoch(epoch), table, table.services, abandoned)
            served.append((await envoy.driver.status()).serving.epoch)
        clients.cancel_scope.cancel()
    assert load.failed == []
    assert load.misrouted == []
    assert served == list(range(2, 22))
    assert load.answered > 20 * 8


async def test_envoy_killed_between_flips_never_serves_a_lower_epoch(envoy: EnvoyHarness) -> None:
    await envoy.serve(1, envoy.table(BLUE))
    await envoy.serve(2, envoy.table(GREEN))
    await envoy.driver.stage(Epoch(3), envoy.table(BLUE), envoy.table(BLUE).services)
    seen = []
    for _ in range(2):
        envoy.kill_proxy()
        await envoy.driver.wait_stopped()
        seen.append((await envoy.driver.start()).serving.epoch)
        answer = await envoy.driver.ask(Request(host=HOST))
        seen.append(Epoch(int(answer.headers["x-turnout-epoch"])))
    assert seen == [2, 2, 2, 2]
