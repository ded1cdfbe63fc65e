"""The small worlds that are exhausted, by name, and how large each is."""

from __future__ import annotations

from attrs import frozen

from simulator.explore.bootstrap import apply, in_good_order, make_space, rollback, switch
from simulator.explore.settling import Settling
from simulator.explore.world import Budget, Space, World
from turnout.protocol.events import LinkUp, Requested
from turnout.protocol.routing import Colour

ASKED = ("green", "blue", "rollback", "apply")
"""What can be asked for: a switch to a colour, the last one undone, a table with other backends."""

_FIRST_PORT = 81


def requests(*words: str, agents: int = 2) -> tuple[Requested, ...]:
    """What is asked, in this order; each becomes an epoch of its own, if it is not refused."""
    return tuple(_request(word, number, agents) for number, word in enumerate(words, start=1))


def _request(word: str, number: int, agents: int) -> Requested:
    if word == "rollback":
        return rollback(f"rollback-{number}")
    if word == "apply":
        return apply(_FIRST_PORT + number, f"apply-{number}", agents=agents)
    return switch(Colour(word), f"switch-{number}")


def takeovers(count: int, *, replicas: int) -> tuple[int, ...]:
    """Who is elected after the first leader, replica 0: the others, in turn, and it again."""
    return tuple(number % replicas for number in range(1, count + 1))


@frozen(kw_only=True)
class SmallWorld:
    """One world to exhaust.

    Attributes:
        prompt_proxies: staging and probing end in the step that began them.
        long: takes minutes, so that only ``--all`` or its name searches it.
        endless: never exhausted so far: only its name searches it, as far as time and memory go.
    """

    name: str
    replicas: int = 1
    agents: int = 2
    prompt_proxies: bool = True
    budget: Budget
    long: bool = False
    endless: bool = False

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

    @property
    def bounds(self) -> str:
        """How large it is and what may happen in it, in words."""
        budget = self.budget
        parts = (
            _counted(self.replicas, "replica"),
            _counted(self.agents, "agent"),
            _counted(len(budget.requests), "request"),
            _counted(len(budget.elections), "takeover"),
            _counted(budget.agent_crashes, "death"),
            _counted(budget.proxy_restarts, "proxy death"),
            _counted(budget.lost_replies, "lost reply", "lost replies"),
            _counted(budget.refusals, "refusal"),
            _counted(budget.standing_changes, "standing change"),
            "" if self.prompt_proxies else "slow proxies",
        )
        return ", ".join(filter(None, parts))


def _counted(count: int, one: str, many: str = "") -> str:
    if not count:
        return ""
    return f"{count} {one}" if count == 1 else f"{count} {many or f'{one}s'}"


ONE_SWITCH = requests("green")
AND_BACK = requests("green", "rollback")
THREE_EPOCHS = requests("green", "rollback", "blue")


WORLDS = (
    SmallWorld(
        name="switch, slow proxies that may refuse",
        prompt_proxies=False,
        budget=Budget(requests=ONE_SWITCH, refusals=1),
        endless=True,
    ),
    SmallWorld(
        name="switch, an agent dies",
        budget=Budget(requests=ONE_SWITCH, agent_crashes=1),
    ),
    SmallWorld(
        name="switch, an agent and its proxy die",
        budget=Budget(requests=ONE_SWITCH, agent_crashes=1, proxy_restarts=1),
    ),
    SmallWorld(
        name="switch, a reply is lost",
        budget=Budget(requests=ONE_SWITCH, lost_replies=1),
    ),
    SmallWorld(
        name="switch and rollback",
        budget=Budget(requests=AND_BACK),
    ),
    SmallWorld(
        name="switch, takeover",
        replicas=2,
        budget=Budget(requests=ONE_SWITCH, elections=(1,)),
    ),
    SmallWorld(
        name="switch, takeover, an agent dies",
        replicas=2,
        budget=Budget(requests=ONE_SWITCH, elections=(1,), agent_crashes=1),
    ),
    SmallWorld(
        name="one agent: switch and rollback, takeover, a death",
        replicas=2,
        agents=1,
        budget=Budget(requests=AND_BACK, elections=(1,), agent_crashes=1),
    ),
    SmallWorld(
        name="one agent: switch, takeover, a death, a lost reply",
        replicas=2,
        agents=1,
        budget=Budget(requests=ONE_SWITCH, elections=(1,), agent_crashes=1, lost_replies=1),
    ),
    SmallWorld(
        name="one agent: switch and rollback, takeover, a death, a lost reply",
        replicas=2,
        agents=1,
        budget=Budget(requests=AND_BACK, elections=(1,), agent_crashes=1, lost_replies=1),
        long=True,
    ),
    SmallWorld(
        name="switch and rollback, takeover",
        replicas=2,
        budget=Budget(requests=AND_BACK, elections=(1,)),
    ),
    SmallWorld(
        name="switch and rollback, takeover, an agent dies",
        replicas=2,
        budget=Budget(requests=AND_BACK, elections=(1,), agent_crashes=1),
        long=True,
    ),
    SmallWorld(
        name="switch, two takeovers",
        replicas=2,
        budget=Budget(requests=ONE_SWITCH, elections=(1, 0)),
        long=True,
    ),
    SmallWorld(
        name="switch and rollback, two takeovers",
        replicas=2,
        budget=Budget(requests=AND_BACK, elections=(1, 0)),
        endless=True,
    ),
    SmallWorld(
        name="three epochs",
        budget=Budget(requests=THREE_EPOCHS),
    ),
    SmallWorld(
        name="three epochs, takeover",
        replicas=2,
        budget=Budget(requests=THREE_EPOCHS, elections=(1,)),
        endless=True,
    ),
    SmallWorld(
        name="three agents: switch",
        agents=3,
        budget=Budget(requests=ONE_SWITCH),
    ),
    SmallWorld(
        name="three agents: switch, takeover",
        replicas=2,
        agents=3,
        budget=Budget(requests=ONE_SWITCH, elections=(1,)),
        long=True,
    ),
    SmallWorld(
        name="switch, standing changes at will",
        budget=Budget(requests=ONE_SWITCH, standing_changes=2),
    ),
    SmallWorld(
        name="switch and rollback, standing changes at will, takeover",
        replicas=2,
        budget=Budget(requests=AND_BACK, elections=(1,), standing_changes=2),
        endless=True,
    ),
    SmallWorld(
        name="three agents: three epochs, two takeovers, a death, standing changes at will",
        replicas=2,
        agents=3,
        budget=Budget(requests=THREE_EPOCHS, elections=(1, 0), agent_crashes=1, standing_changes=2),
        endless=True,
    ),
)
