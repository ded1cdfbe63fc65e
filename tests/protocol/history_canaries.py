"""Deliberately broken machines and proxies that the random histories must catch, each by its number.

``python -m tests.protocol.history_canaries`` prints which number catches which, and in which seed's
history. The twelve that the exhaustive exploration catches (``simulator/explore/canaries.py``) are here too;
the others break what only a history shows: clocks, drains, forged messages, restores, and time.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Callable
from types import MappingProxyType

from attrs import frozen

from simulator.explore.canaries import CANARIES, Canary
from simulator.patches import Patches
from tests.protocol.fabric_disasters import rebase, restore
from tests.protocol.fabric_domains import after_a_power_cut
from tests.protocol.fabric_proxies import Proxies
from tests.protocol.fabric_weather import CALM, Weather
from tests.protocol.histories import (
    BREEZE,
    FAULTS,
    FLEET,
    OPERATORS,
    ROUGH,
    drawn_script,
    go_through,
    tell,
)
from tests.protocol.history_ends import ends_well
from turnout.protocol import coordinator, draining, fencing, gate, learning, releasing, serving
from turnout.protocol.activation import Wait
from turnout.protocol.clock import Instant
from turnout.protocol.coordinator_state import CoordinatorState
from turnout.protocol.landing import LIVE_TIMER
from turnout.protocol.messages import Up
from turnout.protocol.records import Activation, Mode
from turnout.protocol.signing import Verifier
from turnout.protocol.switching import PREPARE_TIMER, UNDO_TIMER

Tale = Callable[[int], None]

MOST = 400
"""Histories that a canary may survive."""


def _tale(weather: Weather, *kinds: tuple[str, ...]) -> Tale:
    """Histories of these kinds of things, from the first to the end."""

    def tale(seed: int) -> None:
        ends_well(tell(drawn_script(random.Random(seed), *kinds), seed, weather))

    return tale


def _restored(seed: int) -> None:
    """The store goes back: nothing may be decided until the domain is founded anew."""
    chance = random.Random(seed)
    before, lost, after = (drawn_script(chance, OPERATORS, FAULTS, most=8) for _ in range(3))
    fabric = tell(before, seed, BREEZE)
    backup = fabric.store
    go_through(fabric, lost, first=100)
    restore(fabric, backup)
    go_through(fabric, after, first=200)
    rebase(fabric)
    ends_well(fabric)


CLUSTER = _tale(ROUGH, OPERATORS, FAULTS)
FLEETS = _tale(BREEZE, OPERATORS, FLEET, FAULTS)
TAKEOVERS = _tale(ROUGH, OPERATORS, ("elect", "elect", "elect", "reboot", "cut", "heal", "heal"))
REBOOTS = _tale(BREEZE, ("switch",), ("elect",) * 2, ("reboot",) * 4, ("cut", "heal"))
REFUSALS = _tale(ROUGH, ("apply",) * 3, ("refuse",) * 2)
DRAINS = _tale(CALM, ("switch", "switch", "rollback"), ("refuse",), ("busy",))
FORGERIES = _tale(ROUGH, ("switch", "rollback", "apply"), ("forge-to-replica",) * 3)
CLOCKS = _tale(CALM, ("switch", "leader-clock"))


@frozen(kw_only=True)
class HistoryCanary:
    """A mistake, the invariant that catches it, and the histories in which it shows.

    Attributes:
        first: the seed to begin with, where those before were seen to take long and show nothing.
    """

    name: str
    breaks: Callable[[Patches], None]
    number: str
    tale: Tale
    first: int = 0


@frozen
class Catch:
    """The first history that catches a canary by its number."""

    seed: int
    text: str


def caught(canary: HistoryCanary, most: int = MOST) -> Catch | None:
    """Tell histories with the broken machine, until one of them names the invariant it breaks.

    They all begin in one domain, which a sound machine has made.
    """
    after_a_power_cut(seed=0)
    with Patches() as patch:
        canary.breaks(patch)
        for seed in range(canary.first, canary.first + most):
            try:
                canary.tale(seed)
            except Exception as error:  # noqa: BLE001 - what else breaks is not what is looked for
                found = re.search(rf"\b{canary.number}: [^;]*", str(error))
                if found:
                    return Catch(seed, found[0])
    return None


# --- what only a history shows -------------------------------------------------------------------


def flips_on_receipt(patch: Patches) -> None:
    """A scheduled commit is flipped to when it is heard."""
    patch.setattr(learning, "_wait_ns", lambda *_: 0)


def waits_longer_than_g(patch: Patches) -> None:
    """The leader's clock is believed, however far away it says that the moment is."""

    def wait(activation: Activation, estimate: object, now: Instant) -> Wait:
        offset = estimate.offset(now.monotonic_ns)  # type: ignore[attr-defined]
        if activation.mode is Mode.IMMEDIATE or activation.time_ns is None or offset is None:
            return Wait(delay_ns=0)
        return Wait(delay_ns=max(0, activation.time_ns - offset.middle - now.monotonic_ns))

    patch.setattr(learning, "delay_until", wait)


def released_too_early(patch: Patches) -> None:
    """A source is said to be free as soon as its time is up, whoever still uses it."""
    patch.setattr(releasing, "_is_draining", lambda *_: False)


def closes_what_is_wanted(patch: Patches) -> None:
    """A drain goes on while a table is prepared or committed that sends to its colour (H21)."""
    patch.setattr(draining, "_is_wanted", lambda *_: False)


def old_workers_serve_on(patch: Patches) -> None:
    """A proxy that, for a while after the flip, sends new requests where it sent them before."""
    patch.setattr(Proxies, "route", lambda _, edge, old: old or edge.serving.digest)


def heads_are_believed(patch: Patches) -> None:
    """An agent does not check who signed a head."""
    patch.setattr(fencing, "is_signed_by", lambda *_: True)


class _Credulous:
    """Takes every signature for true."""

    def verify(self, *_: object) -> bool:
        return True


def reports_are_believed(patch: Patches) -> None:
    """A leader does not check who signed a vote or a report."""

    def admit(message: Up, state: CoordinatorState, verifier: Verifier, domain_key: str) -> object:
        return gate.admit_from_agent(message, state, _Credulous(), domain_key)

    patch.setattr(coordinator, "admit_from_agent", admit)


def decides_after_a_restore(patch: Patches) -> None:
    """A leader that is shown a newer head than its store's takes no notice."""
    patch.setattr(gate, "_is_unknown", lambda *_: False)


def waits_for_everybody(patch: Patches) -> None:
    """T_live never ends: a commit has no outcome while an agent is away."""
    patch.setitem(coordinator._ON_TIMER, LIVE_TIMER, lambda *_: None)


def prepares_for_ever(patch: Patches) -> None:
    """T_prep and T_undo never end: an intent is undecided while an agent is away."""
    for timer in (PREPARE_TIMER, UNDO_TIMER):
        patch.setitem(coordinator._ON_TIMER, timer, lambda *_: None)


def aborts_are_not_heard(patch: Patches) -> None:
    """An agent keeps its yes when it hears that it was aborted."""
    patch.setattr(learning, "_learn_abort", lambda *_: None)


def never_tries_again(patch: Patches) -> None:
    """A flip that the proxy refused once is not tried again."""
    patch.setattr(serving, "PATIENCE", 10**6)


EXPLORED_ELSEWHERE = MappingProxyType(
    {
        "excluded agent counted": (FLEETS, 0),
        "late prepare of an old term": (TAKEOVERS, 0),
        "no base check": (REFUSALS, 120),
        "promise forgotten at restart": (REBOOTS, 280),
    }
)
"""Where those of the exploration's canaries show that want a rarer turn of events."""


def _of_the_exploration(canary: Canary) -> HistoryCanary:
    tale, first = EXPLORED_ELSEWHERE.get(canary.name, (CLUSTER, 0))
    return HistoryCanary(
        name=canary.name, breaks=canary.breaks, number=canary.number, tale=tale, first=first
    )


NEW = (
    ("scheduled commit flips on receipt", flips_on_receipt, "S8", _tale(BREEZE, OPERATORS, FAULTS)),
    ("wrong clock waited for longer than G", waits_longer_than_g, "S8", CLOCKS),
    ("source released while it drains", released_too_early, "S9", FLEETS),
    ("drain closes what is wanted again", closes_what_is_wanted, "S9", DRAINS),
    ("old workers serve on after the flip", old_workers_serve_on, "S9", CLUSTER),
    ("agent believes any head", heads_are_believed, "S10", CLUSTER),
    ("leader believes any report", reports_are_believed, "S10", FORGERIES),
    ("leader decides after a restore", decides_after_a_restore, "S11", _restored),
    ("outcome waits for everybody", waits_for_everybody, "L1", CLUSTER),
    ("T_prep never ends", prepares_for_ever, "L2", CLUSTER),
    ("aborts are not heard", aborts_are_not_heard, "L2", CLUSTER),
    ("refused flip is never tried again", never_tries_again, "L3", FLEETS),
)
"""What the exploration cannot see: it knows neither time nor drains nor restores nor forgeries."""

HISTORY_CANARIES = (
    *(_of_the_exploration(canary) for canary in CANARIES),
    *(HistoryCanary(name=n, breaks=b, number=number, tale=t) for n, b, number, t in NEW),
)


def rows() -> list[str]:
    """The specification's table: which broken machine is caught by which number, and where."""
    explored = {canary.name: canary.number for canary in CANARIES}
    return [
        f"| {canary.name} | {explored.get(canary.name, 'no')} | {canary.number} |"
        for canary in HISTORY_CANARIES
    ]


if __name__ == "__main__":
    for row, canary in zip(rows(), HISTORY_CANARIES, strict=True):
        sys.stdout.write(f"{row} {caught(canary) or 'NOT CAUGHT'}\n")
