"""A switch as the API tells it (DESIGN.md section 9, "JSON of a switch"), typed for reading.

Members that this version does not know are passed over, so that an older command can watch a
newer coordinator. What is printed with ``-o json`` is the document as it came, not this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import cattrs
from attrs import frozen
from cattrs.gen import make_dict_structure_fn, override

from turnout.protocol.records import OutcomeKind

# The order in which phases come, with which "has it got there yet" is answered. ``aborted`` is
# an end of its own, and so above everything that anyone waits for.
_ORDER: Final = ("preparing", "committed", "live", "draining", "retained", "released", "aborted")


@frozen(kw_only=True)
class SlaView:
    """The promise, and whether it was kept; ``met`` is None until that is known."""

    budget_s: float = 30.0
    met: bool | None = None


@frozen(kw_only=True)
class ActivationView:
    """How the flip was timed; ``skew_ms`` and ``bound_ms`` are None until measured."""

    mode: str = ""
    reason: str = ""
    time: str | None = None
    skew_ms: float | None = None
    bound_ms: float | None = None


@frozen(kw_only=True)
class AgentView:
    """One agent's part in a switch; moments are ISO 8601 texts, None until they come."""

    agent: str
    region: str
    standing: str = ""
    asked: bool = True
    vote: str | None = None
    reason: str = ""
    flipped_at: str | None = None
    live_at: str | None = None
    bound_ms: float | None = None
    in_flight: int | None = None
    drained: bool = False
    epoch: int | None = None


@frozen(kw_only=True)
class LaggardView:
    """An agent that was not known to be live in time, and why."""

    agent: str
    region: str = ""
    reason: str = ""


@frozen(kw_only=True)
class RequestView:
    """Who asked for it, and what a rollback undoes."""

    actor: str = ""
    undo: int | None = None


@frozen(kw_only=True)
class MomentView:
    """An entry of the timeline; ``at`` is an ISO 8601 text."""

    at: str | None = None
    event: str = ""
    text: str = ""


@frozen(kw_only=True)
class SwitchView:
    """A switch, as far as it has come."""

    epoch: int
    kind: str = ""
    service: str | None = None
    source: str | None = None
    to: str | None = None
    phase: str = "preparing"
    outcome: OutcomeKind | None = None
    reason: str = ""
    accepted_at: str | None = None
    elapsed_s: float | None = None
    known_s: float | None = None
    sla: SlaView = SlaView()
    activation: ActivationView = ActivationView()
    agents: tuple[AgentView, ...] = ()
    requested: RequestView = RequestView()
    laggards: tuple[LaggardView, ...] = ()
    timeline: tuple[MomentView, ...] = ()

    @property
    def title(self) -> str:
        """What is being done, in a few words."""
        if self.kind == "apply":
            return "apply the routing table"
        what = self.service or ("the whole table" if self.kind else "a number that nobody used")
        if self.kind == "rollback":
            what += " back"
        if self.source and self.to:
            what += f" from {self.source}"
        if self.to:
            what += f" to {self.to}"
        undo = self.requested.undo
        return what if undo is None else f"{what} (undoes epoch {undo})"

    @property
    def regions(self) -> dict[str, tuple[AgentView, ...]]:
        """Its agents by region, both sorted."""
        names = sorted({agent.region for agent in self.agents})
        return {
            name: tuple(sorted((a for a in self.agents if a.region == name), key=lambda a: a.agent))
            for name in names
        }

    def has_reached(self, phase: str) -> bool:
        """Whether it is at this phase or past it; ``live`` is reached with any outcome."""
        if phase == "live":
            return self.outcome is not None
        return self.outcome is not None and _ORDER.index(self.phase) >= _ORDER.index(phase)

    @property
    def is_drained(self) -> bool:
        """Whether nobody need wait any longer: drained, aborted or undone.

        Who was not asked, or is behind, still serves what the others have left. That keeps the
        old colour from being released, but it is no drain that comes to an end by waiting.
        """
        if self.has_reached("retained") or self.outcome is OutcomeKind.ROLLED_BACK:
            return True
        behind = {laggard.agent for laggard in self.laggards}
        moved = [one for one in self.agents if one.asked and one.agent not in behind]
        return self.outcome is not None and bool(moved) and all(one.drained for one in moved)


def view_of(document: Mapping[str, Any]) -> SwitchView:
    """The switch in a JSON document."""
    present = {name: value for name, value in document.items() if value is not None}
    return _converter.structure(present, SwitchView)


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    for part in (SlaView, ActivationView, AgentView, LaggardView, RequestView, MomentView):
        converter.register_structure_hook(part, _without_nulls(converter, part))
    # Last, for it is made of the hooks that are known by now.
    converter.register_structure_hook(
        SwitchView, make_dict_structure_fn(SwitchView, converter, source=override(rename="from"))
    )
    return converter


def _without_nulls(converter: cattrs.Converter, part: type[Any]) -> Any:
    """A null is what an absent member is: not known."""
    structure = make_dict_structure_fn(part, converter)

    def hook(value: Mapping[str, Any], kind: type[Any]) -> Any:
        return structure({n: v for n, v in value.items() if v is not None}, kind)

    return hook


_converter = _make_converter()
