from __future__ import annotations

import enum
from itertools import pairwise

import pytest
from attrs import define, evolve, field
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.protocol.clock import MS, SECOND, ZERO, Instant, MonotonicNs
from turnout.protocol.events import LinkDown, LinkUp, Wake
from turnout.protocol.limits import Timing
from turnout.protocol.session import (
    PAUSE_CAP_NS,
    PAUSE_NS,
    SESSION,
    STEADY_NS,
    YOUNG_CAP_NS,
    Announce,
    Connect,
    Connected,
    Disconnect,
    Disconnected,
    Phase,
    Proven,
    Redirected,
    Session,
    SessionEffect,
    SessionEvent,
    step,
)

TIMING = Timing()
URLS = ("https://a", "https://b", "https://c")
L3_NS = 15 * SECOND


def at(monotonic_ns: int) -> Instant:
    return ZERO._replace(monotonic_ns=MonotonicNs(monotonic_ns))


@define
class Agent:
    """One machine, told things at made-up times; remembers what it asked for last."""

    state: Session
    now_ns: int = 0
    asked: tuple[SessionEffect, ...] = ()

    def told(self, event: SessionEvent, at_ns: int | None = None) -> Agent:
        self.now_ns = self.now_ns if at_ns is None else at_ns
        self.state, self.asked = step(self.state, event, at(self.now_ns))
        return self

    # Methods, since a type checker takes attributes for unchanged from one assertion to the next.
    def asks(self) -> tuple[SessionEffect, ...]:
        return self.asked

    def woken(self) -> Agent:
        return self.told(Wake(), self.state.due_ns)

    def failed(self) -> Agent:
        return self.told(Disconnected(link=self.state.link, reason="refused"))

    @property
    def pause_ns(self) -> int:
        assert self.state.phase is Phase.PAUSING
        return self.state.due_ns - self.now_ns


def started(seed: int = 7) -> Agent:
    return Agent(Session.begin(urls=URLS, timing=TIMING, seed=seed, now=at(0)))


def connected() -> Agent:
    return started().woken().told(Connected(link=1))


def led() -> Agent:
    return connected().told(Proven(link=1))


def long_led() -> Agent:
    """Led for so long that the end of the stream says nothing against it."""
    agent = led()
    while agent.now_ns < STEADY_NS:
        agent.told(Proven(link=1), agent.now_ns + SECOND)
    return agent


def test_agent_without_addresses_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="at least one coordinator"):
        Session.begin(urls=(), timing=TIMING, seed=1, now=at(0))


def test_agent_tries_the_first_replica_at_once() -> None:
    agent = started()
    assert agent.pause_ns == 0
    assert agent.woken().asks() == (Connect(link=1, url="https://a"),)


def test_agent_that_is_woken_early_does_nothing() -> None:
    agent = connected().told(Wake(), 1)
    assert agent.asks() == ()


def test_taken_agent_has_a_link_and_stays_while_leadership_is_proven() -> None:
    agent = connected()
    assert agent.asks() == (Announce(event=LinkUp()),)
    for second in range(1, 20):
        agent.told(Proven(link=1), second * SECOND)
        assert agent.asks() == ()
        assert agent.state.due_ns == second * SECOND + TIMING.silence_ns
    assert agent.told(Connected(link=1)).asks() == ()


def test_proof_before_the_stream_is_open_is_not_listened_to() -> None:
    agent = started().woken().told(Proven(link=1))
    assert not agent.state.proven


def test_refusals_go_round_the_list_without_a_pause_and_pause_after_each_round() -> None:
    agent, pauses = started(), []
    tried = []
    for _ in range(15):
        agent.woken()
        (connect,) = agent.asks()
        assert isinstance(connect, Connect)
        tried.append(connect.url)
        pauses.append(agent.failed().pause_ns)
    assert tried == list(URLS) * 5
    between = [pause for number, pause in enumerate(pauses, 1) if number % 3]
    assert set(between) == {0}
    rounds = pauses[2::3]
    caps = [min(PAUSE_CAP_NS, PAUSE_NS * 2**n) for n in range(5)]
    assert all(cap // 2 <= pause <= cap for pause, cap in zip(rounds, caps, strict=True))


def test_replica_that_does_not_answer_is_given_up() -> None:
    agent = started().woken()
    assert agent.woken().asks() == (Disconnect(link=1),)
    assert agent.now_ns == 4 * TIMING.max_round_trip_ns
    assert agent.woken().asks() == (Connect(link=2, url="https://b"),)


def test_silent_leader_is_left_for_the_next_replica() -> None:
    agent = led().woken()
    assert agent.now_ns == TIMING.silence_ns
    assert agent.asks() == (
        Disconnect(link=1),
        Announce(event=LinkDown(reason="no proof of leadership within 4000 ms")),
    )
    assert agent.woken().asks() == (Connect(link=2, url="https://b"),)


def test_what_old_links_still_say_is_not_listened_to() -> None:
    agent = started().woken().failed()
    pausing = agent.state
    stale: tuple[SessionEvent, ...] = (
        Connected(link=1),
        Proven(link=1),
        Redirected(link=1, url="https://x"),
        Disconnected(link=1, reason="again"),
    )
    for event in stale:
        assert agent.told(event).state == pausing
    trying = agent.woken().state
    for event in stale:
        assert agent.told(event).state == trying


def test_redirect_is_followed_at_once_and_only_once() -> None:
    agent = started().woken().told(Redirected(link=1, url="https://leader"))
    assert agent.pause_ns == 0
    assert agent.woken().asks() == (Connect(link=2, url="https://leader"),)
    agent.told(Redirected(link=2, url="https://a"))
    assert agent.woken().asks() == (Connect(link=3, url="https://b"),)


def test_redirect_to_a_dead_replica_leads_back_to_the_list() -> None:
    agent = started().woken().told(Redirected(link=1, url="https://leader")).woken().failed()
    assert agent.woken().asks() == (Connect(link=3, url="https://b"),)


def test_leader_that_hands_over_sends_its_agents_to_the_next_one_spread_out() -> None:
    agent = long_led().told(Redirected(link=1, url="https://leader"))
    assert agent.asks() == (
        Announce(event=LinkDown(reason="https://a does not lead: redirected to https://leader")),
    )
    assert 0 <= agent.pause_ns < TIMING.herd_ns
    assert agent.woken().asks() == (Connect(link=2, url="https://leader"),)


def test_h17_agents_of_a_lost_replica_come_back_evenly_over_the_time_of_the_herd() -> None:
    pauses = []
    for seed in range(400):
        agent = evolve_seed(long_led(), seed).failed()
        assert agent.asks() == (Announce(event=LinkDown(reason="refused")),)
        pauses.append(agent.pause_ns)
    quarters = [sum(q <= 4 * p / TIMING.herd_ns < q + 1 for p in pauses) for q in range(4)]
    assert sum(quarters) == 400
    assert min(quarters) > 70


def evolve_seed(agent: Agent, seed: int) -> Agent:
    agent.state = evolve(agent.state, backoff=evolve(agent.state.backoff, seed=seed))
    return agent


def test_replica_that_opens_streams_and_drops_them_is_paused_for_like_one_that_refuses() -> None:
    agent = started()
    for _ in range(3):
        agent.woken().told(Connected(link=agent.state.link)).failed()
    assert agent.pause_ns >= PAUSE_NS // 2


def young_ends(agent: Agent, times: int) -> list[int]:
    """Let a leader's stream end at once, so many times in a row; the pauses after it."""
    pauses = []
    for _ in range(times):
        agent.woken().told(Connected(link=agent.state.link))
        pauses.append(agent.told(Proven(link=agent.state.link)).failed().pause_ns)
    return pauses


def test_leaders_stream_that_ends_young_is_paused_for_longer_each_time() -> None:
    caps = [min(YOUNG_CAP_NS, PAUSE_NS * 2**n) for n in range(8)]
    for pause_ns, cap_ns in zip(young_ends(started(), 8), caps, strict=True):
        assert cap_ns // 2 <= pause_ns <= cap_ns + TIMING.herd_ns


def test_leaders_stream_that_grew_old_ends_the_long_pauses() -> None:
    agent = started()
    young_ends(agent, 8)
    agent.woken().told(Connected(link=agent.state.link))
    agent.told(Proven(link=agent.state.link), agent.now_ns + STEADY_NS)
    assert agent.failed().pause_ns < TIMING.herd_ns
    assert young_ends(agent, 1)[0] <= PAUSE_NS + TIMING.herd_ns


def test_two_agents_with_one_identity_take_the_stream_from_each_other_ever_less_often() -> None:
    assert YOUNG_CAP_NS < STEADY_NS
    twins = [
        Agent(Session.begin(urls=URLS[:1], timing=TIMING, seed=seed, now=at(0)))
        for seed in (1, 100)
    ]
    taken_at_ns: list[int] = []
    holder: Agent | None = None
    while not taken_at_ns or taken_at_ns[-1] < 120 * SECOND:
        twin = min((t for t in twins if t is not holder), key=lambda t: t.state.due_ns)
        now_ns = max(twin.state.due_ns, twin.now_ns)
        twin.told(Wake(), now_ns).told(Connected(link=twin.state.link))
        twin.told(Proven(link=twin.state.link))
        if holder is not None:
            holder.told(Disconnected(link=holder.state.link, reason="taken over"), now_ns)
        holder = twin
        taken_at_ns.append(now_ns)
    between = [after - before for before, after in pairwise(taken_at_ns)]
    assert min(between[10:]) >= YOUNG_CAP_NS // 2
    assert len(taken_at_ns) < 120 // 2 + 10


def test_isolation_is_counted_from_the_last_proof_of_leadership() -> None:
    agent = connected()
    assert agent.state.isolated_ns(at(9)) == 9
    agent.told(Proven(link=1), SECOND)
    assert agent.state.isolated_ns(at(3 * SECOND)) == 0
    agent.failed()
    assert agent.state.isolated_ns(at(3 * SECOND)) == 2 * SECOND


def test_every_phase_is_reached_and_left() -> None:
    assert {s for s, _, _ in SESSION.arrows()} == {t for _, _, t in SESSION.arrows()} == set(Phase)


# --- L3 on a made-up network ----------------------------------------------------------------------


class Manner(enum.Enum):
    """What a replica, or the network before it, does with a connection."""

    LEADS = "leads"
    SWALLOWS = "swallows"
    REFUSES = "refuses"
    REDIRECTS_WELL = "redirects to the leader"
    REDIRECTS_BADLY = "redirects to a replica that swallows"
    DROPS = "takes it and drops it"
    SILENT = "takes it and says nothing"


BROKEN = [manner for manner in Manner if manner is not Manner.LEADS]
RTT_NS = 300 * MS


@define
class Network:
    """Replicas by address, and what each does; one agent's machine against them."""

    manners: dict[str, Manner]
    agent: Agent
    coming: list[tuple[int, SessionEvent]] = field(factory=list)

    def run(self, until_ns: int) -> None:
        """Let time pass until a moment, or until a leader has proved itself."""
        while self.agent.now_ns < until_ns and not self.agent.state.proven:
            due_ns = self.agent.state.due_ns
            self.coming.sort(key=lambda entry: entry[0])
            if self.coming and self.coming[0][0] <= due_ns:
                at_ns, event = self.coming.pop(0)
            else:
                at_ns, event = due_ns, Wake()
            self.agent.told(event, max(at_ns, self.agent.now_ns))
            for effect in self.agent.asks():
                if isinstance(effect, Connect):
                    self.connect(effect)

    def connect(self, effect: Connect) -> None:
        link, soon_ns = effect.link, self.agent.now_ns + RTT_NS
        leader = [url for url, manner in self.manners.items() if manner is Manner.LEADS]
        events: list[SessionEvent] = []
        match self.manners.get(effect.url, Manner.SWALLOWS):
            case Manner.LEADS:
                events = [Connected(link=link), Proven(link=link)]
            case Manner.REFUSES:
                events = [Disconnected(link=link, reason="refused")]
            case Manner.REDIRECTS_WELL if leader:
                events = [Redirected(link=link, url=leader[0])]
            case Manner.REDIRECTS_WELL | Manner.REDIRECTS_BADLY:
                events = [Redirected(link=link, url="https://nowhere")]
            case Manner.DROPS:
                events = [Connected(link=link), Disconnected(link=link, reason="dropped")]
            case Manner.SILENT:
                events = [Connected(link=link)]
            case Manner.SWALLOWS:
                pass
        self.coming += [(soon_ns, event) for event in events]


def brought_back(manners: list[Manner], leader: int, outage_ns: int, seed: int) -> int:
    """How long after one replica leads again an agent that was cut off hears it."""
    urls = tuple(f"https://{number}" for number in range(len(manners)))
    agent = Agent(Session.begin(urls=urls, timing=TIMING, seed=seed, now=at(0)))
    network = Network(dict(zip(urls, manners, strict=True)), agent)
    network.run(outage_ns)
    healed_ns = agent.now_ns
    network.manners[urls[leader]] = Manner.LEADS
    network.run(healed_ns + 60 * SECOND)
    assert agent.state.proven
    return agent.now_ns - healed_ns


# Only a leader keeps an agent's stream, so no two replicas can be silent at a time.
manners_of_replicas = st.lists(st.sampled_from(BROKEN), min_size=1, max_size=5).filter(
    lambda manners: manners.count(Manner.SILENT) < 2
)


@settings(max_examples=300)
@given(
    manners_of_replicas,
    st.integers(0, 4),
    st.integers(0, 60 * SECOND),
    st.integers(0, 2**32),
)
def test_l3_agent_is_back_within_15_s_of_one_replicas_healing_whatever_the_others_do(
    manners: list[Manner], leader: int, outage_ns: int, seed: int
) -> None:
    assert brought_back(manners, leader % len(manners), outage_ns, seed) < L3_NS


def test_l3_agent_is_back_in_time_whose_streams_had_all_ended_young() -> None:
    urls = tuple(f"https://{number}" for number in range(5))
    for leader in range(5):
        agent = Agent(Session.begin(urls=urls, timing=TIMING, seed=leader, now=at(0)))
        young_ends(agent, 7)
        manners = dict.fromkeys(urls, Manner.SWALLOWS) | {urls[leader]: Manner.LEADS}
        began_ns = agent.now_ns
        Network(manners, agent).run(began_ns + 60 * SECOND)
        assert agent.state.proven
        assert agent.now_ns - began_ns < L3_NS


@pytest.mark.parametrize("replicas", range(1, 6))
def test_l3_agent_is_back_with_time_to_spare_where_all_other_replicas_swallow(
    replicas: int,
) -> None:
    longest_ns = max(
        brought_back([Manner.SWALLOWS] * replicas, leader, outage_ns, seed=outage_ns)
        for leader in range(replicas)
        for outage_ns in range(0, 20 * SECOND, 700 * MS)
    )
    assert longest_ns < L3_NS - 3 * SECOND
