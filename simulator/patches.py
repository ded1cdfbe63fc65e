"""Functions put in the place of others for a while: how a machine is broken on purpose, or quietened."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from types import TracebackType
from typing import Any, Self


class Patches:
    """Replaces what is there already, until the end of ``with``, when all is put back, last first."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def setattr(self, target: Any, name: str, value: Any) -> None:
        """Put ``value`` in the place of an attribute of a module or a class."""
        before = vars(target)[name]  # as written there: a property, and not what it gives
        self._undo.append(lambda: setattr(target, name, before))
        setattr(target, name, value)

    def setitem(self, items: MutableMapping[Any, Any], key: object, value: object) -> None:
        """Put ``value`` in the place of an entry of a mapping."""
        before = items[key]
        self._undo.append(lambda: items.__setitem__(key, before))
        items[key] = value

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while self._undo:
            self._undo.pop()()
