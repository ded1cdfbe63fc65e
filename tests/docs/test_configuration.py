"""``docs/configuration.md`` names every key of every file, with its default."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest

from coordinator.config import (
    CoordinatorSettings,
    EtcdSettings,
    EtcdTlsSettings,
    LogSettings,
)
from edge_agent.config import (
    AgentSettings,
    EnvoyAttached,
    EnvoySection,
    HAProxyAttached,
    HAProxySection,
    NginxAttached,
    NginxSection,
)
from edge_agent.config import TimingSettings as AgentTiming
from tests.architecture import ROOT
from turnout.protocol.timing_settings import TimingSettings
from turnout.runtime import table_file
from turnout.runtime.tls import TlsFiles

DOCUMENT = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
SECTIONS: list[tuple[str, str, type[attrs.AttrsInstance]]] = [
    ("## `coordinator.toml`", "", CoordinatorSettings),
    ("## `coordinator.toml`", "### `[etcd]`", EtcdSettings),
    ("## `coordinator.toml`", "### `[etcd.tls]`", EtcdTlsSettings),
    ("## `coordinator.toml`", "### `[timing]`", TimingSettings),
    ("## `coordinator.toml`", "### `[log]`", LogSettings),
    ("## `agent.toml`", "", AgentSettings),
    ("## `agent.toml`", "### `[timing]`", AgentTiming),
    ("## `agent.toml`", "### `[envoy]`", EnvoySection),
    ("## `agent.toml`", "### `[envoy.attach]`", EnvoyAttached),
    ("## `agent.toml`", "### `[haproxy]`", HAProxySection),
    ("## `agent.toml`", "### `[haproxy.attach]`", HAProxyAttached),
    ("## `agent.toml`", "### `[nginx]`", NginxSection),
    ("## `agent.toml`", "### `[nginx.attach]`", NginxAttached),
    ("## `agent.toml`", "### `[tls]`", TlsFiles),
    ("## The table file", "### `[service.NAME]`", table_file._ServiceTable),
    ("## The table file", "### `[service.NAME.health]`", table_file._HealthTable),
    ("## The table file", "### `[service.NAME.backends.REGION]`", table_file._RegionTable),
]


def rows_of(file: str, section: str) -> dict[str, str]:
    """Keys and what their column of defaults says, in one section of one file's chapter."""
    chapter = re.split(r"^## ", DOCUMENT[DOCUMENT.index(file) + 3 :], flags=re.MULTILINE)[0]
    place = chapter[chapter.index(section) + len(section) :] if section else chapter
    body = re.split(r"^###? ", place, flags=re.MULTILINE)[0]
    found: dict[str, str] = {}
    for keys, default in re.findall(r"^\| (`[^|]*`) \| ([^|]*) \|", body, re.MULTILINE):
        found |= dict.fromkeys(re.findall(r"`(\w+)`", keys), default.strip())
    return found


def is_section(field: attrs.Attribute[object]) -> bool:
    """Whether a field is a section of its own, and not a key."""
    return field.name in {
        *("etcd", "timing", "log", "tls", "health", "backends"),
        *("envoy", "haproxy", "nginx", "attach"),
    }


@pytest.mark.parametrize(("file", "section", "cls"), SECTIONS, ids=lambda value: str(value)[-30:])
def test_configuration_document_names_every_key_and_no_other(
    file: str, section: str, cls: type[attrs.AttrsInstance]
) -> None:
    keys = {field.name for field in attrs.fields(cls) if not is_section(field)}
    assert set(rows_of(file, section)) == keys


@pytest.mark.parametrize(("file", "section", "cls"), SECTIONS, ids=lambda value: str(value)[-30:])
def test_configuration_document_gives_the_defaults(
    file: str, section: str, cls: type[attrs.AttrsInstance]
) -> None:
    rows = rows_of(file, section)
    for field in attrs.fields(cls):
        if is_section(field):
            continue
        said = rows[field.name]
        if field.default is attrs.NOTHING:
            assert said == "required", field.name
        elif isinstance(field.default, str):
            assert said == f'`"{field.default}"`', field.name
        elif isinstance(field.default, Path):
            assert said == f"`{field.default}`", field.name
        elif field.default is not None:
            assert float(said) == field.default, field.name


def test_every_section_of_every_file_has_a_heading() -> None:
    headings = re.findall(r"^### `(\[.*\])`$", DOCUMENT, re.MULTILINE)
    wanted = [section.removeprefix("### ").strip("`") for _, section, _ in SECTIONS if section]
    assert sorted(headings) == sorted(wanted)
