from __future__ import annotations

from collections.abc import Callable
from statistics import median

import pytest

from simulator.clocks import NodeClock
from simulator.matrices import Matrix, load, parse
from simulator.network import Connection, Network
from simulator.network_knobs import QUIET, NetworkKnobs
from simulator.paths import jitter_table
from simulator.process import NodeName, Process
from simulator.randomness import Randomness
from simulator.swizzle import swizzle
from simulator.virtual_time import Agenda
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.identifiers import Region

STILL = NetworkKnobs(jitter_median_share=0.0)
EAST, WEST = Region("east"), Region("west")
MAP = parse("from,to,rtt_ms\neast,west,100\nwest,east,100\n", "map")
MINUTE = 60 * SECOND


class World:
    """Two processes 100 ms apart, a third beside the second, and a diary in milliseconds."""

    def __init__(self, knobs: NetworkKnobs = STILL, *, seed: int = 1, matrix: Matrix = MAP) -> None:
        self.agenda = Agenda()
        self.network = Network(self.agenda, Randomness(seed), matrix, knobs)
        self.agent = self.process("agent", EAST)
        self.server = self.process("server", WEST)
        self.other = self.process("other", WEST)
        self.diary: list[tuple[float, str]] = []

    def process(self, name: str, region: Region) -> Process:
        process = Process(NodeName(name), region, NodeClock(), self.agenda)
        self.network.join(process)
        return process

    def note(self, text: str) -> Callable[..., None]:
        return lambda *more: self.diary.append((self.now_ms, " ".join(map(str, (text, *more)))))

    @property
    def now_ms(self) -> float:
        return self.agenda.now_ns / MS

    def dial(self, *, round_trips: int = 1) -> Connection:
        return self.network.dial(
            self.agent,
            self.server,
            round_trips=round_trips,
            opened=lambda _: self.diary.append((self.now_ms, "opened")),
            ended=self.note("agent hears"),
        )

    def connect(self) -> Connection:
        """A connection that stands at 100 ms, both ends listening."""
        connection = self.dial()
        self.run(100 * MS)
        connection.when_ended(self.server, self.note("server hears"))
        assert self.diary == [(100.0, "opened")]
        self.diary.clear()
        return connection

    def clocked(self, took_ms: list[float]) -> Callable[[], None]:
        """To be sent now: writes down how long it took."""
        sent_ms = self.now_ms
        return lambda: took_ms.append(self.now_ms - sent_ms)

    def run(self, until_ns: int) -> None:
        self.agenda.run(until_ns)

    def told(self, *, after_ms: int = 10**7) -> list[tuple[float, str]]:
        self.run(after_ms * MS)
        return self.diary

    def cut(self, one: Process, another: Process) -> Callable[[], None]:
        return self.network.cut([one.name], [another.name])


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


def test_stopped_listener_is_reached_but_does_not_shake_hands() -> None:
    world = World()
    world.server.stop()
    world.dial(round_trips=1)
    world.dial(round_trips=2)
    world.run(SECOND)
    assert world.diary == [(100.0, "opened")]
    world.server.go_on()
    assert world.told()[1:] == [(1050.0, "opened")]


# ------------------------------------------------------------------------------------------ cuts


def test_message_under_a_cut_arrives_at_the_first_attempt_after_the_heal() -> None:
    world = World()
    connection = world.connect()
    heal = world.cut(world.agent, world.server)
    connection.send(world.agent, world.note("first"))
    world.run(SECOND)
    connection.send(world.agent, world.note("second"))
    world.run(1100 * MS)
    heal()
    # Attempts at 100, 400, 1,000 and 2,200 ms: after 300 ms, then twice that, and so on.
    assert world.told() == [(2250.0, "first"), (2250.0, "second")]


def test_cut_is_one_way() -> None:
    world = World()
    connection = world.connect()
    world.cut(world.agent, world.server)
    connection.send(world.agent, world.note("never"))
    connection.send(world.server, world.note("got"))
    assert world.told(after_ms=1000) == [(150.0, "got")]


def test_cut_lets_pass_what_is_under_way_and_who_is_not_named() -> None:
    world = World()
    connection = world.connect()
    connection.send(world.agent, world.note("got"))
    world.cut(world.agent, world.server)
    world.network.dial(
        world.agent, world.other, round_trips=1, opened=world.note("open"), ended=print
    )
    assert [what.split()[0] for _, what in world.told(after_ms=1000)] == ["got", "open"]


def test_cut_that_is_not_healed_ends_the_connection_for_the_sender_only() -> None:
    world = World()
    connection = world.connect()
    world.cut(world.agent, world.server)
    connection.send(world.agent, world.note("never"))
    assert world.told() == [(924_700.0, "agent hears connection timed out")]
    assert connection.is_open(world.server)


def test_server_breaks_a_connection_whose_bytes_go_unacknowledged() -> None:
    world = World()
    world.network.give_up(world.server, 5 * SECOND)
    connection = world.connect()
    world.cut(world.server, world.agent)
    connection.send(world.server, world.note("never"))
    assert world.told() == [(5100.0, "server hears connection timed out")]


def test_cut_of_acknowledgements_lets_data_arrive_and_the_connection_break() -> None:
    world = World()
    world.network.give_up(world.server, 5 * SECOND)
    connection = world.connect()
    world.cut(world.agent, world.server)
    connection.send(world.server, world.note("got"))
    assert world.told() == [(150.0, "got"), (5100.0, "server hears connection timed out")]


def test_cut_of_acknowledgements_that_heals_in_time_breaks_nothing() -> None:
    world = World()
    world.network.give_up(world.server, 5 * SECOND)
    connection = world.connect()
    heal = world.cut(world.agent, world.server)
    connection.send(world.server, world.note("got"))
    world.run(5 * SECOND)
    heal()
    assert world.told() == [(150.0, "got")]


def test_reset_that_gets_lost_leaves_the_other_end_half_open_until_it_sends() -> None:
    world = World()
    connection = world.connect()
    heal = world.cut(world.server, world.agent)
    world.server.kill()
    world.run(SECOND)
    heal()
    world.run(MINUTE)
    assert world.diary == []
    assert connection.is_open(world.agent)
    connection.send(world.agent, world.note("never"))
    assert world.told() == [(60_100.0, "agent hears connection reset")]


def test_dial_over_a_cut_is_silent_and_succeeds_at_its_next_packet_after_the_heal() -> None:
    world = World()
    heal = world.cut(world.agent, world.server)
    world.dial()
    world.run(6900 * MS)
    assert world.diary == []
    heal()
    assert world.told() == [(7100.0, "opened")]  # packets at 0, 1, 3 and 7 s


def test_dial_whose_answers_are_cut_is_silent() -> None:
    world = World()
    world.cut(world.server, world.agent)
    world.dial()
    assert world.told(after_ms=60_000) == []


def test_cut_holds_for_processes_that_had_nothing_to_say_yet() -> None:
    world = World()
    heal = world.network.cut(world.network.names, world.network.names)
    world.dial()
    assert world.told(after_ms=2000) == []
    heal()
    heal()
    assert world.told() == [(3100.0, "opened")]


def test_two_cuts_of_one_path_need_two_heals() -> None:
    world = World()
    connection = world.connect()
    heals = [world.cut(world.agent, world.server) for _ in range(2)]
    connection.send(world.agent, world.note("got"))
    heals[0]()
    heals[0]()
    assert world.told(after_ms=2000) == []
    heals[1]()
    assert world.told() == [(2250.0, "got")]


# -------------------------------------------------------------------- clogs, slowness, loss


def test_clog_holds_back_in_order_and_lets_go_at_the_heal() -> None:
    world = World()
    connection = world.connect()
    heal = world.network.clog([world.agent.name], [world.server.name])
    connection.send(world.agent, world.note("first"))
    connection.send(world.agent, world.note("second"))
    connection.close(world.agent, "enough")
    assert world.told(after_ms=5000) == []
    heal()
    assert world.told() == [(5050.0, "first"), (5050.0, "second"), (5050.0, "server hears enough")]


def test_clog_holds_resets_and_handshakes_back_too() -> None:
    world = World()
    world.connect()
    heal = world.network.clog(world.network.names, world.network.names)
    world.dial()
    world.server.kill()
    assert world.told(after_ms=5000) == []
    heal()
    assert world.told() == [
        (5050.0, "agent hears connection reset"),
        (5100.0, "agent hears connection refused"),
    ]


def test_clog_longer_than_the_server_waits_breaks_its_connections() -> None:
    world = World()
    world.network.give_up(world.server, 5 * SECOND)
    connection = world.connect()
    heal = world.network.clog([world.server.name], [world.agent.name])
    connection.send(world.server, world.note("never"))
    world.run(6 * SECOND)
    heal()
    assert world.told() == [(5100.0, "server hears connection timed out")]


def test_slow_path_adds_up_and_heals() -> None:
    world = World()
    connection = world.connect()
    names = [world.agent.name], [world.server.name]
    heals = [world.network.slow(*names, add_ns=ms * MS) for ms in (300, 100)]
    connection.send(world.agent, world.note("slow"))
    world.run(SECOND)
    heals[0]()
    connection.send(world.agent, world.note("less so"))
    world.run(2 * SECOND)
    heals[1]()
    connection.send(world.agent, world.note("fine"))
    assert world.told() == [(550.0, "slow"), (1150.0, "less so"), (2050.0, "fine")]


def test_healing_a_slow_path_lets_nothing_overtake() -> None:
    world = World()
    connection = world.connect()
    heal = world.network.slow([world.agent.name], [world.server.name], add_ns=SECOND)
    connection.send(world.agent, world.note("first"))
    heal()
    connection.send(world.agent, world.note("second"))
    assert world.told() == [(1150.0, "first"), (1150.0, "second")]


def test_lost_packet_costs_a_round_trip_and_200_ms_doubling_and_blocks_what_follows() -> None:
    world = World()
    connection = world.connect()
    heal = world.network.lossy([world.agent.name], [world.server.name], share=1.0)
    connection.send(world.agent, world.note("first"))
    world.run(150 * MS)
    heal()
    connection.send(world.agent, world.note("second"))
    world.run(500 * MS)
    connection.send(world.agent, world.note("third"))
    assert world.told() == [(450.0, "first"), (450.0, "second"), (550.0, "third")]


def test_loss_delays_its_share_of_messages() -> None:
    world = World(NetworkKnobs(jitter_median_share=0.0, loss=0.1))
    connection = world.dial()
    world.run(10 * SECOND)
    took: list[float] = []
    for n in range(500):
        world.run((100 + 10 * n) * SECOND)
        connection.send(world.agent, world.clocked(took))
    world.told()
    assert len(took) == 500
    assert 25 <= sum(ms > 50.0 for ms in took) <= 75
    assert {50.0, 350.0} <= set(took) <= {50.0 + 300.0 * (2**n - 1) for n in range(8)}


def test_retransmission_is_never_further_off_than_its_cap() -> None:
    world = World()
    connection = world.connect()
    heal = world.cut(world.agent, world.server)
    connection.send(world.agent, world.note("got"))
    world.run(400 * SECOND)
    heal()
    world.told()
    assert 400_000 < world.diary[0][0] <= 520_050


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
    assert min(times) < 1_000
    assert 40_000 < max(times) <= 90_150


def test_repeatable_request_is_like_any_other_by_default() -> None:
    world = World()
    connection = world.connect()
    connection.send(world.agent, world.note("got"), repeatable=True)
    assert world.told() == [(150.0, "got")]


# -------------------------------------------------------------------------------------- swizzle


def test_swizzle_clogs_each_node_for_a_while_and_lets_go_in_another_order() -> None:
    orders = set()
    for seed in range(8):
        world = World(seed=seed)
        connection = world.connect()
        peer = world.network.dial(
            world.other, world.server, round_trips=1, opened=print, ended=print
        )
        world.run(200 * MS)
        stream = Randomness(seed).stream("faults")
        nodes = [world.agent.name, world.other.name]
        swizzle(world.network, stream, nodes, over_ns=10 * SECOND)
        world.run(10 * SECOND + 200 * MS)
        connection.send(world.agent, world.note("agent"))
        peer.send(world.other, world.note("other"))
        told = world.told()
        assert all(10_200 < ms < 20_300 for ms, _ in told)
        orders.add(tuple(what for _, what in told))
    assert orders == {("agent", "other"), ("other", "agent")}


def test_swizzle_that_is_healed_early_lets_everything_go() -> None:
    world = World()
    connection = world.connect()
    heal = swizzle(
        world.network, Randomness(1).stream("faults"), [world.agent.name], over_ns=2 * SECOND
    )
    world.run(2200 * MS)
    connection.send(world.agent, world.note("got"))
    heal()
    heal()
    connection.send(world.agent, world.note("too"))
    assert world.told() == [(2250.0, "got"), (2250.0, "too")]
