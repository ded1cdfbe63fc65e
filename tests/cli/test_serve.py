from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from turnout.runtime.key_file import make_key

COMMAND = (sys.executable, "-m", "turnout.cli.main", "serve", "--config")


def test_serve_without_its_configuration_is_refused_with_a_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, tmp_path / "none.toml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "none.toml" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_serve_logs_json_lines_where_nobody_looks_and_ends_on_sigterm(tmp_path: Path) -> None:
    make_key(tmp_path / "domain.key")
    config = tmp_path / "coordinator.toml"
    config.write_text(
        'domain = "prod"\nreplica = "c1"\nlisten = "127.0.0.1:0"\n'
        f'domain_key = "{tmp_path / "domain.key"}"\n'
        '[etcd]\nendpoints = ["127.0.0.1:1"]\n'
    )
    with subprocess.Popen([*COMMAND, config], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            lines = (json.loads(line) for line in process.stderr)
            assert any(line["event"] == "serving" for line in lines)
        finally:
            process.terminate()
        assert process.wait(timeout=30) == 0


@pytest.mark.parametrize("daemon", [("serve",), ("agent", "run")])
def test_daemon_starts_without_what_only_people_are_shown(
    daemon: tuple[str, ...], tmp_path: Path
) -> None:
    """rich comes along with structlog and httpx, unless it is kept out."""
    imported, said = start(*daemon, "--config", str(tmp_path / "none.toml"))
    assert "none.toml" in said
    assert "structlog" in imported
    assert "rich.text" not in imported


def test_command_starts_without_what_only_a_server_needs() -> None:
    imported, said = start("switch", "checkout", "--to", "green")
    assert "Where are the coordinators?" in said
    assert "httpx" in imported
    assert "starlette" not in imported


def start(*arguments: str) -> tuple[set[str], str]:
    """The modules that a command imported until it ended, and what it said."""
    code = (
        "import sys, turnout.cli.main as command\n"
        "try:\n    command.main()\n"
        "finally:\n    print(*sys.modules)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TURNOUT_COORDINATORS"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    return set(done.stdout.split()), done.stderr
