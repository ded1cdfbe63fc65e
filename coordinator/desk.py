"""Where operators' requests wait for their answers: a ticket for each.

A request becomes an event with a ticket, and the machine answers with a reply that names it. When
this replica stops leading, what waits is answered at once: nobody knows any more what became of
it, and the client asks the next leader again with the same idempotency key.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import trio

from turnout.protocol.effects import Accepted, Done, Refused, Reply
from turnout.protocol.events import CoordinatorEvent
from turnout.runtime import problems
from turnout.runtime.problems import Problem, ProblemError

MAX_WAITING = 256
"""Operators and pipelines that may wait at once; more are told to come again."""

PATIENCE_S = 9.0
"""Below the 10 s that our own clients wait for an answer, so that they learn why there is none."""

Answer: TypeAlias = Accepted | Done | Refused


class _Slip:
    """One request that waits."""

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.answer: Answer | Problem | None = None

    def give(self, answer: Answer | Problem) -> None:
        """The first answer stands."""
        if self.answer is None:
            self.answer = answer
            self.answered.set()


class Desk:
    """Hands out tickets and keeps who waits for them."""

    def __init__(self, tell: Callable[[CoordinatorEvent], Awaitable[None]]) -> None:
        self._tell = tell
        self._waiting: dict[int, _Slip] = {}
        # The machine's own requests have ticket 0.
        self._numbers = itertools.count(1)

    async def ask(self, make_event: Callable[[int], CoordinatorEvent]) -> Answer:
        """Tell the machine, and wait for its answer.

        Raises ProblemError: too many wait, leadership was lost, or no answer came in time.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise ProblemError(
                problems.OVERLOADED.problem(f"{MAX_WAITING} requests wait already: try again.")
            )
        ticket, slip = next(self._numbers), _Slip()
        self._waiting[ticket] = slip
        try:
            with trio.move_on_after(PATIENCE_S):
                await self._tell(make_event(ticket))
                await slip.answered.wait()
        finally:
            del self._waiting[ticket]
        answer = slip.answer or _no_answer()
        if isinstance(answer, Problem):
            raise ProblemError(answer)
        return answer

    def reply(self, reply: Reply) -> None:
        """Give a machine's answer to who waits for it; one that nobody waits for is dropped."""
        slip = self._waiting.get(reply.ticket)
        if slip is not None:
            slip.give(reply.answer)

    def send_away(self, reason: str) -> None:
        """Answer all who wait that this replica cannot tell them."""
        detail = (
            f"{reason}. What became of the request is known to the next leader: "
            "repeat it with the same Idempotency-Key."
        )
        for slip in self._waiting.values():
            slip.give(problems.NO_LEADER.problem(detail))


def _no_answer() -> Problem:
    detail = (
        f"The store did not confirm it within {PATIENCE_S:g} s; it may still be carried out. "
        "Repeat it with the same Idempotency-Key to learn what became of it."
    )
    return problems.NO_QUORUM.problem(detail)
