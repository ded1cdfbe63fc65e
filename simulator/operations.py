"""What operators do in a run: a class for each ``do``, with the keys that it takes."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Literal

from attrs import field, frozen

from simulator.moments import Moment, within
from simulator.population import Selector
from turnout.protocol.identifiers import Region, ServiceName
from turnout.protocol.routing import Colour

Activation = Literal["scheduled", "immediate"]


class Do(enum.StrEnum):
    """What may be done."""

    SWITCH = "switch"
    APPLY = "apply"
    ABORT = "abort"
    ROLLBACK = "rollback"
    EXCLUDE = "exclude"
    INCLUDE = "include"
    WAIVE = "waive"
    RESTART = "restart"
    REBASE = "rebase"


@frozen(kw_only=True)
class Operation(Moment):
    """Something an operator does.

    Attributes:
        through: the coordinator that is asked; unset: any, as a command with a list of them asks.
        repeat: how many times more the same request is sent, with the same idempotency key, as by
            somebody who got no answer.
    """

    do: Do
    through: Selector | None = None
    repeat: int = field(default=0, validator=within(0, 1000))


@frozen(kw_only=True)
class SwitchOperation(Operation):
    """Move a service to a colour.

    Attributes:
        activation: ``scheduled`` or ``immediate``; unset: that of ``[timing]``.
        allow_stale: so many stale agents may be passed over.
    """

    service: ServiceName
    to: Colour
    activation: Activation | None = None
    allow_stale: int = field(default=0, validator=within(0, 1_000_000))


@frozen(kw_only=True)
class ApplyOperation(Operation):
    """Put another table in force.

    Attributes:
        service: a service that comes new with the table; unset: other backends for those there are.
    """

    service: ServiceName | None = None
    activation: Activation | None = None


@frozen(kw_only=True)
class AbortOperation(Operation):
    """Stop the switch in progress."""


@frozen(kw_only=True)
class RollbackOperation(Operation):
    """Undo a service's last switch.

    Attributes:
        undo: another switch to undo than its last: so many epochs after the first table's, of which a
            takeover may use one up.
    """

    service: ServiceName
    undo: int | None = field(default=None, validator=within(1, 1e6))
    activation: Activation | None = None


@frozen(kw_only=True)
class RegionOperation(Operation):
    """Leave a region out of switches, or take it in again."""

    region: Region


@frozen(kw_only=True)
class WaiveOperation(Operation):
    """Do without an agent's word that its drain ended.

    Attributes:
        node: the agent.
        of: the switch whose drain it is, counted likewise; unset: the last.
    """

    node: Selector
    of: int | None = field(default=None, validator=within(1, 1e6))


@frozen(kw_only=True)
class RestartOperation(Operation):
    """Restart processes by hand, as for an upgrade."""

    node: tuple[Selector, ...]


@frozen(kw_only=True)
class RebaseOperation(Operation):
    """Begin the domain's history anew after the store went back: ``turnout domain rebase``."""


@frozen(kw_only=True)
class DoRule:
    """How one ``do`` is written, and what it means."""

    cls: type[Operation]
    text: str


DOINGS: Mapping[Do, DoRule] = {
    Do.SWITCH: DoRule(cls=SwitchOperation, text="moves a service to a colour"),
    Do.APPLY: DoRule(cls=ApplyOperation, text="puts another table in force"),
    Do.ABORT: DoRule(cls=AbortOperation, text="stops the switch in progress"),
    Do.ROLLBACK: DoRule(cls=RollbackOperation, text="undoes a service's last switch, or another"),
    Do.EXCLUDE: DoRule(cls=RegionOperation, text="leaves a region out of switches"),
    Do.INCLUDE: DoRule(cls=RegionOperation, text="takes a region in again"),
    Do.WAIVE: DoRule(cls=WaiveOperation, text="does without an agent's word that its drain ended"),
    Do.RESTART: DoRule(cls=RestartOperation, text="restarts processes by hand"),
    Do.REBASE: DoRule(cls=RebaseOperation, text="begins the history anew after a restore of etcd"),
}
"""Every ``do``; SCENARIOS.md has an example of each."""

BEGINS_AN_EPOCH = frozenset({Do.SWITCH, Do.APPLY, Do.ROLLBACK})

ASKED_AGAIN = frozenset({"no-leader", "no-quorum"})
"""Refusals that are no answer: whoever gets one asks again."""
