"""An agent's disk: what it keeps, what a crash makes of what was not synced, and how it fails."""

from __future__ import annotations

import pytest
from attrs import evolve

from simulator.clocks import NodeClock
from simulator.disk import FULL, Disk, DiskKnobs
from simulator.explore.bootstrap import table
from simulator.journal_file import DiskError, Fate
from simulator.process import NodeName, Process
from simulator.randomness import Randomness
from simulator.virtual_time import Agenda
from turnout.protocol.clock import MS, SECOND
from turnout.protocol.identifiers import Digest, Epoch, Region, Term
from turnout.protocol.limits import MAX_TEXT
from turnout.protocol.records import AgentRecord, Prepared, SignedTable

FAST = DiskKnobs(sync_ns=MS, slow_percent=0)


class Host:
    """A process with a disk, and what it heard of it."""

    def __init__(self, knobs: DiskKnobs = FAST, seed: int = 1) -> None:
        self.agenda = Agenda()
        clock = NodeClock()
        self.process = Process(NodeName("agent eu/1"), Region("eu"), clock, self.agenda)
        self.disk = Disk(self.process, Randomness(seed), knobs)
        self.record = self.disk.open().record
        self.heard: list[str | None] = []

    def persist(self, promised: int) -> AgentRecord:
        """Ask for a record to be kept, and let no time pass."""
        self.record = evolve(self.record, promised=Term(promised))
        self.disk.persist(self.record, self.heard.append)
        return self.record

    def persisted(self, promised: int) -> AgentRecord:
        record = self.persist(promised)
        self.wait()
        return record

    def wait(self, span_ns: int = 10 * MS) -> None:
        self.agenda.run(self.agenda.now_ns + span_ns)

    def restart(self) -> AgentRecord:
        self.process.kill()
        self.process.start()
        return self.disk.open().record


def sealed(port: int) -> SignedTable:
    return SignedTable(table=table(("eu",), port=port))


def test_disk_record_survives_a_crash_after_its_sync() -> None:
    host = Host()
    record = host.persisted(5)
    assert host.heard == [None]
    assert host.restart() == record == host.disk.record


def test_disk_sync_takes_its_time() -> None:
    host = Host(DiskKnobs(sync_ns=2 * MS, slow_percent=0))
    host.persist(5)
    host.wait(2 * MS - 1)
    assert host.heard == []
    host.wait(MS + 1)
    assert host.heard == [None]


def test_disk_slow_syncs_have_a_tail() -> None:
    host = Host(DiskKnobs(sync_ns=MS, slow_percent=100, slow_sync_ns=SECOND))
    host.persist(5)
    host.wait(2 * MS)
    assert host.heard == []
    host.wait(SECOND)
    assert host.heard == [None]


def test_disk_new_begins_a_journal_under_an_id_from_chance() -> None:
    ids = [Host(seed=seed).record.journal_id for seed in (1, 1, 2)]
    assert ids[0] == ids[1] != ids[2]
    assert len(ids[0]) == 32


@pytest.mark.parametrize(("fate", "promised"), [(Fate.KEPT, 6), (Fate.LOST, 5), (Fate.TORN, 5)])
def test_disk_crash_during_a_sync_keeps_loses_or_tears_the_record(
    fate: Fate, promised: int
) -> None:
    host = Host()
    before = host.persisted(5)
    host.persist(6)
    host.disk.tear(fate)
    after = host.restart()
    assert (after.promised, after.journal_id) == (promised, before.journal_id)
    assert host.heard == [None], "who died hears nothing more"


def test_disk_crash_that_leaves_zeros_costs_the_journal_its_id() -> None:
    host = Host()
    before = host.persisted(5)
    host.persist(6)
    host.disk.tear(Fate.ZEROED)
    after = host.restart()
    assert after.promised == 5
    assert after.journal_id != before.journal_id
    assert host.restart() == after, "the new journal was begun on the disk"


def test_disk_crash_outside_a_sync_leaves_the_next_one_to_be_torn() -> None:
    host = Host()
    host.persisted(5)
    host.disk.tear(Fate.KEPT)
    host.restart()
    host.persist(6)
    assert host.restart().promised == 6


def test_disk_crashes_of_many_seeds_meet_every_fate() -> None:
    seen = set()
    for seed in range(60):
        host = Host(seed=seed)
        before = host.persisted(5)
        host.persist(6)
        host.process.kill()
        host.process.start()
        opened = host.disk.open()
        is_same = opened.record.journal_id == before.journal_id
        seen.add((int(opened.record.promised), is_same, bool(opened.finding)))
    assert seen == {(6, True, False), (5, True, False), (5, True, True), (5, False, True)}


def test_disk_appends_after_a_torn_record_to_a_clean_file() -> None:
    host = Host()
    host.persisted(5)
    host.persist(6)
    host.disk.tear(Fate.TORN)
    host.record = host.restart()
    host.persisted(7)
    host.process.kill()
    host.process.start()
    opened = host.disk.open()
    assert (opened.record.promised, opened.finding) == (7, "")


def test_disk_failed_sync_is_told_and_the_record_before_counts() -> None:
    host = Host()
    before = host.persisted(5)
    host.disk.fail("an input/output error", times=1)
    host.persisted(6)
    assert host.heard == [None, "an input/output error"]
    assert host.disk.record == before


def test_disk_after_a_failed_sync_begins_a_new_file() -> None:
    host = Host()
    host.persisted(5)
    heal = host.disk.fail()
    host.persisted(6)
    heal()
    heal()
    record = host.persisted(7)
    assert host.heard[-1] is None
    host.process.kill()
    host.process.start()
    opened = host.disk.open()
    assert (opened.record, opened.finding) == (record, "")


def test_disk_failed_sync_may_have_left_the_record_all_the_same() -> None:
    found = set()
    for seed in range(40):
        host = Host(seed=seed)
        host.persisted(5)
        host.disk.fail(times=1)
        host.persisted(6)
        found.add(int(host.restart().promised))
    assert found == {5, 6}


def test_disk_that_no_longer_holds_what_it_synced_stops_its_agent() -> None:
    host = Host()
    host.persisted(5)
    assert host.disk.rot(last=True)
    host.disk.fail(times=1)
    host.persisted(6)
    assert not host.process.is_alive
    assert host.heard == [None]


def test_disk_rot_of_the_last_record_costs_the_journal_its_id() -> None:
    host = Host()
    before = host.persisted(5)
    host.persisted(6)
    assert host.disk.rot(last=True)
    after = host.restart()
    assert after.promised == 5
    assert after.journal_id != before.journal_id


def test_disk_rot_of_an_earlier_record_does_no_harm() -> None:
    host = Host()
    host.persisted(5)
    record = host.persisted(6)
    assert host.disk.rot(last=False)
    host.process.kill()
    host.process.start()
    opened = host.disk.open()
    assert opened.record == record
    assert "damaged before its last record" in opened.finding


def test_disk_rot_without_an_earlier_record_is_none() -> None:
    host = Host()
    assert not host.disk.rot(last=False)
    assert host.disk.rot()


def test_disk_replaced_is_empty_and_sound() -> None:
    host = Host()
    before = host.persisted(5)
    host.disk.save_table(sealed(80), host.heard.append)
    host.wait()
    host.disk.fail()
    host.process.kill()
    host.disk.replace()
    host.process.start()
    opened = host.disk.open()
    assert opened.record == AgentRecord(journal_id=opened.record.journal_id)
    assert opened.record.journal_id != before.journal_id
    assert opened.tables == ()


def test_disk_replaced_under_a_running_agent_takes_the_record_that_is_coming() -> None:
    host = Host()
    host.persisted(5)
    record = host.persist(6)
    host.disk.replace()
    host.wait()
    assert host.heard == [None, None]
    assert host.restart() == record


def test_disk_full_refuses_what_is_new_and_reads_what_is_there() -> None:
    host = Host()
    record = host.persisted(5)
    heal = host.disk.full()
    host.persisted(6)
    assert host.heard == [None, FULL]
    host.process.kill()
    host.process.start()
    assert host.disk.open().record.journal_id == record.journal_id
    heal()
    host.persisted(7)
    assert host.heard[-1] is None


def test_disk_full_cannot_begin_a_new_journal() -> None:
    host = Host()
    host.process.kill()
    host.disk.replace()
    host.disk.full()
    host.process.start()
    with pytest.raises(DiskError, match="full"):
        host.disk.open()


def test_disk_that_fails_cannot_be_opened() -> None:
    host = Host()
    host.disk.fail("an input/output error", times=1)
    with pytest.raises(DiskError, match="input/output"):
        host.disk.open()
    assert host.disk.open().record == host.record


def test_disk_slow_adds_to_each_sync_until_healed() -> None:
    host = Host()
    heal = host.disk.slow(SECOND)
    host.persist(5)
    host.wait(SECOND)
    assert host.heard == []
    host.wait()
    assert host.heard == [None]
    heal()
    host.persisted(6)
    assert host.heard == [None, None]


def test_disk_journal_is_compacted_and_says_the_same() -> None:
    host = Host(DiskKnobs(sync_ns=MS, slow_percent=0, compact_above_bytes=1))
    host.persisted(5)
    record = host.persisted(6)
    assert not host.disk.rot(last=False), "one record is left"
    assert host.restart() == record


def test_disk_crash_while_compacting_leaves_one_file_whole() -> None:
    found = set()
    for seed in range(40):
        host = Host(DiskKnobs(sync_ns=MS, slow_percent=0, compact_above_bytes=1), seed)
        host.persisted(5)
        host.persist(6)
        host.process.kill()
        host.process.start()
        opened = host.disk.open()
        found.add((int(opened.record.promised), opened.finding))
    assert found == {(5, ""), (6, "")}


def test_disk_record_too_long_is_refused_and_changes_nothing() -> None:
    host = Host()
    before = host.persisted(5)
    huge = Prepared(epoch=Epoch(1), digest=Digest("d" * (100 * MAX_TEXT)), term=Term(6))
    host.disk.persist(evolve(before, prepared=huge), host.heard.append)
    host.wait()
    assert "above the limit" in (host.heard[-1] or "")
    assert host.disk.record == before
    host.persisted(7)
    assert host.heard[-1] is None


def test_disk_tables_are_kept_by_digest_and_forgotten() -> None:
    host = Host()
    tables = [sealed(80), sealed(81), sealed(82)]
    for one in tables:
        host.disk.save_table(one, host.heard.append)
        host.wait()
    by_digest = tuple(sorted(tables, key=lambda one: one.digest))
    assert host.disk.tables() == by_digest
    host.disk.forget_tables((tables[0].digest,))
    assert host.disk.tables() == (tables[0],)
    assert host.heard == [None] * 3


def test_disk_failed_table_is_not_there() -> None:
    host = Host()
    host.disk.fail("broken", times=1)
    host.disk.save_table(sealed(80), host.heard.append)
    host.wait()
    assert host.heard == ["broken"]
    assert host.disk.tables() == ()


def test_disk_crash_while_a_table_is_saved_leaves_it_whole_or_absent() -> None:
    found = set()
    for seed in range(40):
        host = Host(seed=seed)
        host.disk.save_table(sealed(80), host.heard.append)
        host.restart()
        found.add(len(host.disk.tables()))
    assert found == {0, 1}


def test_disk_rotted_table_is_absent_but_stays_in_its_agents_memory() -> None:
    host = Host()
    one = sealed(80)
    assert not host.disk.rot_table()
    host.disk.save_table(one, host.heard.append)
    host.wait()
    assert host.disk.rot_table()
    assert host.disk.tables() == ()
    assert host.disk.table(one.digest) == one.table
    host.restart()
    assert host.disk.table(one.digest) is None


def test_disk_rotted_table_is_whole_once_it_is_saved_again() -> None:
    host = Host()
    one = sealed(80)
    for _ in range(2):
        host.disk.save_table(one, host.heard.append)
        host.wait()
        assert host.disk.tables() == (one,)
        host.disk.rot_table()
