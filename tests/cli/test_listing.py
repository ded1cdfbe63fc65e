"""Lists for people, in wide and in narrow windows."""

from __future__ import annotations

import io

from rich.console import Console
from rich.text import Text

from turnout.cli.listing import Listing

HEADINGS = ("REGION", "AGENT", "STANDING", "REASON")
ROWS = [("eu-west-1", "eu-west-1-a", Text("good"), ""), ("us", "us-a", Text("stale"), "x" * 30)]


def shown(listing: Listing, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(listing)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_list_is_a_table_where_it_fits() -> None:
    lines = shown(Listing(HEADINGS, ROWS), 80)
    assert lines[0] == "REGION     AGENT        STANDING  REASON"
    assert lines[2] == "eu-west-1  eu-west-1-a  good"
    assert lines[3] == f"us         us-a         stale     {'x' * 30}"


def test_prose_is_wrapped_before_the_table_is_given_up() -> None:
    lines = shown(Listing(HEADINGS, ROWS), 52)
    assert lines[3].startswith("us         us-a         stale     xxxx")
    assert "".join(lines).count("x") == 30


def test_list_that_does_not_fit_becomes_blocks_and_loses_nothing() -> None:
    assert shown(Listing(HEADINGS, ROWS), 40) == [
        "eu-west-1",
        "  agent     eu-west-1-a",
        "  standing  good",
        "",
        "us",
        "  agent     us-a",
        "  standing  stale",
        "  reason    " + "x" * 28,
        "            xx",
    ]


def test_column_in_which_nobody_says_anything_is_left_out() -> None:
    assert shown(Listing(HEADINGS, ROWS[:1]), 80)[0] == "REGION     AGENT        STANDING"


def test_list_of_nothing_keeps_its_headings() -> None:
    assert shown(Listing(HEADINGS, []), 80)[0] == "REGION  AGENT  STANDING  REASON"
