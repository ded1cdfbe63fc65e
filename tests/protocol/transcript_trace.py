"""What happens in a fabric, in words: exact messages, journal records, store writes, flips.

Only news is written down: a head or report that says again what its receiver was told last is
left out, as are the receipts that carry the leader's clock.
"""

from __future__ import annotations

from simulator.explore.nodes import AgentNode
from tests.protocol.fabric import Fabric
from tests.protocol.fabric_domains import apply, first_table
from tests.protocol.fabric_nodes import Edge, Replica
from turnout.protocol import keys
from turnout.protocol.clock import SECOND
from turnout.protocol.coordinator_state import CoordinatorState
from turnout.protocol.effects import Transact
from turnout.protocol.identifiers import AgentId, Digest, ReplicaId
from turnout.protocol.messages import Down, Prepare, Rebase, Receipt, Report, Sync, Up, Vote
from turnout.protocol.records import AgentRecord, Head, Mode, SignedTable
from turnout.protocol.routing import Colour
from turnout.protocol.transactions import Won
from turnout.protocol.wire import unpack_table


def _names() -> dict[Digest, str]:
    table = first_table()
    names = {Digest(""): "nothing"}
    for colour in Colour:
        names[table.switched(table.services[0].name, colour).digest] = colour
    assert apply("").table is not None
    return names


class Transcript:
    """Writes down what a fabric tells it."""

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.lines: list[str] = []
        self.messages: list[tuple[AgentId, Up | Down]] = []
        self._names = _names()
        self._began_ns = fabric.now_ns
        self._last: dict[tuple[AgentId, str], str] = {}
        self._group: tuple[str, str] = ("", "")
        fabric.trace = self

    def table(self, digest: Digest) -> str:
        """A table's name: its colour, with a number where there are several such."""
        if digest not in self._names:
            table = self._find(digest).table
            alike = [n for n in self._names.values() if n.startswith(table.services[0].active)]
            self._names[digest] = f"{table.services[0].active}{len(alike) + 1}"
        return self._names[digest]

    def _find(self, digest: Digest) -> SignedTable:
        for replica in self.fabric.replicas.values():
            attempt = replica.state.attempt
            if attempt is not None and attempt.table.digest == digest:
                return attempt.table
        return unpack_table(self.fabric.store.items[keys.table(digest)].value)

    def take(self) -> list[str]:
        """What happened since the last call."""
        lines, self.lines, self._group = self.lines, [], ("", "")
        return lines

    # --- what it is told ---------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Whatever else."""
        at = (self.fabric.now_ns - self._began_ns) / SECOND
        self.lines.append(f"{at:9.3f}  {text}")
        self._group = ("", "")

    def up(self, agent: AgentId, message: Up) -> None:
        """An agent says something."""
        self.messages.append((agent, message))
        text = self._vote(message) if isinstance(message, Vote) else self._report(message)
        if isinstance(message, Vote) or self._is_news(agent, "up", text):
            self.say(f"{agent} says   {text}")

    def down(self, agent: AgentId, message: Down) -> None:
        """A leader says something."""
        self.messages.append((agent, message))
        text = self._down(message)
        if not text or not self._is_news(agent, type(message).__name__, text):
            return
        at = (self.fabric.now_ns - self._began_ns) / SECOND
        if self._group == (f"{at:9.3f}", text):
            head, _, _ = self.lines[-1].partition(" hears ")
            self.lines[-1] = f"{head} {agent} hears {text}"
            return
        self.lines.append(f"{at:9.3f}  {agent} hears {text}")
        self._group = (f"{at:9.3f}", text)

    def journal(self, edge: Edge, before: AgentNode) -> None:
        """An agent's step, as disk and proxy show it."""
        node, agent = edge.node, edge.agent
        if node.disk != before.disk:
            changes = self._changes(before.disk.record, node.disk.record)
            if changes:
                self.say(f"{agent} journals {changes}")
        if node.staged != before.staged and node.staged is not None:
            self.say(f"{agent}'s proxy has staged {self.table(node.staged)}")
        if node.serving != before.serving:
            serving = node.serving
            self.say(f"{agent}'s proxy serves epoch {serving.epoch}, {self.table(serving.digest)}")

    def store(self, replica: ReplicaId, effect: Transact, result: object) -> None:
        """A transaction took effect, or was refused."""
        transaction = effect.transaction
        verb = "writes" if isinstance(result, Won) else "is refused"
        written = ", ".join(_short(write.key) for write in transaction.writes)
        self.say(f"store: {replica} {verb} {transaction.name}: {written}")

    def role(self, replica: Replica, before: CoordinatorState) -> None:
        """A replica's step."""
        if replica.state.role is not before.role:
            trouble = f" ({replica.state.trouble})" if replica.state.trouble else ""
            self.say(f"{replica.replica}: {before.role} -> {replica.state.role}{trouble}")

    # --- in words ----------------------------------------------------------------------------

    def _is_news(self, agent: AgentId, kind: str, text: str) -> bool:
        known = self._last.get((agent, kind))
        self._last[agent, kind] = text
        return known != text

    def _vote(self, vote: Vote) -> str:
        what = f"epoch {vote.epoch}, {self.table(vote.digest)}, term {vote.term}"
        return f"yes to {what}" if vote.no is None else f"no to {what}: {vote.no}: {vote.reason}"

    def _report(self, report: Report) -> str:
        parts = [f"committed {report.committed_epoch}", f"active {report.active.epoch}"]
        if report.prepared is not None:
            parts.append(f"prepared {report.prepared.epoch}")
        parts.append(report.progress)
        troubles = {"reason": report.reason, "staged table lost": report.staged_lost}
        parts += [f"{name}: {text}" for name, text in troubles.items() if text]
        parts += [f"{drain.colour} {drain.ended or 'drains'}" for drain in report.drains]
        if report.journal_id != "journal-0":
            parts.append(report.journal_id)
        return "report: " + ", ".join(parts)

    def _down(self, message: Down) -> str:
        match message:
            case Prepare():
                what = f"epoch {message.epoch}, {self.table(message.digest)}, term {message.term}"
                table = ", with the table" if message.table else ""
                return f"prepare {what}{table}; {self._head(message.head)}"
            case Sync():
                table = ", with the table" if message.table else ""
                return f"{self._head(message.head)}{table}" if message.head else "no head"
            case Rebase():
                return f"incarnation {message.record.incarnation.number}"
            case Receipt():
                return ""

    def _head(self, head: Head) -> str:
        late = ", scheduled" if head.activation.mode is Mode.SCHEDULED else ""
        committed = f"committed {head.committed} ({self.table(head.digest)}{late})"
        return f"head: decided {head.decided}, {committed}"

    def _changes(self, before: AgentRecord, after: AgentRecord) -> str:
        parts = []
        if after.incarnation != before.incarnation and after.incarnation is not None:
            parts.append(f"incarnation {after.incarnation.number}")
        if after.promised != before.promised:
            parts.append(f"promised {after.promised}")
        if after.prepared != before.prepared:
            prepared = after.prepared
            parts.append(
                f"prepared {prepared.epoch} {self.table(prepared.digest)} (term {prepared.term})"
                if prepared
                else "nothing prepared"
            )
        if after.committed != before.committed and after.committed is not None:
            late = ", late" if after.committed.late else ""
            epoch, digest = after.committed.epoch, after.committed.digest
            parts.append(f"committed {epoch} {self.table(digest)}{late}")
        if after.active != before.active:
            parts.append(f"active {after.active.epoch} {self.table(after.active.digest)}")
        return ", ".join(parts)


def _short(key: str) -> str:
    kind, slash, name = key.partition("/")
    if kind == "tables":
        return "table"
    epoch, _, rest = name.partition("/")
    number = str(int(epoch)) if epoch.isdigit() else epoch
    return kind + slash + number + (f"/{rest}" if rest else "")
