"""Logs of both daemons: one line an event on stderr, JSON for machines or coloured for people.

``structlog.contextvars.bind_contextvars(epoch=17, agent="eu-west-1/a")`` puts names on every
line of the task that follows. Secrets never reach a line: see ``redact``.
"""

from __future__ import annotations

import logging
import re
import sys
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

Level = Literal["debug", "info", "warning", "error"]

_HIDDEN = "[hidden]"
_SECRET_WORDS = frozenset(
    {"authorization", "cookie", "credential", "key", "password", "private", "secret", "token"}
)
# Names with a secret word in them that say nothing secret.
_HARMLESS_NAMES = frozenset({"idempotency_key", "public_key", "key_id"})
_SECRET_TEXT = re.compile(
    r"(?<=\bbearer )\S+|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*-----|\Z)",
    re.IGNORECASE | re.DOTALL,
)
_DEPTH = 6


def configure_logging(
    *, level: Level = "info", json_lines: bool | None = None, file: TextIO | None = None
) -> None:
    """Sets up structlog, and the standard library's logging under it, for this process.

    ``json_lines`` None means: readable where ``file`` (stderr) is a terminal, JSON elsewhere.
    Libraries are heard from ``warning`` upwards, unless the level is ``debug``.
    """
    file = file or sys.stderr
    as_json = not file.isatty() if json_lines is None else json_lines
    threshold = getattr(logging, level.upper())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _add_time,
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, _renderer(file, as_json=as_json)],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file),
        cache_logger_on_first_use=False,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _renderer(file, as_json=as_json),
        ],
    )
    handler = logging.StreamHandler(file)
    handler.setFormatter(formatter)
    libraries = threshold if level == "debug" else max(threshold, logging.WARNING)
    logging.basicConfig(handlers=[handler], level=libraries, force=True)


def _renderer(file: TextIO, *, as_json: bool) -> Processor:
    if as_json:
        return structlog.processors.JSONRenderer(ensure_ascii=False)
    return structlog.dev.ConsoleRenderer(colors=file.isatty(), timestamp_key="time")


def _add_time(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    now = datetime.now(UTC)
    event["time"] = f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z"
    return event


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Hides values whose name says they are secret, and secrets recognisable in any text.

    Works inside nested mappings and sequences; what is nested deeper than anyone logs on purpose
    is hidden whole.
    """
    return {name: _redacted(name, value, _DEPTH) for name, value in event.items()}


def _redacted(name: str, value: object, depth: int) -> object:
    if _is_secret(name) or depth == 0:
        return _HIDDEN
    if isinstance(value, str):
        return _SECRET_TEXT.sub(_HIDDEN, value)
    if isinstance(value, bytes):
        return _SECRET_TEXT.sub(_HIDDEN, value.decode(errors="backslashreplace"))
    if isinstance(value, dict):
        return {key: _redacted(str(key), inner, depth - 1) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redacted("", inner, depth - 1) for inner in value]
    return value


@lru_cache(maxsize=256)
def _is_secret(name: str) -> bool:
    # "signingKey", "signing-key" and "SIGNING_KEY" are one name here.
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().replace("-", "_")
    if plain in _HARMLESS_NAMES:
        return False
    return any(word.rstrip("s") in _SECRET_WORDS for word in re.split(r"[^a-z0-9]+", plain))
