"""The specification says what the code says: what is printed from it, and every name it must have."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from simulator.explore.canaries import CANARIES
from simulator.explore.worlds import WORLDS
from tests.protocol.specification import BLOCKS, ROOT, SPECIFICATION, names_in, printed
from turnout.protocol.gate import Suspicion
from turnout.protocol.invariants import SAFETY
from turnout.protocol.messages import Down, No, Up
from turnout.protocol.recovery import Action

TEXT = SPECIFICATION.read_text(encoding="utf-8")
WRITES = (ROOT / "turnout" / "protocol" / "writes.py").read_text(encoding="utf-8")
STANDING = (ROOT / "turnout" / "protocol" / "standing.py").read_text(encoding="utf-8")


def test_specification_has_every_printed_block_once() -> None:
    assert sorted(names_in(TEXT)) == sorted(BLOCKS)


def test_printed_blocks_are_as_the_code_prints_them() -> None:
    assert printed(TEXT) == TEXT, "run: python -m tests.protocol.specification, and read the diff"


def test_printing_twice_changes_nothing() -> None:
    assert printed(printed(TEXT)) == printed(TEXT)


def test_specification_names_every_message() -> None:
    assert [t.__name__ for t in (*get_args(Down), *get_args(Up)) if not has(t.__name__)] == []


@pytest.mark.parametrize("words", [No, Suspicion, Action], ids=lambda words: words.__name__)
def test_specification_names_every_code(words: type[No | Suspicion | Action]) -> None:
    assert [word for word in words if not has(word)] == []


def test_specification_names_every_transaction() -> None:
    names = set(re.findall(r'name="([a-z-]+)"', WRITES)) | {"decide-commit", "decide-abort"}
    names |= set(re.findall(r'_change\(turn, "([a-z-]+)"', STANDING))
    assert len(names) > len(["create-head", "accept", "decide-commit", "decide-abort", "outcome"])
    assert sorted(name for name in names if not has(name)) == []


def test_specification_numbers_every_invariant() -> None:
    numbers = (
        {number for number, _ in SAFETY} | {f"S{n}" for n in range(1, 12)} | {"L1", "L2", "L3"}
    )
    assert sorted(number for number in numbers if f"| **{number}** |" not in TEXT) == []


def test_specification_lists_the_explored_worlds_and_no_others() -> None:
    listed = re.findall(
        r"^\| \**([^|`*]+)\**(?: \(`--(?:all|world)`\))? \| \d, \d \|", TEXT, re.MULTILINE
    )
    assert sorted(listed) == sorted(world.name for world in WORLDS)


def test_specification_lists_the_canaries_and_what_catches_them() -> None:
    rows = [f"| {canary.name} | {canary.number} |" for canary in CANARIES]
    assert [row for row in rows if row not in TEXT] == []


def test_every_story_that_code_or_tests_tell_is_in_the_specification() -> None:
    told: set[str] = set()
    for folder in ("turnout", "coordinator", "edge_agent", "simulator/explore", "tests/protocol"):
        for file in (ROOT / folder).rglob("*.py"):
            told |= set(re.findall(r"\b([HP][1-9]\d?)\b", file.read_text(encoding="utf-8")))
    stories = set(re.findall(r"\b[HP]\d+\b", TEXT[TEXT.index("## 16.") :]))
    assert sorted(told - stories) == []


def has(name: str) -> bool:
    """Whether the specification has this name in code's type."""
    return f"`{name}`" in TEXT
