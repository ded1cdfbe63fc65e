from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import evolve

from edge_agent.journal_file import JournalFile, LostJournalError
from edge_agent.state_folder import StateError, StateFolder
from turnout.protocol.identifiers import Digest, Epoch, Term
from turnout.protocol.journal import COMPACT_ABOVE_BYTES, encode
from turnout.protocol.records import AgentRecord, Prepared

RECORD = AgentRecord(journal_id="first", promised=Term(7))
VOTED = evolve(RECORD, prepared=Prepared(epoch=Epoch(3), digest=Digest("a" * 64), term=Term(7)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def reopened(path: Path) -> JournalFile:
    journal = JournalFile.open(path, "fresh")
    journal.close()
    return journal


def written(path: Path, *records: AgentRecord) -> JournalFile:
    """A journal with these records, still open."""
    journal = JournalFile.open(path, "first")
    for record in records:
        journal.append(record)
    return journal


@contextmanager
def file_size_limit(limit_bytes: int) -> Iterator[None]:
    """A disk that is full: no file of this process may grow beyond."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@contextmanager
def failing_sync(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Every fdatasync fails; yields the descriptors it was asked for."""
    asked: list[int] = []

    def fail(descriptor: int) -> None:
        asked.append(descriptor)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        yield asked


def test_missing_journal_begins_under_a_fresh_id_that_is_on_disk_at_once(path: Path) -> None:
    journal = JournalFile.open(path, "first")
    assert journal.record == AgentRecord(journal_id="first")
    assert "there was no journal" in journal.finding
    assert reopened(path).record.journal_id == "first"
    journal.close()


def test_last_record_appended_is_read_back_without_a_finding(path: Path) -> None:
    written(path, RECORD, VOTED).close()
    again = reopened(path)
    assert again.record == VOTED
    assert again.finding == ""


def test_record_cut_short_anywhere_gives_the_one_before_and_then_a_clean_file(path: Path) -> None:
    written(path, RECORD).close()
    whole = path.read_bytes()
    tail = encode(VOTED)
    for cut in range(1, len(tail)):
        path.write_bytes(whole + tail[:cut])
        journal = JournalFile.open(path, "fresh")
        assert journal.record == RECORD
        assert f"({cut} bytes)" in journal.finding
        journal.append(VOTED)
        journal.close()
        assert path.read_bytes() == tail


def test_damaged_end_goes_on_under_a_new_id_and_keeps_a_copy(path: Path) -> None:
    written(path, RECORD, VOTED).close()
    rotten = bytearray(path.read_bytes())
    rotten[-10] ^= 1
    path.write_bytes(rotten)
    journal = reopened(path)
    assert journal.record == evolve(RECORD, journal_id="fresh")
    assert "damaged" in journal.finding
    assert path.with_name("journal.damaged").read_bytes() == rotten
    assert JournalFile.open(path, "unused").record.journal_id == "fresh"


def test_damage_before_the_last_record_loses_nothing(path: Path) -> None:
    written(path, RECORD, VOTED).close()
    rotten = bytearray(path.read_bytes())
    rotten[40] ^= 1
    path.write_bytes(rotten)
    journal = reopened(path)
    assert journal.record == VOTED
    assert "nothing is lost" in journal.finding


def test_journal_of_garbage_begins_anew(path: Path) -> None:
    path.write_bytes(b"\0" * 5000)
    assert reopened(path).record == AgentRecord(journal_id="fresh")


def test_what_a_killed_agent_left_unsynced_is_synced_before_it_counts(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(path, RECORD).close()
    with failing_sync(monkeypatch), pytest.raises(StateError, match="input/output error"):
        JournalFile.open(path, "fresh")


def test_long_journal_is_compacted_and_goes_on(path: Path) -> None:
    line = encode(RECORD)
    path.write_bytes(line * (COMPACT_ABOVE_BYTES // len(line) + 1))
    journal = JournalFile.open(path, "fresh")
    journal.append(VOTED)
    assert path.read_bytes() == encode(VOTED)
    journal.append(RECORD)
    journal.close()
    assert path.read_bytes() == encode(VOTED) + encode(RECORD)
    assert reopened(path).record == RECORD


def test_failed_fsync_is_not_retried_and_the_record_before_counts(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = written(path, RECORD)
    with failing_sync(monkeypatch) as asked, pytest.raises(StateError, match="input/output"):
        journal.append(VOTED)
    assert len(asked) == 1
    assert journal.record == RECORD
    inode = path.stat().st_ino
    journal.append(VOTED)
    journal.close()
    assert path.stat().st_ino != inode, "the suspect file was appended to"
    assert reopened(path).record == VOTED


def test_full_disk_refuses_the_record_and_frees_itself(path: Path) -> None:
    journal = written(path, RECORD)
    with file_size_limit(100):
        for _ in range(3):
            with pytest.raises(StateError, match=r"may not grow"):
                journal.append(VOTED)
            assert journal.record == RECORD
    journal.append(VOTED)
    journal.close()
    assert reopened(path).record == VOTED
    assert [p.name for p in path.parent.iterdir()] == ["journal"]


def test_restart_on_a_full_disk_keeps_what_was_synced(path: Path) -> None:
    journal = written(path, RECORD)
    size = path.stat().st_size
    with file_size_limit(size + 50):
        with pytest.raises(StateError):
            journal.append(VOTED)
        assert path.stat().st_size > size, "this shows nothing unless a torn tail is left"
        assert reopened(path).record == RECORD


def test_journal_that_vanished_is_lost_when_the_next_record_fails(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = written(path, RECORD)
    path.write_bytes(b"\1" * 100)
    with failing_sync(monkeypatch), pytest.raises(LostJournalError, match="disk is failing"):
        journal.append(VOTED)


def test_journal_that_may_not_be_read_is_a_clear_error(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StateError, match=str(path)):
        JournalFile.open(path, "fresh")


def test_second_agent_on_one_state_folder_is_refused(tmp_path: Path) -> None:
    owned = StateFolder(tmp_path / "state")
    with pytest.raises(StateError, match="in use by another agent"):
        StateFolder(tmp_path / "state")
    owned.release()
    StateFolder(tmp_path / "state").release()


def test_state_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="file"):
        StateFolder(tmp_path / "file")
