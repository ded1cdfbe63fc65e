"""The parts of the specification that are printed from the code: diagrams, tables, figures.

``python -m tests.protocol.specification`` writes them into ``turnout/protocol/README.md``, between
markers that name them; a test compares. Read the diff before you commit it: it is what has changed
for whoever implements or reviews the protocol.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tests.protocol.guard_canaries import GUARD_CANARIES
from tests.protocol.guards import OF_EVERY_ONE, ROWS
from turnout.protocol.activation import ClockEstimate, plan_activation
from turnout.protocol.clock import MS, SECOND, ZERO, ClockNs, Instant, MonotonicNs
from turnout.protocol.election import ELECTION
from turnout.protocol.identifiers import ReplicaId, Term
from turnout.protocol.limits import Timing
from turnout.protocol.messages import Receipt
from turnout.protocol.records import Mode
from turnout.protocol.recovery import CASES
from turnout.protocol.session import SESSION
from turnout.protocol.transitions import PROGRESS, SWITCH, VOTING, TransitionTable

ROOT: Final = Path(__file__).parents[2]
SPECIFICATION: Final = ROOT / "turnout" / "protocol" / "README.md"
TRANSCRIPTS: Final = ROOT / "tests" / "protocol" / "transcripts"

_BLOCK = re.compile(r"(<!-- printed: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->\n)", re.DOTALL)


def _diagram(table: TransitionTable) -> str:
    resets = f"\nFrom any phase to any: {', '.join(table.resets)}.\n" if table.resets else ""
    return f"```mermaid\n{table.mermaid()}```\n{resets}"


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _recovery() -> str:
    rows = [(case.label, f"`{case.action}`") for case in CASES]
    return _table(("journal and proxy say", "action"), rows)


def _guards() -> str:
    """Each transaction with its guards, from the list that ``test_writes.py`` breaks one by one."""
    rows = [("*every one*", " ".join(rule.text for rule in OF_EVERY_ONE), "")]
    for row in ROWS:
        names = ", ".join(f"`{name}`" for name in row.names)
        sentences = [*(rule.text for rule in row.guards), row.besides]
        rows.append((names, " ".join(filter(None, sentences)), row.writes))
    header = ("transaction", "written only if, and what that keeps out", "writes")
    return _table(header, rows)


def _guard_canaries() -> str:
    rows = [
        (canary.name, f"`{canary.transaction}`", canary.hidden_by, canary.number)
        for canary in GUARD_CANARIES
    ]
    return _table(("guard", "of", "hidden by", "without both"), rows)


def _sla() -> str:
    timing = Timing()
    terms = (
        ("2·T_prep", 2 * timing.prepare_timeout_ns, "two leaders, one after the other, wait"),
        ("F", timing.failover_ns, "2 lease times + 2 etcd elections + 1.5 s"),
        ("H", timing.herd_ns, "streams of a lost replica / streams admitted per second"),
        ("G_max", timing.max_g_ns, "longest wait for a scheduled activation"),
        ("1.5·D_max", 3 * timing.max_round_trip_ns // 2, "prepare, vote, decision"),
        ("W", timing.store_write_ns, "one write of etcd"),
        ("V", timing.flip_ns, "flip and probes"),
    )
    assert sum(ns for _, ns, _ in terms) == timing.worst_case_ns
    rows = [(name, _seconds(ns), what) for name, ns, what in terms]
    rows.append(("**sum**", f"**{_seconds(timing.worst_case_ns)}**", "the worst case"))
    rows.append(("budget", _seconds(timing.budget_ns), "what is promised"))
    return _table(("term", "default", "what it is"), rows)


def _seconds(ns: int) -> str:
    return f"{ns / SECOND:g} s"


def _clock_example() -> str:
    """Three exchanges with a leader whose clock is 7010 ms ahead of the agent's monotonic one."""
    estimate, rows = ClockEstimate(), []
    for sent, leader, received in ((0, 7060, 100), (1000, 8016, 1020), (2000, 9025, 2016)):
        receipt = Receipt(
            term=Term(1),
            replica=ReplicaId("c0"),
            echo_ns=MonotonicNs(sent * MS),
            clock_ns=ClockNs(leader * MS),
            wall_ns=0,
        )
        now = ZERO._replace(monotonic_ns=MonotonicNs(received * MS))
        estimate = estimate.observe(receipt, now)
        rows.append(_exchange_row(estimate, (sent, leader, received), now))
    header = ("sent", "leader's clock", "received", "this one says", "all together", "known as")
    return _table(header, rows) + f"\n{_example_plan(estimate, MonotonicNs(2016 * MS))}\n"


def _exchange_row(
    estimate: ClockEstimate, moments: tuple[int, int, int], now: Instant
) -> tuple[str, ...]:
    sent, leader, received = moments
    known = estimate.offset(now.monotonic_ns)
    assert known is not None
    return (
        f"{sent}",
        f"{leader}",
        f"{received}",
        f"[{leader - received}, {leader - sent}]",
        f"[{known.low / MS:.2f}, {known.high / MS:.2f}]",
        f"{known.middle / MS:.2f} ± {known.bound / MS:.2f}",
    )


def _example_plan(estimate: ClockEstimate, at: MonotonicNs) -> str:
    trip, bound = estimate.round_trip_ns, estimate.bound_ns(at)
    assert trip is not None
    assert bound is not None
    plan = plan_activation(Mode.SCHEDULED, [(trip, bound)], Timing(), ZERO)
    room = plan.g_ns - trip - 2 * bound
    return (
        f"This agent's vote says: round trip {trip / MS:g} ms, bound {bound / MS:.2f} ms. Were it the "
        f"farthest and the least sure, G would be {trip / MS:g} + {room / MS:g} + "
        f"2 · {bound / MS:.2f} = {plan.g_ns / MS:.2f} ms."
    )


def _transcripts() -> str:
    """Every golden transcript, with the story that it begins with."""
    lines = []
    for file in sorted(TRANSCRIPTS.glob("*.txt")):
        story, _, _ = file.read_text(encoding="utf-8").partition("\n# Rule")
        title = " ".join(line.removeprefix("# ") for line in story.splitlines())
        lines.append(f"- [`{file.stem}`](../../tests/protocol/transcripts/{file.name}): {title}\n")
    return "".join(lines)


BLOCKS: Final = MappingProxyType[str, Callable[[], str]](
    {
        "switch": lambda: _diagram(SWITCH),
        "vote": lambda: _diagram(VOTING),
        "progress": lambda: _diagram(PROGRESS),
        "election": lambda: _diagram(ELECTION),
        "session": lambda: _diagram(SESSION),
        "guards": _guards,
        "guard-canaries": _guard_canaries,
        "recovery": _recovery,
        "sla": _sla,
        "clock-example": _clock_example,
        "transcripts": _transcripts,
    }
)


def names_in(text: str) -> list[str]:
    """The blocks that a text has markers for, in its order."""
    return [match["name"] for match in _BLOCK.finditer(text)]


def printed(text: str) -> str:
    """The text with every block as the code prints it now."""
    return _BLOCK.sub(lambda match: f"{match[1]}\n{BLOCKS[match['name']]()}\n{match[3]}", text)


if __name__ == "__main__":
    SPECIFICATION.write_text(printed(SPECIFICATION.read_text(encoding="utf-8")), encoding="utf-8")
