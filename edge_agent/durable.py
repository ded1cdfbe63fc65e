"""Files that are there after a power cut: written whole, synced, renamed, and their folder synced.

``rename`` is atomic for whoever looks, but what survives a crash is decided by two syncs: of the
new file before it takes the name, and of the folder after (Pillai et al., "All File Systems Are
Not Created Equal", OSDI 2014).
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700

_TEMPORARY = ".new"

_TROUBLE = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk quota is used up: raise it, or free some space",
    errno.EFBIG: "the file may not grow: raise the limit on file sizes (ulimit -f)",
    errno.EROFS: "the disk is mounted read-only: mount it writable",
    errno.EACCES: "permission denied: give its folder and files to the agent's user",
    errno.EPERM: "not permitted: give its folder and files to the agent's user",
    errno.EIO: "the disk reports an input/output error: replace it",
}


def replace_durably(path: Path, data: bytes) -> None:
    """Give ``path`` this content, all of it or not at all, before returning.

    Raises:
        OSError: it has the old content still, or (if only the folder's sync failed) either.
    """
    temporary = path.with_name(path.name + _TEMPORARY)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
        try:
            write_and_sync(descriptor, data)
        finally:
            os.close(descriptor)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_and_sync(descriptor: int, data: bytes) -> None:
    """Write all of ``data`` where the descriptor stands, and wait for the disk.

    Raises:
        OSError: some of it may be on the disk. Never sync again after this: the kernel has marked
            the pages clean, and a second fsync would succeed without having written them
            (Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020).
    """
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.fdatasync(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_temporary(path: Path) -> bool:
    """Whether a file is what an interrupted :func:`replace_durably` left behind."""
    return path.name.endswith(_TEMPORARY)


def disk_trouble(error: OSError) -> str:
    """What went wrong with a disk and what to do, for people."""
    return _TROUBLE.get(error.errno or 0, error.strerror or str(error))
