"""``turnout waive EPOCH AGENT``."""

from __future__ import annotations

from typing import Any

import click

from turnout.cli.api_client import Api
from turnout.cli.examples import WithExamples
from turnout.cli.options import NAME, target_of, target_options
from turnout.cli.running import ask
from turnout.cli.terminal import say, show_json


@click.command(
    cls=WithExamples,
    examples=('turnout waive 7 eu-1 --reason "the machine is gone"',),
)
@click.argument("epoch", type=click.IntRange(min=1))
@click.argument("agent", type=NAME)
@click.option("--reason", required=True, help="Why, for the history.")
@target_options
def waive(epoch: int, agent: str, reason: str, **params: Any) -> None:
    """Release the old colour of switch EPOCH without AGENT's word that its drain has ended."""
    target = target_of(params)

    async def work(api: Api) -> None:
        body = {"agent": agent, "reason": reason}
        reply = await api.post(f"/v1/switches/{epoch}/waive", body)
        if target.json:
            show_json(reply.body)
        else:
            say(f"Switch {epoch} does without {agent}'s confirmation.")

    ask(target, work)
