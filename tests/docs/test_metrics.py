"""``docs/metrics.md`` names every metric of both daemons, and no other."""

from __future__ import annotations

import re

from prometheus_client.core import Metric

from coordinator.metrics import Metrics
from tests.architecture import ROOT
from turnout.protocol.coordinator_state import CoordinatorState

DOCUMENT = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
AGENT_SOURCE = (ROOT / "edge_agent" / "metrics.py").read_text(encoding="utf-8")
SUFFIX = {"counter": "_total", "info": "_info"}


def of_a_coordinator() -> dict[str, Metric]:
    """Its own families, by their names as a scraper sees them."""
    metrics = Metrics("0")
    metrics.show(CoordinatorState, lambda: 0)
    families = [f for f in metrics.registry.collect() if f.name.startswith("turnout_")]
    return {family.name + SUFFIX.get(family.type, ""): family for family in families}


def of_an_agent() -> set[str]:
    """The same names; an agent's gauges need a whole agent, so that its source is asked."""
    calls = re.findall(r'(\w+)\(\s*"(turnout_agent_\w+)"', AGENT_SOURCE)
    return {name + SUFFIX.get(made_by.lower(), "") for made_by, name in calls}


def test_metrics_document_names_every_metric_and_no_other() -> None:
    tables, alerts = DOCUMENT.split("## What to alert on")
    named = set(re.findall(r"`(turnout_\w+)", tables))
    there_are = set(of_a_coordinator()) | of_an_agent()
    assert sorted(named) == sorted(there_are)
    assert set(re.findall(r"turnout_\w+", alerts)) - there_are == set()


def test_metrics_document_gives_the_labels_of_gauges() -> None:
    for name, family in of_a_coordinator().items():
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        if labels:
            row = re.search(rf"`{name}\{{([\w,]+)\}}`", DOCUMENT)
            assert row is not None, name
            assert set(row[1].split(",")) == labels
