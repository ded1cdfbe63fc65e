"""The small worlds that are exhausted, by name, and how large each is."""

from __future__ import annotations

from attrs import frozen

from tests.protocol.explore.bootstrap import in_good_order, make_space, rollback, switch
from tests.protocol.explore.settling import Settling
from tests.protocol.explore.world import Budget, Space, World
from turnout.protocol.events import LinkUp
from turnout.protocol.routing import Colour

SWITCH = switch(Colour.GREEN, "switch-1")
ROLLBACK = rollback("rollback-1")
BACK = switch(Colour.BLUE, "switch-2")


@frozen(kw_only=True)
class SmallWorld:
    """One world to exhaust.

    Attributes:
        prompt_proxies: staging and probing end in the step that began them.
        long: left to ``make explore``, since it takes minutes.
    """

    name: str
    replicas: int = 1
    agents: int = 2
    prompt_proxies: bool = True
    budget: Budget
    long: bool = False

    def start(self) -> tuple[Space, World]:
        """A space, and its first world: a domain in good order, every agent just connected."""
        space = make_space(self.replicas, self.agents, prompt_proxies=self.prompt_proxies)
        world = in_good_order(space)
        net = 0
        for host, node in zip(space.agents, world[2], strict=True):
            for message in host.step(space.nodes[node], LinkUp())[1]:
                net |= space.bit(-1, message)
        began = (*world[:3], net, world[4], space.budgets(self.budget))
        return space, Settling(space)(began)


WORLDS = (
    SmallWorld(
        name="switch, slow proxies that may refuse",
        prompt_proxies=False,
        budget=Budget(requests=(SWITCH,), refusals=1),
        long=True,
    ),
    SmallWorld(
        name="switch, an agent dies",
        budget=Budget(requests=(SWITCH,), agent_crashes=1),
    ),
    SmallWorld(
        name="switch, an agent and its proxy die",
        budget=Budget(requests=(SWITCH,), agent_crashes=1, proxy_restarts=1),
    ),
    SmallWorld(
        name="switch, a reply is lost",
        budget=Budget(requests=(SWITCH,), lost_replies=1),
    ),
    SmallWorld(
        name="switch and rollback",
        budget=Budget(requests=(SWITCH, ROLLBACK)),
    ),
    SmallWorld(
        name="switch, takeover",
        replicas=2,
        budget=Budget(requests=(SWITCH,), elections=(1,)),
    ),
    SmallWorld(
        name="switch, takeover, an agent dies",
        replicas=2,
        budget=Budget(requests=(SWITCH,), elections=(1,), agent_crashes=1),
    ),
    SmallWorld(
        name="one agent: switch and rollback, takeover, a death",
        replicas=2,
        agents=1,
        budget=Budget(requests=(SWITCH, ROLLBACK), elections=(1,), agent_crashes=1),
    ),
    SmallWorld(
        name="one agent: switch, takeover, a death, a lost reply",
        replicas=2,
        agents=1,
        budget=Budget(requests=(SWITCH,), elections=(1,), agent_crashes=1, lost_replies=1),
    ),
    SmallWorld(
        name="one agent: switch and rollback, takeover, a death, a lost reply",
        replicas=2,
        agents=1,
        budget=Budget(requests=(SWITCH, ROLLBACK), elections=(1,), agent_crashes=1, lost_replies=1),
        long=True,
    ),
    SmallWorld(
        name="switch and rollback, takeover",
        replicas=2,
        budget=Budget(requests=(SWITCH, ROLLBACK), elections=(1,)),
    ),
    SmallWorld(
        name="switch and rollback, takeover, an agent dies",
        replicas=2,
        budget=Budget(requests=(SWITCH, ROLLBACK), elections=(1,), agent_crashes=1),
        long=True,
    ),
)
