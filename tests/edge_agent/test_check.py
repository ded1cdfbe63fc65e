"""``turnout agent check``: what is missing on a host is found, named, and nothing is touched."""

from __future__ import annotations

import json
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import define
from click.testing import CliRunner, Result

from edge_agent.drivers.base import Finding
from edge_agent.drivers.checking import Trial, look
from tests.edge_agent.proxy_harness import BLUE, RealHarness, free_port
from turnout.cli.main import turnout
from turnout.runtime.key_file import make_key
from turnout.runtime.problems import ExitCode

_AGENT = """\
id = "eu-a"
region = "eu-west-1"
coordinators = ["http://127.0.0.1:{closed}"]
domain_key = "{domain_key}"
key_file = "agent.key"
state_folder = "state"

[{proxy}]
listen = "127.0.0.1:{port}"
{more}
"""


@define
class Host:
    """A folder with an agent's files, as an operator has them before the first start."""

    folder: Path
    proxy: str
    port: int

    def configure(self, more: str = "") -> None:
        text = _AGENT.format(
            closed=free_port(), domain_key="ab" * 32, proxy=self.proxy, port=self.port, more=more
        )
        (self.folder / "agent.toml").write_text(text)

    def check(self, *options: str) -> Result:
        config = str(self.folder / "agent.toml")
        return CliRunner().invoke(turnout, ["agent", "check", "-c", config, *options])

    def findings(self) -> dict[str, dict[str, str]]:
        document = json.loads(self.check("-o", "json").stdout)
        return {finding["what"]: finding for finding in document["findings"]}


@pytest.fixture(params=["envoy", "haproxy", "nginx"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    host = Host(tmp_path, request.param, free_port())
    make_key(tmp_path / "agent.key")
    host.configure()
    return host


def everything_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_host_with_everything_lacks_only_its_coordinators(host: Host) -> None:
    before = everything_below(host.folder)
    findings = host.findings()
    wrong = [what for what, finding in findings.items() if not finding["well"]]
    assert wrong == ["coordinator"]
    assert "version" in findings["binary"]["found"]
    assert "accepts" in findings["configuration"]["found"]
    assert everything_below(host.folder) == before


def test_exit_code_and_table_tell_what_is_not_well(host: Host) -> None:
    result = host.check()
    assert result.exit_code == ExitCode.REFUSED
    assert "not well" in result.stdout
    assert "does not answer" in result.stdout


def test_binary_that_is_missing_is_named(host: Host) -> None:
    host.configure('binary = "/nowhere/proxy"')
    found = host.findings()["binary"]
    assert not found["well"]
    assert "/nowhere/proxy" in found["found"]


def test_address_that_somebody_else_has_is_named(host: Host) -> None:
    with socket.create_server(("127.0.0.1", host.port)):
        found = host.findings()["listen"]
    assert not found["well"]
    assert "already in use" in found["found"]
    assert found["mend"]


def test_key_that_others_can_read_is_named(host: Host) -> None:
    key = host.folder / "agent.key"
    key.chmod(key.stat().st_mode | stat.S_IRGRP)
    found = host.findings()["key"]
    assert not found["well"]


def test_file_that_is_no_configuration_is_an_error_without_a_traceback(host: Host) -> None:
    (host.folder / "agent.toml").write_text("id = 7\n")
    result = host.check()
    assert result.exit_code == ExitCode.REFUSED
    assert "agent.toml" in result.output
    assert "Traceback" not in result.output


def test_state_folder_with_too_long_a_path_is_named(host: Host) -> None:
    host.configure(f'state_dir = "{"x" * 100}"')
    found = host.findings()["sockets"]
    assert not found["well"]
    assert "shorter" in found["found"]


async def test_running_proxy_is_found_with_what_it_serves(real: RealHarness) -> None:
    await real.serve(3, real.table(BLUE))
    findings = {finding.what: finding for finding in await real.driver.check()}
    assert f"process {real.pid} runs and serves epoch 3" in findings["process"].found
    assert all(finding.is_well for finding in findings.values())


def test_nginx_without_its_module_is_refused_in_its_words(tmp_path: Path) -> None:
    host = Host(tmp_path, "nginx", free_port())
    make_key(tmp_path / "agent.key")
    host.configure('modules_dir = "/nowhere"')
    found = host.findings()["configuration"]
    assert not found["well"]
    assert "/nowhere/ndk_http_module.so" in found["found"]


@pytest.fixture
def fake_proxy(real: RealHarness, tmp_path: Path) -> Callable[[str], Trial]:
    """A proxy that says another version of itself."""

    def made(version: str) -> Trial:
        binary = tmp_path / "proxy"
        binary.write_text(f"#!/bin/sh\necho version {version}\n")
        binary.chmod(0o755)
        return Trial(
            settings=real.settings,
            folder=real.files,
            find_binary=lambda: binary,
            least=(2, 6),
            version_arguments=(),
            version=r"version (\d+\.\d+)",
            prepare=lambda _folder: (),
            reaches_into=False,
        )

    return made


@pytest.mark.parametrize(
    ("version", "is_well"), [("2.6.0", True), ("2.10.1", True), ("2.4", False)]
)
async def test_version_that_is_too_old_is_named(
    fake_proxy: Callable[[str], Trial], tmp_path: Path, version: str, is_well: bool
) -> None:
    findings: list[Finding] = await look(fake_proxy(version), tmp_path)
    assert findings[0].is_well == is_well
    assert bool(findings[0].mend) != is_well
