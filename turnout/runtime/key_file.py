"""Private Ed25519 keys in files: PKCS #8 in PEM (RFC 8410), readable by their owner only.

A key that others may read is refused: whoever has it can sign in its owner's name.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from turnout.protocol.signing import Ed25519Signer

_PRIVATE = 0o600
_MAX_KEY_BYTES = 16 * 1024


class KeyFileError(Exception):
    """A key file cannot be made or used; the text names it and says what to do."""


def make_key(path: Path) -> Ed25519Signer:
    """Make a key and its file, on the disk before this returns.

    Raises:
        KeyFileError: there is a file already (a key is never overwritten), or none can be made.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        _write_new(path, pem)
    except FileExistsError as error:
        text = f"{path} exists: a key is never overwritten. Use it, or choose another name"
        raise KeyFileError(text) from error
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from error
    return Ed25519Signer(key)


def load_signer(path: Path) -> Ed25519Signer:
    """Load a private key.

    Raises:
        KeyFileError: there is none, others may read it, or it is no Ed25519 key.
    """
    try:
        with path.open("rb") as file:
            _check_private(path, os.fstat(file.fileno()).st_mode)
            pem = file.read(_MAX_KEY_BYTES)
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from error
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path} holds no private key in PEM without a password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path} holds a key of another kind than Ed25519")
    return Ed25519Signer(key)


def _check_private(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise KeyFileError(f"{path} is not a file")
    if stat.S_IMODE(mode) & 0o077:
        raise KeyFileError(
            f"{path} can be read by others (mode {stat.S_IMODE(mode):04o}): "
            f"make a new key, or `chmod 600 {path}` if nobody has read it"
        )


def _write_new(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - opened by descriptor
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
