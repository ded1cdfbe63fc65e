"""The style of the house as rules over source text, for ``test_architecture.py``.

Each rule looks at one file and says, line by line, what breaks it. A ban names its replacement, because
a reader who is only told "no" looks for a way round. What ruff, mypy and import-linter can check is
checked there (``pyproject.toml``); these are the rules that need our own words or our own rooms.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import attrs

ROOT: Final = Path(__file__).parent.parent

MAX_FILE_LINES: Final = 600
MAX_FUNCTION_LINES: Final = 70

# All that a pure machine needs. A module not in this list either does something (reads a clock, opens a
# file) or has not been thought about yet.
PROTOCOL_MAY_IMPORT: Final = frozenset(
    {
        "__future__", "abc", "attrs", "base64", "binascii", "bisect", "cattrs", "collections",
        "cryptography", "enum", "fractions", "functools", "hashlib", "heapq", "hmac", "ipaddress",
        "itertools", "json", "math", "nacl", "operator", "orjson", "re", "string", "struct", "textwrap", "turnout",
        "types", "typing", "unicodedata", "zlib",
    }
)  # fmt: skip

Violation = tuple[int, str]


@attrs.frozen(kw_only=True)
class Rule:
    """One rule: the files it holds for, how it finds violations, and samples of both kinds.

    ``bad`` and ``good`` are (path, text) pairs, which the tests feed to the rule: a rule that cannot
    fail is worth nothing, and one that fails good code is worth less.
    """

    name: str
    holds_for: Callable[[Path], bool]
    find: Callable[[Path, str], Iterator[Violation]]
    bad: tuple[str, str]
    good: tuple[str, str]

    def violations(self, path: Path, text: str) -> list[str]:
        """What breaks the rule in the file at ``path`` (relative to the root), as lines to print."""
        if not self.holds_for(path):
            return []
        return [f"{path}:{line}: {what}" for line, what in self.find(path, text)]


def is_python(path: Path) -> bool:
    return path.suffix == ".py"


def in_rooms(*rooms: str) -> Callable[[Path], bool]:
    """Python files below any of these folders."""
    return lambda path: is_python(path) and any(path.is_relative_to(room) for room in rooms)


def everywhere_but(*places: str) -> Callable[[Path], bool]:
    """Python files, but for those at or below these paths."""
    return lambda path: is_python(path) and not any(path.is_relative_to(p) for p in places)


def long_file(_path: Path, text: str) -> Iterator[Violation]:
    length = len(text.splitlines())
    if length > MAX_FILE_LINES:
        yield (
            1,
            f"{length} lines, at most {MAX_FILE_LINES}: find the second noun and give it a file",
        )


def long_functions(_path: Path, text: str) -> Iterator[Violation]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield (
                    node.lineno,
                    f"{node.name} has {length} lines, at most {MAX_FUNCTION_LINES}: name its parts",
                )


def imported_modules(text: str) -> Iterator[tuple[int, str]]:
    """Every absolute import: its line and the module's whole name."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def imports_of(banned: str, replacement: str) -> Callable[[Path, str], Iterator[Violation]]:
    """Finds imports of a module, of anything in it, and of anything below it."""

    def find(_path: Path, text: str) -> Iterator[Violation]:
        lines = {
            line
            for line, module in imported_modules(text)
            if module == banned or module.startswith(f"{banned}.")
        }
        yield from ((line, f"imports {banned}: {replacement}") for line in sorted(lines))

    return find


def calls_of(banned: str, replacement: str) -> Callable[[Path, str], Iterator[Violation]]:
    """Finds calls by the written name, such as ``print`` or ``time.sleep``."""

    def find(_path: Path, text: str) -> Iterator[Violation]:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == banned:
                yield node.lineno, f"calls {banned}: {replacement}"

    return find


def hash_calls(_path: Path, text: str) -> Iterator[Violation]:
    tree = ast.parse(text)
    inside_dunder = {
        node
        for method in ast.walk(tree)
        if isinstance(method, ast.FunctionDef) and method.name == "__hash__"
        for node in ast.walk(method)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or node in inside_dunder:
            continue
        if ast.unparse(node.func) == "hash":
            yield node.lineno, "calls hash: it differs between processes; compare digests"


def impure_imports(_path: Path, text: str) -> Iterator[Violation]:
    remedy = "let an event bring in what it must know, and return an effect for what must be done"
    for line, module in imported_modules(text):
        if module.partition(".")[0] not in PROTOCOL_MAY_IMPORT:
            yield line, f"imports {module}, but the protocol only decides: {remedy}"


def lines_matching(pattern: str, what: str) -> Callable[[Path, str], Iterator[Violation]]:
    """Finds lines in which a regular expression matches."""
    compiled = re.compile(pattern)

    def find(_path: Path, text: str) -> Iterator[Violation]:
        for number, line in enumerate(text.splitlines(), start=1):
            if match := compiled.search(line):
                yield number, f"{match.group()!r} {what}"

    return find


RULES: Final = (
    Rule(
        name="a file holds one noun",
        holds_for=is_python,
        find=long_file,
        bad=("turnout/a.py", "x = 1\n" * (MAX_FILE_LINES + 1)),
        good=("turnout/a.py", "x = 1\n" * MAX_FILE_LINES),
    ),
    Rule(
        name="a function can be read at once",
        holds_for=is_python,
        find=long_functions,
        bad=("turnout/a.py", "def f():\n" + "    x = 1\n" * MAX_FUNCTION_LINES),
        good=("turnout/a.py", "async def f():\n" + "    x = 1\n" * (MAX_FUNCTION_LINES - 1)),
    ),
    Rule(
        name="the protocol is pure",
        holds_for=in_rooms("turnout/protocol"),
        find=impure_imports,
        bad=("turnout/protocol/a.py", "from time import monotonic_ns\n"),
        good=("turnout/protocol/a.py", "import attrs\nfrom collections.abc import Mapping\n"),
    ),
    Rule(
        name="no order depends on hash()",
        holds_for=in_rooms("turnout/protocol", "simulator"),
        find=hash_calls,
        bad=("simulator/a.py", "order = hash(name)\n"),
        good=("simulator/a.py", "def __hash__(self):\n    return hash(self.items)\n"),
    ),
    Rule(
        name="randomness has one source",
        holds_for=everywhere_but("simulator/randomness.py", "tests"),
        find=imports_of(
            "random",
            "the machines take randomness from events, the shells from `secrets`, simulator, chaos"
            " and bench from simulator.randomness with a printed seed",
        ),
        bad=("chaos/a.py", "from random import Random\n"),
        good=("simulator/randomness.py", "from random import Random\n"),
    ),
    Rule(
        name="nothing sleeps in a thread",
        holds_for=everywhere_but("chaos", "tests/chaos"),
        find=calls_of(
            "time.sleep",
            "wait for a condition, or use trio.sleep (under trio's MockClock in tests)",
        ),
        bad=("tests/runtime/test_a.py", "import time\ntime.sleep(1)\n"),
        good=("tests/runtime/test_a.py", "await trio.sleep(1)\n"),
    ),
    Rule(
        name="concurrency is trio's",
        holds_for=is_python,
        find=imports_of("asyncio", "use trio"),
        bad=("edge_agent/a.py", "import asyncio\n"),
        good=("edge_agent/a.py", "import trio\n"),
    ),
    Rule(
        name="only commands print",
        holds_for=everywhere_but("turnout/cli", "bench"),
        find=calls_of("print", "log through turnout.runtime.log, or return the text"),
        bad=("coordinator/a.py", "print('leader')\n"),
        good=("turnout/cli/a.py", "print('leader')\n"),
    ),
    Rule(
        name="values are attrs classes",
        holds_for=is_python,
        find=imports_of("dataclasses", "use attrs.frozen(kw_only=True)"),
        bad=("turnout/a.py", "from dataclasses import dataclass\n"),
        good=("turnout/a.py", "import attrs\n"),
    ),
    Rule(
        name="fakes are real implementations",
        holds_for=is_python,
        find=imports_of(
            "unittest", "use the fake that ships beside the real thing and passes its contract test"
        ),
        bad=("tests/test_a.py", "from unittest.mock import Mock\n"),
        good=("tests/test_a.py", "from turnout.runtime.store.memory import MemoryStore\n"),
    ),
    Rule(
        name="work is finished",
        holds_for=lambda path: path.suffix in {".py", ".sh", ".toml"} or path.name == "Makefile",
        find=lines_matching(
            r"\b(?:TO(?:DO)|FIX(?:ME)|X{3}|HA(?:CK)|for[ ]now)\b",
            "marks unfinished work: finish it, or say what is not done in the documents",
        ),
        bad=("turnout/a.py", "x = 1  # \x54ODO: measure\n"),
        good=("turnout/a.py", "x = 1  # measured: see bench/phases.py\n"),
    ),
    Rule(
        name="no path or host of one machine",
        holds_for=lambda _path: True,
        find=lines_matching(
            r"(?<![\w.~-])/(?:root|home/\w+|Users/\w+|work|mnt)/|\bpypi[.]org\b|\bpythonhosted[.]",
            "exists on somebody's machine only: use a path relative to the project or tmp_path",
        ),
        bad=("docs/a.md", "see \x2fwork/main/README.md\n"),
        good=("docs/a.md", "see turnout/work/README.md\n"),
    ),
)


def source_files(folder: Path = ROOT) -> Iterator[Path]:
    """Every file of the project; nothing that git or a tool has made."""
    for entry in sorted(folder.iterdir()):
        hidden = entry.name.startswith(".") and entry.name not in {".ci", ".gitignore"}
        made = entry.name in {"__pycache__", "build"} or entry.suffix == ".egg-info"
        if hidden or made:
            continue
        if entry.is_dir():
            yield from source_files(entry)
        else:
            yield entry
