"""What goes wrong with a proxy's work, step by step, each until healed."""

from __future__ import annotations

import enum

from attrs import define

from simulator.healing import Heal, added
from turnout.protocol.events import Refusal
from turnout.protocol.identifiers import ServiceName
from turnout.protocol.messages import No
from turnout.protocol.routing import Colour


class Step(enum.StrEnum):
    """What a proxy is asked to do."""

    STAGE = "stage"
    FLIP = "flip"
    PROVE = "prove"


@define(eq=False)
class _Fault:
    """One fault of one step: a refusal, or a delay."""

    step: Step
    refusal: Refusal | None = None
    add_ns: int = 0


class ProxyFaults:
    """One proxy's."""

    def __init__(self) -> None:
        self._refusals: list[_Fault] = []
        self._delays: list[_Fault] = []
        self._lingering: list[_Fault] = []
        self._sick: list[tuple[ServiceName, Colour]] = []

    def slow(self, step: Step, add_ns: int) -> Heal:
        """Let a step take so much longer."""
        return added(self._delays, _Fault(step, add_ns=add_ns))

    def refuse(self, step: Step, reason: str) -> Heal:
        """Let a step be refused once it has taken its time."""
        return added(self._refusals, _Fault(step, refusal=Refusal(no=No.REFUSED, reason=reason)))

    def linger(self, span_ns: int) -> Heal:
        """After each flip let an old worker answer new requests for so long.

        The flip of a good driver has none. nginx reloaded by HUP: 100 ms more, as measured.
        """
        return added(self._lingering, _Fault(Step.FLIP, add_ns=span_ns))

    def sicken(self, service: ServiceName, colour: Colour) -> Heal:
        """Let every backend of a service's colour in this region be down."""
        return added(self._sick, (service, colour))

    def added_ns(self, step: Step) -> int:
        """How much longer a step takes."""
        return sum(fault.add_ns for fault in self._delays if fault.step is step)

    @property
    def linger_ns(self) -> int:
        """How long an old worker answers."""
        return max((fault.add_ns for fault in self._lingering), default=0)

    def is_sick(self, service: ServiceName, colour: Colour) -> bool:
        """Whether all backends of a colour are down."""
        return (service, colour) in self._sick

    def refusal(self, step: Step) -> Refusal | None:
        """Why this step is refused, if it is."""
        return next((fault.refusal for fault in self._refusals if fault.step is step), None)
