"""The two places a command writes to: data on stdout, talk on stderr.

What was done stands, whoever listens: a reader that has gone (``turnout history | head -1``) does
not change how a command ends.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from rich.console import Console, RenderableType

from turnout.cli.streams import forget_stderr, forget_stdout

# Wide enough that nothing is wrapped where nobody looks at it through a window.
_PIPE_WIDTH = 10_000


class _Console(Console):
    """rich's own would end the process where the reader has gone."""

    def on_broken_pipe(self) -> None:
        """Talk that nobody hears stops nothing; data is the affair of whoever writes it."""
        if not self.stderr:
            raise BrokenPipeError
        forget_stderr()


def stdout() -> Console:
    """The console for data; as wide as its lines want to be where it is not a terminal."""
    return _console(sys.stdout.isatty(), stderr=False)


@cache
def stderr() -> Console:
    """The console for talk and live progress: one, so that talk does not run into a drawing."""
    return _console(sys.stderr.isatty(), stderr=True)


def _console(is_terminal: bool, *, stderr: bool) -> Console:
    width = None if is_terminal else _PIPE_WIDTH
    return _Console(stderr=stderr, highlight=False, width=width, emoji=False, markup=False)


def say(text: str) -> None:
    """One line of talk."""
    stderr().print(text, soft_wrap=True)


def show(data: RenderableType, *, going_on: bool = False) -> None:
    """Data for people; ``going_on``: more of it comes as long as somebody reads it."""
    console = stdout()

    def write() -> None:
        if console.is_terminal:
            console.print(data)
            return
        with console.capture() as captured:
            console.print(data)
        # A table fills its last column up with blanks, which a file need not keep.
        lines = captured.get().split("\n")
        sys.stdout.write("\n".join(line.rstrip() for line in lines))
        sys.stdout.flush()

    _write(write, going_on=going_on)


def show_json(document: Mapping[str, Any] | list[Any], *, going_on: bool = False) -> None:
    """Data for programs: one document, or (``going_on``) one line of a stream of documents."""
    text = json.dumps(document, indent=None if going_on else 2, ensure_ascii=False)

    def write() -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    _write(write, going_on=going_on)


def _write(write: Callable[[], None], *, going_on: bool) -> None:
    """Raises BrokenPipeError where there is no sense in going on without a reader."""
    try:
        write()
    except BrokenPipeError:
        forget_stdout()
        if going_on:
            raise
