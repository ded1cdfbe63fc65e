"""How far this host's wall clock may be from true time, from those who can be believed.

chrony's root distance, if chrony answers; else the kernel's ``maxerror``, if the kernel does not
say itself that the clock is unsynchronised; else nobody knows. The kernel is not believed below a
floor: systemd-timesyncd tells it "synchronised, error 0" while it still slews an offset of up to
0.4 s away (``timesyncd-manager.c``, ``manager_adjust_clock``; H16).

Nothing here is needed for safety: a bound narrows the instant at which edges flip together.
"""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from subprocess import DEVNULL

import structlog
import trio
from attrs import define, field, frozen

from turnout.protocol.clock import MS, SECOND
from turnout.protocol.limits import DRIFT_PPM, KERNEL_BOUND_FLOOR_NS

TIMESYNCD_FLOOR_NS = 500 * MS
"""timesyncd slews offsets below 0.4 s and steps greater ones; a little room on top."""

TIMESYNCD_FOLDER = Path("/run/systemd/timesync")

_REFRESH_S = 10.0
_KEPT_NS = 60 * SECOND
"""A bound that could not be renewed for this long is no longer told."""

_CHRONY_PATIENCE_S = 2.0
_TIME_ERROR = 5
_STA_UNSYNC = 0x0040
_CHRONY_FIELDS = 14
_UNSYNCHRONISED_SOURCES = ("", "00000000", "7F7F0101")  # nobody; this host's own clock

_log = structlog.get_logger(__name__)


@define
class WallBound:
    """The newest bound known; ``keep`` renews it, calling the object reads it.

    ``SystemClock(WallBound())`` with ``nursery.start_soon(bound.keep)``.
    """

    _ask: Callable[[], Awaitable[int | None]] = field(factory=lambda: ask_this_host)
    _monotonic_ns: Callable[[], int] = time.monotonic_ns
    _bound_ns: int | None = field(default=None, init=False)
    _asked_ns: int = field(default=0, init=False)

    def __call__(self, now_ns: int) -> int | None:
        """The bound at a monotonic instant: it grows by what a bad quartz may drift."""
        age_ns = now_ns - self._asked_ns
        if self._bound_ns is None or age_ns > _KEPT_NS:
            return None
        return self._bound_ns + max(0, age_ns) * DRIFT_PPM // 1_000_000

    async def keep(self) -> None:
        """Renew the bound until cancelled."""
        while True:
            asked_ns = self._monotonic_ns()
            bound_ns = await self._ask()
            if bound_ns is not None:
                self._bound_ns, self._asked_ns = bound_ns, asked_ns
            await trio.sleep(_REFRESH_S)


async def ask_this_host() -> int | None:
    """The bound that chrony or the kernel gives, in nanoseconds; None where neither does."""
    answer = await _ask_chrony()
    bound_ns = None if answer is None else chrony_bound_ns(answer)
    return _ask_kernel() if bound_ns is None else bound_ns


# --- chrony -------------------------------------------------------------------------------------


def chrony_bound_ns(tracking: str) -> int | None:
    """The root distance in ``chronyc -c tracking``: one line of 14 comma-separated fields.

    Half the delay to the reference, its dispersion, and what is still being slewed away.
    """
    fields = tracking.strip().split(",")
    if len(fields) != _CHRONY_FIELDS or fields[0] in _UNSYNCHRONISED_SOURCES:
        return None
    if fields[13] == "Not synchronised":
        return None
    try:
        to_slew_s, delay_s, dispersion_s = (abs(float(fields[n])) for n in (4, 10, 11))
    except ValueError:
        return None
    distance_s = to_slew_s + delay_s / 2 + dispersion_s
    return math.ceil(distance_s * SECOND) if math.isfinite(distance_s) else None


async def _ask_chrony() -> str | None:
    """What chrony says; None where there is none, or none that answers."""
    with trio.move_on_after(_CHRONY_PATIENCE_S):
        try:
            asked = await trio.run_process(
                ["chronyc", "-n", "-c", "tracking"],
                capture_stdout=True,
                stderr=DEVNULL,
                check=False,
            )
        except OSError:
            return None
        return asked.stdout.decode(errors="replace") if asked.returncode == 0 else None
    _log.info("chrony did not answer", within_s=_CHRONY_PATIENCE_S)
    return None


# --- the kernel ---------------------------------------------------------------------------------


@frozen(kw_only=True)
class KernelClock:
    """What ``adjtimex(2)`` says of the wall clock."""

    state: int
    status: int
    max_error_us: int


def kernel_bound_ns(kernel: KernelClock, *, under_timesyncd: bool) -> int | None:
    """The kernel's bound, as far as it can be believed; None where it does not claim to know."""
    if kernel.state == _TIME_ERROR or kernel.status & _STA_UNSYNC:
        return None
    floor_ns = TIMESYNCD_FLOOR_NS if under_timesyncd else KERNEL_BOUND_FLOOR_NS
    return max(floor_ns, kernel.max_error_us * 1000)


def _ask_kernel() -> int | None:
    kernel = read_kernel()
    if kernel is None:
        return None
    return kernel_bound_ns(kernel, under_timesyncd=TIMESYNCD_FOLDER.exists())


class _Timex(ctypes.Structure):
    """``struct timex`` of Linux up to the field needed, and room for the rest of it."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def read_kernel() -> KernelClock | None:
    """Ask the kernel, changing nothing; None where it cannot be asked (not Linux, a sandbox)."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    answer = _Timex(modes=0)
    state = adjtimex(ctypes.byref(answer))
    if state < 0:
        return None
    return KernelClock(state=state, status=answer.status, max_error_us=answer.maxerror)
