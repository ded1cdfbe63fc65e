"""Seeds on the command line: ``A..B``, both included, or one number."""

from __future__ import annotations

import re

import click

MAX_SEEDS = 1_000_000
"""More than anybody waits for."""


class Seeds(click.ParamType):  # type: ignore[type-arg]
    """A range of seeds; a usage error for anything else."""

    name = "A..B"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> range:
        """The seeds meant."""
        if isinstance(value, range):
            return value
        found = re.fullmatch(r"(\d{1,18})(?:\.\.(\d{1,18}))?", str(value).strip())
        if found is None:
            self.fail(f"{value!r} is neither A..B, such as 0..299, nor one number", param, ctx)
        first = int(found[1])
        last = int(found[2]) if found[2] else first
        if last < first:
            self.fail(f"{value!r} ends before it begins", param, ctx)
        if last - first >= MAX_SEEDS:
            self.fail(f"{value!r} is more than {MAX_SEEDS:,} seeds", param, ctx)
        return range(first, last + 1)
