from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from turnout.protocol.clock import MS, SECOND
from turnout.runtime import wall_bound
from turnout.runtime.wall_bound import (
    TIMESYNCD_FLOOR_NS,
    KernelClock,
    WallBound,
    ask_this_host,
    chrony_bound_ns,
    kernel_bound_ns,
    read_kernel,
)

TRACKING = (
    "A29FC87B,162.159.200.123,4,1700000000.1,-0.000200000,0.000012,0.000034,"
    "-12.3,0.001,0.02,0.010000000,0.001300000,64.2,Normal\n"
)


def test_chrony_gives_its_root_distance_and_what_it_still_slews() -> None:
    assert chrony_bound_ns(TRACKING) == (200 + 5000 + 1300) * 1000


@pytest.mark.parametrize(
    "tracking",
    [
        "",
        "506 Cannot talk to daemon\n",
        TRACKING.replace("Normal", "Not synchronised"),
        TRACKING.replace("A29FC87B", "7F7F0101"),
        TRACKING.replace("A29FC87B", "00000000"),
        TRACKING.replace("0.001300000", "soon"),
        TRACKING.replace("0.001300000", "nan"),
    ],
)
def test_chrony_that_is_not_synchronised_or_not_understood_gives_no_bound(tracking: str) -> None:
    assert chrony_bound_ns(tracking) is None


def test_kernel_that_says_unsynchronised_gives_no_bound() -> None:
    clock = KernelClock(state=0, status=0x0040, max_error_us=100)
    assert kernel_bound_ns(clock, under_timesyncd=False) is None
    clock = KernelClock(state=5, status=0, max_error_us=16_000_000)
    assert kernel_bound_ns(clock, under_timesyncd=False) is None


def test_kernel_bound_is_not_believed_below_its_floor() -> None:
    clock = KernelClock(state=0, status=0x2001, max_error_us=0)
    assert kernel_bound_ns(clock, under_timesyncd=False) == 10 * MS
    assert kernel_bound_ns(clock, under_timesyncd=True) == TIMESYNCD_FLOOR_NS


def test_kernel_bound_above_its_floor_is_taken_as_it_is() -> None:
    clock = KernelClock(state=0, status=0x2001, max_error_us=700_000)
    assert kernel_bound_ns(clock, under_timesyncd=True) == 700 * MS


def test_kernel_of_this_host_is_asked_without_harm() -> None:
    answer = read_kernel()
    assert answer is None or answer.max_error_us >= 0


async def test_host_with_chrony_is_asked_through_chronyc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chronyc = tmp_path / "chronyc"
    chronyc.write_text(f"#!/bin/sh\nprintf '%s' '{TRACKING}'\n")
    chronyc.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert await ask_this_host() == 6500 * 1000


async def test_host_whose_chrony_fails_falls_back_on_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chronyc = tmp_path / "chronyc"
    chronyc.write_text("#!/bin/sh\nexit 1\n")
    chronyc.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(wall_bound, "TIMESYNCD_FOLDER", tmp_path)
    synchronised = KernelClock(state=0, status=0, max_error_us=5)
    monkeypatch.setattr(wall_bound, "read_kernel", lambda: synchronised)
    assert await ask_this_host() == TIMESYNCD_FLOOR_NS


async def test_host_without_chrony_and_with_a_lost_kernel_gives_no_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    lost = KernelClock(state=5, status=0x0040, max_error_us=16_000_000)
    monkeypatch.setattr(wall_bound, "read_kernel", lambda: lost)
    assert await ask_this_host() is None


async def test_bound_grows_with_age_and_is_given_up_when_it_cannot_be_renewed(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    answers: list[int | None] = [4 * MS]

    async def ask() -> int | None:
        await trio.lowlevel.checkpoint()
        return answers.pop() if answers else None

    bound = WallBound(ask, lambda: round(trio.current_time() * SECOND))
    assert bound(0) is None
    nursery.start_soon(bound.keep)
    await trio.testing.wait_all_tasks_blocked()
    start_ns = round(trio.current_time() * SECOND)
    assert bound(start_ns) == 4 * MS
    assert bound(start_ns + 10 * SECOND) == 9 * MS
    assert bound(start_ns + 61 * SECOND) is None
