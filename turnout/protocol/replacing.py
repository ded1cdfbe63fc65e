"""Values with some fields replaced, quickly: each step of a machine makes several."""

from __future__ import annotations

from functools import cache
from typing import TypeVar

from attrs import fields

State = TypeVar("State")
Value = TypeVar("Value")


def evolved(value: Value, **changes: object) -> Value:
    """What ``attrs.evolve`` returns, in two thirds of the time: a class is looked at once."""
    for name in _fields_of(type(value)):  # type: ignore[arg-type]  # every class is hashable
        if name not in changes:
            changes[name] = getattr(value, name)
    return type(value)(**changes)


@cache
def _fields_of(cls: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(cls) if field.init)


def replaced(state: State, changes: dict[str, object]) -> State:
    """What ``attrs.evolve`` returns, in a fifth of the time: nothing is converted or validated.

    For the states of machines, of which each step makes several: frozen values without slots, whose
    fields are all that they hold, and so nothing worked out once and kept.
    """
    fields_of_it = vars(state)
    held = fields_of_it | changes
    assert len(held) == len(fields_of_it), f"no such fields: {held.keys() - fields_of_it.keys()}"
    made = object.__new__(type(state))
    object.__setattr__(made, "__dict__", held)
    return made
