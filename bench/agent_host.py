"""Many edge agents in one process, over memory disks and proxies: the other side of a bench.

    python -m bench.agent_host ORDER.json

The order says who the agents are and whom they hear; the process runs until it is ended. These
are whole agents but for disk and proxy: real HTTP, real signatures, both machines.
"""

from __future__ import annotations

import json
import os
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import trio

from edge_agent.agent import Agent, AgentParts
from edge_agent.disk import MemoryDisk
from edge_agent.drivers.memory import MemoryDriver, MemoryProxy
from turnout.protocol.clock import SECOND
from turnout.protocol.identifiers import AgentId, Region
from turnout.protocol.limits import Timing
from turnout.protocol.participant_state import ParticipantConfig
from turnout.protocol.signing import Ed25519Signer, Ed25519Verifier
from turnout.runtime.clock import SystemClock

_SILENCE_S = 60
"""A thousand agents share a core here: what is slow is not taken for dead."""

_AT_ONCE = 50
"""Agents that begin at the same moment; each fifty wait for the one before."""

_PAUSE_S = 0.5

_NICE = 10
"""The leader, which is what is measured, goes first on a machine that both share."""


def signer_of(agent: str) -> Ed25519Signer:
    """A bench agent's key, made of its name so that both sides know it."""
    return Ed25519Signer.from_seed(sha256(agent.encode()).digest())


def _agent(order: dict[str, Any], name: str, region: str, clock: SystemClock) -> Agent:
    config = ParticipantConfig(
        agent=AgentId(name),
        region=Region(region),
        domain_key=order["domain_key"],
        timing=Timing(silence_ns=_SILENCE_S * SECOND),
    )
    return Agent(
        AgentParts(
            config=config,
            coordinators=tuple(order["coordinators"]),
            signer=signer_of(name),
            verifier=Ed25519Verifier(),
            disk=MemoryDisk(),
            driver=MemoryDriver(MemoryProxy(), probe_timeout_s=_SILENCE_S),
            clock=clock,
        )
    )


async def _run(order: dict[str, Any]) -> None:
    os.nice(_NICE)
    clock = SystemClock()
    async with trio.open_nursery() as nursery:
        for number, (name, region) in enumerate(order["agents"].items(), start=1):
            await nursery.start(_agent(order, name, region, clock).run)
            if number % _AT_ONCE == 0:
                await trio.sleep(_PAUSE_S)


if __name__ == "__main__":
    trio.run(_run, json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
