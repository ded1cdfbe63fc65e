"""Configuration files: TOML into attrs classes, every fault named at once.

    settings = load_toml(Path("agent.toml"), AgentSettings)

A key nobody knows, a blank, a wrong type or an impossible value is refused with the file, the
path of the key and what is allowed. Nothing is guessed or converted: ``port = "80"`` is a fault.
The classes say what is allowed: types, ``Literal``, enums, and attrs validators.
"""

from __future__ import annotations

import codecs
import os
import stat
import tomllib
from pathlib import Path
from typing import TypeVar

import cattrs

from turnout.runtime.structuring import STRUCTURING_ERRORS, Fault, faults_of, strict_converter

T = TypeVar("T")

# The largest file anyone means: a raw table may have this much (DESIGN.md section 4).
MAX_FILE_BYTES = 16 * 1024 * 1024


class ConfigError(Exception):
    """A configuration was refused; ``faults`` holds all that is wrong with it."""

    def __init__(self, source: str, faults: tuple[Fault, ...]) -> None:
        self.source = source
        self.faults = faults
        if len(faults) == 1:
            super().__init__(f"{source}: {faults[0]}")
        else:
            listed = "".join(f"\n  {fault}" for fault in faults)
            super().__init__(f"{source}: {len(faults)} faults:{listed}")


def load_toml(path: Path, cls: type[T], *, converter: cattrs.Converter | None = None) -> T:
    """Reads a TOML file into an instance of ``cls``. Raises ConfigError.

    ``converter`` is ``strict_converter()`` with hooks added, for classes whose values can be
    written in several ways.
    """
    return parse_toml(_read(path), cls, source=str(path), converter=converter)


def parse_toml(
    content: bytes, cls: type[T], *, source: str, converter: cattrs.Converter | None = None
) -> T:
    """TOML bytes into an instance of ``cls``; ``source`` names them. Raises ConfigError."""
    values = _decoded(content, source)
    if not values:
        raise _refusal(source, "it is empty: not one key is set")
    try:
        return (converter or strict_converter()).structure(values, cls)
    except STRUCTURING_ERRORS as error:
        raise ConfigError(source, tuple(faults_of(error))) from error


def _decoded(content: bytes, source: str) -> dict[str, object]:
    content = content.removeprefix(codecs.BOM_UTF8)  # what some editors begin UTF-8 with
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _refusal(source, f"line {line} is not UTF-8 text") from error
    except RecursionError as error:
        raise _refusal(source, "it is nested too deeply") from error
    except ValueError as error:
        raise _refusal(source, f"it is not valid TOML: {error}") from error


def _read(path: Path) -> bytes:
    """The whole file, if it is one: a pipe would block, a device never end."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _refusal(str(path), "it is not a file")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read(MAX_FILE_BYTES + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _refusal(str(path), _reading_trouble(error)) from error
    if len(content) > MAX_FILE_BYTES:
        raise _refusal(str(path), f"it is larger than {MAX_FILE_BYTES} bytes")
    return content


def _reading_trouble(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, PermissionError):
        return "it may not be read by this user"
    return str(error.strerror or error)


def _refusal(source: str, message: str) -> ConfigError:
    return ConfigError(source, (Fault(path="", message=message),))


__all__ = ["MAX_FILE_BYTES", "ConfigError", "Fault", "load_toml", "parse_toml", "strict_converter"]
