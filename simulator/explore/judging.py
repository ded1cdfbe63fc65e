"""What the invariants see of a small world, and what they say to it."""

from __future__ import annotations

from simulator.explore.parcels import Fact
from simulator.explore.world import Space, World
from turnout.protocol import keys
from turnout.protocol.coordinator_state import Fleet
from turnout.protocol.invariants import AgentPicture, Picture, Violation, judge
from turnout.protocol.takeover import fleet_of
from turnout.protocol.transactions import Range


class Judge:
    """Fills the picture of a world and judges it; remembers what it has judged."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._verdicts: dict[tuple[int, tuple[int, ...]], Violation | None] = {}
        self._spoken: dict[tuple[int, int], Violation | None] = {}
        self._fleets: dict[int, Fleet] = {}

    def __call__(self, world: World) -> Violation | None:
        """Return the first violation in a world, or None."""
        key = (world[0], world[2])
        if key not in self._verdicts:
            found = judge(self.picture(world))
            self._verdicts[key] = found[0] if found else None
        return self._verdicts[key] or self._judge_words(world)

    def _judge_words(self, world: World) -> Violation | None:
        """S2 over what was said: it depends on the store and the network only."""
        said = world[3] & self.space.fact_bits()
        key = (world[0], said)
        if key not in self._spoken:
            parcels = (p.message for _, p in self.space.in_network(said))
            facts = [fact for fact in parcels if isinstance(fact, Fact)]
            picture = Picture(
                rulings=self.space.stores[world[0]].rulings,
                named=tuple((f.epoch, f.digest) for f in facts if f.digest is not None),
                told=tuple((f.epoch, f.verdict) for f in facts if f.verdict is not None),
            )
            found = [v for v in judge(picture) if v.number == "S2"]
            self._spoken[key] = found[0] if found else None
        return self._spoken[key]

    def picture(self, world: World) -> Picture:
        """The world as the invariants see it."""
        space = self.space
        store = space.stores[world[0]]
        fleet = self._fleet(world[0])
        agents = []
        for host, number in zip(space.agents, world[2], strict=True):
            ghosts = space.nodes[number].ghosts
            agents.append(
                AgentPicture(
                    agent=host.agent,
                    standing=fleet.status(host.agent),
                    served=ghosts.served,
                    unjournalled=ghosts.unjournalled,
                    yes=ghosts.yes,
                    answered=ghosts.answered,
                )
            )
        return Picture(rulings=store.rulings, agents=tuple(agents), foreign_writes=store.foreign)

    def _fleet(self, store: int) -> Fleet:
        if store not in self._fleets:
            ranges = (Range(keys.STANDING), Range(keys.AGENTS, prefix=True))
            self._fleets[store] = fleet_of(self.space.stores[store].read(ranges))
        return self._fleets[store]
