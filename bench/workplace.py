"""Where a bench works: a folder and processes that are gone afterwards, however it ends."""

from __future__ import annotations

import os
import platform
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from turnout.dev.processes import become_subreaper, sweep

_STATUS_KIB = 1024
_INTERRUPTED = 130


@contextmanager
def workplace() -> Iterator[Path]:
    """Gives a temporary folder; in the end every process below this one is ended, and it is gone."""
    become_subreaper()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's is ignored
    signal.signal(signal.SIGTERM, _interrupt)
    with tempfile.TemporaryDirectory(prefix="turnout-bench-") as folder:
        try:
            yield Path(folder)
        except BaseException as error:
            if _is_interrupt(error):
                raise SystemExit(_INTERRUPTED) from None
            raise
        finally:
            sweep()


def _is_interrupt(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(KeyboardInterrupt) is not None
    return isinstance(error, KeyboardInterrupt)


def _interrupt(_number: int, _frame: object) -> None:
    """End as on Ctrl-C, for which trio finds a safe moment."""
    os.kill(os.getpid(), signal.SIGINT)


def machine() -> str:
    """What was measured on, in a line."""
    system = f"{platform.system()} {platform.release().split('-')[0]}"
    return f"{os.cpu_count()} cores, {system}, Python {platform.python_version()}, loopback"


def cpu_ns(pid: int) -> int:
    """CPU time that another process has used, all its threads together, exact to the nanosecond.

    Its CPU clock has the number that clock_getcpuclockid(3) would give: the process id's complement,
    shifted, with the type "scheduler" in the low bits. /proc/PID/stat has only hundredths.
    """
    return time.clock_gettime_ns((~pid << 3) | 2)


def rss_bytes(pid: int) -> int:
    """Resident memory of another process. Raises OSError."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * _STATUS_KIB
    raise OSError(f"process {pid} has no memory any more")
