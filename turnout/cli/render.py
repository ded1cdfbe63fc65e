"""What people see: tables of agents, services and history, and the words for times and phases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich import box
from rich.table import Table
from rich.text import Text

from turnout.cli.switch_view import AgentView, SwitchView
from turnout.protocol.records import OutcomeKind

GOOD, BAD, WAITING, QUIET = "green", "bold red", "yellow", "dim"
_COLOURS = {"blue": "blue", "green": "green"}
_OUTCOME_STYLE = {
    OutcomeKind.LIVE: GOOD,
    OutcomeKind.PARTIAL: WAITING,
    OutcomeKind.ABORTED: BAD,
    OutcomeKind.ROLLED_BACK: BAD,
}


def table(*columns: str, rows: Iterable[Sequence[str | Text]] = (), title: str = "") -> Table:
    """A plain table: headings, no lines."""
    made = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        title=title or None,
        title_justify="left",
        title_style="bold",
    )
    for column in columns:
        made.add_column(column, no_wrap=column != "REASON", overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def colour(name: str | None) -> Text:
    """A colour's name in its colour."""
    return Text(name or "-", style=_COLOURS.get(name or "", QUIET))


def outcome(switch: SwitchView) -> Text:
    """The outcome, or the phase that it is in."""
    if switch.outcome is None:
        return Text(switch.phase, style=WAITING)
    words = {
        OutcomeKind.LIVE: "live everywhere",
        OutcomeKind.PARTIAL: "partial: committed, but not live everywhere",
        OutcomeKind.ABORTED: "aborted: nothing changed",
        OutcomeKind.ROLLED_BACK: "rolled back",
    }
    return Text(words[switch.outcome], style=_OUTCOME_STYLE[switch.outcome])


def clock_time(moment: str | None) -> str:
    """The local time of day of an ISO 8601 moment, to the millisecond."""
    if moment is None:
        return "-"
    return parsed(moment).astimezone().strftime("%H:%M:%S.%f")[:-3]


def date_time(moment: str | None) -> str:
    """The local date and time of an ISO 8601 moment, to the second."""
    if moment is None:
        return "-"
    return parsed(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def parsed(moment: str) -> datetime:
    """An ISO 8601 moment; one without a zone is in UTC."""
    value = datetime.fromisoformat(moment)
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def duration(seconds: float | None) -> str:
    """A duration as people say it."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 100:  # noqa: PLR2004 - below that a tenth of a second is worth its place
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def after(accepted_at: str | None, moment: str | None) -> str:
    """How long after the request was accepted something happened."""
    if accepted_at is None or moment is None:
        return "-"
    return "+" + duration(max(0.0, (parsed(moment) - parsed(accepted_at)).total_seconds()))


def vote(agent: AgentView) -> Text:
    """An agent's vote; who has not been asked has none."""
    if agent.vote == "yes":
        return Text("yes", style=GOOD)
    if agent.vote == "no":
        return Text("no", style=BAD)
    return Text(agent.vote or "-", style=QUIET)


def drain(agent: AgentView, switch: SwitchView) -> Text:
    """How far an agent's drain is; a 0 that was not yet read twice is no end."""
    if agent.in_flight is None:
        return Text("-", style=QUIET)
    if agent.drained or switch.is_drained:
        return Text(f"{agent.in_flight} left" if agent.in_flight else "empty", style=GOOD)
    return Text(f"{agent.in_flight} in flight" if agent.in_flight else "draining", style=WAITING)


def agents_of(switch: SwitchView) -> Table:
    """One line an agent: what each of them did."""
    rows = [
        (
            region,
            agent.agent,
            agent.standing,
            vote(agent),
            after(switch.accepted_at, agent.flipped_at),
            after(switch.accepted_at, agent.live_at),
            drain(agent, switch),
            agent.reason,
        )
        for region, agents in switch.regions.items()
        for agent in agents
    ]
    return table(
        "REGION", "AGENT", "STANDING", "VOTE", "FLIPPED", "LIVE", "DRAIN", "REASON", rows=rows
    )


def headline(switch: SwitchView) -> Text:
    """A switch in one line: what, which epoch, how it stands, how long it took."""
    line = Text.assemble((switch.title, "bold"), f"  epoch {switch.epoch}  ", outcome(switch))
    if switch.elapsed_s is not None:
        line.append(f" in {duration(switch.elapsed_s)} of {switch.sla.budget_s:g} s")
    if switch.sla.met is False:
        line.append(" (longer than promised)", style=BAD)
    if switch.reason:
        line.append(f": {switch.reason}")
    return line


def timing(switch: SwitchView) -> str:
    """How the flip was timed, in one line; empty until there is something to say."""
    activation = switch.activation
    parts = [f"activation {activation.mode}" if activation.mode else ""]
    if activation.reason:
        parts.append(f"({activation.reason})")
    if activation.skew_ms is not None:
        parts.append(f"skew {activation.skew_ms:.2f} ms")
    if activation.bound_ms is not None:
        parts.append(f"clock bound {activation.bound_ms:.2f} ms")
    return ", ".join(part for part in parts if part)
