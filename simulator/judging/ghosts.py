"""What the judge remembers of an agent, whatever the agent forgets: a node cannot testify against itself."""

from __future__ import annotations

from attrs import define, field

from turnout.protocol.identifiers import NO_EPOCH, AgentId, Epoch, Term
from turnout.protocol.invariants import AgentPicture, Answered, Yes
from turnout.protocol.messages import Vote
from turnout.protocol.records import Active, AgentRecord, Status


@define(eq=False)
class Ghost:
    """One agent's.

    Attributes:
        served: every table that its proxy ever served, in order.
        unjournalled: epochs flipped to before their commit was on its disk.
        yes: every yes that left with its record on disk.
        answered: votes that left below the greatest promise of their journal.
        promised: the greatest promise ever made, by journal and incarnation.
        committed: the newest commit that was ever on its disk: a flip that was asked for comes, be
            the disk replaced meanwhile.
    """

    agent: AgentId
    served: list[Active] = field(factory=list)
    unjournalled: list[Epoch] = field(factory=list)
    yes: list[Yes] = field(factory=list)
    answered: list[Answered] = field(factory=list)
    promised: dict[tuple[str, int], Term] = field(factory=dict)
    committed: Epoch = NO_EPOCH
    _drawn: tuple[tuple[object, ...], AgentPicture] | None = None

    def journalled(self, record: AgentRecord) -> None:
        """A record is on its disk."""
        if record.incarnation is not None:
            place = (record.journal_id, record.incarnation.number)
            self.promised[place] = max(self.promised.get(place, Term(0)), record.promised)
        self.committed = max(self.committed, record.committed_epoch)

    def votes(self, message: Vote, record: AgentRecord) -> bool:
        """A vote leaves while ``record`` is on its disk; return whether anything may be wrong with it.

        A yes never is by itself: what counts on it later is judged then.
        """
        place = (message.journal_id, message.incarnation.number)
        greatest = self.promised.get(place, Term(0))
        is_below = message.term < greatest
        if is_below:
            self.answered.append(
                Answered(epoch=message.epoch, term=message.term, promised=greatest)
            )
        prepared = record.prepared
        if message.no is None and prepared is not None:
            yes = Yes(
                epoch=prepared.epoch,
                digest=prepared.digest,
                term=prepared.term,
                journal_id=record.journal_id,
            )
            if yes not in self.yes[-4:]:
                self.yes.append(yes)
        return is_below

    def flips(self, active: Active) -> None:
        """Its proxy serves another table."""
        self.served.append(active)
        if self.committed < active.epoch:
            self.unjournalled.append(active.epoch)

    def picture(self, standing: Status, since: Epoch, number: int) -> AgentPicture:
        """It, as the invariants want it, from an epoch of an incarnation on.

        Mostly it is another agent that has changed. What is remembered only grows, so its length says
        whether this one has.
        """
        grown = len(self.served), len(self.unjournalled), len(self.yes), len(self.answered)
        asked = (standing, since, number, *grown)
        if self._drawn is None or self._drawn[0] != asked:
            self._drawn = asked, self._draw(standing, since, number)
        return self._drawn[1]

    def _draw(self, standing: Status, since: Epoch, number: int) -> AgentPicture:
        return AgentPicture(
            agent=self.agent,
            standing=standing,
            served=tuple(
                table
                for table in self.served
                if table.epoch >= since and table.incarnation >= number
            ),
            unjournalled=tuple(self.unjournalled),
            yes=tuple(yes for yes in self.yes if yes.epoch >= since),
            answered=tuple(self.answered),
        )
