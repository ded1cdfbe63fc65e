"""The attempts that were refused, for the history: who asked what from where, when, and why not.

This is the shell's and not the machine's, which has no part in most of it: a body that cannot be
read, a key that another body came with, a replica without a leader. The machine's only part is that
its reign guards the entry, so that nobody but the leader writes; what is noted before this replica
leads waits a while for it.

No answer waits for its entry, and none fails by it. No flood of bad requests becomes one of writes:
what was noted within the last minute is not noted again, at most one entry a second is written, and
below one head only so many. What is left out is counted, and the next entry tells how much it was.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable

import structlog
import trio
from attrs import field, frozen

from turnout.protocol import keys
from turnout.protocol.clock import ClockNs
from turnout.protocol.codec import canonical_bytes
from turnout.protocol.coordinator_state import CoordinatorState, Role
from turnout.protocol.identifiers import Epoch, ReplicaId, Term
from turnout.protocol.records import HistoryEntry
from turnout.protocol.transactions import Lost, Result, Transaction, Unknown, Won
from turnout.protocol.writes import Reign, refusal
from turnout.runtime.store.contract import Store
from turnout.runtime.store.errors import StoreError

MAX_QUEUED = 32
"""Entries that may wait to be written: a person's mistakes, not a program's."""

MAX_PER_HEAD = 500
"""Entries below one head and reign: the history is read by whole epochs."""

MAX_NAME = 100
"""Characters of an actor, an address or a path that are kept."""

MAX_DETAIL = 300
"""Characters of an explanation that are kept."""

REPEAT_S = 60.0
"""For so long the same refusal is not noted again."""

INTERVAL_S = 1.0
"""Between two entries, and between two attempts at one."""

STALE_S = 300.0
"""What could not be written for so long is left out: the history is no letter box."""

_ATTEMPTS = 5

_log = structlog.get_logger(__name__)


def _short(text: str, most: int) -> str:
    """Cut a text, and take out what could upset a terminal."""
    cut = text if len(text) <= most else text[: most - 3] + "..."
    return "".join(c if c.isprintable() else "?" for c in cut)


def _name(text: str) -> str:
    return _short(text, MAX_NAME)


def _explanation(text: str) -> str:
    return _short(text, MAX_DETAIL)


@frozen(kw_only=True)
class Refusal:
    """One refused attempt to change something.

    Attributes:
        at_ns: when, on this replica's clock.
        action: method and path; without its query, which may say anything.
        code: the name of the problem's type.
    """

    at_ns: ClockNs = field(eq=False)
    actor: str = field(converter=_name)
    address: str = field(converter=_name)
    action: str = field(converter=_name)
    code: str
    detail: str = field(converter=_explanation)

    def entry(self, state: CoordinatorState, replica: ReplicaId, left_out: int) -> HistoryEntry:
        """The entry, which belongs to the head as it stands."""
        assert state.head is not None
        more = f" (and {left_out} more, left out)" if left_out else ""
        return HistoryEntry(
            epoch=state.head.decided,
            kind=keys.REFUSED,
            at_ns=self.at_ns,
            actor=self.actor,
            replica=replica,
            term=state.term,
            text=f"{self.action} from {self.address}: {self.detail}{more}",
            reason=self.code,
            previous=state.head.history,
        )


class RefusalBook:
    """Takes notes at once, and writes them when it can."""

    def __init__(
        self, store: Store, state: Callable[[], CoordinatorState], replica: ReplicaId
    ) -> None:
        self._store = store
        self._state = state
        self._replica = replica
        self._queue: deque[tuple[float, Refusal]] = deque()
        self._noted: dict[Refusal, float] = {}
        self._left_out = 0
        self._numbers = itertools.count(1)
        self._page: tuple[Term, Epoch] | None = None
        self._on_page = 0
        self._something = trio.Event()

    def note(self, one: Refusal) -> None:
        """Have a refusal written, or count it."""
        now = trio.current_time()
        self._noted = {r: at for r, at in self._noted.items() if at > now - REPEAT_S}
        if one in self._noted or len(self._queue) >= MAX_QUEUED:
            self._left_out += 1
            return
        self._noted[one] = now
        self._queue.append((now, one))
        self._something.set()

    async def keep(self) -> None:
        """Write what is noted, one entry after another, for ever."""
        while True:
            await self._something.wait()
            while self._queue:
                await self._go_on()
                await trio.sleep(INTERVAL_S)
            self._something = trio.Event()

    async def _go_on(self) -> None:
        """Write the first that waits, unless nobody may, or it has waited for too long."""
        noted_at, one = self._queue[0]
        state = self._state()
        if trio.current_time() - noted_at > STALE_S:
            self._leave_out("nobody could write it in time")
        elif state.role is Role.LEADING:
            if self._is_full(state):
                self._leave_out("there are too many for this head already")
            else:
                await self._write(state, one)

    def _leave_out(self, reason: str) -> None:
        _, one = self._queue.popleft()
        self._left_out += 1
        _log.warning("refusal not in the history", code=one.code, actor=one.actor, reason=reason)

    def _is_full(self, state: CoordinatorState) -> bool:
        assert state.head is not None
        page = (state.term, state.head.decided)
        if page != self._page:
            self._page, self._on_page = page, 0
        return self._on_page >= MAX_PER_HEAD

    async def _write(self, state: CoordinatorState, one: Refusal) -> None:
        left_out = self._left_out
        assert state.incarnation is not None
        reign = Reign(term=state.term, incarnation=canonical_bytes(state.incarnation))
        entry = one.entry(state, self._replica, left_out)
        if await self._sent(refusal(reign, number=next(self._numbers), history=entry)):
            self._queue.popleft()
            self._left_out -= left_out
            self._on_page += 1
        elif self._state().term == state.term:
            self._leave_out("the store did not take it")

    async def _sent(self, transaction: Transaction) -> bool:
        """Whether the entry is in the store; sent again where no answer came."""
        for attempt in range(_ATTEMPTS):
            if attempt:
                await trio.sleep(INTERVAL_S)
            result = await self._try(transaction)
            if isinstance(result, Won):
                return True
            if isinstance(result, Lost):
                return result.found.get(transaction.writes[0].key) is not None
        return False

    async def _try(self, transaction: Transaction) -> Result:
        try:
            return await self._store.transact(transaction)
        except StoreError as error:
            return Unknown(reason=str(error))
