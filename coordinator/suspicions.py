"""What the leader finds wrong with those who speak as its agents: logged once, shown while it lasts.

A wrong key or an agent that is not enrolled comes back every second for as long as nobody mends it.
So each agent and reason is a line in the log when it begins, and another now and then while it goes
on; metrics count every time. Soft: the next leader finds out by itself.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
import trio
from attrs import frozen

from turnout.protocol.identifiers import AgentId

LASTS_S = 60.0
"""What did not happen again for this long is over."""

LOGGED_AGAIN_S = 600.0

MAX_SUSPICIONS = 64
"""Those who are not enrolled choose their names: they shall fill neither memory nor the log."""

_log = structlog.get_logger(__name__)


@frozen(kw_only=True)
class Suspected:
    """One agent and what is wrong with it.

    Attributes:
        reason: a stable code.
        text: what it is and what to do, a sentence for people.
        address: where it last came from.
        times: how often it happened since it began.
        last_s, logged_s: when it happened and was logged last, on trio's clock.
    """

    agent: AgentId
    reason: str
    text: str
    address: str
    times: int
    last_s: float
    logged_s: float


class Suspicions:
    """The suspicions of one replica."""

    def __init__(self, now_s: Callable[[], float] = trio.current_time) -> None:
        self._now_s = now_s
        self._suspected: dict[tuple[AgentId, str], Suspected] = {}

    def note(self, agent: AgentId, reason: str, text: str, address: str) -> bool:
        """Take note that it happened (again); whether that was worth a line in the log."""
        self._forget_what_is_over()
        now_s = self._now_s()
        known = self._suspected.get((agent, reason))
        if known is None and len(self._suspected) >= MAX_SUSPICIONS:
            return False
        times = known.times + 1 if known else 1
        is_told = known is not None and now_s < known.logged_s + LOGGED_AGAIN_S
        noted = Suspected(
            agent=agent,
            reason=reason,
            text=text,
            address=address,
            times=times,
            last_s=now_s,
            logged_s=known.logged_s if known and is_told else now_s,
        )
        self._suspected[agent, reason] = noted
        if not is_told:
            _tell_log(noted)
        return not is_told

    def forget(self, agent: AgentId) -> None:
        """The agent is no more, or is another one under its name."""
        self._suspected = {k: one for k, one in self._suspected.items() if one.agent != agent}

    def all(self) -> tuple[Suspected, ...]:
        """All that goes on, by agent."""
        self._forget_what_is_over()
        return tuple(self._suspected[key] for key in sorted(self._suspected))

    def texts(self) -> dict[AgentId, str]:
        """The same as one text for each agent."""
        texts: dict[AgentId, str] = {}
        for one in self.all():
            texts[one.agent] = f"{texts[one.agent]} {one.text}" if one.agent in texts else one.text
        return texts

    def _forget_what_is_over(self) -> None:
        since_s = self._now_s() - LASTS_S
        self._suspected = {k: one for k, one in self._suspected.items() if one.last_s > since_s}


def _tell_log(one: Suspected) -> None:
    _log.warning(
        "an agent is not as it should be",
        agent=one.agent,
        reason=one.reason,
        text=one.text,
        address=one.address,
        times=one.times,
    )
