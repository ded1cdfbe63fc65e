from __future__ import annotations

import trio
import trio.testing

from turnout.runtime.http.stalled_writes import StalledWrites


class Writer:
    def __init__(self) -> None:
        self.gave_up_at: float | None = None

    def give_up(self) -> None:
        assert self.gave_up_at is None
        self.gave_up_at = trio.current_time()


async def test_write_is_given_up_once_its_time_is_over_and_at_most_an_eighth_later(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    writes, early, late = StalledWrites(timeout_s=8), Writer(), Writer()
    nursery.start_soon(writes.watch)
    began = trio.current_time()
    writes.begin(early)
    await trio.sleep(3.5)
    writes.begin(late)
    await trio.sleep(30)
    assert early.gave_up_at is not None
    assert late.gave_up_at is not None
    assert 8 <= early.gave_up_at - began <= 9
    assert 8 <= late.gave_up_at - (began + 3.5) <= 9


async def test_write_that_ended_in_time_is_left_alone(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    writes, writer = StalledWrites(timeout_s=8), Writer()
    nursery.start_soon(writes.watch)
    for _ in range(10):
        writes.begin(writer)
        await trio.sleep(7)
        writes.end(writer)
    await trio.sleep(30)
    assert writer.gave_up_at is None


async def test_write_given_up_may_end_afterwards(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    writes, writer = StalledWrites(timeout_s=8), Writer()
    nursery.start_soon(writes.watch)
    writes.begin(writer)
    await trio.sleep(10)
    writes.end(writer)
    await trio.sleep(10)
    assert writer.gave_up_at is not None
