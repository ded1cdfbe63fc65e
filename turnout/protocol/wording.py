"""Words that several texts share."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """A number of things: "1 agent", "3 agents"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
