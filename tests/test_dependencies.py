"""The declared dependencies, the locks and the document about them say the same."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.architecture import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUNTIME = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
EXTRAS = PROJECT["project"]["optional-dependencies"]
DEVELOPMENT = [Requirement(line) for line in (*EXTRAS["dev"], *EXTRAS["sim"])]
BUILD = [Requirement(line) for line in PROJECT["build-system"]["requires"]]


def locked_versions(lock: str) -> dict[str, Version]:
    text = (ROOT / "requirements" / lock).read_text(encoding="utf-8")
    pins = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", text, re.MULTILINE)
    return {canonicalize_name(name): Version(version) for name, version in pins}


@pytest.mark.parametrize(
    ("lock", "declared"),
    [
        ("build.lock", BUILD),
        ("runtime.lock", RUNTIME),
        ("dev.lock", RUNTIME + DEVELOPMENT),
    ],
)
def test_lock_holds_a_fitting_version_of_everything_declared(
    lock: str, declared: list[Requirement]
) -> None:
    locked = locked_versions(lock)
    unfit = [
        str(requirement)
        for requirement in declared
        if (version := locked.get(canonicalize_name(requirement.name))) is None
        or version not in requirement.specifier
    ]
    assert not unfit, f"{lock} is out of date, run `make lock`: {unfit}"


def test_locks_agree_on_every_version() -> None:
    dev = locked_versions("dev.lock")
    for lock in ("build.lock", "runtime.lock"):
        for name, version in locked_versions(lock).items():
            assert dev[name] == version, f"{lock} has another {name}; run `make lock`"


def test_every_locked_file_has_a_hash_and_no_lock_names_where_it_came_from() -> None:
    for lock in (ROOT / "requirements").glob("*.lock"):
        text = lock.read_text(encoding="utf-8")
        pins = re.findall(r"^\S+==\S+(.*)$", text, re.MULTILINE)
        assert pins, f"{lock.name} is empty"
        assert all(rest.strip() == "\\" for rest in pins), f"{lock.name}: a pin without a hash"
        assert not re.search(r"://|--(?:index-url|find-links|trusted-host)", text), lock.name


def test_every_direct_dependency_earns_its_line_in_the_document() -> None:
    document = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)`", document, re.MULTILINE)
    explained = {canonicalize_name(name) for name in rows}
    declared = {canonicalize_name(r.name) for r in RUNTIME + DEVELOPMENT + BUILD}
    assert declared - explained == set(), "no line in docs/dependencies.md"
    assert {name for name in explained if name in locked_versions("dev.lock")} == declared
