"""The two places a command writes to: data on stdout, talk on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console, RenderableType

# Wide enough that no table is cut where nobody looks at it through a window.
_PIPE_WIDTH = 240


def stdout() -> Console:
    """The console for data; as wide as its lines want to be where it is not a terminal."""
    return _console(sys.stdout.isatty(), stderr=False)


def stderr() -> Console:
    """The console for talk and live progress."""
    return _console(sys.stderr.isatty(), stderr=True)


def _console(is_terminal: bool, *, stderr: bool) -> Console:
    width = None if is_terminal else _PIPE_WIDTH
    return Console(stderr=stderr, highlight=False, width=width, emoji=False, markup=False)


def say(text: str) -> None:
    """One line of talk."""
    stderr().print(text, soft_wrap=True)


def show(data: RenderableType) -> None:
    """Data for people."""
    stdout().print(data)


def show_json(document: Mapping[str, Any] | list[Any], *, compact: bool = False) -> None:
    """Data for programs: one document, or (``compact``) one line of a stream of documents."""
    text = json.dumps(document, indent=None if compact else 2, ensure_ascii=False)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
