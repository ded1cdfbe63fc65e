"""Stories that a reviewer can read: commands, then exact messages, records and state changes.

The files in ``transcripts`` are golden (the idea is etcd-io/raft's ``interaction_test``): lines that
begin with ``#`` tell the story and its rule, lines with ``>`` are commands, the rest is what
happened. ``pytest --rewrite-transcripts`` writes them anew; what a story promises stands in its
``expect`` commands and in the invariants, so that a rewritten file cannot hide a broken rule.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.protocol.transcript_commands import Story

FOLDER = Path(__file__).parent / "transcripts"
FILES = sorted(FOLDER.glob("*.txt"))
SECTION_6 = 8
"""Rows of the table in the design's section on partitions."""


def _play(text: str) -> str:
    """What the file should say: its story and commands, with what they make happen."""
    written: list[str] = []
    story: Story | None = None
    for line in text.splitlines():
        if line.startswith("#"):
            written.append(line)
        elif line.startswith("> world "):
            story = Story(line.removeprefix("> world "))
            written += ["", line]
        elif line.startswith(">"):
            assert story is not None, "a transcript begins with its world"
            written += ["", line] if not line.startswith("> expect") else [line]
            try:
                written += story.play(line.removeprefix("> "))
            except AssertionError as error:
                raise AssertionError(f"{line}: {error}\n" + "\n".join(written[-40:])) from error
    return "\n".join(written).strip() + "\n"


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_story_happens_as_written(path: Path, request: pytest.FixtureRequest) -> None:
    before = path.read_text()
    after = _play(before)
    if request.config.getoption("--rewrite-transcripts"):
        path.write_text(after)
    else:
        assert after == before, f"{path.name} is not what happens: look at the difference, then "
        "run pytest --rewrite-transcripts"


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_story_says_what_it_shows_and_expects_something(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# ")
    assert any(line.startswith("# Rule") for line in lines), "which rule does it show?"
    assert any(line.startswith("> expect ") for line in lines)


def test_stories_cover_every_row_of_the_partition_table_and_the_scenarios() -> None:
    names = [path.stem for path in FILES]
    rows = {name[:2] for name in names if name.startswith("s")}
    assert rows == {f"s{row}" for row in range(1, SECTION_6 + 1)}
    scenarios = {name.split("-")[0] for name in names}
    # The kernel's word on its clock, the sum of limits and the choice of a store have no messages.
    wanted = {*range(1, 27)} - {16, 17, 24}
    assert {f"h{number:02d}" for number in wanted} <= scenarios
    assert {f"p{number:02d}" for number in range(1, 13)} <= scenarios
