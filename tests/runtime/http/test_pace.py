from __future__ import annotations

import trio
import trio.testing

from turnout.runtime.http.pace import Pace


async def test_burst_passes_at_once_and_the_rest_in_order_at_the_rate(
    autojump_clock: trio.testing.MockClock,
) -> None:
    pace, passed = Pace(per_s=10, burst=2), list[tuple[int, float]]()

    async def caller(n: int) -> None:
        await pace.turn()
        passed.append((n, round(trio.current_time() - began, 3)))

    await trio.sleep(100)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for n in range(6):
            nursery.start_soon(caller, n)
            await trio.testing.wait_all_tasks_blocked()
    assert [n for n, _ in passed] == list(range(6))
    assert [at for _, at in passed] == [0, 0, 0, 0.1, 0.2, 0.3]


async def test_allowance_does_not_grow_beyond_the_burst(
    autojump_clock: trio.testing.MockClock,
) -> None:
    pace = Pace(per_s=10, burst=1)
    for _ in range(3):
        await trio.sleep(100)
        began = trio.current_time()
        for _ in range(3):
            await pace.turn()
        assert round(trio.current_time() - began, 3) == 0.1
