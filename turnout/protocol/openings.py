"""What of an agent's reports is fresh: nothing that was ever said before counts again (S10).

A report is signed, so nobody can make one; but whoever kept one could say it again, take the stream
from the agent, and have it marked stale for a journal that ends where it ended then. The agent's own
clock tells old from new within one stream only: it begins anew when the agent's host does. So:

1. *A stream is opened in answer to a challenge*, which the leader gives to whoever asks, and the report
   repeats under its signature. It is the time at which it was given, under a key that this process
   alone has: nothing is kept of those who ask, and another replica's, or this one's before a restart,
   is worth nothing here.
2. *Each agent's challenges rise.* The newest that it answered is kept, and no older one is taken: a
   recorded opening comes too late, and so does one that was overtaken on its way.
3. *Every report of a stream repeats its challenge*, and they rise in the agent's clock: what was said on
   another stream is refused, however that clock has jumped since.
4. *With a stream ends what is said on it.* 1. A leader is paused, and deposed. 2. It goes on, and turns
   away the report that has waited. 3. It leads again, and somebody says that report once more: it is the
   newest of its agent's last stream, and the agent would be stale for a journal of then.
"""

from __future__ import annotations

import hashlib
import hmac

from turnout.protocol.clock import SECOND, MonotonicNs
from turnout.protocol.identifiers import AgentId
from turnout.protocol.messages import Report

LIFETIME_NS = 10 * SECOND
"""For so long a challenge may be answered: an agent gives a try up after 2 s."""

_MAC_BYTES = 16


class Openings:
    """One process's challenges, and which reports answer them.

    A shell keeps one beside its machine; ``key`` is chance that nobody else has, drawn at each start.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._given_ns = MonotonicNs(0)
        self._void_ns = MonotonicNs(0)
        self._answered_ns: dict[AgentId, MonotonicNs] = {}
        self._newest: dict[AgentId, Report] = {}

    def challenge(self, now_ns: MonotonicNs) -> str:
        """A challenge that was never given before."""
        self._given_ns = max(now_ns, MonotonicNs(self._given_ns + 1))
        return self._challenge_of(self._given_ns)

    def is_fresh(self, opening: Report, now_ns: MonotonicNs) -> bool:
        """Whether a report may open a stream. Asked once: then its challenge has been answered."""
        given_ns = self._given(opening.challenge, now_ns)
        if given_ns is None or given_ns <= self._answered_ns.get(opening.agent, self._void_ns):
            return False
        self._answered_ns[opening.agent] = given_ns
        return True

    def opened(self, opening: Report) -> None:
        """A stream was opened with this report; those that follow it on the stream count."""
        self._newest[opening.agent] = opening

    def follows(self, report: Report) -> bool:
        """Whether a report is the newest on its agent's stream; then it is what others must follow."""
        newest = self._newest.get(report.agent)
        if newest is None or report.challenge != newest.challenge:
            return False
        if report.sent_ns <= newest.sent_ns:
            return False
        self._newest[report.agent] = report
        return True

    def closed(self, opening: Report) -> None:
        """The stream that was opened with this report has ended, if it is not another's already."""
        newest = self._newest.get(opening.agent)
        if newest is not None and newest.challenge == opening.challenge:
            del self._newest[opening.agent]

    def forget(self, agent: AgentId) -> None:
        """The agent is no more. What it said shall not count if it is enrolled again with its key."""
        self._answered_ns.pop(agent, None)
        self._newest.pop(agent, None)
        self._void_ns = self._given_ns

    def _given(self, challenge: str, now_ns: MonotonicNs) -> MonotonicNs | None:
        """When a challenge was given; None unless it was, by this process and not long ago."""
        digits = challenge.partition(".")[0]
        if not digits.isascii() or not digits.isdigit() or len(digits) > len(str(self._given_ns)):
            return None
        given_ns = MonotonicNs(int(digits))
        expected = self._challenge_of(given_ns)
        if not hmac.compare_digest(expected.encode(), challenge.encode(errors="replace")):
            return None
        return given_ns if now_ns < given_ns + LIFETIME_NS else None

    def _challenge_of(self, given_ns: MonotonicNs) -> str:
        mac = hmac.digest(self._key, str(given_ns).encode(), hashlib.sha256)[:_MAC_BYTES]
        return f"{given_ns}.{mac.hex()}"
