"""A switch as the API tells it (DESIGN.md section 9, "JSON of a switch"), typed for reading.

Members that this version does not know are passed over, so that an older command can watch a
newer coordinator. What is printed with ``-o json`` is the document as it came, not this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import cattrs
from attrs import field, frozen
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
    laggards: tuple[Mapping[str, Any] | str, ...] = field(default=())

    @property
    def title(self) -> str:
        """What is being done, in a few words."""
        if self.kind == "apply":
            return "apply the routing table"
        back = " back" if self.kind == "rollback" else ""
        if self.source and self.to:
            return f"{self.service}{back} from {self.source} to {self.to}"
        return f"{self.service}{back} to {self.to}" if self.to else f"{self.service}{back}"

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
        """Whether nobody need wait any longer: drained, aborted or undone."""
        return self.has_reached("retained") or self.outcome is OutcomeKind.ROLLED_BACK


def view_of(document: Mapping[str, Any]) -> SwitchView:
    """The switch in a JSON document."""
    present = {name: value for name, value in document.items() if value is not None}
    return _converter.structure(present, SwitchView)


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    for part in (SlaView, ActivationView, AgentView):
        converter.register_structure_hook(part, _without_nulls(converter, part))
    converter.register_structure_hook_func(
        lambda kind: kind == Mapping[str, Any] | str, lambda value, _: value
    )
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
