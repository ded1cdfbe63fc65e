"""The process's own streams: there, whatever was done to them, and quiet when nobody reads."""

from __future__ import annotations

import os
import sys
from typing import TextIO


def make_sure_of_streams() -> None:
    """Every standard stream is there (``>&-`` takes one away) and takes every character."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def forget_stdout() -> None:
    """Let stdout lead nowhere: else what it still holds is flushed, and fails again, at the end."""
    _forget(sys.stdout)


def forget_stderr() -> None:
    """Let stderr lead nowhere: nobody hears the talk any more, and that stops nothing."""
    _forget(sys.stderr)


def _forget(stream: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
