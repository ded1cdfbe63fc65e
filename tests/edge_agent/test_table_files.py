from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from edge_agent.state_folder import StateError
from edge_agent.table_files import TableFiles
from tests.edge_agent.fake_coordinator import sealed, table_of
from turnout.protocol.routing import Colour

BLUE, GREEN = sealed(table_of(Colour.BLUE)), sealed(table_of(Colour.GREEN))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "tables"


def test_tables_saved_are_read_back_by_another_process(folder: Path) -> None:
    files = TableFiles(folder)
    files.save(BLUE)
    files.save(GREEN)
    read = TableFiles(folder).read_all()
    assert {table.digest: table for table in read} == {BLUE.digest: BLUE, GREEN.digest: GREEN}


@pytest.mark.parametrize("damage", [b"", b"garbage", b"\0" * 100])
def test_damaged_table_counts_as_absent_and_is_mended_by_saving(
    folder: Path, damage: bytes
) -> None:
    files = TableFiles(folder)
    files.save(BLUE)
    (folder / BLUE.digest).write_bytes(damage)
    assert files.read_all() == ()
    files.save(BLUE)
    assert files.read_all() == (BLUE,)


def test_table_under_another_name_counts_as_absent(folder: Path) -> None:
    files = TableFiles(folder)
    files.save(BLUE)
    (folder / BLUE.digest).rename(folder / GREEN.digest)
    assert files.read_all() == ()


def test_leftover_of_an_interrupted_save_is_passed_over_and_cleared(folder: Path) -> None:
    files = TableFiles(folder)
    files.save(BLUE)
    (folder / f"{GREEN.digest}.new").write_bytes(b"half")
    assert files.read_all() == (BLUE,)
    files.forget_all_but((BLUE.digest,))
    assert [path.name for path in folder.iterdir()] == [BLUE.digest]


def test_tables_not_kept_are_deleted(folder: Path) -> None:
    files = TableFiles(folder)
    files.save(BLUE)
    files.save(GREEN)
    files.forget_all_but((GREEN.digest,))
    assert files.read_all() == (GREEN,)


def test_disk_that_fails_leaves_no_half_table(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = TableFiles(folder)

    def full(_descriptor: int, _data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(StateError, match="the disk is full: free some space"):
            files.save(BLUE)
    assert list(folder.iterdir()) == []


def test_folder_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "tables").write_text("")
    with pytest.raises(StateError, match="tables"):
        TableFiles(tmp_path / "tables")
