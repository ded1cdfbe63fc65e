"""An agent's connection to whoever leads, as a machine: try, follow a redirect, notice silence.

An agent dials out, to one coordinator replica after another in the order of its list, until one
takes it as the leader (DESIGN.md section 3). The rules:

1. *A redirect is followed once*, then the list is tried in turn: two replicas that each take the
   other for the leader must not keep an agent busy (H17).
2. *Silence is not patience's business.* A leader proves itself in every message down. A stream that
   carries no proof for ``silence`` belongs to nobody who could decide: a leader cut off from the
   store, or a connection that is dead and does not know it. The next replica is tried.
3. *A lost stream is often everybody's.* The first try after one is spread evenly over H, the time in
   which the next replica can take in all that the lost one had; so no more arrive than are admitted.
4. *A round of the list without success is followed by a pause*, doubled each time, capped and
   jittered; within a round there is none, since the next replica may well be there. The cap and the
   time allowed for one try are short enough that an agent is back well within the 15 s of L3, with
   five replicas of which four swallow everything.
5. *A leader's stream that ends young is paused for longer each time*, until one has lived for
   ``STEADY_NS``. 1. Two agents are started with one identity. 2. A leader keeps the newer stream of
   an agent, so each of them takes it from the other. 3. Each was just taken by a leader: if that
   alone counted as success, they would go on like this without end, as fast as they can connect.

Only proof of leadership counts as success: a replica that opens streams and drops them is paused for
like one that refuses.
"""

from __future__ import annotations

import enum
from typing import TypeAlias, assert_never

from attrs import evolve, frozen

from turnout.protocol.backoff import Backoff
from turnout.protocol.clock import MS, SECOND, Instant, MonotonicNs
from turnout.protocol.events import LinkDown, LinkUp, Wake
from turnout.protocol.limits import Timing
from turnout.protocol.replacing import replaced
from turnout.protocol.transitions import Row, TransitionTable

PAUSE_NS = 250 * MS
"""First pause between two rounds of the list."""

PAUSE_CAP_NS = 1 * SECOND
"""Longest."""

STEADY_NS = 5 * SECOND
"""A leader's stream that lived this long was a good one, whatever has ended it."""

YOUNG_CAP_NS = 4 * SECOND
"""Longest pause after one that did not. It is below ``STEADY_NS``, or an agent that waits it out would
let its twin's stream grow old; and four silent replicas may follow it within the 15 s of L3."""

ROUND_TRIPS_TO_CONNECT = 4
"""TCP, TLS 1.3, the challenge and its answer take one each. Round trips below their ceiling leave room
for a segment lost; more than that would cost L3, since four silent replicas may come first."""


# --- what it is told ----------------------------------------------------------------------------


@frozen(kw_only=True)
class Connected:
    """The replica took the agent: the stream is open."""

    link: int


@frozen(kw_only=True)
class Redirected:
    """The replica does not lead, or no more, and says who does. The stream is closed by it."""

    link: int
    url: str


@frozen(kw_only=True)
class Proven:
    """A message that proves leadership came down the stream."""

    link: int


@frozen(kw_only=True)
class Disconnected:
    """The connection failed, was refused or has ended; ``reason`` for people."""

    link: int
    reason: str


SessionEvent: TypeAlias = Wake | Connected | Redirected | Proven | Disconnected

# --- what it asks for ---------------------------------------------------------------------------


@frozen(kw_only=True)
class Connect:
    """Open a stream to this replica; what comes of it is told with this ``link``."""

    link: int
    url: str


@frozen(kw_only=True)
class Disconnect:
    """Close this link, whatever has become of it; nothing it still says will be listened to."""

    link: int


@frozen(kw_only=True)
class Announce:
    """Tell the participant."""

    event: LinkUp | LinkDown


SessionEffect: TypeAlias = Connect | Disconnect | Announce

# --- the machine --------------------------------------------------------------------------------


class Phase(enum.StrEnum):
    """What an agent is doing about its connection."""

    PAUSING = "pausing"
    CONNECTING = "connecting"
    CONNECTED = "connected"


class Cause(enum.StrEnum):
    """Why the phase changes."""

    TRY = "try"
    OPENED = "opened"
    REDIRECTED = "redirected"
    FAILED = "failed"
    SILENT = "silent"


SESSION = TransitionTable(
    name="session",
    phases=tuple(Phase),
    rows=(
        Row(Phase.PAUSING, Cause.TRY, (Phase.CONNECTING,)),
        Row(Phase.CONNECTING, Cause.OPENED, (Phase.CONNECTED,)),
        Row(Phase.CONNECTING, Cause.REDIRECTED, (Phase.PAUSING,)),
        Row(Phase.CONNECTING, Cause.FAILED, (Phase.PAUSING,)),
        Row(Phase.CONNECTING, Cause.SILENT, (Phase.PAUSING,)),
        Row(Phase.CONNECTED, Cause.REDIRECTED, (Phase.PAUSING,)),
        Row(Phase.CONNECTED, Cause.FAILED, (Phase.PAUSING,)),
        Row(Phase.CONNECTED, Cause.SILENT, (Phase.PAUSING,)),
    ),
)


@frozen(kw_only=True, slots=False)
class Session:
    """One agent's way to its leader. Not slotted: see ``replacing.py``.

    Attributes:
        connect_ns: the time allowed for one try.
        spread_ns: H (rule 3).
        due_ns: end of the pause, of the try, or of the silence that is borne: when to wake it.
        link: number of the newest try; what is told of older ones is not listened to.
        place: in the list, of the newest try.
        redirect: where to go instead of the list's next.
        redirected: the newest try followed a redirect.
        failures: tries in a row without proof of leadership.
        backoff: pauses between rounds of the list (rule 4).
        young: pauses after leaders' streams that ended young (rule 5).
        opened_ns: when the newest stream was opened.
        proven: this link has proved leadership.
        proven_ns: when any link last did (or the agent started).
    """

    urls: tuple[str, ...]
    connect_ns: int
    silence_ns: int
    spread_ns: int
    backoff: Backoff
    young: Backoff
    due_ns: MonotonicNs
    proven_ns: MonotonicNs
    phase: Phase = Phase.PAUSING
    link: int = 0
    place: int = -1
    redirect: str | None = None
    redirected: bool = False
    failures: int = 0
    opened_ns: MonotonicNs = MonotonicNs(0)
    proven: bool = False

    @classmethod
    def begin(cls, *, urls: tuple[str, ...], timing: Timing, seed: int, now: Instant) -> Session:
        """Begin with the first replica of the list, at once. ``seed``: random bits."""
        assert urls, "an agent needs the address of at least one coordinator"
        return cls(
            urls=urls,
            connect_ns=ROUND_TRIPS_TO_CONNECT * timing.max_round_trip_ns,
            silence_ns=timing.silence_ns,
            spread_ns=timing.herd_ns,
            backoff=Backoff(seed=seed, base_ns=PAUSE_NS, cap_ns=PAUSE_CAP_NS),
            young=Backoff(seed=seed + 1, base_ns=PAUSE_NS, cap_ns=YOUNG_CAP_NS),
            due_ns=now.monotonic_ns,
            proven_ns=now.monotonic_ns,
        )

    def isolated_ns(self, now: Instant) -> int:
        """For how long no leader has been heard; 0 while one is."""
        return 0 if self.proven else now.monotonic_ns - self.proven_ns


Step: TypeAlias = tuple[Session, tuple[SessionEffect, ...]]


def step(state: Session, event: SessionEvent, now: Instant) -> Step:
    """Tell the machine something; returns its next state and what it asks for, in order."""
    if isinstance(event, Wake):
        return _woken(state, now) if now.monotonic_ns >= state.due_ns else (state, ())
    if event.link != state.link or state.phase is Phase.PAUSING:
        return state, ()
    match event:
        case Connected():
            return _opened(state, now)
        case Proven():
            return _proven(state, now), ()
        case Redirected(url=url):
            return _redirected(state, url, now)
        case Disconnected(reason=reason):
            return _ended(state, Cause.FAILED, reason, now)
        case _:
            assert_never(event)


def _woken(state: Session, now: Instant) -> Step:
    match state.phase:
        case Phase.PAUSING:
            return _trying(state, now)
        case Phase.CONNECTING:
            reason = f"no answer from {_target(state)} within {state.connect_ns / MS:g} ms"
        case Phase.CONNECTED:
            reason = f"no proof of leadership within {state.silence_ns / MS:g} ms"
        case _:
            assert_never(state.phase)
    paused, effects = _ended(state, Cause.SILENT, reason, now)
    return paused, (Disconnect(link=state.link), *effects)


def _trying(state: Session, now: Instant) -> Step:
    """Go where a redirect points, else to the list's next."""
    trying = _moved(
        state,
        Cause.TRY,
        Phase.CONNECTING,
        link=state.link + 1,
        place=state.place if state.redirect else (state.place + 1) % len(state.urls),
        redirected=state.redirect is not None,
        due_ns=MonotonicNs(now.monotonic_ns + state.connect_ns),
    )
    return trying, (Connect(link=trying.link, url=_target(trying)),)


def _target(state: Session) -> str:
    return state.redirect or state.urls[state.place]


def _opened(state: Session, now: Instant) -> Step:
    if state.phase is Phase.CONNECTED:
        return state, ()
    due_ns = MonotonicNs(now.monotonic_ns + state.silence_ns)
    opened = _moved(state, Cause.OPENED, Phase.CONNECTED, due_ns=due_ns, opened_ns=now.monotonic_ns)
    return opened, (Announce(event=LinkUp()),)


def _proven(state: Session, now: Instant) -> Session:
    if state.phase is Phase.CONNECTING:
        return state
    heard: dict[str, object] = {
        "due_ns": now.monotonic_ns + state.silence_ns,
        "proven_ns": now.monotonic_ns,
    }
    if not state.proven:
        heard.update(proven=True, failures=0, backoff=state.backoff.succeeded())
    return replaced(state, heard)


def _redirected(state: Session, url: str, now: Instant) -> Step:
    if state.redirected and not state.proven:
        return _ended(state, Cause.FAILED, f"redirected twice, the second time to {url}", now)
    reason = f"{_target(state)} does not lead: redirected to {url}"
    pause_ns, drawn = _after_a_leader(state, now) if state.proven else (0, state)
    return _pausing(evolve(drawn, redirect=url), Cause.REDIRECTED, reason, pause_ns, now)


def _ended(state: Session, cause: Cause, reason: str, now: Instant) -> Step:
    """The try or the stream came to nothing more: on to the list's next."""
    state = evolve(state, redirect=None)
    if state.proven:
        pause_ns, state = _after_a_leader(state, now)
        return _pausing(state, cause, reason, pause_ns, now)
    pause_ns, failures = 0, state.failures + 1
    if failures % len(state.urls) == 0:
        pause_ns, backoff = state.backoff.failed()
        state = evolve(state, backoff=backoff)
    return _pausing(evolve(state, failures=failures), cause, reason, pause_ns, now)


def _after_a_leader(state: Session, now: Instant) -> tuple[int, Session]:
    """When to try again after a stream that had a leader at its other end (rules 3 and 5)."""
    spread_ns, backoff = state.backoff.below(state.spread_ns)
    if now.monotonic_ns - state.opened_ns >= STEADY_NS:
        return spread_ns, evolve(state, backoff=backoff, young=state.young.succeeded())
    pause_ns, young = state.young.failed()
    return spread_ns + pause_ns, evolve(state, backoff=backoff, young=young)


def _pausing(state: Session, cause: Cause, reason: str, pause_ns: int, now: Instant) -> Step:
    due_ns = MonotonicNs(now.monotonic_ns + pause_ns)
    down = (Announce(event=LinkDown(reason=reason)),) if state.phase is Phase.CONNECTED else ()
    return _moved(state, cause, Phase.PAUSING, due_ns=due_ns, proven=False), down


def _moved(state: Session, cause: Cause, phase: Phase, **changes: object) -> Session:
    """The only place where the phase changes."""
    SESSION.check(state.phase, cause, phase)
    return evolve(state, phase=phase, **changes)  # type: ignore[arg-type]
