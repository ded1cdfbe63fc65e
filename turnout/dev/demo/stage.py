"""What an act of the demo has at hand, and what it leaves behind."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from attrs import define, field

from turnout.cli.switch_view import SwitchView, view_of
from turnout.dev.fleet import Fleet
from turnout.dev.observations import Requests, total_of
from turnout.dev.traffic import Traffic

SETTLE_S = 1.5
"""How long an act goes on after its last deed, so that what it leads to is seen."""


@define(kw_only=True)
class ActReport:
    """What an act did, whether each of its promises held, and what users saw of it."""

    name: str
    switches: list[dict[str, Any]] = field(factory=list)
    checks: list[tuple[str, bool]] = field(factory=list)
    notes: list[str] = field(factory=list)
    requests: dict[str, Requests] = field(factory=dict)
    serving: dict[str, str] = field(factory=dict)
    rate_per_s: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether everything was as promised."""
        return all(held for _, held in self.checks)

    @property
    def switch(self) -> SwitchView | None:
        """The act's last switch."""
        return view_of(self.switches[-1]) if self.switches else None

    @property
    def total(self) -> Requests:
        """The requests of all regions."""
        return total_of(self.requests)

    def promise(self, text: str, held: bool) -> None:
        """Notes a promise, and whether it was kept."""
        self.checks.append((text, held))

    def document(self) -> dict[str, Any]:
        """The act as JSON (DESIGN.md section 9, "Demo")."""
        total = self.total
        return {
            "name": self.name,
            "ok": self.ok,
            "switches": self.switches,
            "requests": {
                "sent": total.sent,
                "failed": total.failed,
                "misrouted": total.misrouted,
                "on_new_connections": total.on_new_connections,
                "slow": total.slow,
                "per_s": round(self.rate_per_s),
            },
            "checks": [{"promise": text, "held": held} for text, held in self.checks],
            "notes": self.notes,
        }


@define(kw_only=True)
class Stage:
    """The fleet and the traffic, and the commands that an operator would type."""

    fleet: Fleet
    traffic: Traffic
    say: Callable[[str], None]

    async def turnout(self, report: ActReport, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Runs the command as an operator would; returns its exit code and its JSON."""
        self.say(f"  $ {shlex.join(('turnout', *arguments))}")
        ended = await self.fleet.turnout(*arguments)
        if not ended.document:
            report.notes.append(ended.said)
        return ended.code, ended.document
