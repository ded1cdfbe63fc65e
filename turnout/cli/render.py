"""What people see: tables of agents, services and history, and the words for times and phases."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from rich.text import Text

from turnout.cli.listing import Listing, Row
from turnout.cli.switch_view import AgentView, SwitchView
from turnout.protocol.keys import plain_kind
from turnout.protocol.records import OutcomeKind

GOOD, BAD, WAITING, QUIET = "green", "bold red", "yellow", "dim"
_COLOURS = {"blue": "blue", "green": "green"}
_OUTCOME_STYLE = {
    OutcomeKind.LIVE: GOOD,
    OutcomeKind.PARTIAL: WAITING,
    OutcomeKind.ABORTED: BAD,
    OutcomeKind.ROLLED_BACK: BAD,
}


def table(*headings: str, rows: Iterable[Row] = ()) -> Listing:
    """A plain table: headings, no lines; columns without a word are left out."""
    return Listing(headings, rows)


def colour(name: str | None) -> Text:
    """A colour's name in its colour."""
    return Text(name or "-", style=_COLOURS.get(name or "", QUIET))


def conclusion(switch: SwitchView) -> Text:
    """What it came to, how long that took, and why; or the phase that it is in."""
    if switch.outcome is None:
        return Text(switch.phase, style=WAITING)
    known = "" if switch.known_s is None else f" after {duration(switch.known_s)}"
    why = f": {switch.reason}" if switch.reason else ""
    text = Text(style=_OUTCOME_STYLE[switch.outcome])
    if switch.outcome is OutcomeKind.LIVE:
        excluded = _excluded(switch)
        where = f"everywhere but {excluded} (excluded)" if excluded else "everywhere"
        text.append(f"live {where} in {duration(switch.elapsed_s)} of {switch.sla.budget_s:g} s")
    elif switch.outcome is OutcomeKind.PARTIAL:
        text.append(f"partial{known}: committed")
        why = f", {switch.reason or 'not live everywhere'}"
    elif switch.outcome is OutcomeKind.ABORTED:
        text.append(f"aborted{known}, nothing has changed")
    else:
        text.append(f"rolled back{known}, before it was live everywhere")
    if switch.sla.met is False:
        text.append(" (longer than promised)", style=BAD)
    return text.append(why, style="default")


def _excluded(switch: SwitchView) -> str:
    """The regions that it passed over because an operator had excluded them."""
    excluded = (one for one in switch.agents if one.standing == "excluded" and not one.live_at)
    return ", ".join(sorted({one.region for one in excluded}))


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


def agents_of(switch: SwitchView) -> Listing:
    """One line an agent: what each of them did, and what is the matter with it."""
    behind = {laggard.agent: laggard.reason for laggard in switch.laggards}
    rows = [
        (
            region,
            agent.agent,
            vote(agent),
            after(switch.accepted_at, agent.flipped_at),
            after(switch.accepted_at, agent.live_at),
            drain(agent, switch),
            behind.get(agent.agent) or _matter(agent),
        )
        for region, agents in switch.regions.items()
        for agent in agents
    ]
    return table("REGION", "AGENT", "VOTE", "FLIPPED", "LIVE", "DRAIN", "REASON", rows=rows)


def _matter(agent: AgentView) -> str:
    standing = "" if agent.standing == "good" else agent.standing
    return ": ".join(filter(None, (standing, agent.reason)))


def headline(switch: SwitchView) -> Text:
    """A switch in one line: what, which epoch, how it stands, how long it took."""
    return Text.assemble((switch.title, "bold"), f"  epoch {switch.epoch}  ", conclusion(switch))


def laggards(switch: SwitchView) -> Listing:
    """Who was behind when the outcome was written."""
    rows = [(one.region, one.agent, one.reason) for one in switch.laggards]
    return table("BEHIND IN", "AGENT", "REASON", rows=rows)


def timeline(switch: SwitchView) -> Listing:
    """What happened when; for a switch of which no coordinator remembers more."""
    rows = [(date_time(one.at), plain_kind(one.event), one.text) for one in switch.timeline]
    return table("WHEN", "WHAT", "TEXT", rows=rows)


def timing(switch: SwitchView) -> str:
    """How the flip was timed, in one line; empty until there is something to say."""
    activation = switch.activation
    mode = f"activation {activation.mode}" if activation.mode else ""
    if activation.time is not None and switch.outcome is None:
        mode += f" for {clock_time(activation.time)}"
    parts = [f"{mode} ({activation.reason})" if activation.reason else mode]
    if activation.skew_ms is not None:
        parts.append(f"skew {activation.skew_ms:.2f} ms")
    if activation.bound_ms is not None:
        parts.append(f"clock bound {activation.bound_ms:.2f} ms")
    return ", ".join(part for part in parts if part)
