"""What the documents tell a reader to type, write and follow is right."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from coordinator.config import load_settings
from edge_agent.config import parse_settings
from tests.architecture import ROOT
from turnout.cli.main import turnout
from turnout.runtime.table_file import parse_table

README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [
    path
    for path in (
        *ROOT.glob("*.md"),
        *ROOT.glob("*/*.md"),
        *ROOT.glob("turnout/*/*.md"),
        *ROOT.glob("simulator/*/*.md"),
    )
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
]
COMMANDS = [
    line.removeprefix("$ ").partition(" #")[0].removesuffix("&").strip()
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ ")
]
FILES = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)


def test_readme_shows_three_files_and_the_commands_of_a_first_switch() -> None:
    shown = " ".join(COMMANDS)
    wanted = ("domain init", "agent keygen", "agents add", "serve", "agent run", "apply -f")
    assert [command for command in wanted if f"turnout {command}" not in shown] == []
    assert len(FILES) == len(["coordinator.toml", "agent.toml", "table.toml"])


@pytest.mark.parametrize("line", [c for c in COMMANDS if c.startswith("turnout ")])
def test_command_in_the_readme_is_one(line: str) -> None:
    command: click.Command = turnout
    words = shlex.split(line)[1:]
    context = click.Context(command)
    while isinstance(command, click.Group) and words:
        _, found, words = command.resolve_command(context, words)
        assert found is not None
        command = found
    command.make_context(line, words, parent=context)


@pytest.mark.parametrize("line", [c for c in COMMANDS if c.startswith("make ")])
def test_target_in_the_readme_is_one(line: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"\n{line.split()[1]}:" in makefile


def test_files_in_the_readme_are_accepted(tmp_path: Path) -> None:
    coordinator, agent, table = FILES
    (tmp_path / "coordinator.toml").write_text(coordinator, encoding="utf-8")
    replica = load_settings(tmp_path / "coordinator.toml")
    edge = parse_settings(agent.encode(), source="README.md", folder=tmp_path)
    (service,) = parse_table(table.encode(), source="README.md").services
    assert edge.coordinators == (f"http://{replica.listen}",)
    assert service.in_region(edge.region) is not None


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)|^\[\w+\]: (\S+)$", text, re.MULTILINE)
    broken = [link for link in ("".join(pair) for pair in links) if not leads_somewhere(path, link)]
    assert broken == []


def leads_somewhere(path: Path, link: str) -> bool:
    """Whether a relative link's file exists, with the heading that it names."""
    if link.startswith(("http://", "https://")):
        return True
    file, _, anchor = link.partition("#")
    target = (path.parent / file) if file else path
    return target.exists() and (not anchor or anchor in anchors_of(target))


def anchors_of(path: Path) -> set[str]:
    """The anchors that a code host makes of a document's headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}
