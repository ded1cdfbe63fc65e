"""A proxy that somebody else starts, configures and restarts, with a server of theirs beside Turnout's."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
import trio

from edge_agent.drivers.base import RefusalCode, Refused
from edge_agent.request import AskError, Request, ask
from tests.edge_agent.proxy_harness import RealHarness, free_port, until


class AttachedHarness(RealHarness):
    """An operator with a proxy, and an agent that may use it."""

    def __init__(self, folder: Path, nursery: trio.Nursery) -> None:
        super().__init__(nursery)
        self.folder = folder
        self.port = free_port()
        self.process: trio.Process | None = None

    async def launch(self, command: Sequence[str]) -> None:
        """As its supervisor does; returns once what is theirs is served."""
        with (self.folder / "theirs.log").open("ab") as log:
            self.process = await trio.lowlevel.open_process(command, stdout=log, stderr=log)
        await until(self.is_theirs_up)

    async def end(self) -> None:
        if self.process is not None:
            self.process.terminate()
            await self.process.wait()
            self.process = None

    async def is_theirs_up(self) -> bool:
        try:
            answer = await ask(("127.0.0.1", self.port), Request(host="any"), timeout_s=1)
        except AskError:
            return False
        return answer.body == b"theirs"

    async def wait_for_it(self) -> None:
        """The agent makes its files, some of which the proxy's configuration names, and waits."""
        with pytest.raises(Refused, match="to be started by whoever configures it") as refused:
            await self.driver_with(start_timeout_s=0.05).start()
        assert refused.value.code is RefusalCode.PROXY_DOWN


Theirs = TypeVar("Theirs", bound=AttachedHarness)


@asynccontextmanager
async def attached(kind: type[Theirs], nursery: trio.Nursery) -> AsyncIterator[Theirs]:
    folder = Path(tempfile.mkdtemp(prefix="theirs-"))
    harness = kind(folder, nursery)
    try:
        await harness.start_backends()
        yield harness
    finally:
        with trio.CancelScope(shield=True):
            await harness.driver.aclose()
            await harness.end()
        nursery.cancel_scope.cancel()
        shutil.rmtree(folder)
