"""What a drawing of a run shows, before anybody draws it: lanes, bands, marks, shades, windows.

A lane is one process. In it lie bands (what its proxy served), marks (its vote, flip, live) and shades
(the faults that touched it). A window is a stretch of the run worth a drawing of its own: a switch is
over in half a second of a run that takes minutes.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import frozen

from simulator.report.figures import known
from simulator.results import RunResult, Serving, SwitchResult
from turnout.protocol.clock import MS
from turnout.protocol.identifiers import Epoch, Region

_BEFORE, _AFTER = 0.06, 0.14
"""How much of a switch's length is shown before and after it."""


class MarkKind(enum.StrEnum):
    """What an agent does in a switch."""

    YES = "votes yes"
    NO = "votes no"
    FLIP = "flips"
    LIVE = "is live"


@frozen(kw_only=True)
class Band:
    """What a proxy served for a while: the epoch, and the switched service's colour."""

    since_ns: int
    until_ns: int
    epoch: Epoch
    colour: str


@frozen(kw_only=True)
class LaneMark:
    """One thing that a process did."""

    at_ns: int
    kind: MarkKind
    epoch: Epoch


@frozen(kw_only=True)
class Shade:
    """A fault while it lasted."""

    since_ns: int
    until_ns: int
    kind: str
    text: str


@frozen(kw_only=True)
class Lane:
    """One process and all that is drawn of it."""

    node: str
    region: Region
    bands: tuple[Band, ...] = ()
    marks: tuple[LaneMark, ...] = ()
    shades: tuple[Shade, ...] = ()

    @property
    def is_agent(self) -> bool:
        """Whether it serves users."""
        return self.node.startswith("agent ")


@frozen(kw_only=True)
class Window:
    """A stretch of the run; its axis counts from ``zero_ns``."""

    since_ns: int
    until_ns: int
    zero_ns: int

    @property
    def length_ns(self) -> int:
        """How long it is."""
        return self.until_ns - self.since_ns

    def overlaps(self, since_ns: int, until_ns: int) -> bool:
        """Whether a stretch of time can be seen in it."""
        return since_ns < self.until_ns and until_ns > self.since_ns

    def shows(self, at_ns: int | None) -> bool:
        """Whether a moment can be seen in it."""
        return at_ns is not None and self.since_ns <= at_ns <= self.until_ns


def whole(run: RunResult) -> Window:
    """The run from its beginning to its end."""
    return Window(since_ns=0, until_ns=max(run.simulated_ns, 1), zero_ns=0)


def around(switch: SwitchResult, run: RunResult) -> Window:
    """A switch from before it was accepted until those who were in time are live.

    Laggards come back when they come back: the whole run shows them.
    """
    late = set(switch.laggards)
    in_time = [agent.live_ns for agent in switch.agents if agent.agent not in late]
    seen = known([*in_time, switch.decided_ns])
    if not seen:
        seen = [switch.accepted_ns + (switch.known_ns or 1000 * MS)]
    length_ns = max(max(seen) - switch.accepted_ns, MS)
    return Window(
        since_ns=max(0, switch.accepted_ns - int(length_ns * _BEFORE) - 20 * MS),
        until_ns=min(run.simulated_ns, max(seen) + int(length_ns * _AFTER) + 5 * MS),
        zero_ns=switch.accepted_ns,
    )


def switched_service(run: RunResult) -> str:
    """The service whose colour changed most often; the first there is where none did."""
    last: dict[tuple[str, str], str] = {}
    changes: dict[str, int] = {}
    for one in run.story.serving:
        for service, colour in one.colours:
            before = last.get((one.agent, service), colour)
            changes[service] = changes.get(service, 0) + (before != colour)
            last[one.agent, service] = colour
    return max(changes, key=lambda service: changes[service], default="")


def lanes(run: RunResult) -> tuple[Lane, ...]:
    """Every process of the run, in the order to draw them."""
    bands = _bands(run)
    marks = _marks(run.switches)
    shades = _shades(run)
    return tuple(
        Lane(
            node=node,
            region=region,
            bands=tuple(bands.get(node, ())),
            marks=tuple(marks.get(node, ())),
            shades=tuple(shades.get(node, ())),
        )
        for node, region in run.nodes
    )


def _bands(run: RunResult) -> Mapping[str, list[Band]]:
    service = switched_service(run)
    by_agent: dict[str, list[Serving]] = {}
    for one in run.story.serving:
        by_agent.setdefault(f"agent {one.agent}", []).append(one)
    return {node: list(_of_agent(them, service, run)) for node, them in by_agent.items()}


def _of_agent(servings: Sequence[Serving], service: str, run: RunResult) -> Iterator[Band]:
    ends = [*(one.since_ns for one in servings[1:]), run.simulated_ns]
    for one, until_ns in zip(servings, ends, strict=True):
        yield Band(
            since_ns=one.since_ns,
            until_ns=until_ns,
            epoch=one.epoch,
            colour=dict(one.colours).get(service, ""),
        )


def _marks(switches: Iterable[SwitchResult]) -> Mapping[str, list[LaneMark]]:
    found: dict[str, list[LaneMark]] = {}
    for switch in switches:
        for agent in switch.agents:
            vote = MarkKind.NO if (agent.vote or "").startswith("no") else MarkKind.YES
            moments = (
                (agent.voted_ns, vote),
                (agent.flipped_ns, MarkKind.FLIP),
                (agent.live_ns, MarkKind.LIVE),
            )
            lane = found.setdefault(f"agent {agent.agent}", [])
            for at_ns, kind in moments:
                if at_ns is not None:
                    lane.append(LaneMark(at_ns=at_ns, kind=kind, epoch=switch.epoch))
    return found


def _shades(run: RunResult) -> Mapping[str, list[Shade]]:
    found: dict[str, list[Shade]] = {}
    for fault in run.story.faults:
        until_ns = run.simulated_ns if fault.until_ns is None else fault.until_ns
        shade = Shade(since_ns=fault.since_ns, until_ns=until_ns, kind=fault.kind, text=fault.text)
        for node in fault.nodes:
            found.setdefault(node, []).append(shade)
    return found
