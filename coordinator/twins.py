"""Two agents under one identity: a host that was copied, or an impostor with a stolen key (H13).

An agent holds one stream, and the newest counts: whoever lost a connection that the leader still
takes for open must be let in again. So two agents take the stream from each other for ever, the
slower for their back-off (``turnout/protocol/session.py``, rule 5). Two rules make that known:

1. *Another journal does not take the place of the registered one*, as long as that is heard. A journal
   that is not registered holds none of the promises given (H13); once the other is silent it may come
   in, becomes stale, and then good again, with a history entry that names both journals.
2. *A stream that is taken over again and again* is two agents with one journal, a copied disk. Nobody
   can tell which is the right one, so none is refused, but the operator is told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio
from attrs import frozen

from turnout.protocol.clock import SECOND
from turnout.protocol.identifiers import AgentId
from turnout.protocol.messages import Report

HEARD_S = 15.0
"""An agent is heard that has reported within this time: it does so every 5 s at the least."""

WINDOW_S = 60.0
TIMES = 3
"""So many streams taken over within the window are no broken connections any more."""

_SAME_BOOT_S = 2.0
"""A report's way, and the drift of a host's clock within the window."""

TAKEN_OVER = "taken-over"


@frozen(kw_only=True)
class Visit:
    """One stream as it was opened.

    Attributes:
        at_s: when, on this host's clock.
        booted_s: when the agent's host was started, on the same clock.
    """

    address: str
    journal_id: str
    at_s: float
    booted_s: float

    def is_from_the_host_of(self, other: Visit) -> bool:
        """Whether both came from one host, as far as address and uptime tell."""
        same_boot = abs(self.booted_s - other.booted_s) < _SAME_BOOT_S
        return self.address == other.address and same_boot


class Twins:
    """Who holds each agent's stream, and who took it over."""

    def __init__(self, now_s: Callable[[], float] = trio.current_time) -> None:
        self._now_s = now_s
        self._heard_s: dict[AgentId, float] = {}
        self._holders: dict[AgentId, Visit] = {}
        self._takeovers: dict[AgentId, deque[Visit]] = {}

    def heard(self, agent: AgentId) -> None:
        """The agent that holds the stream has reported."""
        self._heard_s[agent] = self._now_s()

    def forget(self, agent: AgentId) -> None:
        """The agent is no more, or is another one under its name."""
        for kept in (self._heard_s, self._holders, self._takeovers):
            kept.pop(agent, None)

    def refusal(self, report: Report, address: str, registered: str, *, held: bool) -> str | None:
        """Why a stream may not be opened, by rule 1; None if it may.

        ``registered`` is the journal id that the agent became good with, ``held`` whether a stream
        of this identity is open.
        """
        holder = self._holders.get(report.agent)
        is_heard = self._now_s() < self._heard_s.get(report.agent, -HEARD_S) + HEARD_S
        if not held or holder is None or not is_heard:
            return None
        if holder.journal_id != registered or report.journal_id == registered:
            return None
        return (
            f"An agent '{report.agent}' is connected from {holder.address} with the registered journal, "
            f"{registered}; this one, from {address}, has journal {report.journal_id}. Two agents run "
            "with one identity, or a host was replaced while the old one still runs: stop one of them."
        )

    def opened(self, report: Report, address: str, *, held: bool) -> str | None:
        """A stream is opened, and takes the place of another where one is ``held``.

        Returns what is to be told of it by rule 2, or None.
        """
        now_s = self._now_s()
        visit = Visit(
            address=address,
            journal_id=report.journal_id,
            at_s=now_s,
            booted_s=now_s - report.sent_ns / SECOND,
        )
        before = self._holders.get(report.agent)
        self._holders[report.agent] = visit
        self.heard(report.agent)
        if not held or before is None:
            return None
        return self._taken_over(report.agent, before, visit)

    def _taken_over(self, agent: AgentId, before: Visit, visit: Visit) -> str | None:
        takeovers = self._takeovers.setdefault(agent, deque(maxlen=4 * TIMES))
        takeovers.append(visit)
        while takeovers[0].at_s < visit.at_s - WINDOW_S:
            takeovers.popleft()
        return _text(agent, (before, *takeovers)) if len(takeovers) >= TIMES else None


def _text(agent: AgentId, visits: tuple[Visit, ...]) -> str:
    hosts = any(not visit.is_from_the_host_of(visits[-1]) for visit in visits)
    addresses = sorted({visit.address for visit in visits})
    where = " and ".join(addresses) + (" (two hosts)" if hosts and len(addresses) == 1 else "")
    begun = f"'{agent}' takes its own stream over again and again, from {where}"
    if not hosts:
        return (
            f"{begun}: two agents run there with one identity, or its connections break without a "
            "word. Stop one of the two, or look after the network."
        )
    return (
        f"{begun}: two agents run with one identity and one journal. Stop one of them, and give it an "
        "identity and a state folder of its own (turnout agent keygen, turnout agents add)."
    )
