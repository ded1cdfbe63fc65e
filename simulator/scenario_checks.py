"""What is wrong between the keys of a scenario: names of what is not there, moments never reached."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from attrs import frozen

from simulator.fault_kinds import HOSTS, KINDS, Fault, UnhealthyFault
from simulator.judging.marks import MARKS
from simulator.moments import REACHED_BY, Moment
from simulator.operations import (
    ASKED_AGAIN,
    BEGINS_AN_EPOCH,
    ApplyOperation,
    Operation,
    RegionOperation,
    RestartOperation,
    RollbackOperation,
    SwitchOperation,
    WaiveOperation,
)
from simulator.population import MOVING, Node, Role, Selector, select
from simulator.scenario import Scenario
from turnout.protocol.identifiers import AgentId, Region, ServiceName
from turnout.protocol.invariants import COURSE, SAFETY
from turnout.protocol.limits import broken_relations

Objection = tuple[str, str]
"""The key's whole name, and what is wrong with it."""

NUMBERS = tuple(dict.fromkeys(number for number, _ in (*SAFETY, *COURSE)))

_LISTED = 24


def scenario_faults(
    scenario: Scenario, all_regions: Sequence[Region], problems: Sequence[str]
) -> list[Objection]:
    """Everything that is wrong.

    Args:
        all_regions: those of the scenario's matrix.
        problems: the names of all problems that a request may be refused with.
    """
    wrong = list(_topology(scenario, all_regions))
    if wrong:
        return wrong  # nobody can be named before it is known who is there
    world = World(scenario=scenario, nodes=scenario.topology.nodes(tuple(all_regions)))
    wrong.extend(("timing", text) for text in broken_relations(scenario.timing.timing()))
    for number, operation in enumerate(scenario.operations):
        place = f"operation[{number}]"
        wrong.extend(_at(place, world.moment(operation)))
        wrong.extend(_at(place, _operation(world, operation)))
    for number, fault in enumerate(scenario.faults):
        place = f"fault[{number}]"
        wrong.extend(_at(place, world.moment(fault)))
        wrong.extend(_at(place, _fault(world, fault)))
        if fault in scenario.faults[:number]:
            wrong.append((place, f"is fault[{scenario.faults.index(fault)}] once more"))
    wrong.extend(_at("core", _core(world)))
    wrong.extend(_at("expect", _expect(world, problems)))
    return wrong


def _at(place: str, objections: Iterator[Objection]) -> Iterator[Objection]:
    for key, text in objections:
        yield (f"{place}.{key}" if key else place), text


def _topology(scenario: Scenario, all_regions: Sequence[Region]) -> Iterator[Objection]:
    topology = scenario.topology
    named = {
        "regions": topology.regions or (),
        "coordinators": topology.coordinators,
        "etcd": topology.etcd,
        "operator": (topology.operator,) if topology.operator else (),
    }
    for key, regions in named.items():
        for region in regions:
            if region not in all_regions:
                there = _among(region, all_regions)
                yield f"topology.{key}", f"names {region}, which {topology.matrix} has not{there}"


def _among(given: str, known: Sequence[str]) -> str:
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    near = get_close_matches(given, known, n=1)
    meant = f" (did you mean {near[0]}?)" if near else ""
    return f"; there are {', '.join(known[:_LISTED])}{more}{meant}"


@frozen(kw_only=True)
class World:
    """The scenario and its processes, to look names up in."""

    scenario: Scenario
    nodes: tuple[Node, ...]

    @property
    def services(self) -> tuple[ServiceName, ...]:
        """Those there are, and those that a table brings."""
        operations = self.scenario.operations
        brought = (one.service for one in operations if isinstance(one, ApplyOperation))
        return (*self.scenario.topology.services, *(name for name in brought if name))

    @property
    def agent_regions(self) -> list[Region]:
        """The regions with agents, in order."""
        return list(dict.fromkeys(n.region for n in self.nodes if n.role is Role.AGENT))

    @property
    def agents(self) -> list[AgentId]:
        """The agents by their ids."""
        prefix = f"{Role.AGENT} "
        names = (node.name for node in self.nodes if node.role is Role.AGENT)
        return [AgentId(name.removeprefix(prefix)) for name in names]

    def nobody(self, selector: Selector, roles: frozenset[Role]) -> str | None:
        """Why a selector means nobody of these roles; None if it means somebody."""
        fit = [node for node in self.nodes if node.role in roles]
        if select([selector], fit):
            return None
        kinds = ", ".join(sorted(roles))
        if select([selector], self.nodes):
            return f"touches nothing: {selector} is none of {kinds}"
        known = (*MOVING, *dict.fromkeys(n.region for n in fit), *(n.name for n in fit))
        return f"touches nothing: there is no {selector}{_among(selector, known)}"

    def moment(self, moment: Moment) -> Iterator[Objection]:
        """What is wrong with when something happens."""
        duration_s = self.scenario.duration_s
        if moment.at_s is not None and moment.at_s > duration_s:
            yield "at_s", f"is after the run's end: duration_s is {duration_s:g}"
        if moment.when is None:
            return
        begins = [one for one in self.scenario.operations if one.do in BEGINS_AN_EPOCH]
        if not any(one.at_s is not None for one in begins):
            yield "when", "is never reached: no operation begins a switch at a moment of its own"
        point, where = moment.when.point, moment.when.where
        if where is not None and (why := self.nobody(where, frozenset({REACHED_BY[point]}))):
            yield "when", why


def _operation(world: World, operation: Operation) -> Iterator[Objection]:
    if operation.through and (
        why := world.nobody(operation.through, frozenset({Role.COORDINATOR}))
    ):
        yield "through", why
    match operation:
        case SwitchOperation() | RollbackOperation():
            yield from _service(world, operation.service)
        case ApplyOperation(service=service) if service in world.scenario.topology.services:
            yield "service", f"is not new: {service} is one of topology.services"
        case RegionOperation(region=region) if region not in world.agent_regions:
            yield "region", f"has no agents{_among(region, world.agent_regions)}"
        case WaiveOperation():
            if why := world.nobody(operation.node, frozenset({Role.AGENT})):
                yield "node", why
        case RestartOperation():
            for selector in operation.node:
                if why := world.nobody(selector, HOSTS):
                    yield "node", why
        case _:
            pass


def _service(world: World, service: ServiceName) -> Iterator[Objection]:
    if service not in world.services:
        yield "service", f"{service} is not in topology.services{_among(service, world.services)}"


def _fault(world: World, fault: Fault) -> Iterator[Objection]:
    key = "between" if hasattr(fault, "between") else "node"
    for selector in dict.fromkeys(fault.selectors):
        if why := world.nobody(selector, KINDS[fault.kind].roles):
            yield key, why
    if isinstance(fault, UnhealthyFault) and fault.service:
        yield from _service(world, fault.service)


def _core(world: World) -> Iterator[Objection]:
    core = world.scenario.core
    if core is None:
        return
    if core.at_s > world.scenario.duration_s:
        yield "at_s", f"is after the run's end: duration_s is {world.scenario.duration_s:g}"
    for selector in core.node:
        if why := world.nobody(selector, HOSTS):
            yield "node", why
            return
    well = select(core.node, world.nodes)
    members = [node for node in world.nodes if node.role is Role.ETCD]
    if 2 * sum(node.name in well for node in members) <= len(members):
        yield "node", "is no core: it takes a majority of etcd's members, or nobody can decide"
    if not any(n.role is Role.COORDINATOR and n.name in well for n in world.nodes):
        yield "node", "is no core: it takes a coordinator, or nobody leads"


def _expect(world: World, problems: Sequence[str]) -> Iterator[Objection]:
    expect = world.scenario.expect
    for agent in expect.laggards or ():
        if agent not in world.agents:
            yield "laggards", f"names {agent}, which is no agent{_among(agent, world.agents)}"
    for mark in expect.reached:
        if mark not in MARKS:
            yield "reached", f"names {mark}, which is no mark{_among(mark, list(MARKS))}"
    for number in expect.violated:
        if number not in NUMBERS:
            yield "violated", f"names {number}, which is no invariant{_among(number, NUMBERS)}"
    if expect.violated and expect.verdict != "invalid":
        yield "violated", 'is expected of verdict = "invalid" only'
    if expect.verdict == "invalid" and not expect.violated:
        yield "violated", 'is missing: verdict = "invalid" needs the numbers of what is broken'
    if expect.refused is not None:
        yield from _refused(expect.refused, problems)
    begins = [one for one in world.scenario.operations if one.do in BEGINS_AN_EPOCH]
    for key in ("outcome", "refused", "laggards", "because", "elapsed_s_max"):
        if getattr(expect, key) is not None and not begins:
            yield key, "is expected of a switch, and no operation begins one"


def _refused(code: str, problems: Sequence[str]) -> Iterator[Objection]:
    if code not in problems:
        yield "refused", f"names {code}, which is no problem{_among(code, problems)}"
    elif code in ASKED_AGAIN:
        yield "refused", f"is never {code}: then operators ask again until they are answered"
