"""A machine's state with some fields replaced, at once and not field by field."""

from __future__ import annotations

from typing import TypeVar

State = TypeVar("State")


def replaced(state: State, changes: dict[str, object]) -> State:
    """What ``attrs.evolve`` returns, in a fifth of the time: nothing is converted or validated.

    For the states of machines, of which each step makes several: frozen values without slots, whose
    fields are all that they hold, and so nothing worked out once and kept.
    """
    fields = vars(state)
    assert changes.keys() <= fields.keys(), f"no such fields: {changes.keys() - fields.keys()}"
    made = object.__new__(type(state))
    vars(made).update(fields, **changes)
    return made
