"""The scenarios that come along, by name."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

_FOLDER = Path(__file__).parent / "scenarios"


class NoSuchScenarioError(ValueError):
    """Neither a file nor a scenario that comes along."""


def shipped() -> Mapping[str, Path]:
    """Every scenario that comes along: its name and its file, by name."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.toml"))}


def find(name_or_path: str) -> Path:
    """The file that is meant: one that is there, or a shipped scenario's."""
    path, known = Path(name_or_path), shipped()
    if name_or_path in known:
        return known[name_or_path]
    if path.exists() or path.suffix == ".toml":
        return path
    near = get_close_matches(name_or_path, known, n=1)
    meant = f"; did you mean {near[0]}?" if near else "; `turnout sim list` lists what there is"
    raise NoSuchScenarioError(f"{name_or_path} is neither a file nor a shipped scenario{meant}")
