"""What Envoy is given for a table, without an Envoy."""

from __future__ import annotations

import ipaddress
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.drivers.base import RETRY_INTERVAL_S, RefusalCode, Refused
from edge_agent.drivers.connections import _remote
from edge_agent.drivers.envoy.bootstrap import bootstrap
from edge_agent.drivers.envoy.files import Files
from edge_agent.drivers.envoy.resources import Loaded, clusters_file, plan, start_page
from edge_agent.drivers.envoy.settings import EnvoySettings
from edge_agent.drivers.matching import owner
from edge_agent.drivers.proxy_folder import check_socket_path
from edge_agent.drivers.version import Version
from edge_agent.request import endpoint_of
from tests.edge_agent.proxy_harness import GREEN, REGION, make_service, make_table
from turnout.protocol.identifiers import Digest, Epoch, Region
from turnout.protocol.records import Active
from turnout.protocol.routing import Backends, RegionBackends, RoutingTable, Weights

SETTINGS = EnvoySettings(region=REGION, state_dir=Path("/state"), listen="0.0.0.0:8080")


def virtual_hosts(table: RoutingTable) -> dict[str, list[dict[str, Any]]]:
    routes = json.loads(plan(Epoch(1), table, SETTINGS).routes(validate=True))
    return {host["name"]: host["routes"] for host in routes["resources"][0]["virtual_hosts"]}


def backends(blue: Backends, green: Backends) -> tuple[RegionBackends, ...]:
    return (RegionBackends(region=REGION, blue=blue, green=green),)


def test_both_colours_are_loaded_and_one_is_sent_to() -> None:
    made = plan(Epoch(1), make_table(make_service()), SETTINGS)
    colours = [name.split("/")[2] for name in made.clusters]
    assert colours == ["blue", "green"]
    assert [name.split("/")[2] for name in made.sends_to] == ["blue"]


def test_cluster_is_named_by_content() -> None:
    def names(*addresses: str) -> set[str]:
        sides = backends(Backends(addresses=addresses), Backends(addresses=("127.0.0.1:2",)))
        return set(plan(Epoch(1), make_table(make_service(backends=sides)), SETTINGS).clusters)

    assert names("127.0.0.1:1") == names("127.0.0.1:1")
    assert len(names("127.0.0.1:1") & names("127.0.0.1:3")) == 1


def test_cluster_of_the_proxys_own_is_referred_to_and_not_loaded() -> None:
    sides = backends(Backends(cluster="theirs"), Backends(addresses=("127.0.0.1:2",)))
    made = plan(Epoch(1), make_table(make_service(backends=sides)), SETTINGS)
    assert made.sends_to == {"theirs"}
    assert [name.split("/")[2] for name in made.clusters] == ["green"]


def test_host_names_are_resolved_and_brackets_taken_off() -> None:
    sides = backends(Backends(addresses=("[::1]:80",)), Backends(addresses=("a.example:80",)))
    made = plan(Epoch(1), make_table(make_service(backends=sides)), SETTINGS)
    kinds = {name.split("/")[2]: dict(made.clusters[name])["type"] for name in made.clusters}  # type: ignore[arg-type]
    assert kinds == {"blue": "STATIC", "green": "STRICT_DNS"}
    assert endpoint_of("[::1]:80") == ("::1", 80)


def test_weights_other_than_all_make_weighted_clusters() -> None:
    (route, _) = virtual_hosts(make_table(make_service(weights=Weights(blue=90, green=10))))[
        "checkout.example"
    ]
    weights = [entry["weight"] for entry in route["route"]["weighted_clusters"]["clusters"]]
    assert weights == [90, 10]
    (route, _) = virtual_hosts(make_table(make_service(weights=Weights.all_to(GREEN))))[
        "checkout.example"
    ]
    assert "/green/" in route["route"]["cluster"]


def test_version_changes_with_incarnation_epoch_table_and_what_is_made_of_it() -> None:
    table = make_table(make_service())
    other_region = EnvoySettings(
        region=Region("us-east-1"), state_dir=Path("/state"), listen="0.0.0.0:8080"
    )
    versions = {
        str(plan(Epoch(1), table, SETTINGS).version),
        str(plan(Epoch(2), table, SETTINGS).version),
        str(plan(Epoch(1), table, SETTINGS).under(2).version),
        str(plan(Epoch(1), table, other_region).version),
        str(plan(Epoch(1), table.switched("checkout", GREEN), SETTINGS).version),
    }
    assert len(versions) == 5


NUMBERS = st.integers(0, 2**63)


@given(NUMBERS, NUMBERS, st.text("0123456789abcdef", max_size=64))
def test_version_is_read_back_as_written(incarnation: int, epoch: int, digest: str) -> None:
    serving = Active(incarnation=incarnation, epoch=Epoch(epoch), digest=Digest(digest))
    version = Version(serving=serving, build="abc")
    assert Version.parse(str(version)) == version


@pytest.mark.parametrize(
    "text", ["", "1:2", "1:a:b", "x:1:a:b", "1:x:a:b", "-1:1:a:b", "1:1:a:b:c", "<html>"]
)
def test_anything_else_is_no_version(text: str) -> None:
    assert Version.parse(text) is None


@pytest.mark.parametrize("validate", [True, False])
def test_routes_file_says_what_it_loaded(validate: bool) -> None:
    made = plan(Epoch(3), make_table(make_service()), SETTINGS).under(2)
    assert Loaded.read(made.routes(validate=validate)) == made.loaded
    assert Loaded.read(start_page().routes(validate=validate)) == Loaded()


def test_answers_are_marked_with_the_plain_epoch_in_whatever_incarnation() -> None:
    made = plan(Epoch(3), make_table(make_service()), SETTINGS).under(2)
    (routes,) = json.loads(made.routes(validate=False))["resources"]
    assert routes["response_headers_to_add"][0]["header"] == {
        "key": "x-turnout-epoch",
        "value": "3",
    }


def test_no_pause_between_tries_is_longer_than_drains_allow_for() -> None:
    (route, _) = virtual_hosts(make_table(make_service()))["checkout.example"]
    longest = route["route"]["retry_policy"]["retry_back_off"]["max_interval"]
    assert float(longest.removesuffix("s")) == RETRY_INTERVAL_S


def test_clusters_file_is_the_same_for_the_same_clusters() -> None:
    clusters = plan(Epoch(1), make_table(make_service()), SETTINGS).clusters
    backwards = {name: clusters[name] for name in reversed(list(clusters))}
    assert clusters_file(clusters) == clusters_file(backwards)


PREFIXES = st.sampled_from(["/", "/a", "/a/", "/a/b", "/ab"])
HOSTS = st.sampled_from(["x.example", "y.example"])


@given(
    st.dictionaries(st.tuples(HOSTS, PREFIXES), st.none(), min_size=1),
    HOSTS,
    st.sampled_from(["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/abc", "/c"]),
)
def test_first_matching_route_is_the_owners(
    matches: dict[tuple[str, str], None], host: str, path: str
) -> None:
    services = [
        make_service(f"s{i}", hosts=(h,), path_prefix=p) for i, (h, p) in enumerate(matches)
    ]
    table = make_table(*services)
    expected = owner(table, host, path)
    routes = virtual_hosts(table).get(host, [])
    first = next((route for route in routes if _matches(route["match"], path)), None)
    marks = (first or {}).get("response_headers_to_add", ())
    names = [m["header"]["value"] for m in marks if m["header"]["key"] == "x-turnout-service"]
    assert names == ([expected.name] if expected else [])


def _matches(match: dict[str, str], path: str) -> bool:
    """How Envoy's documentation of ``prefix`` and ``path_separated_prefix`` reads."""
    if "prefix" in match:
        return path.startswith(match["prefix"])
    separated = match["path_separated_prefix"]
    return path == separated or path.startswith(separated + "/")


def test_bootstrap_listens_for_users_where_told_and_for_nobody_else() -> None:
    config = json.loads(bootstrap(SETTINGS, Files(Path("/state"))))
    live, staging = config["static_resources"]["listeners"]
    assert live["address"]["socket_address"] == {"address": "0.0.0.0", "port_value": 8080}
    assert staging["address"]["pipe"]["path"] == "/state/staging.sock"
    assert config["admin"]["address"]["pipe"] == {"path": "/state/admin.sock", "mode": 0o600}


def test_live_listener_is_asked_on_loopback_where_it_listens_everywhere() -> None:
    assert SETTINGS.asked_at == ("127.0.0.1", 8080)


def test_socket_path_may_have_107_bytes() -> None:
    check_socket_path(Path("/" + "x" * 106))
    with pytest.raises(Refused) as refused:
        check_socket_path(Path("/" + "x" * 107))
    assert refused.value.code is RefusalCode.DISK


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "2001:db8::10"])
def test_remote_address_is_read_as_the_kernel_writes_it(address: str) -> None:
    packed = ipaddress.ip_address(address).packed
    words = [int.from_bytes(packed[i : i + 4], sys.byteorder) for i in range(0, len(packed), 4)]
    text = "".join(f"{word:08X}" for word in words)
    assert _remote(f"{text}:1F90") == (address, 8080)


def test_ipv4_address_inside_ipv6_is_read_as_ipv4() -> None:
    words = (0, 0, int.from_bytes(b"\0\0\xff\xff", sys.byteorder))
    last = int.from_bytes(bytes([10, 0, 0, 1]), sys.byteorder)
    text = "".join(f"{word:08X}" for word in (*words, last))
    assert _remote(f"{text}:0050") == ("10.0.0.1", 80)
