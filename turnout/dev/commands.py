"""``turnout ...`` as an operator types it, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from attrs import frozen

from turnout.dev.programs import TURNOUT, exit_of


@frozen
class Ended:
    """What became of a command: its exit code, its JSON (empty if none), what it said."""

    code: int
    document: dict[str, Any]
    said: str


class Command:
    """A command under way, whose answer is wanted as JSON."""

    def __init__(
        self, arguments: Sequence[str], *, coordinators: Sequence[str], actor: str
    ) -> None:
        # In files rather than pipes, so that nobody has to read while it runs; closed by end().
        self._out = tempfile.TemporaryFile()  # noqa: SIM115
        self._err = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [*TURNOUT, *arguments, "-o", "json"],
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._err,
            env={
                **os.environ,
                "TURNOUT_COORDINATORS": ",".join(coordinators),
                "TURNOUT_ACTOR": actor,
            },
        )

    async def ended(self) -> Ended:
        """Waits for its end."""
        await exit_of(self._process.pid)
        code = self._process.wait()
        for file in (self._out, self._err):
            file.seek(0)
        document: dict[str, Any] = {}
        with suppress(ValueError):
            document = json.loads(self._out.read())
        return Ended(code, document, self._err.read().decode(errors="replace").strip())

    def end(self) -> None:
        """Ends it, whether it is done or not; again is no error."""
        self._process.kill()
        self._process.wait()
        self._out.close()
        self._err.close()
