from __future__ import annotations

import pytest
from attrs import evolve

from edge_agent.probe import PROBES_IN_A_ROW, NotProven, probe_requests
from tests.edge_agent.proxy_harness import make_service, make_table


def paths(prefix: str, health_path: str) -> set[str]:
    service = make_service(path_prefix=prefix)
    service = evolve(service, health=evolve(service.health, path=health_path))
    return {request.path for request in probe_requests(make_table(service), service)}


def test_probe_uses_the_health_path_where_it_lies_below_the_prefix() -> None:
    assert paths("/", "/healthz") == {"/healthz"}
    assert paths("/api", "/api/health?deep=0") == {"/api/health?deep=0"}


def test_probe_appends_the_health_path_to_another_prefix() -> None:
    assert paths("/api", "/healthz") == {"/api/healthz"}
    assert paths("/api/", "/healthz") == {"/api/healthz"}


def test_probe_avoids_a_neighbour_with_a_longer_prefix() -> None:
    site = make_service("site", hosts=("a.example",))
    neighbour = make_service("health", hosts=("a.example",), path_prefix="/healthz")
    requests = probe_requests(make_table(site, neighbour), site)
    assert {request.path for request in requests} == {"/turnout-probe"}


def test_probe_covers_every_host_and_makes_names_of_patterns() -> None:
    hosts = ("a.example", "*.b.example", "*", "c.*")
    service = make_service(hosts=hosts)
    requests = probe_requests(make_table(service), service)
    asked = [request.host for request in requests]
    assert asked == ["a.example", "turnout-probe.b.example", "turnout-probe", "c.turnout-probe"]


def test_probe_of_one_host_is_repeated() -> None:
    service = make_service()
    assert len(probe_requests(make_table(service), service)) == PROBES_IN_A_ROW


def test_service_that_no_path_reaches_is_not_proven() -> None:
    hidden = make_service("hidden", hosts=("a.example",))
    neighbours = [
        make_service(f"n{i}", hosts=("a.example",), path_prefix=prefix)
        for i, prefix in enumerate(("/healthz", "/turnout-probe"))
    ]
    with pytest.raises(NotProven, match="no path below '/'"):
        probe_requests(make_table(hidden, *neighbours), hidden)
