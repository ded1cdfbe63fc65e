"""The table file: what it means, and what is refused with the key's name."""

from __future__ import annotations

from pathlib import Path

import pytest

from turnout.protocol.routing import AfterDrain, Backends, Colour, OnFailure, inconsistencies
from turnout.runtime.config import ConfigError
from turnout.runtime.table_file import EXAMPLE, load_table, parse_table

SMALL = """
[service.checkout]
hosts = ["checkout.example"]
[service.checkout.backends.eu]
blue = ["10.0.0.1:8080"]
green = ["10.0.1.1:8080"]
"""


def faults_of(text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        parse_table(text.encode(), source="table.toml")
    return str(refused.value)


def changed(old: str, new: str) -> str:
    assert old in SMALL
    return SMALL.replace(old, new)


def with_key(line: str) -> str:
    return changed('hosts = ["checkout.example"]', f'hosts = ["checkout.example"]\n{line}')


def test_example_is_a_consistent_table_with_the_defaults_it_names() -> None:
    table = parse_table(EXAMPLE.encode(), source="EXAMPLE")
    assert inconsistencies(table) == ()
    service = table.services[0]
    assert [entry.region for entry in service.backends] == ["eu-west-1", "us-east-1"]
    assert service.backends[1].green == Backends(cluster="checkout-green")


def test_commented_keys_of_the_example_have_the_values_shown() -> None:
    lines = [
        line.removeprefix("# ") if line.startswith("# ") and " = " in line else line
        for line in EXAMPLE.splitlines()
        if "version_path" not in line
    ]
    shown = parse_table("\n".join(lines).encode(), source="EXAMPLE")
    assert shown == parse_table(EXAMPLE.encode(), source="EXAMPLE")


def test_every_key_reaches_the_table() -> None:
    text = with_key(
        """
path_prefix = "/pay"
active = "green"
drain_timeout_s = 2.5
after_drain = "close"
retain_s = 60
on_failure = "hold"
[service.checkout.health]
path = "/ok"
timeout_s = 0.25
min_healthy = 0.5
version_path = "/version"
"""
    )
    service = parse_table(text.encode(), source="table.toml").services[0]
    assert (service.path_prefix, service.active) == ("/pay", Colour.GREEN)
    assert (service.drain_timeout_ms, service.retain_ms) == (2500, 60_000)
    assert (service.after_drain, service.on_failure) == (AfterDrain.CLOSE, OnFailure.HOLD)
    assert (service.health.timeout_ms, service.health.min_healthy_percent) == (250, 50)
    assert (service.health.path, service.health.version_path) == ("/ok", "/version")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (with_key('actve = "blue"'), ["service.checkout.actve", "did you mean", "active"]),
        (with_key('active = "red"'), ["service.checkout.active", '"blue", "green"']),
        (with_key('path_prefix = ""'), ["service.checkout.path_prefix", "blank"]),
        (with_key('path_prefix = "pay"'), ["service.checkout.path_prefix", "begin with '/'"]),
        (with_key("drain_timeout_s = -1"), ["service.checkout.drain_timeout_s", "0 to 86400"]),
        (with_key('drain_timeout_s = "30"'), ["service.checkout.drain_timeout_s", "a number"]),
        (with_key("health = {min_healthy = 2}"), ["health.min_healthy", "from 0 to 1"]),
        (with_key("health = {timeout_s = 0}"), ["health.timeout_s", "from 0.001 to 60"]),
        (changed('["checkout.example"]', "[]"), ["service.checkout.hosts", "at least one host"]),
        (changed('["10.0.0.1:8080"]', "[]"), ["backends.eu.blue", "cluster", "at least one"]),
        (changed('["10.0.0.1:8080"]', '""'), ["backends.eu.blue", "list of addresses"]),
        (changed('["10.0.0.1:8080"]', '["10.0.0.1"]'), ["backends.eu.blue", "host:port"]),
        (changed('["10.0.0.1:8080"]', '{name = "x"}'), ["backends.eu.blue.name", "cluster"]),
        (changed('["10.0.0.1:8080"]', '{cluster = " "}'), ["eu.blue.cluster", "blank"]),
        (changed('green = ["10.0.1.1:8080"]', ""), ["backends.eu.green", "is missing"]),
        (changed("backends.eu", "backends.EU"), ["backends.EU", "lower-case"]),
        ("", ["empty"]),
        ("[service]", ["service", "at least one service"]),
        ("[service.checkout", ["not valid TOML"]),
    ],
)
def test_fault_is_refused_with_the_name_of_the_key(text: str, said: list[str]) -> None:
    message = faults_of(text)
    assert all(word in message for word in ["table.toml", *said]), message


def test_all_faults_are_named_at_once() -> None:
    message = faults_of(with_key('active = "red"\ndrain_timeout_s = -1\nextra = 1'))
    assert "3 faults" in message


def test_two_services_that_match_the_same_requests_are_refused() -> None:
    message = faults_of(
        SMALL + SMALL.replace("checkout]", "basket]").replace("checkout.b", "basket.b")
    )
    assert "matched by 2 services" in message


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: there is no such file"):
        load_table(tmp_path / "nowhere.toml")
