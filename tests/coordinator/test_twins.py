"""Two agents under one identity: which of them is let in, and when the operator is told."""

from __future__ import annotations

from attrs import define, field

from coordinator.twins import HEARD_S, TIMES, WINDOW_S, Twins
from turnout.protocol.clock import SECOND, MonotonicNs
from turnout.protocol.identifiers import NO_TERM, AgentId, Region
from turnout.protocol.messages import Report

A = AgentId("a")
HERE, THERE = "10.0.0.1", "10.0.0.2"
DAY_S = 86_400.0


@define
class Door:
    """Twins at a made-up time, and one open stream at most."""

    now_s: float = 1000.0
    held: bool = False
    told: list[str] = field(factory=list)
    twins: Twins = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.twins = Twins(lambda: self.now_s)

    def knocks(self, address: str, *, journal: str = "j1", uptime_s: float = DAY_S) -> str | None:
        """Somebody wants to open a stream; why it may not, or None. ``uptime_s`` was at 1000."""
        report = Report(
            agent=A,
            region=Region("eu"),
            incarnation=None,
            journal_id=journal,
            promised=NO_TERM,
            sent_ns=MonotonicNs(round((uptime_s + self.now_s - 1000) * SECOND)),
        )
        refusal = self.twins.refusal(report, address, "j1", held=self.held)
        if refusal is None:
            told = self.twins.opened(report, address, held=self.held)
            self.told += [told] if told else []
            self.held = True
        return refusal


def test_h13_other_journal_does_not_take_the_place_of_the_registered_one_that_is_heard() -> None:
    door = Door()
    assert door.knocks(HERE) is None
    refusal = door.knocks(THERE, journal="j2")
    assert refusal is not None
    for word in ("'a'", HERE, THERE, "j1", "j2"):
        assert word in refusal
    assert door.told == []


def test_h13_other_journal_is_let_in_once_the_registered_one_is_silent_or_gone() -> None:
    silent, gone = Door(), Door()
    silent.knocks(HERE)
    silent.now_s += HEARD_S
    assert silent.knocks(THERE, journal="j2") is None
    gone.knocks(HERE)
    gone.held = False
    assert gone.knocks(THERE, journal="j2") is None
    assert silent.told == gone.told == []


def test_h13_registered_journal_takes_its_place_back() -> None:
    door = Door()
    assert door.knocks(THERE, journal="j2") is None
    assert door.knocks(HERE) is None
    assert door.knocks(THERE, journal="j2") is not None


def test_agent_that_is_heard_keeps_its_place_however_long_its_stream_lives() -> None:
    door = Door()
    door.knocks(HERE)
    for _ in range(10):
        door.now_s += HEARD_S / 3
        door.twins.heard(A)
    assert door.knocks(THERE, journal="j2") is not None


def test_stream_taken_over_once_or_twice_is_a_broken_connection() -> None:
    door = Door()
    for _ in range(TIMES):
        assert door.knocks(HERE) is None
        door.now_s += 1
    assert door.told == []


def test_copied_disk_on_two_hosts_is_told_with_both_addresses() -> None:
    door = Door()
    for address in (HERE, THERE, HERE, THERE):
        assert door.knocks(address, uptime_s=DAY_S if address == HERE else 5) is None
        door.now_s += 2
    (text,) = door.told
    assert f"from {HERE} and {THERE}" in text
    assert "one journal" in text


def test_copied_disk_behind_one_address_is_told_apart_by_the_hosts_uptimes() -> None:
    door = Door()
    for uptime_s in (DAY_S, 5, DAY_S, 5):
        door.knocks(HERE, uptime_s=uptime_s)
        door.now_s += 2
    (text,) = door.told
    assert f"from {HERE} (two hosts)" in text


def test_stream_taken_over_on_one_host_may_be_the_network() -> None:
    door = Door()
    for _ in range(TIMES + 1):
        door.knocks(HERE)
        door.now_s += 2
    (text,) = door.told
    assert "network" in text


def test_streams_taken_over_seldom_are_no_suspicion() -> None:
    door = Door()
    for _ in range(20):
        door.knocks(HERE)
        door.now_s += WINDOW_S + 1
    assert door.told == []
