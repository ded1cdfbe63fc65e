"""The folder that holds all an agent must remember, owned by one process at a time.

Two agents over one journal would each vote on what the other promised: so the folder is locked
for the life of the process. The lock is the kernel's (flock), and goes with the process however
it ends; the file ``lock`` itself is never removed, since another may be waiting at it.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from edge_agent.durable import PRIVATE_FILE, PRIVATE_FOLDER, disk_trouble


class StateError(Exception):
    """The agent's state cannot be read or written; the text says which file and what to do."""


class StateFolder:
    """A state folder that is ours until :meth:`release`; ``with StateFolder(path) as state``."""

    def __init__(self, path: Path) -> None:
        """Make the folder if there is none, and lock it.

        Raises:
            StateError: another process has it, or it cannot be written.
        """
        self.path = path
        try:
            path.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
        except OSError as error:
            raise StateError(f"{path}: {disk_trouble(error)}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise StateError(_why_not_locked(path, error)) from error

    def release(self) -> None:
        """Let another process have the folder."""
        os.close(self._lock)

    def __enter__(self) -> Self:
        """The folder itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Releases the folder."""
        self.release()


def _why_not_locked(path: Path, error: OSError) -> str:
    if isinstance(error, BlockingIOError):
        return f"{path} is in use by another agent: stop it, or give this one its own state_folder"
    return f"{path} cannot be locked: {disk_trouble(error)}"
