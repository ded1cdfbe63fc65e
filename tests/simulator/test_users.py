"""Users, in hand-made numbers: what was sent, failed, misrouted, cut and seen to go back."""

from __future__ import annotations

from functools import partial

from attrs import evolve

from simulator.explore.bootstrap import CHECKOUT, table
from simulator.randomness import Randomness
from simulator.results import Requests
from simulator.users import Sample, UserKnobs, Users
from simulator.virtual_time import Agenda
from tests.simulator.small_world import simulated
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.identifiers import AgentId, Epoch, Region, ServiceName
from turnout.protocol.records import Active
from turnout.protocol.routing import Colour, RoutingTable, Weights

EU, US = Region("eu"), Region("us")
A, B, C = AgentId("eu/1"), AgentId("us/1"), AgentId("us/2")
BLUE = table(("eu", "us"))
GREEN = BLUE.switched(CHECKOUT, Colour.GREEN)
HOUR_NS = 3600 * SECOND

# 100 requests a second in each of two regions, every tenth of them for a minute.
KNOBS = UserKnobs(
    per_day=2 * 8_640_000,
    request_ns=50 * MS,
    long_per_million=100_000,
    long_ns=60 * SECOND,
    moves_per_million=100_000,
    move_ns=200 * MS,
)


class World:
    """Users of a few edges that serve what a test says."""

    def __init__(self, *edges: tuple[AgentId, Region], knobs: UserKnobs = KNOBS) -> None:
        self.agenda = Agenda()
        self.users = Users(self.agenda, Randomness(1), knobs)
        self.samples: list[Sample] = []
        self.users.on_sample = self.samples.append
        self.tables: dict[AgentId, RoutingTable] = {}
        for agent, region in edges:
            self.users.join(agent, region, partial(self._ask, agent))

    def _ask(self, agent: AgentId, name: ServiceName, percent: int) -> Colour | None:
        service = self.tables[agent].service(name) if agent in self.tables else None
        if service is None:
            return None
        return Colour.BLUE if percent < service.weights.blue else Colour.GREEN

    def serve(self, agent: AgentId, epoch: int, what: RoutingTable) -> None:
        self.tables[agent] = what
        active = Active(incarnation=1, epoch=Epoch(epoch), digest=what.digest)
        self.users.serve(agent, active, what)

    def crash(self, agent: AgentId) -> None:
        self.tables.pop(agent, None)
        self.users.crash(agent)

    def wait(self, span_ns: int) -> None:
        self.agenda.run(self.agenda.now_ns + span_ns)

    def in_flight(self, agent: AgentId, colour: Colour) -> int:
        return self.users.in_flight(agent, CHECKOUT, colour, self.agenda.now_ns)

    @property
    def requests(self) -> Requests:
        return self.users.requests()


def two() -> World:
    """Two edges in two regions, both at blue as epoch 1."""
    world = World((A, EU), (B, US))
    world.serve(A, 1, BLUE)
    world.serve(B, 1, BLUE)
    return world


# --- by intervals --------------------------------------------------------------------------------


def test_users_come_once_an_edge_serves_its_first_table() -> None:
    world = World((A, EU), (B, US))
    world.wait(10 * SECOND)
    assert world.requests == Requests()
    world.serve(A, 1, BLUE)
    world.wait(10 * SECOND)
    assert world.requests == Requests(sent=1000)


def test_users_of_a_calm_switch_are_all_served() -> None:
    world = two()
    world.wait(10 * SECOND)
    world.serve(A, 2, GREEN)
    world.serve(B, 2, GREEN)
    world.wait(10 * SECOND)
    assert world.requests == Requests(sent=4000)


def test_users_are_counted_the_same_however_often_one_asks() -> None:
    often, once = two(), two()
    for _ in range(1000):
        often.wait(3 * MS + 7)
        assert often.requests.sent <= 2 * 100 * 4
    once.wait(1000 * (3 * MS + 7))
    assert often.requests == once.requests


def test_users_of_a_scenario_are_a_hundred_million_a_day() -> None:
    simulation = simulated(until_s=60.0)
    assert simulation.users.requests().sent == 100_000_000 * 60 // 86_400


def test_users_of_a_scenario_may_have_a_long_connection_in_thousands() -> None:
    """Of 578 requests a second at an edge 0.23 last 20 s."""

    def in_flight(long_share: float) -> int:
        simulation = simulated(f"[users]\nlong_share = {long_share}\n", until_s=50.0)
        (edge, *_) = simulation.agents.values()
        users, now_ns = simulation.users, simulation.agenda.now_ns
        return users.in_flight(edge.agent, CHECKOUT, Colour.BLUE, now_ns)

    assert in_flight(0.0004) - in_flight(0.0) == 4


def test_users_of_a_region_are_shared_by_its_edges() -> None:
    world = World((A, EU), (B, US), (C, US))
    world.serve(A, 1, BLUE)
    world.wait(2 * SECOND)
    assert world.requests.sent == 200, "half of 200 a second"
    world.serve(B, 1, BLUE)
    world.wait(2 * SECOND)
    assert world.requests.sent == 200 + 200 + 100


def test_users_of_a_proxy_that_is_down_fail() -> None:
    world = two()
    world.wait(HOUR_NS)
    sent = world.requests.sent
    in_flight = world.in_flight(A, Colour.BLUE)
    world.crash(A)
    assert world.requests.failed == in_flight, "what was in flight is lost with it"
    world.wait(10 * SECOND)
    world.serve(A, 1, BLUE)
    world.wait(10 * SECOND)
    assert world.requests.sent == sent + 4000
    assert world.requests.failed == in_flight + 1000


def test_users_of_a_service_that_a_table_lacks_fail() -> None:
    service = evolve(BLUE.services[0], name=ServiceName("basket"), hosts=("basket.example",))
    world = World((A, EU), (B, US))
    world.serve(A, 1, BLUE.with_service(service))
    world.wait(10 * SECOND)
    assert world.requests == Requests(sent=1000)
    world.serve(A, 2, BLUE)
    world.wait(10 * SECOND)
    assert world.requests == Requests(sent=2000, failed=500)


def test_users_of_a_proxy_that_forgot_are_misrouted() -> None:
    world = two()
    world.serve(A, 2, GREEN)
    world.serve(B, 2, GREEN)
    world.wait(10 * SECOND)
    world.crash(A)
    world.serve(A, 1, BLUE)
    world.wait(10 * SECOND)
    assert world.requests.misrouted == 1000
    world.crash(A)
    world.serve(A, 2, GREEN)
    world.wait(10 * SECOND)
    assert world.requests.misrouted == 1000


def test_users_are_misrouted_by_the_weight_of_what_is_sent_astray() -> None:
    half = BLUE.with_service(evolve(BLUE.services[0], weights=Weights(blue=50, green=50)))
    world = two()
    world.serve(A, 2, GREEN)
    world.crash(A)
    world.serve(A, 1, half)
    world.wait(10 * SECOND)
    assert world.requests.misrouted == 500


def test_users_of_a_rollback_are_not_misrouted() -> None:
    world = two()
    for epoch, what in ((2, GREEN), (3, BLUE)):
        world.serve(A, epoch, what)
        world.serve(B, epoch, what)
        world.wait(10 * SECOND)
    assert (world.requests.misrouted, world.requests.regressed) == (0, 0)


# --- who moves -----------------------------------------------------------------------------------


def test_users_who_move_to_a_late_edge_see_the_source_again() -> None:
    world = two()
    world.wait(SECOND)
    world.serve(A, 2, GREEN)
    world.wait(2200 * MS)
    assert world.requests.regressed == 20, "2 s of 100 a second, of whom a tenth came from there"
    world.serve(B, 2, GREEN)
    world.wait(10 * SECOND)
    assert world.requests.regressed == 20


def test_users_who_take_longer_to_move_than_the_skew_see_nothing() -> None:
    world = two()
    world.serve(A, 2, GREEN)
    world.wait(200 * MS)
    world.serve(B, 2, GREEN)
    world.wait(10 * SECOND)
    assert world.requests.regressed == 0


def test_users_who_move_come_from_any_other_edge_alike() -> None:
    world = World((A, EU), (B, US), (C, US))
    for agent in (A, B, C):
        world.serve(agent, 1, BLUE)
    world.serve(A, 2, GREEN)
    world.serve(B, 2, GREEN)
    world.wait(2200 * MS)
    assert world.requests.regressed == 10, "2 s of 50 a second, a tenth, all from A and B"
    late = World((A, EU), (B, US), (C, US))
    for agent in (A, B, C):
        late.serve(agent, 1, BLUE)
    late.serve(B, 2, GREEN)
    late.wait(2200 * MS)
    assert late.requests.regressed == 15, (
        "half of what moves to A (10) and to C (5) and came from B"
    )


def test_users_who_move_see_nothing_where_two_tables_send_alike() -> None:
    world = two()
    world.serve(A, 2, table(("eu", "us"), port=81))
    world.wait(10 * SECOND)
    assert world.requests.regressed == 0


def test_users_who_move_saw_the_source_of_an_edge_that_is_down() -> None:
    world = two()
    world.serve(A, 2, GREEN)
    world.wait(1200 * MS)
    world.crash(A)
    world.wait(10 * SECOND)
    assert world.requests.regressed == 12, "who was at A when it fell arrives 0.2 s later"


def test_users_who_move_to_an_edge_two_tables_behind_are_counted_by_what_they_saw() -> None:
    world = two()
    world.serve(A, 2, GREEN)
    world.wait(SECOND)
    world.serve(A, 3, BLUE)
    world.wait(10 * SECOND)
    assert world.requests.regressed == 10, "only those who saw green"


# --- in flight -----------------------------------------------------------------------------------


def test_users_in_flight_rise_to_rate_times_length() -> None:
    world = two()
    assert world.in_flight(A, Colour.BLUE) == 0
    world.wait(6 * SECOND)
    assert world.in_flight(A, Colour.BLUE) == 4 + 60, "90 a second for 50 ms, 10 a second so far"
    world.wait(HOUR_NS)
    assert world.in_flight(A, Colour.BLUE) == 4 + 600
    assert world.in_flight(A, Colour.GREEN) == 0


def test_users_in_flight_of_a_source_only_fall_and_end() -> None:
    world = two()
    world.wait(HOUR_NS)
    world.serve(A, 2, GREEN)
    seen = []
    for _ in range(60):
        seen.append(world.in_flight(A, Colour.BLUE))
        world.wait(10 * SECOND)
    assert seen[0] == 604
    assert seen == sorted(seen, reverse=True)
    assert 150 < seen[6] < 300, "of 600 exponential lengths 1/e are left after the mean"
    assert seen[-1] == 0
    end_ns = world.users.empty_at_ns(A, CHECKOUT, Colour.BLUE)
    assert world.users.in_flight(A, CHECKOUT, Colour.BLUE, end_ns - 1) > 0
    assert world.users.in_flight(A, CHECKOUT, Colour.BLUE, end_ns) == 0


def test_users_cut_are_those_still_in_flight_at_the_close() -> None:
    world = two()
    world.wait(HOUR_NS)
    world.serve(A, 2, GREEN)
    world.wait(30 * SECOND)
    left = world.in_flight(A, Colour.BLUE)
    assert world.users.close(A, CHECKOUT, Colour.BLUE) == left > 0
    assert world.in_flight(A, Colour.BLUE) == 0
    assert world.users.close(A, CHECKOUT, Colour.BLUE) == 0
    assert world.requests.cut == left
    assert world.requests.failed == 0


def test_users_left_at_a_colour_stay_when_it_is_sent_to_again() -> None:
    world = two()
    world.wait(HOUR_NS)
    world.serve(A, 2, GREEN)
    world.wait(SECOND)
    left = world.in_flight(A, Colour.BLUE)
    world.serve(A, 3, BLUE)
    assert world.in_flight(A, Colour.BLUE) == left
    world.wait(SECOND)
    world.serve(A, 4, GREEN)
    now = world.in_flight(A, Colour.BLUE)
    assert now > left - 60, "and are joined by those of its second turn"


# --- one by one ----------------------------------------------------------------------------------


def test_users_sampled_around_a_flip_get_source_before_and_target_after() -> None:
    world = two()
    world.wait(SECOND)
    world.samples.clear()
    world.serve(A, 2, GREEN)
    world.wait(SECOND)
    seen = [(s.at_ns - SECOND, s.epoch, s.colour, s.is_misrouted) for s in world.samples]
    assert seen == [
        (0, 1, Colour.BLUE, False),
        (0, 2, Colour.GREEN, False),
        (300 * MS, 2, Colour.GREEN, False),
    ]
    assert {s.agent for s in world.samples} == {A}


def test_users_sampled_find_a_proxy_that_does_not_what_it_says() -> None:
    world = two()
    world.wait(SECOND)
    world.serve(A, 2, GREEN)
    world.tables[A] = BLUE
    world.wait(SECOND)
    assert world.requests.misrouted == 2
    assert [s.is_misrouted for s in world.samples][-2:] == [True, True]


def test_users_sampled_find_a_proxy_that_answers_nothing() -> None:
    world = two()
    world.wait(SECOND)
    world.serve(A, 2, GREEN)
    del world.tables[A]
    world.wait(SECOND)
    assert world.requests.failed == 2
    assert world.samples[-1].colour is None


def test_users_are_sampled_only_where_something_changed() -> None:
    world = two()
    world.wait(SECOND)
    world.samples.clear()
    world.serve(A, 2, BLUE)
    world.wait(SECOND)
    assert world.samples == []


def test_users_draw_the_same_from_the_same_seed() -> None:
    ends = []
    for _ in range(2):
        world = two()
        world.wait(HOUR_NS)
        world.serve(A, 2, GREEN)
        ends.append(world.users.empty_at_ns(A, CHECKOUT, Colour.BLUE))
    assert ends[0] == ends[1]
