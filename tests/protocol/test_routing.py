from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import given

from tests.protocol.strategies import tables
from turnout.protocol.identifiers import Region, ServiceName, is_digest, is_name
from turnout.protocol.routing import (
    Backends,
    Colour,
    Health,
    RegionBackends,
    RoutingTable,
    Service,
    Weights,
    abandoned_colours,
    changed_services,
    inconsistencies,
)


def in_region(name: str, blue: Backends | None = None) -> RegionBackends:
    return RegionBackends(
        region=Region(name),
        blue=blue or Backends(addresses=("10.0.0.1:80",)),
        green=Backends(cluster="green"),
    )


def service(name: str = "a", **changes: object) -> Service:
    plain = Service(
        name=ServiceName(name),
        hosts=(f"{name or 'nameless'}.example",),
        weights=Weights.all_to(Colour.BLUE),
        backends=(in_region("eu"), in_region("us")),
    )
    return evolve(plain, **changes)  # type: ignore[arg-type]


def table(*services: Service) -> RoutingTable:
    return RoutingTable(services=services)


# --- colours, weights, services -----------------------------------------------------------------


def test_colours_are_each_others_other() -> None:
    assert Colour.BLUE.other is Colour.GREEN
    assert Colour.GREEN.other is Colour.BLUE


@pytest.mark.parametrize("colour", Colour)
def test_all_weight_on_one_colour(colour: Colour) -> None:
    weights = Weights.all_to(colour)
    assert (weights.of(colour), weights.of(colour.other)) == (100, 0)


@pytest.mark.parametrize(
    ("blue", "active"), [(100, Colour.BLUE), (50, Colour.BLUE), (49, Colour.GREEN)]
)
def test_active_colour_has_the_greater_weight(blue: int, active: Colour) -> None:
    assert service(weights=Weights(blue=blue, green=100 - blue)).active is active


def test_service_sends_to_every_colour_with_any_weight() -> None:
    canary = service(weights=Weights(blue=99, green=1))
    assert canary.sends_to(Colour.BLUE)
    assert canary.sends_to(Colour.GREEN)
    assert not service().sends_to(Colour.GREEN)


def test_backends_are_found_by_region_and_colour() -> None:
    found = service().in_region(Region("us"))
    assert found is not None
    assert found.of(Colour.BLUE).addresses == ("10.0.0.1:80",)
    assert found.of(Colour.GREEN).cluster == "green"
    assert service().in_region(Region("mars")) is None


# --- tables ---------------------------------------------------------------------------------------


def test_service_is_found_by_name() -> None:
    assert table(service("a"), service("b")).service("b") == service("b")
    assert table(service("a")).service("b") is None


def test_service_is_put_in_its_place_or_in_place_of_its_namesake() -> None:
    ac = table(service("a"), service("c"))
    assert ac.with_service(service("b")) == table(service("a"), service("b"), service("c"))
    new = service("a", path_prefix="/new")
    assert ac.with_service(new) == table(new, service("c"))
    assert ac.without_service("a") == table(service("c"))


def test_switched_table_differs_in_one_services_weights_only() -> None:
    before = table(service("a"), service("b"))
    after = before.switched("a", Colour.GREEN)
    assert after.service("b") == before.service("b")
    assert after.service("a") == service("a", weights=Weights(blue=0, green=100))


def test_switch_of_an_unknown_service_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="x"):
        table(service("a")).switched("x", Colour.GREEN)


def test_regions_are_those_of_all_services_sorted() -> None:
    only_asia = service("b", backends=(in_region("asia"),))
    assert table(service("a"), only_asia).regions() == ("asia", "eu", "us")


@given(tables)
def test_h2_table_switched_there_and_back_is_the_same_table(before: RoutingTable) -> None:
    name = before.services[0].name
    blue = before.switched(name, Colour.BLUE)
    green = blue.switched(name, Colour.GREEN)
    assert green.digest != blue.digest
    assert green.switched(name, Colour.BLUE).digest == blue.digest
    assert is_digest(blue.digest)


def test_digest_is_computed_once_and_no_part_of_equality() -> None:
    one, two = table(service()), table(service())
    assert one.digest is one.digest
    assert one == two
    assert hash(one) == hash(two)


# --- what differs -----------------------------------------------------------------------------------


def test_changed_services_are_those_new_or_otherwise() -> None:
    before = table(service("a"), service("b"), service("gone"))
    after = table(service("a"), service("b", path_prefix="/x"), service("c"))
    assert [s.name for s in changed_services(before, after)] == ["b", "c"]
    assert changed_services(None, after) == after.services
    assert changed_services(after, after) == ()


def test_flip_abandons_colours_that_get_no_more_requests() -> None:
    both = service("b", weights=Weights(blue=50, green=50))
    before = table(service("a"), both, service("c"), service("same"))
    after = table(
        service("a", weights=Weights.all_to(Colour.GREEN)),
        service("b", weights=Weights.all_to(Colour.BLUE)),
        service("same"),
    )
    assert abandoned_colours(before, after) == (
        ("a", Colour.BLUE),
        ("b", Colour.GREEN),
        ("c", Colour.BLUE),
    )
    assert abandoned_colours(None, after) == ()


@given(tables, tables)
def test_abandoned_colours_are_those_of_the_slow_twin(
    before: RoutingTable, after: RoutingTable
) -> None:
    def sends(which: RoutingTable) -> set[tuple[str, Colour]]:
        return {(s.name, c) for s in which.services for c in Colour if s.sends_to(c)}

    assert set(abandoned_colours(before, after)) == sends(before) - sends(after)


# --- consistency ------------------------------------------------------------------------------------


@given(tables)
def test_consistent_table_has_no_faults(consistent: RoutingTable) -> None:
    assert inconsistencies(consistent) == ()


def test_empty_table_is_never_published() -> None:
    (fault,) = inconsistencies(table())
    assert "the table has no service" in fault


def test_services_out_of_order_or_twice_are_named() -> None:
    assert inconsistencies(table(service("b"), service("a"))) == (
        "the services are not sorted by name",
    )
    twice = inconsistencies(table(service("a"), service("a", path_prefix="/x")))
    assert twice == ("service 'a' is defined 2 times",)


def test_two_services_that_match_the_same_requests_are_named() -> None:
    same_host = service("b", hosts=("a.example",))
    (fault,) = inconsistencies(table(service("a"), same_host))
    assert fault == "host 'a.example' with path_prefix '/' is matched by 2 services"
    other_path = evolve(same_host, path_prefix="/b")
    assert inconsistencies(table(service("a"), other_path)) == ()


def health(**changes: object) -> Health:
    return evolve(Health(), **changes)  # type: ignore[arg-type]


def blue_in_eu(backends: Backends) -> Service:
    return service(backends=(in_region("eu", blue=backends),))


@pytest.mark.parametrize(
    ("faulty", "named"),
    [
        (service(""), "the name must have 1 to 63 characters"),
        (service(hosts=()), "hosts is empty"),
        (service(hosts=("",)), "host '' must be a lower-case host name"),
        (service(hosts=(" a",)), "host ' a' must be"),
        (service(hosts=("A",)), "host 'A' must be"),
        (service(hosts=("a/b",)), "host 'a/b' must be"),
        (service(hosts=("a b",)), "host 'a b' must be"),
        (service(path_prefix=""), "path_prefix '' must begin with '/'"),
        (service(path_prefix="/a b"), "path_prefix '/a b' must"),
        (service(weights=Weights(blue=60, green=60)), "weights 60:60 must be 0 or more and add up"),
        (service(weights=Weights(blue=-1, green=101)), "weights -1:101 must be 0 or more"),
        (service(health=health(path="x")), "health.path 'x' must begin with '/'"),
        (service(health=health(version_path="v")), "health.version_path 'v' must begin with '/'"),
        (service(health=health(timeout_ms=0)), "health.timeout_s 0 must be above 0"),
        (service(health=health(timeout_ms=60_001)), "health.timeout_s 60.001 must be"),
        (service(health=health(min_healthy_percent=-1)), "health.min_healthy -0.01 must be within"),
        (service(health=health(min_healthy_percent=101)), "health.min_healthy 1.01 must be within"),
        (service(drain_timeout_ms=-1), "drain_timeout_s -0.001 must be within 0 and 86400"),
        (service(drain_timeout_ms=86_400_001), "drain_timeout_s 86400 must be within"),
        (service(retain_ms=-1), "retain_s -0.001 must not be negative"),
        (service(path_prefix="/" + 1024 * "x"), "path_prefix has 1025 of at most 1024"),
        (service(hosts=(254 * "a",)), "must have at most 253 characters"),
        (service(hosts=("a.example.",)), "no dot at its end"),
        (service(backends=()), "no region has backends"),
        (service(backends=(in_region("us"), in_region("eu"))), "must be sorted and named once"),
        (service(backends=(in_region("eu"), in_region("eu"))), "must be sorted and named once"),
        (service(backends=(in_region("EU"),)), "region 'EU': a name must have"),
        (blue_in_eu(Backends()), "backends.eu.blue: give either addresses or"),
        (blue_in_eu(Backends(addresses=("a:1",), cluster="c")), "give either addresses or"),
        (blue_in_eu(Backends(cluster=" ")), "the cluster's name is blank"),
        (blue_in_eu(Backends(addresses=("a:1", "a:1"))), "an address is listed twice"),
        *(
            (blue_in_eu(Backends(addresses=(address,))), f"'{address}' must be host:port")
            for address in (
                *("a", ":1", " :1", "a:", "a:x", "a:0", "a:65536", "a:-1", "a:1.5"),
                *("a b:1", "a\n  server evil b:1", "a\x00:1", "ä:1", "a:１"),  # noqa: RUF001
                *("unix@/run/x:1", "unix:/run/x:1", '"a":1', "$HOME:1", "a#b:1", "*:1", "::1:1"),
                *("[::1:1", "[1.2.3.4]:1", "[fe80::1%eth0]:1", "[x]:1", "-a:1", "a.:1", "ipv4@a:1"),
            )
        ),
    ],
)
def test_fault_of_a_service_is_named_with_the_service(faulty: Service, named: str) -> None:
    (fault,) = inconsistencies(table(faulty))
    assert named in fault
    assert fault.startswith(f"service '{faulty.name}': ")


def test_every_fault_is_named() -> None:
    faults = inconsistencies(table(service(hosts=(), path_prefix="x", backends=())))
    assert len(faults) == 3


@pytest.mark.parametrize("text", ["a", "0", "a.b_c-d", "a" * 63])
def test_good_name(text: str) -> None:
    assert is_name(text)


@pytest.mark.parametrize("text", ["", "-a", "a-", "A", "a b", "a/b", "ä", "a" * 64, "a\n"])
def test_bad_name(text: str) -> None:
    assert not is_name(text)


@pytest.mark.parametrize("text", ["", "a" * 63, "a" * 65, "A" * 64, "g" * 64])
def test_bad_digest(text: str) -> None:
    assert not is_digest(text)
