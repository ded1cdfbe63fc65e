"""Everything that an agent needs on its host, looked at before it is started: ``turnout agent check``.

Nothing is started or changed. What is not well comes with what to do about it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import httpx
import trio

from edge_agent.config import AgentSettings
from edge_agent.drivers.base import Driver, Finding
from edge_agent.state_folder import StateError, StateFolder
from turnout.runtime.key_file import KeyFileError, load_signer
from turnout.runtime.tls import TlsError, client_context

_TIMEOUT_S = 3.0


async def check(settings: AgentSettings, driver: Driver) -> Sequence[Finding]:
    """All findings, the proxy's first."""
    findings = list(await driver.check())
    findings.append(_key(settings))
    findings.append(await trio.to_thread.run_sync(_state, settings))
    return [*findings, *[finding async for finding in _coordinators(settings)]]


def _key(settings: AgentSettings) -> Finding:
    try:
        signer = load_signer(settings.key_file)
    except KeyFileError as error:
        mend = "make one: turnout agent keygen PATH, and enrol it: turnout agents add"
        return Finding(what="key", found=str(error), is_well=False, mend=mend)
    return Finding(what="key", found=f"{settings.key_file}, public key {signer.public_key}")


def _state(settings: AgentSettings) -> Finding:
    """Whether the journal's folder can be had; one that an agent has locked is at work."""
    path = settings.state_folder
    if not path.exists():
        return Finding(what="journal", found=f"{path} will be made: a new journal, to be enrolled")
    try:
        with StateFolder(path):
            return Finding(what="journal", found=f"{path} is there, and no agent uses it")
    except StateError as error:
        mend = "end the other agent before starting this one, or give each a folder of its own"
        return Finding(what="journal", found=str(error), is_well=False, mend=mend)


async def _coordinators(settings: AgentSettings) -> AsyncIterator[Finding]:
    """Whether each answers; an agent serves on without, but votes on nothing."""
    try:
        verify = client_context(settings.tls) if settings.tls else False
    except TlsError as error:
        yield Finding(what="tls", found=str(error), is_well=False)
        return
    async with httpx.AsyncClient(trust_env=False, timeout=_TIMEOUT_S, verify=verify) as client:
        for url in settings.coordinators:
            try:
                answer = await client.get(f"{url}/healthz")
            except httpx.HTTPError as error:
                found = f"{url} does not answer: {error}"
                mend = "check the address and the way there; the agent will go on trying"
                yield Finding(what="coordinator", found=found, is_well=False, mend=mend)
            else:
                found = f"{url} answers {answer.status_code}"
                yield Finding(what="coordinator", found=found, is_well=answer.is_success)
