from __future__ import annotations

from statistics import median

import pytest

from simulator.clocks import NodeClock
from simulator.matrices import load, parse
from simulator.network import Connection, Network
from simulator.network_knobs import QUIET, NetworkKnobs
from simulator.paths import jitter_table
from simulator.process import NodeName, Process
from simulator.randomness import Randomness
from tests.simulator.network_world import MINUTE, World
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.identifiers import Region

# --------------------------------------------------------------------------------- a fine network


def test_message_takes_half_a_round_trip() -> None:
    world = World()
    world.connect().send(world.agent, world.note("got"))
    assert world.told() == [(150.0, "got")]


def test_message_takes_half_of_its_own_direction_where_they_differ() -> None:
    world = World(matrix=parse("from,to,rtt_ms\neast,west,80\nwest,east,120\n", "map"))
    connection = world.connect()
    connection.send(world.agent, world.note("there"))
    connection.send(world.server, world.note("back"))
    assert world.told() == [(140.0, "there"), (160.0, "back")]


@pytest.mark.parametrize("round_trips", [1, 2, 3])
def test_connection_opens_after_its_round_trips(round_trips: int) -> None:
    world = World()
    connection = world.dial(round_trips=round_trips)
    assert not connection.is_open(world.agent)
    assert world.told(after_ms=1000) == [(100.0 * round_trips, "opened")]
    assert connection.is_open(world.agent)
    assert connection.is_open(world.server)


def test_messages_of_one_way_keep_their_order_whatever_the_jitter() -> None:
    world = World(NetworkKnobs(jitter_median_share=0.05, jitter_p99_ns=SECOND))
    connection = world.dial()
    world.run(MINUTE)
    for number in range(200):
        world.run(MINUTE + number * MS)
        connection.send(world.agent, world.note(str(number)))
    told = world.told()[1:]
    assert [int(what) for _, what in told] == list(range(200))
    assert len({ms for ms, _ in told}) < 200  # some caught up with those before them, and waited


def test_jitter_has_the_median_and_the_99th_percentile_asked_for() -> None:
    table = jitter_table(200 * MS, 0.002, 8 * MS)
    assert median(table) == pytest.approx(0.4 * MS, rel=0.02)
    assert table[int(len(table) * 0.99)] == pytest.approx(8 * MS, rel=0.1)


def test_jitter_within_a_region_stays_small() -> None:
    table = jitter_table(1 * MS, 0.002, 8 * MS)
    assert table[int(len(table) * 0.99)] <= 2.2 * MS


def test_quiet_network_delays_a_message_by_little_more_than_half_the_round_trip() -> None:
    matrix = load("aws-19")
    one, other = Region("us-east-1"), Region("ap-southeast-1")
    world = World(QUIET, matrix=parse("from,to,rtt_ms\neast,west,1\nwest,east,1\n", "map"))
    network = Network(world.agenda, Randomness(3), matrix)
    here = Process(NodeName("here"), one, NodeClock(), world.agenda)
    there = Process(NodeName("there"), other, NodeClock(), world.agenda)
    network.join(here)
    network.join(there)
    opened: list[Connection] = []
    network.dial(here, there, round_trips=1, opened=opened.append, ended=world.note("ended"))
    world.run(SECOND)
    took_ms: list[float] = []
    for second in range(1, 400):
        world.run(second * SECOND)
        opened[0].send(here, world.clocked(took_ms))
    least_ms = matrix.round_trip_ns(one, other) / 2 / MS
    assert min(took_ms) > least_ms
    assert median(took_ms) == pytest.approx(least_ms * 1.004, abs=0.2)
    assert max(took_ms) < least_ms + 30


def test_spikes_delay_a_few_messages_by_hundreds_of_milliseconds() -> None:
    world = World(NetworkKnobs(jitter_median_share=0.0, spikes=True, spike_share=0.1))
    took: list[float] = []
    connection = world.dial()
    world.run(10 * SECOND)
    for second in range(10, 210):
        world.run(second * SECOND)
        connection.send(world.agent, world.clocked(took))
    world.run(300 * SECOND)
    late = [ms for ms in took if ms > 50.0]
    assert 5 <= len(late) <= 40
    assert 150.0 <= min(late) < max(late) <= 950.0


def test_same_seed_gives_the_same_network_and_another_one_another() -> None:
    def story(seed: int) -> list[tuple[float, str]]:
        world = World(NetworkKnobs(loss=0.1, spikes=True), seed=seed)
        connection = world.dial(round_trips=2)
        world.run(MINUTE)
        for _ in range(50):
            connection.send(world.agent, world.note("got"))
        return world.told()

    assert story(1) == story(1)
    assert story(1) != story(2)


# ------------------------------------------------------------------------------------ both ends


def test_close_lets_what_was_sent_before_arrive_and_then_says_why() -> None:
    world = World()
    connection = world.connect()
    connection.send(world.agent, world.note("got"))
    connection.close(world.agent, "enough")
    connection.send(world.agent, world.note("never"))
    connection.send(world.server, world.note("never"))
    assert world.told() == [(150.0, "got"), (150.0, "server hears enough")]
    assert not connection.is_open(world.agent)
    assert not connection.is_open(world.server)


def test_close_is_heard_once_and_by_the_other_end_only() -> None:
    world = World()
    connection = world.connect()
    connection.close(world.agent, "enough")
    connection.close(world.agent, "again")
    world.run(SECOND)
    connection.close(world.server, "too")
    assert world.told() == [(150.0, "server hears enough")]


def test_close_of_both_ends_at_once_is_heard_by_neither() -> None:
    world = World()
    connection = world.connect()
    connection.close(world.agent)
    connection.close(world.server)
    assert world.told() == []


def test_dialler_that_gives_up_before_it_is_connected_leaves_nothing_behind() -> None:
    world = World()
    connection = world.dial(round_trips=3)
    world.run(220 * MS)
    connection.close(world.agent)
    assert world.told() == []
    assert not connection.is_open(world.server)


def test_nobody_listens_where_the_process_is_dead() -> None:
    world = World()
    world.server.kill()
    world.dial(round_trips=2)
    assert world.told() == [(100.0, "agent hears connection refused")]


def test_death_resets_connections_after_what_is_under_way() -> None:
    world = World()
    connection = world.connect()
    connection.send(world.server, world.note("last words"))
    world.server.kill()
    assert world.told() == [(150.0, "last words"), (150.0, "agent hears connection reset")]
    assert not connection.is_open(world.agent)


def test_new_life_hears_nothing_of_what_was_meant_for_the_one_before() -> None:
    world = World()
    connection = world.connect()
    world.run(120 * MS)
    connection.send(world.agent, world.note("never"))
    world.server.kill()
    world.server.start()
    assert world.told() == [(170.0, "agent hears connection reset")]


def test_listener_that_dies_in_the_handshake_resets_it() -> None:
    world = World()
    world.dial(round_trips=3)
    world.run(160 * MS)
    world.server.kill()
    world.server.start()
    assert world.told() == [(210.0, "agent hears connection reset")]


def test_stopped_process_gets_what_came_meanwhile_in_order_until_it_closes() -> None:
    world = World()
    connection = world.connect()
    world.server.stop()
    connection.send(world.agent, world.note("first"))
    connection.send(world.agent, lambda: connection.close(world.server, "enough"))
    connection.send(world.agent, world.note("never"))
    connection.close(world.agent, "never heard")
    world.run(SECOND)
    assert world.diary == []
    world.server.go_on()
    assert world.told() == [(1000.0, "first")]


def test_what_was_closed_arrives_though_the_closer_dies_after_it() -> None:
    world = World()
    connection = world.connect()
    heal = world.network.clog([world.agent.name], [world.server.name])
    connection.close(world.agent, "enough")
    world.agent.kill()
    heal()
    assert world.told() == [(150.0, "server hears enough")]


def test_listener_that_started_again_before_it_was_reached_is_reached() -> None:
    world = World()
    connection = world.dial()
    world.run(20 * MS)
    world.server.kill()
    world.server.start()
    world.run(100 * MS)
    connection.send(world.agent, world.note("got"))
    assert world.told() == [(100.0, "opened"), (150.0, "got")]


def test_dialler_that_gave_up_while_it_was_stopped_does_not_open() -> None:
    world = World()
    connection = world.dial()
    world.agent.stop()
    world.agent.deliver(lambda: connection.close(world.agent), world.agent.life)
    world.run(SECOND)
    world.agent.go_on()
    assert world.told() == []
    assert not connection.is_open(world.agent)


def test_reset_that_overtakes_the_first_packet_ends_the_handshake() -> None:
    world = World()
    heal = world.network.slow([world.agent.name], [world.server.name], add_ns=SECOND)
    connection = world.dial()
    heal()
    connection.close(world.agent)
    assert world.told() == []
    assert not connection.is_open(world.server)


def test_stopped_listener_is_reached_but_does_not_shake_hands() -> None:
    world = World()
    world.server.stop()
    world.dial(round_trips=1)
    world.dial(round_trips=2)
    world.run(SECOND)
    assert world.diary == [(100.0, "opened")]
    world.server.go_on()
    assert world.told()[1:] == [(1050.0, "opened")]


# ------------------------------------------------------------------------------------ admission


def test_admission_takes_a_burst_and_then_one_after_another() -> None:
    world = World()
    world.network.admit(world.server, 200, burst=3)
    for _ in range(6):
        world.dial(round_trips=2)
    assert [ms for ms, _ in world.told()] == [200.0, 200.0, 200.0, 200.0, 205.0, 210.0]


def test_admission_of_a_herd_takes_as_long_as_the_limit_says() -> None:
    world = World()
    world.network.admit(world.server, 200)
    for _ in range(1000):
        world.dial(round_trips=2)
    opened = [ms for ms, _ in world.told()]
    assert len(opened) == 1000
    assert opened[-1] - opened[0] == pytest.approx(1000 * 5, rel=0.02)


def test_admission_passes_over_whoever_gave_up_meanwhile() -> None:
    world = World()
    world.network.admit(world.server, 1, burst=0)
    world.dial(round_trips=2)
    connection = world.dial(round_trips=2)
    world.run(300 * MS)
    connection.close(world.agent)
    assert world.told() == [(200.0, "opened")]
    assert not connection.is_open(world.server)


def test_admission_forgets_its_queue_when_the_server_dies() -> None:
    world = World()
    world.network.admit(world.server, 10, burst=1)
    for _ in range(4):
        world.dial(round_trips=2)
    world.run(170 * MS)
    world.server.kill()
    assert world.told() == [
        *[(200.0, "opened")] * 2,
        *[(220.0, "agent hears connection reset")] * 4,
    ]


# ---------------------------------------------------------------------------------- repetitions


def test_repeatable_request_may_be_delivered_twice_also_to_a_later_life() -> None:
    world = World(NetworkKnobs(jitter_median_share=0.0, duplicate_share=1.0))
    connection = world.connect()
    connection.send(world.agent, world.note("once"))
    connection.send(world.agent, world.note("twice"), repeatable=True)
    world.run(150 * MS)
    world.server.kill()
    world.server.start()
    world.told(after_ms=100_000)
    assert [what for _, what in world.diary if "hears" not in what] == ["once", "twice", "twice"]


def test_repeatable_request_may_come_late_and_out_of_order() -> None:
    world = World(NetworkKnobs(jitter_median_share=0.0, straggler_share=1.0))
    connection = world.connect()
    for _ in range(100):
        connection.send(world.agent, world.note("late"), repeatable=True)
    connection.send(world.agent, world.note("in order"))
    connection.close(world.agent, "enough")
    times = [ms for ms, what in world.told() if what == "late"]
    assert len(times) == 100
    assert sum(ms < 5_000 for ms in times) > 30
    assert 40_000 < max(times) <= 90_150


def test_repeatable_request_is_like_any_other_by_default() -> None:
    world = World()
    connection = world.connect()
    connection.send(world.agent, world.note("got"), repeatable=True)
    assert world.told() == [(150.0, "got")]
