from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture import ROOT, RULES, Rule, source_files

every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)


@every_rule
def test_project_keeps_the_rule(rule: Rule) -> None:
    broken = []
    for path in source_files():
        relative = path.relative_to(ROOT)
        if rule.holds_for(relative):
            broken += rule.violations(relative, path.read_text(encoding="utf-8", errors="replace"))
    assert not broken, "\n".join([f"{rule.name}:", *broken])


@every_rule
def test_rule_fails_on_its_bad_sample(rule: Rule) -> None:
    path, text = rule.bad
    assert rule.violations(Path(path), text)


@every_rule
def test_rule_passes_its_good_sample(rule: Rule) -> None:
    path, text = rule.good
    assert rule.violations(Path(path), text) == []


def test_source_files_are_the_project_and_nothing_that_tools_made() -> None:
    found = {path.relative_to(ROOT).as_posix() for path in source_files()}
    assert {"pyproject.toml", ".ci/run", "turnout/__init__.py", "tests/architecture.py"} <= found
    assert not any(path.startswith((".venv/", ".git/")) or "__pycache__" in path for path in found)
