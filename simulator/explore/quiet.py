"""Leave out the sentences for people.

Reasons and history texts name whoever was late or refused; each other sentence would be another
head (its history digest differs) and so another world, though nothing depends on it. An outcome's
figures are of that kind too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from attrs import evolve

from simulator.patches import Patches
from turnout.protocol import landing, releasing, standing, switching, takeover
from turnout.protocol.coordinator_state import Fleet

_SPEAKERS = (switching, landing, releasing, standing, takeover)


@contextmanager
def without_texts() -> Iterator[Patches]:
    """Run with empty texts; more may be patched on what is handed out."""
    history_entry, decide_now, abort = (
        switching.history_entry,
        switching.decide_now,
        switching.abort,
    )

    measured = landing._measured

    def quiet_entry(turn, epoch, kind, text, *, intent=None):  # type: ignore[no-untyped-def]
        return history_entry(turn, epoch, kind, "", intent=intent)

    def quiet_decision(turn, attempt, verdict, reason, **more):  # type: ignore[no-untyped-def]
        decide_now(turn, attempt, verdict, "", **more)

    def quiet_abort(turn, reason):  # type: ignore[no-untyped-def]
        abort(turn, "aborted")

    def quiet_outcome(turn, following, kind, reason, laggards):  # type: ignore[no-untyped-def]
        outcome = measured(turn, following, kind, "", laggards)
        named = tuple(evolve(laggard, reason="") for laggard in outcome.laggards)
        return evolve(outcome, elapsed_ns=None, skew_ns=None, bound_ns=0, laggards=named)

    with Patches() as patch:
        for module in _SPEAKERS:
            patch.setattr(module, "history_entry", quiet_entry)
        patch.setattr(switching, "decide_now", quiet_decision)
        patch.setattr(switching, "abort", quiet_abort)
        patch.setattr(takeover, "abort", quiet_abort)
        marked = Fleet.marked
        patch.setattr(
            Fleet, "marked", lambda self, agents, status, reason: marked(self, agents, status, "")
        )
        patch.setattr(landing, "_measured", quiet_outcome)
        yield patch
