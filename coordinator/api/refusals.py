"""The machine's refusals as problem documents: the code it names is the type's name."""

from __future__ import annotations

from turnout.protocol.effects import Refused
from turnout.runtime import problems
from turnout.runtime.problems import Problem, ProblemError, ProblemType, problem_types

_BY_NAME: dict[str, ProblemType] = {kind.name: kind for kind in problem_types()}
_BY_NAME["malformed-request"] = problems.INVALID_FIELD
"""To the machine a request is a value, and malformed is what has an impossible field."""


def problem_of(refused: Refused) -> Problem:
    """The problem document of a refusal."""
    extensions: dict[str, object] = {"agents": list(refused.agents)} if refused.agents else {}
    return _BY_NAME[refused.code].problem(_sentence(refused.text), **extensions)


def refuse(refused: Refused) -> ProblemError:
    """The same, to be raised."""
    return ProblemError(problem_of(refused))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
