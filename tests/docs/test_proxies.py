"""What ``docs/proxies.md`` shows of ``agent.toml`` is taken by an agent, and each proxy is in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_agent.config import EXAMPLE, PROXIES, parse_settings
from tests.architecture import ROOT

DOCUMENT = (ROOT / "docs" / "proxies.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)
REQUIRED = EXAMPLE.partition("# listen =")[0]


@pytest.mark.parametrize("block", BLOCKS)
def test_configuration_that_is_shown_is_taken(block: str) -> None:
    every_key = re.sub(r"^# (?=\w+ = )", "", block, flags=re.MULTILINE)
    for text in (block, every_key):
        content = (REQUIRED + text).encode()
        given = parse_settings(content, source="agent.toml", folder=Path("/etc"))
        (section,) = [one for proxy in PROXIES if (one := getattr(given, proxy)) is not None]
        assert section.listen == "0.0.0.0:8080"


@pytest.mark.parametrize("proxy", PROXIES)
def test_each_proxy_is_shown_attached(proxy: str) -> None:
    assert any(f"[{proxy}]" in block and f"[{proxy}.attach]" in block for block in BLOCKS)
    assert f"## {proxy}".lower() in DOCUMENT.lower()
