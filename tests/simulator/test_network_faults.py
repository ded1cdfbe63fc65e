from __future__ import annotations

from simulator.network_knobs import NetworkKnobs
from simulator.randomness import Randomness
from simulator.swizzle import swizzle
from tests.simulator.network_world import MINUTE, World
from turnout.protocol.clock import MS, SECOND

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


def test_cut_of_acknowledgements_that_begins_anew_is_waited_for_anew() -> None:
    world = World()
    world.network.give_up(world.server, 5 * SECOND)
    connection = world.connect()
    heal = world.cut(world.agent, world.server)
    connection.send(world.server, world.note("got"))
    world.run(3 * SECOND)
    heal()
    world.run(4 * SECOND)
    world.cut(world.agent, world.server)
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
    world.run(3500 * MS)
    assert world.diary == []
    heal()
    assert world.told() == [(7100.0, "opened")]  # packets at 0, 1, 3 and 7 s


def test_dialler_that_gives_up_over_a_cut_sends_nothing_more() -> None:
    world = World()
    world.cut(world.agent, world.server)
    connection = world.dial()
    world.run(500 * MS)
    connection.close(world.agent)
    world.run(SECOND)
    before = world.agenda.events
    world.run(10 * MINUTE)
    assert world.agenda.events == before


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


def test_two_clogs_of_one_path_need_two_heals() -> None:
    world = World()
    connection = world.connect()
    heals = [world.network.clog([world.agent.name], [world.server.name]) for _ in range(2)]
    connection.send(world.agent, world.note("got"))
    heals[0]()
    assert world.told(after_ms=1000) == []
    heals[1]()
    assert world.told() == [(1050.0, "got")]


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


def test_losses_of_one_path_add_up() -> None:
    world = World()
    connection = world.connect()
    names = [world.agent.name], [world.server.name]
    heal = world.network.lossy(*names, share=1.0)
    world.network.lossy(*names, share=0.0)
    connection.send(world.agent, world.note("got"))
    assert world.told(after_ms=1000) == []
    heal()
    assert world.told() == [(2250.0, "got")]


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
