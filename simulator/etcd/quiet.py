"""While nothing is wrong among the members, no heartbeat is sent and nobody misses one.

Heartbeats would be most of what happens in a quiet minute, and all that they do then is to put off what
does not happen. So a leader that finds everybody well, and all ways between them clear, rests with them
all. As soon as a member dies or is stopped, its disk slows down or anything lies on a way, all go on as if
heartbeats had been sent all the while: the last of them at its regular moment, and heard, for what is
under way when a fault begins still arrives. Reads and writes go their way meanwhile.
"""

from __future__ import annotations

from simulator.etcd.knobs import EtcdKnobs
from simulator.etcd.member import Member
from simulator.etcd.raft_parts import Role
from simulator.network import Network
from simulator.process import Condition


class Quiet:
    """Whether the members rest, and since when."""

    def __init__(self, members: list[Member], network: Network, knobs: EtcdKnobs) -> None:
        self._members, self._network, self._knobs = members, network, knobs
        self._leader: Member | None = None
        self._since_ns = 0
        for member in members:
            member.rest = self.rest
            member.process.on_death.append(self.wake)
            member.process.on_stop.append(self.wake)
        network.on_fault.append(self._fault_begins)

    def rest(self, leader: Member) -> bool:
        """Let all rest if all is well: the leader has just sent a heartbeat; return whether they do."""
        if not (self._are_well(leader) and self._ways_are_clear()):
            return False
        self._leader, self._since_ns = leader, leader.process.agenda.now_ns
        for member in self._members:
            member.raft.rest()
            member.peers.at_rest = True
        return True

    def wake(self) -> None:
        """Something may be wrong: go on with the heartbeat that would have been the next."""
        leader, self._leader = self._leader, None
        if leader is None:
            return
        rested_ns = leader.process.agenda.now_ns - self._since_ns
        beat_ns = self._since_ns + rested_ns // self._knobs.heartbeat_ns * self._knobs.heartbeat_ns
        for member in self._members:
            member.peers.wake()
            if member.process.is_alive:
                there, here = leader.process.region, member.process.region
                way_ns = 0 if member is leader else self._network.round_trip_ns(there, here) // 2
                member.raft.wake(beat_ns, way_ns)

    def _are_well(self, leader: Member) -> bool:
        if self._knobs.fsync_ns >= self._knobs.heartbeat_ns:
            return False
        return all(
            member.process.condition is Condition.RUNNING
            and member.peers.all_open
            and not member.storage.is_busy
            and member.storage.add_ns == 0
            and member.storage.term == leader.storage.term
            and member.raft.leader == leader.place
            and (member.raft.role is Role.FOLLOWER or member is leader)
            and member.raft.commit == len(member.storage.entries) == len(leader.storage.entries)
            for member in self._members
        )

    def _ways_are_clear(self) -> bool:
        return all(
            self._network.is_clear(source.process, target.process)
            for source in self._members
            for target in self._members
            if source is not target
        )

    def _fault_begins(self) -> None:
        if self._leader is not None and not self._ways_are_clear():
            self.wake()
