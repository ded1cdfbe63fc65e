from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.runtime.http.sse import (
    EventParser,
    MalformedEventError,
    ServerEvent,
    format_comment,
    format_event,
)

one_line = st.text(st.characters(exclude_characters="\r\n\0", codec="utf-8"), max_size=20)
events = st.builds(
    ServerEvent,
    data=st.text(st.characters(exclude_characters="\r", codec="utf-8"), max_size=40),
    event=one_line.map(lambda name: name or "message"),
    id=one_line,
)


def parser(limit: int = 1000) -> EventParser:
    return EventParser(max_event_bytes=limit)


@given(st.lists(events, max_size=5), st.data())
def test_parser_reads_what_was_formatted_however_it_is_cut(
    written: list[ServerEvent], data: st.DataObject
) -> None:
    content = b"".join(format_event(event) + format_comment("alive") for event in written)
    reader, found = parser(), list[ServerEvent]()
    while content:
        cut = data.draw(st.integers(1, len(content)))
        found += reader.feed(content[:cut])
        content = content[cut:]
    assert found == written


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_parser_takes_every_line_end(end: bytes) -> None:
    content = b"id: 7%bevent: live%bdata: a%bdata:b%b%b: x" % ((end,) * 5)
    assert parser().feed(content) == [ServerEvent(data="a\nb", event="live", id="7")]


def test_parser_waits_for_the_second_half_of_a_line_end() -> None:
    reader = parser()
    assert reader.feed(b"data: a\r") == []
    assert reader.feed(b"\n\r") == []
    assert reader.feed(b"\ndata") == [ServerEvent(data="a")]


def test_parser_passes_over_mark_comments_and_unknown_fields() -> None:
    content = b"\xef\xbb\xbf: hello\nfoo: bar\nretry: 250\nretry: soon\ndata\n\n"
    reader = parser()
    assert reader.feed(content) == [ServerEvent(data="")]
    assert reader.retry_ms == 250


def test_id_stays_for_events_without_one_and_empties_on_request() -> None:
    reader = parser()
    found = reader.feed(b"id: 1\ndata: a\n\ndata: b\n\nid: \x00\ndata: c\n\nid\ndata: d\n\n")
    assert [event.id for event in found] == ["1", "1", "1", ""]
    assert reader.last_event_id == ""


def test_event_cut_off_in_the_middle_does_not_move_the_id() -> None:
    reader = parser()
    reader.feed(b"id: 1\ndata: a\n\nid: 2\ndata: b\n")
    assert reader.last_event_id == "1"


def test_data_cannot_forge_other_fields() -> None:
    forged = ServerEvent(data="a\rid: 9\r\nevent: live\n\ndata: b")
    (found,) = parser().feed(format_event(forged))
    assert (found.event, found.id) == ("message", None)


def test_name_of_two_lines_is_a_fault_of_the_caller() -> None:
    with pytest.raises(AssertionError):
        format_event(ServerEvent(data="", id="1\n2"))


@pytest.mark.parametrize(
    "content", [b"data: " + b"x" * 200, b"data: x\n" * 50, b"x" * 60 + b"\n" + b"x" * 60]
)
def test_event_over_the_limit_is_refused(content: bytes) -> None:
    with pytest.raises(MalformedEventError, match="more than 100 bytes"):
        parser(100).feed(content)


def test_event_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(MalformedEventError, match="UTF-8"):
        parser().feed(b"data: \xff\n")
