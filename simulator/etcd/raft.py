"""How one member agrees with the others: Raft, with etcd's PreVote and CheckQuorum.

The rules that matter to whoever uses the cluster:

1. *Nothing is acknowledged before it is on the disk*: no vote, no entry; the leader's own included.
2. *A member that hears from a leader stands by it*: for an election timeout after the leader's last
   word it takes no part in another's election, whatever its term. A preliminary vote, which changes no
   term, comes first; so a member that was cut off does not disturb the rest when it returns. Only where
   the leader hands over by itself one stands at once, and nobody stands by that leader.
3. *A leader that has not heard from a quorum for an election timeout steps down.* It counts its own
   heartbeat rounds, not time: one that was paused still believes to lead when it goes on.
4. *A leader counts only entries of its own term*; so it begins with an empty one.
5. *A read is up to date once a quorum has answered a heartbeat that was sent after the question.*

The order of messages between two members is that of a TCP connection, and what one connection lost is
sent again when the next opens: so nothing else is ever sent again here.
"""

from __future__ import annotations

from collections.abc import Callable

from simulator.etcd.entries import Entry, Nothing, Proposal
from simulator.etcd.knobs import EtcdKnobs
from simulator.etcd.raft_messages import (
    Append,
    Appended,
    AskIndex,
    AskVote,
    Forward,
    HandOver,
    Heartbeat,
    HeartbeatHeard,
    Index,
    Message,
    Vote,
)
from simulator.etcd.raft_parts import Outside, Progress, Read, Role
from simulator.etcd.storage import Storage
from simulator.process import Process
from simulator.randomness import Stream
from simulator.virtual_time import Appointment


class Raft:
    """One member's part.

    Attributes:
        leader: who leads, as far as this member knows.
        commit: how many entries are committed, as far as this member knows.
    """

    def __init__(
        self,
        me: int,
        size: int,
        process: Process,
        storage: Storage,
        stream: Stream,
        knobs: EtcdKnobs,
        outside: Outside,
    ) -> None:
        self.me, self.size = me, size
        self.peers = tuple(peer for peer in range(size) if peer != me)
        self.quorum = size // 2 + 1
        self.process, self.storage, self.knobs = process, storage, knobs
        self.role = Role.FOLLOWER
        self.leader: int | None = None
        self.commit = 0
        self.progress: dict[int, Progress] = {}
        self._stream, self._outside = stream, outside
        self._timeout_ns = knobs.election_ns
        self._heard_ns = -knobs.election_ns
        self._election: Appointment | None = None
        self._votes: dict[int, bool] = {}
        self._round, self._beats = 0, 0
        self._rounds_per_check = max(knobs.election_ns // knobs.heartbeat_ns, 1)
        self._reads: list[Read] = []
        self._early_reads: list[Callable[[int], None]] = []

    # --- what the member tells it ---------------------------------------------------------------

    def start(self, first_timeout_ns: int | None = None) -> None:
        """The process has started, as a follower that has heard of nobody."""
        self.role, self.leader = Role.FOLLOWER, None
        self.commit = min(self.commit, self.storage.synced)
        self._reads, self._early_reads = [], []
        self._draw_timeout()
        wait_ns = self._timeout_ns if first_timeout_ns is None else first_timeout_ns
        self._heard_ns = self._now_ns() + wait_ns - self._timeout_ns
        self._await_election()

    def propose(self, proposal: Proposal) -> None:
        """Put a command into the log, or hand it to who leads; without a leader it is dropped."""
        if self.role is Role.LEADER:
            self.storage.entries.append(Entry(self.storage.term, proposal))
            self._send_entries()
            self.storage.sync(self._advance_commit)
        elif self.leader is not None:
            self._outside.send(self.leader, Forward(self.storage.term, proposal))

    def read_index(self, then: Callable[[int], None]) -> None:
        """As leader: say up to where a read must have been applied, once it is known (rule 5)."""
        if not self._leads_surely():
            self._early_reads.append(then)
        elif self.size == 1:
            then(self.commit)
        else:
            self._beat()
            self._reads.append((self._round, self.commit, then))

    def ask_index(self, number: int) -> None:
        """As follower: ask the leader the same; it answers through ``index_told``."""
        if self.leader is not None:
            self._outside.send(self.leader, AskIndex(self.storage.term, number))

    def hand_over(self) -> None:
        """As leader: let the member that has most of the log stand for election at once."""
        if self.role is Role.LEADER and self.progress:
            peer = max(self.progress, key=lambda peer: self.progress[peer].match)
            self._outside.send(peer, HandOver(self.storage.term))

    def connected(self, peer: int) -> None:
        """A connection to another member has opened: what the last one lost goes again."""
        if self.role is Role.LEADER:
            progress = self.progress[peer]
            progress.next = progress.match + 1
            self._send_append(peer)

    def rest(self) -> None:
        """No heartbeat is sent or awaited (``quiet.py``)."""
        if self._election is not None:
            self._election.cancel()

    def wake(self, beat_ns: int, way_ns: int) -> None:
        """Go on, as if the leader's last heartbeat had been sent then, so far away."""
        if self.role is Role.LEADER:
            for progress in self.progress.values():
                progress.was_heard = True
            self._beat_later(beat_ns + self.knobs.heartbeat_ns - self._now_ns())
        else:
            self._heard_ns = max(self._heard_ns, beat_ns + way_ns)
            self._await_election()

    def take(self, sender: int, message: Message) -> None:
        """Something came from another member: first the terms, then the rest."""
        if message.term > self.storage.term and not self._enters(sender, message):
            return
        if message.term < self.storage.term:
            self._correct(sender, message)
            return
        match message:
            case Heartbeat():
                self._take_heartbeat(sender, message)
            case Append():
                self._take_append(sender, message)
            case AskVote():
                self._answer_ask(sender, message)
            case Vote():
                self._take_vote(sender, message)
            case Index():
                self._outside.index_told(message.number, message.index)
            case HandOver():
                self._stand(Role.CANDIDATE, forced=True)
            case _ if self.role is Role.LEADER:
                self._take_as_leader(sender, message)
            case _:
                """Meant for a leader: whoever asked hears who leads, and its client gives up."""

    def _take_as_leader(
        self, sender: int, message: HeartbeatHeard | Appended | Forward | AskIndex
    ) -> None:
        match message:
            case HeartbeatHeard():
                self._take_heard(sender, message)
            case Appended():
                self._take_appended(sender, message)
            case Forward():
                self.propose(message.proposal)
            case AskIndex():
                self._take_ask_index(sender, message.number)

    # --- terms ----------------------------------------------------------------------------------

    @property
    def _last_index(self) -> int:
        return len(self.storage.entries)

    def _term_at(self, index: int) -> int:
        return self.storage.entries[index - 1].term if index else 0

    def _leads(self) -> bool:
        return self.role is Role.LEADER

    def _now_ns(self) -> int:
        return self.process.agenda.now_ns

    def _hears_leader(self) -> bool:
        since_ns = self._now_ns() - self._heard_ns
        return self.leader is not None and since_ns < self.knobs.election_ns

    def _enters(self, sender: int, message: Message) -> bool:
        """A higher term: take it over, unless it is none yet or rule 2 forbids; say whether to go on."""
        if isinstance(message, AskVote):
            if not message.forced and (self._hears_leader() or self.role is Role.LEADER):
                return False
            if message.preliminary:
                self._answer_ask(sender, message)
                return False
        if isinstance(message, Vote) and message.preliminary and message.granted:
            self._count(sender, message, Role.PRECANDIDATE, self.storage.term + 1)
            return False
        leads = isinstance(message, Append | Heartbeat)
        self._follow(message.term, sender if leads else None)
        return True

    def _correct(self, sender: int, message: Message) -> None:
        """A lower term: let a leader that is none any more, or a candidate in vain, hear of this one."""
        if isinstance(message, Append | Heartbeat):
            self._outside.send(sender, Appended(self.storage.term, 0, accepted=False))
        elif isinstance(message, AskVote) and message.preliminary:
            self._outside.send(sender, Vote(self.storage.term, granted=False, preliminary=True))

    def _follow(self, term: int, leader: int | None) -> None:
        if term > self.storage.term:
            self.storage.term, self.storage.vote = term, None
        self.role = Role.FOLLOWER
        self._reads, self._early_reads = [], []
        self._draw_timeout()
        self._heard_ns = self._now_ns()
        self._await_election()
        self._set_leader(leader)

    def _set_leader(self, leader: int | None) -> None:
        if leader != self.leader:
            self.leader = leader
            self._outside.leader_changed()

    # --- elections ------------------------------------------------------------------------------

    def _draw_timeout(self) -> None:
        self._timeout_ns = self.knobs.election_ns + self._stream.randrange(self.knobs.election_ns)

    def _await_election(self) -> None:
        if self._election is not None:
            self._election.cancel()
        wait_ns = self._heard_ns + self._timeout_ns - self._now_ns()
        self._election = self.process.after(wait_ns, self._election_due)

    def _election_due(self) -> None:
        """The timer rings: it was set before the leader's last word, or it is time."""
        if self.role is Role.LEADER:
            return
        if self._heard_ns + self._timeout_ns > self._now_ns():
            self._await_election()
        else:
            self._stand(Role.PRECANDIDATE)

    def _stand(self, role: Role, *, forced: bool = False) -> None:
        self.role = role
        self._votes = {}
        self._heard_ns = self._now_ns()
        self._draw_timeout()
        self._await_election()
        if role is Role.CANDIDATE:
            self.storage.term += 1
            self.storage.vote = self.me
        self._set_leader(None)
        term = self.storage.term
        if role is Role.CANDIDATE:
            self.storage.sync(lambda: self._ask_votes(Role.CANDIDATE, term, forced=forced))
        else:
            self._ask_votes(Role.PRECANDIDATE, term)

    def _ask_votes(self, role: Role, term: int, *, forced: bool = False) -> None:
        if self.role is not role or self.storage.term != term:
            return
        preliminary = role is Role.PRECANDIDATE
        asked = term + 1 if preliminary else term
        last = self._last_index
        ask = AskVote(asked, last, self._term_at(last), preliminary=preliminary, forced=forced)
        for peer in self.peers:
            self._outside.send(peer, ask)
        self._count(self.me, Vote(asked, granted=True, preliminary=preliminary), role, asked)

    def _answer_ask(self, sender: int, message: AskVote) -> None:
        last = self._last_index
        is_current = (message.last_term, message.last_index) >= (self._term_at(last), last)
        if message.preliminary:
            granted = is_current and message.term > self.storage.term
            term = message.term if granted else self.storage.term
            self._outside.send(sender, Vote(term, granted=granted, preliminary=True))
            return
        vote, term = self.storage.vote, self.storage.term
        granted = is_current and (vote == sender or (vote is None and self.leader is None))
        answer = Vote(term, granted=granted, preliminary=False)
        if not granted:
            self._outside.send(sender, answer)
            return
        self.storage.vote = sender
        self._heard_ns = self._now_ns()
        self.storage.sync(lambda: self._outside.send(sender, answer))

    def _take_vote(self, sender: int, message: Vote) -> None:
        role = Role.PRECANDIDATE if message.preliminary else Role.CANDIDATE
        self._count(sender, message, role, self.storage.term + message.preliminary)

    def _count(self, sender: int, vote: Vote, role: Role, term: int) -> None:
        if self.role is not role or (vote.granted and vote.term != term):
            return
        self._votes[sender] = vote.granted
        granted = sum(self._votes.values())
        if granted >= self.quorum:
            if role is Role.PRECANDIDATE:
                self._stand(Role.CANDIDATE)
            else:
                self._lead()
        elif len(self._votes) - granted >= self.quorum:
            self._follow(self.storage.term, None)

    def _lead(self) -> None:
        self.role = Role.LEADER
        after = self._last_index + 1
        self.progress = {peer: Progress(next=after) for peer in self.peers}
        self._round, self._beats = 0, 0
        self._set_leader(self.me)
        self.propose(Proposal(Nothing()))
        if self.peers:
            self._beat_later(self.knobs.heartbeat_ns)

    # --- heartbeats -----------------------------------------------------------------------------

    def _beat_on(self, term: int) -> None:
        if not self._leads() or self.storage.term != term:
            return
        self._beat()
        self._beats += 1
        if self._beats % self._rounds_per_check == 0:
            self._check_quorum()
            if not self._leads() or self._outside.may_rest():
                return
        self._beat_later(self.knobs.heartbeat_ns)

    def _beat_later(self, wait_ns: int) -> None:
        term = self.storage.term
        self.process.after(wait_ns, lambda: self._beat_on(term))

    def _beat(self) -> None:
        self._round += 1
        term, commit, round_ = self.storage.term, self.commit, self._round
        for peer, progress in self.progress.items():
            self._outside.send(peer, Heartbeat(term, min(progress.match, commit), round_))

    def _check_quorum(self) -> None:
        heard = 1 + sum(progress.was_heard for progress in self.progress.values())
        for progress in self.progress.values():
            progress.was_heard = False
        if heard < self.quorum:
            self._follow(self.storage.term, None)

    def _hear_leader(self, sender: int) -> None:
        self._heard_ns = self._now_ns()
        if self.role is not Role.FOLLOWER:
            self._follow(self.storage.term, sender)
        elif self.leader != sender:
            self._set_leader(sender)

    def _take_heartbeat(self, sender: int, message: Heartbeat) -> None:
        self._hear_leader(sender)
        self._commit_to(message.commit)
        self._outside.send(sender, HeartbeatHeard(message.term, message.round))

    def _take_heard(self, sender: int, message: HeartbeatHeard) -> None:
        progress = self.progress[sender]
        progress.was_heard = True
        progress.round = message.round
        if self._reads:
            self._answer_reads()

    # --- reads ----------------------------------------------------------------------------------

    def _leads_surely(self) -> bool:
        """Whether an entry of this leader's own term is committed (rule 4)."""
        return self._term_at(self.commit) == self.storage.term

    def _take_ask_index(self, sender: int, number: int) -> None:
        term = self.storage.term
        self.read_index(lambda index: self._outside.send(sender, Index(term, number, index)))

    def _answer_reads(self) -> None:
        rounds = sorted((p.round for p in self.progress.values()), reverse=True)
        confirmed = rounds[self.quorum - 2]
        ready = [read for read in self._reads if read[0] <= confirmed]
        self._reads = [read for read in self._reads if read[0] > confirmed]
        for _, index, then in ready:
            then(index)

    # --- the log --------------------------------------------------------------------------------

    def _send_entries(self) -> None:
        for peer in self.peers:
            self._send_append(peer)

    def _send_append(self, peer: int) -> None:
        progress = self.progress[peer]
        after = progress.next - 1
        entries = tuple(self.storage.entries[after:])
        progress.next = self._last_index + 1
        append = Append(self.storage.term, after, self._term_at(after), entries, self.commit)
        self._outside.send(peer, append)

    def _take_append(self, sender: int, message: Append) -> None:
        self._hear_leader(sender)
        term, after = message.term, message.after
        if after > self._last_index or self._term_at(after) != message.after_term:
            end = min(after - 1, self._last_index)
            self._outside.send(sender, Appended(term, max(end, self.commit), accepted=False))
            return
        end = after + len(message.entries)
        self._write(after, message.entries)
        self._commit_to(min(message.commit, end))
        if message.entries:
            answer = Appended(term, end, accepted=True)
            if self.storage.synced >= end:
                self._outside.send(sender, answer)
            else:
                self.storage.sync(lambda: self._answer_append(sender, answer))

    def _answer_append(self, sender: int, answer: Appended) -> None:
        """The entries are on the disk, if no other leader has made them void meanwhile."""
        if self.storage.term == answer.term:
            self._outside.send(sender, answer)

    def _write(self, after: int, entries: tuple[Entry, ...]) -> None:
        """Take over what is new; what is another's from its first difference on is void."""
        log = self.storage.entries
        for place, entry in enumerate(entries, start=after):
            if place < len(log):
                if log[place] is entry:
                    continue
                assert place >= self.commit, "a committed entry is never replaced"
                self.storage.truncate(place)
            log.append(entry)

    def _take_appended(self, sender: int, message: Appended) -> None:
        progress = self.progress[sender]
        progress.was_heard = True
        if not message.accepted:
            if message.index + 1 < progress.next:
                progress.next = max(message.index, progress.match) + 1
                self._send_append(sender)
            return
        progress.match = max(progress.match, message.index)
        progress.next = max(progress.next, progress.match + 1)
        self._advance_commit()

    def _advance_commit(self) -> None:
        """As leader: what a quorum has on its disks is committed (rules 1 and 4)."""
        if not self._leads():
            return
        on_disks = [progress.match for progress in self.progress.values()]
        on_disks.append(self.storage.synced)
        index = sorted(on_disks, reverse=True)[self.quorum - 1]
        if index > self.commit and self._term_at(index) == self.storage.term:
            life = self.process.life
            self._commit_to(index)
            if self.process.life != life or not self.process.is_alive:
                return  # whoever judges an entry may have killed this very process
            self._send_entries()
            early, self._early_reads = self._early_reads, []
            for then in early:
                self.read_index(then)

    def _commit_to(self, index: int) -> None:
        index = min(index, self._last_index)
        if index > self.commit:
            self.commit = index
            self._outside.committed()
