"""All members of one etcd, and what an operator or a fault does to them.

    cluster = EtcdCluster(agenda, randomness, network, processes, knobs, judge.committed)
    cluster.preload({"incarnation": b"..."})
    client = EtcdClient(coordinator, cluster, network, randomness)

The processes must have joined the network. They are killed, stopped and started by whoever likes to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from simulator.etcd.database import Backup
from simulator.etcd.knobs import EtcdKnobs
from simulator.etcd.ledger import Committed, Ledger
from simulator.etcd.member import Member
from simulator.etcd.quiet import Quiet
from simulator.etcd.raft_parts import Role
from simulator.network import Heal, Network
from simulator.process import Condition, Process
from simulator.randomness import Randomness
from simulator.virtual_time import Agenda
from turnout.protocol.transactions import KeyValue


class EtcdCluster:
    """One etcd.

    Attributes:
        members: in the order of their processes.
        on_restore: called after a restore: what was committed since the backup never was.
    """

    def __init__(
        self,
        agenda: Agenda,
        randomness: Randomness,
        network: Network,
        processes: Sequence[Process],
        knobs: EtcdKnobs,
        on_commit: Callable[[Committed], None],
    ) -> None:
        self.knobs = knobs
        self.members: list[Member] = []
        self.on_restore: list[Callable[[Backup], None]] = []
        self._network = network
        self._ledger = Ledger(on_commit)
        for place, process in enumerate(processes):
            stream = randomness.stream(f"etcd {process.name}")
            self.members.append(
                Member(
                    place=place,
                    size=len(processes),
                    process=process,
                    network=network,
                    stream=stream,
                    knobs=knobs,
                    ledger=self._ledger,
                    members=self.members,
                )
            )
        self._quiet = Quiet(self.members, network, knobs) if knobs.rests else None
        agenda.after(0, self._start)

    # --- what stands --------------------------------------------------------------------------

    @property
    def leader(self) -> Process | None:
        """The member that leads; of several that believe so, the one of the newest term."""
        leading = [m for m in self.members if m.process.is_alive and m.raft.role is Role.LEADER]
        newest = max(leading, key=lambda member: member.storage.term, default=None)
        return newest.process if newest else None

    @property
    def revision(self) -> int:
        """The newest committed revision."""
        return self._ledger.database.revision

    def items(self) -> Mapping[str, KeyValue]:
        """All keys as committed: the truth, whichever member knows of it."""
        return self._ledger.database.items

    def member_of(self, process: Process) -> Member:
        """The member that is this process."""
        return next(member for member in self.members if member.process is process)

    # --- what is done to it -------------------------------------------------------------------

    def preload(self, items: Mapping[str, bytes]) -> None:
        """Put keys at one revision, before the run begins."""
        self._ledger.database.preload(items)

    def slow_fsync(self, process: Process, add_ns: int) -> Heal:
        """Let each sync of a member's disk take so much longer."""
        storage = self.member_of(process).storage
        storage.add_ns += add_ns
        if self._quiet is not None:
            self._quiet.wake()
        left = [add_ns]

        def heal() -> None:
            storage.add_ns -= sum(left)
            left.clear()

        return heal

    def move_leader(self) -> None:
        """Have the leader hand over, if there is one that runs: ``etcdctl move-leader``."""
        leader = self.leader
        if leader is not None and leader.condition is Condition.RUNNING:
            if self._quiet is not None:
                self._quiet.wake()
            self.member_of(leader).raft.hand_over()

    def compact(self) -> None:
        """Have the leader forget all that is older than the newest revision, if there is a leader."""
        leader = self.leader
        if leader is not None:
            self.member_of(leader).compact(self.revision)

    def snapshot(self) -> Backup:
        """Make a backup of what is committed."""
        return self._ledger.database.backup()

    def restore(self, backup: Backup) -> None:
        """Kill all members, give each a disk made from the backup, and start them.

        What was committed since is gone, and revisions go on from the backup's. Leases get their
        whole time from the first leader.
        """
        for member in self.members:
            member.process.kill()
        self._ledger.restore(backup)
        leases = {number: lease.ttl_s for number, lease in backup.leases}
        for member in self.members:
            member.format(dict(leases))
        for member in self.members:
            member.process.start()
        for told in self.on_restore:
            told(backup)

    # --- the beginning ------------------------------------------------------------------------

    def _start(self) -> None:
        """Begin as etcd does: members that have just been made hold their first election soon."""
        for member in self.members:
            member.start(self._first_timeout_ns(member))

    def _first_timeout_ns(self, member: Member) -> int:
        election_ns = self.knobs.election_ns
        if self.knobs.first_to_lead is None:
            tenth_ns = election_ns // 10
            return tenth_ns + member.stream.randrange(election_ns - tenth_ns)
        if self.knobs.first_to_lead != member.place:
            return 2 * election_ns
        regions = [other.process.region for other in self.members]
        trips = [self._network.round_trip_ns(member.process.region, there) for there in regions]
        return 2 * max(trips)
