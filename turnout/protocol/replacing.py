"""Values with some fields replaced, quickly: each step of a machine makes several."""

from __future__ import annotations

from typing import TypeVar

State = TypeVar("State")


def replaced(state: State, changes: dict[str, object]) -> State:
    """What ``attrs.evolve`` returns, in a fifth of the time: nothing is converted or validated.

    For the states of machines, of which each step makes several, and for messages as they are signed:
    frozen values without slots, whose fields are all that they hold.
    """
    fields_of_it = vars(state)
    held = fields_of_it | changes
    assert len(held) == len(fields_of_it), f"no such fields: {held.keys() - fields_of_it.keys()}"
    made = object.__new__(type(state))
    object.__setattr__(made, "__dict__", held)
    return made
