"""One agent in this process, over the memory driver, with a fake leader that speaks real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from attrs import evolve

from edge_agent.disk import MemoryDisk
from edge_agent.drivers.base import RefusalCode, Refused
from tests.edge_agent.edges import AGENT, BLUE, GREEN, OTHER, Edge, connected, leading
from tests.edge_agent.fake_coordinator import CHECKOUT, FakeCoordinator, sealed, table_of, until
from turnout.protocol.clock import MonotonicNs
from turnout.protocol.identifiers import AgentId, Epoch, Term
from turnout.protocol.messages import No, Progress
from turnout.protocol.records import Active
from turnout.protocol.routing import Colour
from turnout.protocol.signing import Ed25519Signer, signed
from turnout.runtime import problems


@pytest.fixture
def edge() -> Edge:
    return Edge()


@pytest.fixture
async def leader(nursery: trio.Nursery, edge: Edge) -> AsyncIterator[FakeCoordinator]:
    async with leading(nursery, edge) as coordinator:
        yield coordinator


async def test_switch_from_first_table_to_the_other_colour_is_live(
    edge: Edge, leader: FakeCoordinator
) -> None:
    async with edge.running(leader.url):
        await until(lambda: connected(leader))
        assert await leader.switch(BLUE) == 1
        assert await leader.switch(GREEN) == 2
    assert [flip.epoch for flip in edge.proxy.flips] == [1, 2]
    assert edge.disk.record.active.epoch == 2
    vote = leader.votes_of(2)[0]
    assert vote.journal_id == edge.disk.record.journal_id
    assert vote.staging_ns > 0
    assert not leader.forged


async def test_report_of_a_live_epoch_dates_it_on_the_leaders_clock(
    edge: Edge, leader: FakeCoordinator
) -> None:
    async with edge.running(leader.url):
        await until(lambda: connected(leader))
        await leader.switch(BLUE)
        await until(lambda: leader.newest(AGENT).bound_ns is not None)
        report = leader.newest(AGENT)
    assert report.flipped_at_ns is not None
    assert report.live_at_ns is not None
    assert report.flipped_at_ns <= report.live_at_ns


async def test_agent_without_any_coordinator_boots_and_serves_what_it_had(
    edge: Edge, leader: FakeCoordinator
) -> None:
    async with edge.running(leader.url):
        await until(lambda: connected(leader))
        await leader.switch(BLUE)
    leader.stop()
    edge.proxy.crash()
    async with edge.running(leader.url) as agent:
        await until(lambda: agent.state.progress is Progress.LIVE)
        assert edge.epoch == 1
        assert edge.proxy.starts == 2
        assert agent.isolated_ns > 0


async def test_agent_killed_after_its_vote_stays_in_doubt_and_learns_the_commit(
    edge: Edge, leader: FakeCoordinator, nursery: trio.Nursery
) -> None:
    async with edge.running(leader.url):
        await until(lambda: connected(leader))
        await leader.switch(BLUE)
        leader.tell(leader.prepare(GREEN))
        await until(lambda: leader.votes_of(2))
    # Alone, with the proxy restarted too: in doubt, and last good is served.
    edge.proxy.crash()
    async with edge.running("http://127.0.0.1:9") as agent:
        await until(lambda: agent.state.progress is Progress.LIVE)
        await until(lambda: edge.proxy.staged is not None and edge.proxy.staged.epoch == 2)
        assert edge.epoch == 1
        assert agent.state.record.prepared is not None
    leader.commit(GREEN)
    async with edge.running(leader.url):
        await until(lambda: leader.is_live(2))
    assert [flip.epoch for flip in edge.proxy.flips] == [1, 2]


async def test_abort_frees_an_agent_in_doubt(edge: Edge, leader: FakeCoordinator) -> None:
    async with edge.running(leader.url) as agent:
        await until(lambda: connected(leader))
        await leader.switch(BLUE)
        leader.tell(leader.prepare(GREEN))
        await until(lambda: leader.votes_of(2))
        leader.abort()
        leader.tell(leader.sync())
        await until(lambda: agent.state.record.prepared is None)
    assert edge.epoch == 1


async def test_disk_that_fails_makes_the_vote_a_no(edge: Edge, leader: FakeCoordinator) -> None:
    async with edge.running(leader.url):
        await until(lambda: connected(leader))
        await leader.switch(BLUE)
        assert isinstance(edge.disk, MemoryDisk)
        edge.disk.fail("the disk is full", times=1)
        leader.tell(leader.prepare(GREEN))
        await until(lambda: leader.votes_of(2))
    assert leader.votes_of(2)[0].no is No.JOURNAL
    assert "the disk is full" in leader.votes_of(2)[0].reason
    assert edge.disk.record.prepared is None


async def test_proxy_that_refuses_makes_the_vote_a_no_with_its_words(
    edge: Edge, leader: FakeCoordinator
) -> None:
    async with edge.running(leader.url):
        await until(lambda: connected(leader))
        await leader.switch(BLUE)
        edge.proxy.refuse("stage", Refused(RefusalCode.REJECTED, "no such cluster"))
        leader.tell(leader.prepare(GREEN))
        await until(lambda: leader.votes_of(2))
    assert leader.votes_of(2)[0].no is No.REFUSED
    assert "no such cluster" in leader.votes_of(2)[0].reason


async def test_backends_that_do_not_answer_make_the_vote_a_no(
    edge: Edge, leader: FakeCoordinator
) -> None:
    sick = table_of(Colour.BLUE, blue=("127.0.0.1:9",), min_healthy_percent=100)
    async with edge.running(leader.url):
        await until(lambda: connected(leader))
        leader.tell(leader.prepare(sick))
        await until(lambda: leader.votes_of(1))
    assert leader.votes_of(1)[0].no is No.UNHEALTHY
    assert "127.0.0.1:9" in leader.votes_of(1)[0].reason


async def test_proxy_that_refuses_the_flip_diverges_then_converges(
    edge: Edge, leader: FakeCoordinator
) -> None:
    async with edge.running(leader.url):
        await until(lambda: connected(leader))
        await leader.switch(BLUE)
        edge.proxy.refuse("activate", Refused(RefusalCode.UNCONFIRMED, "not seen"))
        leader.tell(leader.prepare(GREEN))
        await until(lambda: leader.votes_of(2))
        leader.commit(GREEN)
        leader.tell(leader.sync())
        await until(lambda: leader.newest(AGENT).progress is Progress.DIVERGED)
        assert "not seen" in leader.newest(AGENT).reason
        await until(lambda: leader.is_live(2))


async def test_proxy_that_crashes_comes_back_with_the_active_table(
    edge: Edge, leader: FakeCoordinator
) -> None:
    async with edge.running(leader.url) as agent:
        await until(lambda: connected(leader))
        await leader.switch(BLUE)
        edge.proxy.crash()
        await until(lambda: edge.proxy.starts == 2)
        await until(lambda: agent.state.progress is Progress.LIVE)
        await leader.switch(GREEN)
    assert edge.epoch == 2


async def test_proxy_that_crashes_while_staging_is_a_no_and_then_a_yes(
    edge: Edge, leader: FakeCoordinator
) -> None:
    async with edge.running(leader.url) as agent:
        await until(lambda: connected(leader))
        await leader.switch(BLUE)
        edge.proxy.delay("stage", 3600)
        leader.tell(leader.prepare(GREEN))
        await until(lambda: agent.proxy._under_way)
        edge.proxy.crash()
        await until(lambda: leader.votes_of(2))
        assert leader.votes_of(2)[0].no is No.REFUSED
        assert "the proxy " in leader.votes_of(2)[0].reason
        edge.proxy.delay("stage", 0)
        leader.abort()
        leader.tell(leader.sync())
        await leader.switch(GREEN)
    assert edge.epoch == 3


async def test_proxy_that_does_not_start_is_reported_and_tried_again(
    edge: Edge, leader: FakeCoordinator
) -> None:
    edge.proxy.refuse("start", Refused(RefusalCode.PROXY_DOWN, "port taken"), times=2)
    async with edge.running(leader.url) as agent:
        assert "port taken" in agent.proxy.trouble
        await until(lambda: connected(leader))
        await until(lambda: not agent.proxy.trouble)
        await leader.switch(BLUE)


async def test_drain_is_counted_down_and_reported_empty(
    edge: Edge, leader: FakeCoordinator
) -> None:
    async with edge.running(leader.url) as agent:
        await until(lambda: connected(leader))
        await leader.switch(BLUE)
        edge.proxy.in_flight[CHECKOUT, Colour.BLUE] = 2
        await leader.switch(GREEN)
        await until(lambda: [d.in_flight for d in agent.state.drains] == [2])
        edge.proxy.in_flight[CHECKOUT, Colour.BLUE] = 0
        await until(lambda: any(d.ended for d in leader.newest(AGENT).drains))
    (drain,) = leader.newest(AGENT).drains
    assert (drain.colour, drain.ended, drain.in_flight) == (Colour.BLUE, "empty", 0)


async def test_drain_ends_at_an_edge_whose_proxy_lost_its_requests_in_a_crash(
    edge: Edge, leader: FakeCoordinator
) -> None:
    async with edge.running(leader.url) as agent:
        await until(lambda: connected(leader))
        await leader.switch(BLUE)
        edge.proxy.in_flight[CHECKOUT, Colour.BLUE] = 2
        await leader.switch(GREEN)
        await until(lambda: [d.in_flight for d in agent.state.drains] == [2])
        edge.proxy.crash()
        await until(lambda: any(d.ended for d in leader.newest(AGENT).drains))
    (drain,) = leader.newest(AGENT).drains
    assert (drain.colour, drain.ended, drain.in_flight) == (Colour.BLUE, "empty", 0)
    assert edge.proxy.starts == 2


async def test_agent_that_lost_its_journal_learns_all_that_is_served_from_the_proxy(
    edge: Edge, leader: FakeCoordinator
) -> None:
    async with edge.running(leader.url):
        await until(lambda: connected(leader))
        await leader.switch(BLUE)
    edge.disk = MemoryDisk()
    async with edge.running("http://127.0.0.1:9") as agent:
        assert agent.state.serving == Active(incarnation=1, epoch=Epoch(1), digest=BLUE.digest)
        assert agent.state.record.active == Active()


# ------------------------------------------------------------------------ whom it does not believe


async def test_commit_signed_by_another_key_is_not_served(
    edge: Edge, leader: FakeCoordinator
) -> None:
    async with edge.running(leader.url) as agent:
        await until(lambda: connected(leader))
        await leader.switch(BLUE)
        forged = signed(evolve(leader.head, decided=Epoch(2), committed=Epoch(2)), OTHER)
        leader.tell(evolve(leader.sync(), head=forged))
        await leader.switch(GREEN)
        assert agent.state.record.committed is not None
        assert agent.state.record.committed.head.signature != forged.signature
    assert [flip.table.digest for flip in edge.proxy.flips] == [BLUE.digest, GREEN.digest]


async def test_table_signed_by_another_key_gets_a_no(edge: Edge, leader: FakeCoordinator) -> None:
    async with edge.running(leader.url):
        await until(lambda: connected(leader))
        leader.tell(evolve(leader.prepare(BLUE), table=sealed(BLUE, OTHER)))
        await until(lambda: leader.votes_of(1))
    assert leader.votes_of(1)[0].no is No.SIGNATURE


async def test_prepare_of_a_stale_term_gets_no_vote(edge: Edge, leader: FakeCoordinator) -> None:
    leader.term = Term(7)
    async with edge.running(leader.url):
        await until(lambda: connected(leader))
        await leader.switch(BLUE)
        leader.tell(evolve(leader.prepare(GREEN), term=Term(6)))
        await leader.switch(GREEN)
    assert [vote.term for vote in leader.votes_of(2)] == [7]


async def test_replayed_messages_change_nothing(edge: Edge, leader: FakeCoordinator) -> None:
    async with edge.running(leader.url) as agent:
        await until(lambda: connected(leader))
        first = leader.prepare(BLUE)
        await leader.switch(BLUE)
        old_head = leader.sync()
        await leader.switch(GREEN)
        record = agent.state.record
        leader.tell(first)
        leader.tell(old_head)
        leader.tell(leader.sync())
        count = len(leader.reports)
        await until(lambda: len(leader.reports) > count)
        assert agent.state.record == record
    assert [flip.epoch for flip in edge.proxy.flips] == [1, 2]
    assert len(leader.votes_of(1)) == 1


async def test_s10_every_report_repeats_the_challenge_of_its_stream(
    edge: Edge, leader: FakeCoordinator
) -> None:
    async with edge.running(leader.url):
        await until(lambda: len(leader.reports) > 2)
        first = {report.challenge for report in leader.reports}
        leader.streams[AGENT].close("restarted")
        await until(lambda: len(leader.opened) == 2)
        heard = len(leader.reports)
        await until(lambda: len(leader.reports) > heard)
        second = {report.challenge for report in leader.reports} - first
    assert [first, second] == [{"challenge 0"}, {"challenge 1"}]


async def test_agent_with_a_wrong_key_is_turned_away_and_serves_on(
    edge: Edge, leader: FakeCoordinator
) -> None:
    async with edge.running(leader.url):
        await until(lambda: connected(leader))
        await leader.switch(BLUE)
    edge.signer = OTHER
    async with edge.running(leader.url) as agent:
        await until(lambda: len(leader.forged) > 2)
        assert not leader.streams
        assert agent.state.progress is Progress.LIVE
        assert not agent.state.linked


# ------------------------------------------------------------------------ the connection


async def test_redirect_leads_to_the_leader(
    edge: Edge, leader: FakeCoordinator, nursery: trio.Nursery
) -> None:
    follower = FakeCoordinator(replica="c2")
    await follower.start(nursery)
    follower.leader_url = leader.url
    async with edge.running(follower.url) as agent:
        await until(lambda: connected(leader))
        assert agent.link.url == leader.url
        await leader.switch(BLUE)
    follower.stop()


async def test_leader_that_goes_is_replaced_by_the_next_in_the_list(
    edge: Edge, leader: FakeCoordinator, nursery: trio.Nursery
) -> None:
    second = FakeCoordinator(term=2, replica="c2")
    second.keys = leader.keys
    await second.start(nursery)
    async with edge.running(leader.url, second.url) as agent:
        await until(lambda: connected(leader))
        await leader.switch(BLUE)
        second.head = leader.head
        leader.stop()
        await until(lambda: agent.state.linked and AGENT in second.streams)
        await second.switch(GREEN)
    assert edge.epoch == 2
    second.stop()


async def test_replica_without_a_leader_is_asked_again(edge: Edge, leader: FakeCoordinator) -> None:
    leader.refuse = problems.NO_LEADER.problem("an election is under way")
    async with edge.running(leader.url) as agent:
        await until(lambda: "an election is under way" in agent.link.trouble)
        assert not agent.state.linked
        leader.refuse = None
        await until(lambda: connected(leader))


async def test_line_that_is_no_message_ends_the_stream_and_another_is_opened(
    edge: Edge, leader: FakeCoordinator
) -> None:
    async with edge.running(leader.url) as agent:
        await until(lambda: connected(leader))
        leader.streams[AGENT].send_nowait(b'{"v":99}\n')
        await until(lambda: len(leader.opened) == 2)
        assert "the message is of version 99" in agent.link.trouble
        await leader.switch(BLUE)
    assert len(leader.opened) == 2
    assert edge.epoch == 1


async def test_many_agents_in_one_process_switch_together(
    leader: FakeCoordinator, nursery: trio.Nursery
) -> None:
    edges = [
        Edge(name=AgentId(f"eu-{n}"), signer=Ed25519Signer.from_seed(n.to_bytes(32)))
        for n in range(20)
    ]
    async with trio.open_nursery() as agents:
        for one in edges:
            leader.keys[one.name] = one.signer.public_key
            await agents.start(one.agent(leader.url).run)
        await until(lambda: len(leader.streams) == len(edges))
        await leader.switch(BLUE)
        await leader.switch(GREEN)
        agents.cancel_scope.cancel()
    assert {one.epoch for one in edges} == {2}


async def test_exchange_that_had_to_dial_first_is_not_taken_for_a_round_trip(
    edge: Edge, leader: FakeCoordinator
) -> None:
    async with edge.running(leader.url) as agent:
        await until(lambda: len(agent.state.estimate.exchanges) >= 2)
        posted = len(leader.reports) - len(leader.opened)
        assert posted == len(agent.state.estimate.exchanges) + 1


async def test_report_waits_for_the_answer_to_a_vote_rather_than_dial_another_connection(
    edge: Edge, leader: FakeCoordinator
) -> None:
    async with edge.running(leader.url) as agent, trio.open_nursery() as nursery:
        await until(lambda: len(agent.state.estimate.exchanges) >= 1)
        leader.answers_votes = trio.Event()
        nursery.start_soon(leader.switch, BLUE)
        await until(lambda: len(leader.votes) == 1)
        dialled, reported = agent.link.transport.dialled, len(leader.reports)
        agent.link.send(agent._opening_report())
        with trio.move_on_after(0.1):
            await until(lambda: len(leader.reports) > reported)
        assert len(leader.reports) == reported
        leader.answers_votes.set()
        await until(lambda: len(leader.reports) > reported)
        assert agent.link.transport.dialled == dialled


async def test_report_dates_itself_when_it_leaves(edge: Edge, leader: FakeCoordinator) -> None:
    async with edge.running(leader.url) as agent:
        await until(lambda: connected(leader))
        stale = agent._opening_report()
        agent.link.send(evolve(stale, reason="waited", sent_ns=MonotonicNs(1)))
        await until(lambda: leader.reports[-1].reason == "waited")
        assert leader.reports[-1].sent_ns > stale.sent_ns
