"""Carries out what the participant's machine asks for: to disk, to the leader, to the proxy."""

from __future__ import annotations

from edge_agent.disk import Disk
from edge_agent.journal_file import LostJournalError
from edge_agent.link import Link
from edge_agent.proxy_work import ProxyWork
from edge_agent.state_folder import StateError
from edge_agent.table_shelf import TableShelf
from edge_agent.watcher import Watcher
from turnout.protocol.effects import (
    Activate,
    AgentEffect,
    CloseSource,
    ForgetTables,
    Persist,
    Prove,
    SaveTable,
    Send,
    Stage,
    StopDrain,
    WatchDrain,
)
from turnout.protocol.errors import MalformedError
from turnout.protocol.events import AgentEvent, PersistFailed
from turnout.runtime.host import EffectFailed


class Hands:
    """The handler of a participant's host."""

    def __init__(
        self, disk: Disk, shelf: TableShelf, proxy: ProxyWork, link: Link, watcher: Watcher
    ) -> None:
        self._disk = disk
        self._shelf = shelf
        self._proxy = proxy
        self._link = link
        self._watcher = watcher

    async def carry_out(self, effect: AgentEffect) -> None:
        """Do it, or start it. Raises EffectFailed, or LostJournalError: then all must stop."""
        match effect:
            case Persist() | SaveTable():
                await self._keep(effect)
            case ForgetTables():
                await self._disk.forget_tables(effect.keep)
                self._shelf.keep_only(effect.keep)
            case Send():
                self._watcher.sent(effect.message)
                self._link.send(effect.message)
            case Stage() | Activate() | Prove() | WatchDrain() | StopDrain() | CloseSource():
                self._proxy.begin(effect)

    async def failed(self, reason: str, undone: tuple[AgentEffect, ...]) -> AgentEvent:
        """What the disk holds after a failure, read again."""
        self._watcher.disk_failed(reason)
        tables = await self._disk.tables()
        return PersistFailed(
            reason=reason,
            record=self._disk.record,
            tables=tuple(table.digest for table in tables),
            undone=undone,
        )

    async def _keep(self, effect: Persist | SaveTable) -> None:
        try:
            if isinstance(effect, Persist):
                await self._disk.persist(effect.record)
            else:
                await self._disk.save_table(effect.table)
                self._shelf.put(effect.table)
        except LostJournalError:
            raise
        except (StateError, MalformedError) as error:
            raise EffectFailed(str(error)) from error
