"""What can go wrong between a client and the coordinators.

CoordinatorError
  UnreachableError      no address answered
  OutcomeUnknownError   the request may have been carried out; repeating it is not safe
  RefusedStreamError    a coordinator answered, but with a problem instead of a stream
  StreamBrokenError     an answer ended too early, broke or went silent
"""

from __future__ import annotations

from collections.abc import Sequence

from turnout.runtime.problems import Problem


class CoordinatorError(Exception):
    """The root of the tree above; the text is for people."""


class UnreachableError(CoordinatorError):
    """No address answered; ``attempts`` pairs each with the reason."""

    def __init__(self, attempts: Sequence[tuple[str, str]]) -> None:
        super().__init__("no coordinator answered: " + "; ".join(f"{u}: {r}" for u, r in attempts))
        self.attempts = tuple(attempts)


class OutcomeUnknownError(CoordinatorError):
    """The connection broke after the request was sent."""


class RefusedStreamError(CoordinatorError):
    """The answer to a request for a stream was a problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class StreamBrokenError(CoordinatorError):
    """A held answer is over: ended by the server, broken, silent for too long, or malformed."""
