"""What an agent's own report shows to be wrong with it, though it may speak: it was set up wrongly."""

from __future__ import annotations

from collections.abc import Iterator

from turnout.protocol.messages import Report
from turnout.protocol.records import AgentEntry, Incarnation

REGION = "region"
INCARNATION = "incarnation"


def oddities(
    report: Report, entry: AgentEntry, incarnation: Incarnation | None
) -> Iterator[tuple[str, str]]:
    """Each as (a stable code, a text for people); ``entry`` and ``incarnation`` are the domain's."""
    agent, theirs = report.agent, report.incarnation
    if report.region != entry.region:
        text = (
            f"'{agent}' is enrolled in {entry.region}, but is configured for {report.region}, and its "
            "proxy sends to the backends there: change 'region' in its configuration, or remove it and "
            "enrol it again."
        )
        yield REGION, text
    if theirs is not None and incarnation is not None and not _can_follow(theirs, incarnation):
        text = (
            f"'{agent}' is at incarnation {theirs.number} ({theirs.id}), the domain at "
            f"{incarnation.number} ({incarnation.id}): the agent served another domain before, and "
            "needs an empty state folder, or etcd holds an older one (turnout domain rebase)."
        )
        yield INCARNATION, text


def _can_follow(theirs: Incarnation, incarnation: Incarnation) -> bool:
    """Whether an agent of one incarnation is in the other, or will go there when told (H18)."""
    return theirs == incarnation or theirs.number < incarnation.number
