"""Campaigning for the one leader key, holding it and losing it, as a machine.

There is **one fixed key**, put if absent and tied to a lease; its create-revision is the term
(DESIGN.md section 4). Not etcd's election recipe, in which every candidate has a key of its own
from the day it queues, and "the key I made still stands" is true of those who do not lead: with
one key, a guard on its create-revision holds for its holder and for nobody else (rationale H25).

The rules, and the stories that they come from:

1. *My own key is known by my lease.* The value names replica and lease. 1. A campaign's reply is
   lost. 2. The key is read: it holds this replica's name. 3. It may be what an earlier life of this
   process left. Only with the lease in it does it prove that the campaign was won.
2. *A lost reply is resolved by reading.* The campaign may still land later. So an absent key is
   campaigned for again **under the same lease**: whichever of the two lands, it is ours and says so.
   A campaign that is given up revokes its lease, and what lands late is refused or falls with it.
3. *A leader that hears nothing from the store for one lease time deposes itself*, counted on its own
   monotonic clock from when it *asked* for the last renewal that was granted: the store cannot have
   let the lease go earlier (rationale H17).
4. *Sights of the key come late and out of order.* One older than what is known already is ignored,
   so that a leader is not deposed by an old "nobody". A candidate listens to answers only, not to
   the watch: 1. Three candidates campaign; a wins. 2. Before a hears so, its watch, running late,
   shows b's victory of a moment ago, long undone. 3. a gives up, which deletes its key. 4. So do
   the others, one after another, for ever.
5. *Handing over is revoking the lease*: the key goes with it at once, the next leader need not wait
   for it to expire, and a key that is not ours cannot be hit.
6. *What this replica left in the key, it takes away.* 1. A leader loses etcd as it loses its quorum,
   deposes itself, and its revocation reaches nobody; or it dies. 2. etcd heals, and gives every lease
   its whole time again, and an election besides. 3. For so long (8 s, of the 15 of L3, where members
   are far from each other) the key says that a replica leads which is there, reads it, and does not.
   So a claim under a lease that was given up has that lease revoked again whenever it is seen; and so
   has one that an earlier life of this process left, at the first sight of the key only: two replicas
   that bear one name, which none may, would else depose each other without end.
7. *What a dead leader left, whoever follows takes away.* 1. A leader dies, and etcd's with it. 2. The
   next one of etcd knows no renewal: it gives the lease its whole time and an election timeout, an
   ocean apart 8 s. 3. If the members voted for each other first, etcd has elected twice by then, and
   the domain is led again too late for L2. But a renewal leaves a lease less than it was granted for:
   one that has as much or more was not renewed since etcd elected. If it still has that a quarter of
   a lease time later, it is revoked; so where others look a leader renews twice as often as that.
   Where the store has answered nothing for a whole lease time before, the first sight is enough.
   They look where etcd's election timeout is long beside the lease: where it is short, so is what
   etcd adds, and a second look would come too late to tell.

Nothing here is needed for safety, which rests on the guards of each write: two replicas that both
believe to lead are harmless, and one of them cannot write.
"""

from __future__ import annotations

import enum
from typing import TypeAlias, assert_never

from attrs import evolve, frozen

from turnout.protocol import keys
from turnout.protocol.backoff import Backoff
from turnout.protocol.candidacy import (
    MAX_CLAIM_BYTES,
    Announce,
    AskLease,
    Campaign,
    Campaigned,
    Claim,
    ElectionEffect,
    ElectionEvent,
    Follow,
    GrantLease,
    KeepAlive,
    KeptAlive,
    LeaderSeen,
    LeaseGone,
    LeaseGranted,
    LeaseSeen,
    ReadLeader,
    Resign,
    Retired,
    RevokeLease,
)
from turnout.protocol.clock import MS, Instant, MonotonicNs
from turnout.protocol.codec import canonical_bytes, decode
from turnout.protocol.errors import MalformedError
from turnout.protocol.events import Deposed, Elected, Wake
from turnout.protocol.identifiers import ReplicaId, Term
from turnout.protocol.limits import Timing
from turnout.protocol.timers import Timers
from turnout.protocol.transactions import (
    Absent,
    KeyValue,
    Lost,
    Put,
    Transaction,
    Unknown,
    Won,
)
from turnout.protocol.transitions import Row, TransitionTable


class Phase(enum.StrEnum):
    """What a replica is doing about the leader key."""

    FOLLOWING = "following"
    GRANTING = "granting"
    CAMPAIGNING = "campaigning"
    LEADING = "leading"
    RESIGNING = "resigning"
    RETIRED = "retired"


class Cause(enum.StrEnum):
    """Why a replica's phase changes."""

    VACANT = "vacant"
    GRANTED = "granted"
    WON = "won"
    BEATEN = "beaten"
    EXPIRED = "expired"
    DEPOSED = "deposed"
    RESIGNED = "resigned"
    RELEASED = "released"


ELECTION = TransitionTable(
    name="election",
    phases=tuple(Phase),
    rows=(
        Row(Phase.FOLLOWING, Cause.VACANT, (Phase.GRANTING,)),
        Row(Phase.FOLLOWING, Cause.RESIGNED, (Phase.RETIRED,)),
        Row(Phase.GRANTING, Cause.GRANTED, (Phase.CAMPAIGNING,)),
        Row(Phase.GRANTING, Cause.BEATEN, (Phase.FOLLOWING,)),
        # A lease that is granted too late is revoked when the answer comes.
        Row(Phase.GRANTING, Cause.RESIGNED, (Phase.RETIRED,)),
        Row(Phase.CAMPAIGNING, Cause.WON, (Phase.LEADING,)),
        Row(Phase.CAMPAIGNING, Cause.BEATEN, (Phase.FOLLOWING,)),
        Row(Phase.CAMPAIGNING, Cause.EXPIRED, (Phase.FOLLOWING,)),
        Row(Phase.CAMPAIGNING, Cause.RESIGNED, (Phase.RESIGNING,)),
        Row(Phase.LEADING, Cause.DEPOSED, (Phase.FOLLOWING,)),
        Row(Phase.LEADING, Cause.RESIGNED, (Phase.RESIGNING,)),
        Row(Phase.RESIGNING, Cause.RELEASED, (Phase.RETIRED,)),
    ),
)

ASK = "ask"
"""What the phase waits for is asked for, or asked again: a question that fails is one unanswered."""

EXPIRE = "expire"
"""The lease may be gone, as far as this replica knows."""

LOOK = "look"
"""The leader's lease is looked at again: nobody answered, or nobody seems to renew it."""

LOOK_AGAIN_NS = 500 * MS
"""After which a question about it that is not answered is asked again."""


@frozen
class Doubt:
    """Nobody has renewed the leader's lease since the store elected: known since then."""

    since_ns: MonotonicNs


@frozen(kw_only=True)
class Election:
    """One replica's part in the election.

    Attributes:
        ttl_ns: the lease time asked for; never counted on for longer, though more may be granted.
        election_ns: etcd's election timeout.
        lease: the one that this replica campaigns or leads with.
        renewed_ns: when the newest renewal that was granted had been asked for.
        term: when leading, the key's create-revision.
        seen: newest revision at which the key was seen.
        leader: whose claim stood in it.
        given_up: leases that were asked to be revoked, and are not known to be gone (rule 6).
        doubt: of the leader, where its lease is not renewed (rule 7).
        unheard_ns: since when questions about the leader's lease have had no answer, if they have not.
        unresolved: a campaign's reply was lost.
        quiet_until_ns: handed over for a while: no campaign before this moment.
    """

    replica: ReplicaId
    url: str
    ttl_ns: int
    election_ns: int
    backoff: Backoff
    phase: Phase = Phase.FOLLOWING
    lease: int | None = None
    renewed_ns: MonotonicNs = MonotonicNs(0)
    term: Term | None = None
    seen: int = 0
    leader: Claim | None = None
    given_up: tuple[int, ...] = ()
    doubt: Doubt | None = None
    unheard_ns: MonotonicNs | None = None
    unresolved: bool = False
    quiet_until_ns: int = 0
    timers: Timers = Timers()

    @classmethod
    def begin(
        cls, *, replica: ReplicaId, url: str, timing: Timing, seed: int, now: Instant
    ) -> Election:
        """Begin to follow; the first thing is to read who leads. ``seed``: random bits."""
        backoff = Backoff(seed=seed, base_ns=timing.retry_ns // 2, cap_ns=timing.retry_ns)
        timers = Timers().arm(ASK, now.monotonic_ns)
        return cls(
            replica=replica,
            url=url,
            ttl_ns=timing.lease_ttl_ns,
            election_ns=timing.election_ns,
            backoff=backoff,
            timers=timers,
        )

    @property
    def is_watched(self) -> bool:
        """Whether who follows looks at the leader's lease (rule 7)."""
        return 3 * self.election_ns >= self.ttl_ns

    @property
    def next_deadline(self) -> MonotonicNs | None:
        """When to wake the machine; None: not at all."""
        return self.timers.next()


Step: TypeAlias = tuple[Election, tuple[ElectionEffect, ...]]


def step(state: Election, event: ElectionEvent, now: Instant) -> Step:
    """Tell the machine something; returns its next state and what it asks for, in order."""
    match event:
        case Wake():
            return _woken(state, now)
        case LeaderSeen():
            return _seen(state, event, now)
        case LeaseGranted():
            return _granted(state, event, now)
        case Campaigned():
            return _campaigned(state, event, now)
        case KeptAlive():
            return _kept_alive(state, event), ()
        case LeaseGone():
            return _lease_gone(state, event.lease, now)
        case LeaseSeen():
            return _lease_seen(state, event, now)
        case Resign(for_good=True):
            return _retiring(state, event.reason, now)
        case Resign():
            return _handing_over(state, event.reason, now)
        case _:
            assert_never(event)


# --- the passing of time ------------------------------------------------------------------------


def _woken(state: Election, now: Instant) -> Step:
    expired = state.timers.expired(now)
    if EXPIRE in expired:
        return _lease_expired(state, now)
    if ASK in expired:
        return _asking(state, now)
    if LOOK in expired:
        return _looking(state, now)
    return state, ()


def _asking(state: Election, now: Instant) -> Step:
    """Ask for what the phase waits for, and be ready to ask again."""
    if state.phase is Phase.LEADING:
        assert state.lease is not None
        times = 8 if state.is_watched else 3
        later = _ask_at(state, now.monotonic_ns + state.ttl_ns // times)
        return later, (KeepAlive(lease=state.lease, asked_ns=now.monotonic_ns),)
    state = _ask_later(state, now)
    if state.phase is Phase.GRANTING:
        return state, (GrantLease(ttl_ns=state.ttl_ns, asked_ns=now.monotonic_ns),)
    if state.phase is Phase.RESIGNING:
        assert state.lease is not None
        return state, (RevokeLease(lease=state.lease),)
    # Following, the watch may have missed something. Campaigning, the reply was lost.
    looking, question = _looking(evolve(state, unresolved=True), now)
    return looking, (ReadLeader(floor=state.seen), *question)


def _looking(state: Election, now: Instant) -> Step:
    """Ask for the leader's lease, until answered, where the answer can say something (rule 7)."""
    if state.phase is not Phase.FOLLOWING or state.leader is None or not state.is_watched:
        return evolve(state, timers=state.timers.disarm(LOOK)), ()
    question = AskLease(lease=state.leader.lease, asked_ns=now.monotonic_ns)
    if state.unheard_ns is None:
        state = evolve(state, unheard_ns=now.monotonic_ns)
    return _look_at(state, now.monotonic_ns + LOOK_AGAIN_NS), (question,)


def _look_at(state: Election, at_ns: int) -> Election:
    return evolve(state, timers=state.timers.arm(LOOK, at_ns))


def _ask_at(state: Election, at_ns: int) -> Election:
    return evolve(state, timers=state.timers.arm(ASK, at_ns))


def _ask_later(state: Election, now: Instant) -> Election:
    pause_ns, backoff = state.backoff.failed()
    return _ask_at(evolve(state, backoff=backoff), now.monotonic_ns + pause_ns)


def _lease_expired(state: Election, now: Instant) -> Step:
    """For one lease time the store has not said that the lease is alive."""
    if state.phase is Phase.LEADING:
        return _deposed(state, "no answer from the store for one lease time", now)
    if state.phase is Phase.CAMPAIGNING:
        return _back_to_following(state, Cause.EXPIRED, now)
    return _released(state)


# --- sights of the leader key -------------------------------------------------------------------


def _seen(state: Election, event: LeaderSeen, now: Instant) -> Step:
    """Take in a sight of the key, unless it is older than what is known (rule 4).

    A linearizable read that answers with less than was known when it was asked is not late: the
    store itself went back (it was restored), and what was known of it is void.
    """
    went_back = event.floor is not None and event.revision < event.floor
    if state.phase is Phase.RETIRED or (event.revision < state.seen and not went_back):
        return state, ()
    claim = _claim_in(event.entry)
    state = evolve(state, seen=event.revision, given_up=_given_up(state, claim))
    if state.phase is Phase.FOLLOWING and event.floor is not None:
        state = evolve(state, backoff=state.backoff.succeeded())
        state = _ask_at(state, now.monotonic_ns + state.ttl_ns)
    known, follow = _followed(state, claim)
    if event.entry is None:
        after, effects = _vacant(known, now)
    elif claim is None or claim.replica != state.replica:
        after, effects = _held_by_another(known, event.floor is not None, now)
    elif claim.lease == state.lease:
        after, effects = _mine(known, event.entry, now)
    elif claim.lease in state.given_up and state.phase is Phase.FOLLOWING:
        after, effects = _ask_later(known, now), (RevokeLease(lease=claim.lease),)
    else:
        after, effects = _held_by_another(known, event.floor is not None, now)
    return after, (*follow, *effects)


def _given_up(state: Election, claim: Claim | None) -> tuple[int, ...]:
    """The leases given up: at the first sight of the key that of an earlier life too (rule 6)."""
    if state.seen or claim is None or claim.replica != state.replica:
        return state.given_up
    return (claim.lease,)


def _claim_in(entry: KeyValue | None) -> Claim | None:
    """Whose claim stands in the key; None also where nobody can read it."""
    if entry is None:
        return None
    try:
        return decode(entry.value, Claim, limit=MAX_CLAIM_BYTES)
    except MalformedError:
        return None


def _followed(state: Election, leader: Claim | None) -> Step:
    if leader == state.leader:
        return state, ()
    followed = evolve(state, leader=leader, doubt=None, unheard_ns=None)
    return followed, (Follow(leader=leader),)


def _vacant(state: Election, now: Instant) -> Step:
    """Nobody leads: campaign, unless this replica has just handed over."""
    if state.phase is Phase.FOLLOWING and now.monotonic_ns < state.quiet_until_ns:
        return _ask_at(state, state.quiet_until_ns), ()
    if state.phase is Phase.FOLLOWING:
        return _asking(_moved(state, Cause.VACANT, Phase.GRANTING), now)
    if state.phase is Phase.CAMPAIGNING and state.unresolved:
        return evolve(state, unresolved=False), (_campaign(state),)
    if state.phase is Phase.LEADING:
        return _deposed(state, "the leader key is gone", now)
    return state, ()


def _mine(state: Election, entry: KeyValue, now: Instant) -> Step:
    """The key is tied to this replica's lease: a campaign of it was won (rules 1 and 2)."""
    if state.phase is Phase.CAMPAIGNING:
        return _won(state, Term(entry.create_revision), now)
    if state.phase is Phase.LEADING and state.term != entry.create_revision:
        return _deposed(state, "the leader key was made anew", now)
    return state, ()


def _held_by_another(state: Election, answered: bool, now: Instant) -> Step:
    if state.phase is Phase.LEADING:
        return _deposed(state, "the leader key is another's", now)
    if state.phase is Phase.GRANTING or (state.phase is Phase.CAMPAIGNING and answered):
        return _back_to_following(state, Cause.BEATEN, now)
    return state, ()


# --- campaigning --------------------------------------------------------------------------------


def _granted(state: Election, event: LeaseGranted, now: Instant) -> Step:
    if state.phase is not Phase.GRANTING:
        return state, (RevokeLease(lease=event.lease),)
    campaigning = _moved(
        state,
        Cause.GRANTED,
        Phase.CAMPAIGNING,
        lease=event.lease,
        renewed_ns=event.asked_ns,
        unresolved=False,
        timers=Timers().arm(EXPIRE, event.asked_ns + state.ttl_ns),
    )
    return _ask_later(campaigning, now), (_campaign(campaigning),)


def _campaign(state: Election) -> Campaign:
    assert state.lease is not None
    claim = Claim(replica=state.replica, url=state.url, lease=state.lease)
    transaction = Transaction(
        name="campaign",
        guards=(Absent(keys.LEADER),),
        writes=(Put(keys.LEADER, canonical_bytes(claim), leased=True),),
    )
    return Campaign(lease=state.lease, transaction=transaction)


def _campaigned(state: Election, event: Campaigned, now: Instant) -> Step:
    if state.phase is not Phase.CAMPAIGNING or event.lease != state.lease:
        return state, ()
    match event.result:
        case Won(revision=revision):
            return _won(evolve(state, seen=max(state.seen, revision)), Term(revision), now)
        case Lost(found=found):
            entry = found.get(keys.LEADER)
            answer = LeaderSeen(revision=found.revision, entry=entry, floor=found.revision)
            return _seen(state, answer, now)
        case Unknown():
            return evolve(state, unresolved=True), (ReadLeader(floor=state.seen),)
        case _:
            assert_never(event.result)


def _won(state: Election, term: Term, now: Instant) -> Step:
    backoff = state.backoff.succeeded()
    leading = _moved(state, Cause.WON, Phase.LEADING, term=term, backoff=backoff)
    leading, renewal = _asking(leading, now)
    return leading, (Announce(event=Elected(term=term)), *renewal)


# --- holding and losing -------------------------------------------------------------------------


def _kept_alive(state: Election, event: KeptAlive) -> Election:
    """The lease lives for its time from when the renewal was asked for, at the least (rule 3)."""
    known = state.phase is Phase.LEADING and event.lease == state.lease
    if not known or event.asked_ns <= state.renewed_ns:
        return state
    timers = state.timers.arm(EXPIRE, event.asked_ns + state.ttl_ns)
    return evolve(state, renewed_ns=event.asked_ns, timers=timers)


def _lease_gone(state: Election, lease: int, now: Instant) -> Step:
    if lease != state.lease:
        left = tuple(other for other in state.given_up if other != lease)
        return evolve(state, given_up=left), ()
    if state.phase is Phase.LEADING:
        return _deposed(state, "the store says that the lease is gone", now)
    if state.phase is Phase.CAMPAIGNING:
        return _back_to_following(state, Cause.EXPIRED, now)
    return _released(state)


def _lease_seen(state: Election, event: LeaseSeen, now: Instant) -> Step:
    """Take the leader's lease away if nobody goes on renewing it (rule 7).

    The store prolongs it by one election timeout; with more than that it has not begun to count.
    """
    if state.phase is not Phase.FOLLOWING or state.leader is None:
        return state, ()
    if state.leader.lease != event.lease:
        return state, ()
    doubt = _doubt(state, now)
    state = evolve(state, doubt=doubt, unheard_ns=None)
    more_ns = event.left_ns - event.granted_ns
    if not 0 <= more_ns <= state.election_ns:
        return evolve(state, doubt=None, timers=state.timers.disarm(LOOK)), ()
    over_ns = doubt.since_ns + state.ttl_ns // 4
    if event.asked_ns < over_ns:
        return _look_at(state, max(over_ns, now.monotonic_ns)), ()
    return _look_at(state, now.monotonic_ns + LOOK_AGAIN_NS), (RevokeLease(lease=event.lease),)


def _doubt(state: Election, now: Instant) -> Doubt:
    """The doubt that there is already, unless it must be of an earlier election of the store."""
    known, unheard_ns = state.doubt, state.unheard_ns
    if known is not None and now.monotonic_ns <= known.since_ns + state.election_ns:
        return known
    if unheard_ns is not None and now.monotonic_ns - unheard_ns >= state.ttl_ns:
        return Doubt(unheard_ns)
    return Doubt(now.monotonic_ns)


def _deposed(state: Election, reason: str, now: Instant) -> Step:
    following, effects = _back_to_following(state, Cause.DEPOSED, now)
    return following, (Announce(event=Deposed(reason=reason)), *effects)


def _back_to_following(state: Election, cause: Cause, now: Instant) -> Step:
    """Give up what is held (rule 2), and look again after a pause."""
    following = _moved(state, cause, Phase.FOLLOWING, lease=None, term=None, timers=Timers())
    if state.lease is None:
        return _ask_later(following, now), ()
    following = evolve(following, given_up=(*state.given_up, state.lease))
    return _ask_later(following, now), (RevokeLease(lease=state.lease),)


def _handing_over(state: Election, reason: str, now: Instant) -> Step:
    """Let another lead; campaign again after one lease time at the earliest (rule 5)."""
    if state.phase is not Phase.LEADING:
        return state, ()
    following, effects = _deposed(state, reason, now)
    return evolve(following, quiet_until_ns=now.monotonic_ns + state.ttl_ns), effects


def _retiring(state: Election, reason: str, now: Instant) -> Step:
    """Hand over for good (rule 5): wait until the lease is known to be gone, or must be."""
    if state.phase in (Phase.RESIGNING, Phase.RETIRED):
        return state, ()
    if state.lease is None:
        retired = _moved(state, Cause.RESIGNED, Phase.RETIRED, timers=Timers())
        return retired, (Retired(),)
    told = (Announce(event=Deposed(reason=reason)),) if state.phase is Phase.LEADING else ()
    resigning, revoke = _asking(_moved(state, Cause.RESIGNED, Phase.RESIGNING, term=None), now)
    return resigning, (*told, *revoke)


def _moved(state: Election, cause: Cause, phase: Phase, **changes: object) -> Election:
    """The only place where the phase changes."""
    ELECTION.check(state.phase, cause, phase)
    return evolve(state, phase=phase, **changes)  # type: ignore[arg-type]


def _released(state: Election) -> Step:
    retired = _moved(state, Cause.RELEASED, Phase.RETIRED, lease=None, timers=Timers())
    return retired, (Retired(),)
