"""What handlers work with, and how they find it."""

from __future__ import annotations

from collections.abc import Callable

import trio
from attrs import frozen
from starlette.requests import Request

from coordinator.archive import Archive
from coordinator.config import CoordinatorSettings
from coordinator.desk import Desk
from coordinator.feed import Feed
from coordinator.metrics import Metrics
from coordinator.recent import Recent
from coordinator.refusal_book import RefusalBook
from coordinator.registry import Registry
from coordinator.suspicions import Suspicions
from coordinator.twins import Twins
from coordinator.views.status import Surroundings
from turnout.protocol.coordinator_state import CoordinatorConfig, CoordinatorState
from turnout.protocol.effects import CoordinatorEffect
from turnout.protocol.events import CoordinatorEvent
from turnout.protocol.openings import Openings
from turnout.runtime.host import Clock, Host

CoordinatorHost = Host[CoordinatorState, CoordinatorEvent, CoordinatorEffect]


@frozen(kw_only=True)
class Context:
    """One replica's parts.

    Attributes:
        nursery: for what outlives a request: held streams' feeders, and news for the machine.
        around: what is known beside the machine's state, as of now.
        quota_used: which share of the store's quota is used, as measured last.
    """

    settings: CoordinatorSettings
    config: CoordinatorConfig
    host: CoordinatorHost
    clock: Clock
    desk: Desk
    registry: Registry
    archive: Archive
    recent: Recent
    feed: Feed
    metrics: Metrics
    refusals: RefusalBook
    suspicions: Suspicions
    twins: Twins
    openings: Openings
    nursery: trio.Nursery
    around: Callable[[], Surroundings]
    quota_used: Callable[[], float]

    @property
    def state(self) -> CoordinatorState:
        """The machine's state as it stands."""
        return self.host.state

    @property
    def budget_ns(self) -> int:
        """The promise that switches are judged by."""
        return self.config.timing.budget_ns


def context_of(request: Request) -> Context:
    """The replica that a request came to."""
    context: Context = request.app.state.context
    return context
