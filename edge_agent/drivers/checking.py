"""What a driver finds on its host before it starts anything: for ``turnout agent check``.

Nothing is started or changed: the proxy reads its configuration from a folder made for that, and says
what it thinks of it.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import trio
from attrs import frozen

from edge_agent.drivers.base import Finding, Refused
from edge_agent.drivers.proxy_folder import ProxyFolder, check_socket_path
from edge_agent.drivers.proxy_process import find
from edge_agent.drivers.proxy_settings import ProxySettings
from edge_agent.drivers.version import version_at

_YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")
_CAP_SYS_PTRACE = 19
_WORDS = 600


@frozen(kw_only=True)
class Trial:
    """What a driver tells of itself for the check.

    Attributes:
        find_binary: raises Refused where there is none.
        least: the lowest version that the driver was written for, as numbers.
        version_arguments: have the proxy print its version.
        version: a regular expression for where it is in what is printed.
        prepare: lays the configuration into a folder, and returns the arguments with which the
            proxy reads it.
        reaches_into: whether ``close`` reaches into the proxy's process.
    """

    settings: ProxySettings
    folder: ProxyFolder
    find_binary: Callable[[], Path]
    least: tuple[int, int]
    version_arguments: Sequence[str]
    version: str
    prepare: Callable[[Path], Sequence[str]]
    reaches_into: bool


async def look(trial: Trial, scratch: Path) -> list[Finding]:
    """All that can be found; ``scratch`` is an empty folder."""
    findings = [*_folder(trial), await _listener(trial)]
    try:
        binary = trial.find_binary()
    except Refused as refusal:
        return [Finding(what="binary", found=refusal.text, is_well=False), *findings]
    findings.insert(0, await _version(trial, binary))
    findings.append(await _configuration(trial, binary, scratch))
    if trial.reaches_into:
        findings.append(_reach())
    return findings


def _folder(trial: Trial) -> Iterator[Finding]:
    root = trial.folder.root
    try:
        check_socket_path(trial.folder.staging_socket)
    except Refused as refusal:
        yield Finding(what="sockets", found=refusal.text, is_well=False)
    there = next(path for path in (root, *root.parents) if path.exists())
    is_well = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    state = "can be written" if is_well else "cannot be written by this user"
    found = f"{root} {state}" if there == root else f"{root} will be made; {there} {state}"
    mend = "" if is_well else "run the agent as its owner, or choose another with state_dir"
    yield Finding(what="state folder", found=found, is_well=is_well, mend=mend)


async def _listener(trial: Trial) -> Finding:
    """Whether the address is free, or held by the proxy that the agent would adopt."""
    process = await find(trial.folder)
    if process is not None:
        process.release()
        version = await version_at(trial.settings.asked_at)
        serving = f"epoch {version.serving.epoch}" if version else "nothing that it says"
        found = f"process {process.pid} runs and serves {serving}: the agent will adopt it"
        return Finding(what="process", found=found, is_well=version is not None)
    host, port = trial.settings.listen.rpartition(":")[0], trial.settings.asked_at[1]
    host = host.removeprefix("[").removesuffix("]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((host, port))
        except OSError as error:
            found = (
                f"{trial.settings.listen} cannot be bound: {(error.strerror or str(error)).lower()}"
            )
            mend = (
                "end what listens there, choose another, or allow low ports (CAP_NET_BIND_SERVICE)"
            )
            return Finding(what="listen", found=found, is_well=False, mend=mend)
    return Finding(what="listen", found=f"{trial.settings.listen} is free; no proxy runs yet")


async def _version(trial: Trial, binary: Path) -> Finding:
    code, said = await _said([str(binary), *trial.version_arguments])
    match = re.search(trial.version, said)
    if code or match is None:
        found = f"{binary} does not say its version: {said[:_WORDS]}"
        return Finding(what="binary", found=found, is_well=False)
    major, minor = (int(number) for number in match[1].split(".")[:2])
    least = ".".join(map(str, trial.least))
    is_well = (major, minor) >= trial.least
    mend = "" if is_well else f"install {trial.folder.title} {least} or newer"
    return Finding(what="binary", found=f"{binary}, version {match[1]}", is_well=is_well, mend=mend)


async def _configuration(trial: Trial, binary: Path, scratch: Path) -> Finding:
    arguments = await trio.to_thread.run_sync(trial.prepare, scratch)
    code, said = await _said([str(binary), *arguments])
    if code == 0:
        found = f"{trial.folder.title} accepts what the agent will give it"
        return Finding(what="configuration", found=found)
    words = " | ".join(line.strip() for line in said.splitlines() if line.strip())
    return Finding(
        what="configuration",
        found=f"{trial.folder.title} refuses it: {words[-_WORDS:]}",
        is_well=False,
        mend="see what it names: a missing module or option belongs to another build of it",
    )


def _reach() -> Finding:
    """Whether connections can be cut: see ``connections.py``."""
    scope = int(_YAMA.read_text(encoding="ascii")) if _YAMA.exists() else 0
    if os.geteuid() == 0 or scope == 0 or _may_trace():
        return Finding(
            what="permission", found='connections can be cut: after_drain = "close" works'
        )
    return Finding(
        what="permission",
        found=f'Yama\'s ptrace_scope is {scope}: after_drain = "close" will be refused',
        mend="give the agent CAP_SYS_PTRACE where services have it",
    )


def _may_trace() -> bool:
    """Whether this process has CAP_SYS_PTRACE (capabilities(7), CapEff in proc(5))."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_SYS_PTRACE & 1)
    return False


async def _said(command: list[str]) -> tuple[int, str]:
    try:
        ended = await trio.run_process(
            command, capture_stdout=True, capture_stderr=True, check=False
        )
    except OSError as error:
        return 1, str(error)
    return ended.returncode, (ended.stdout + ended.stderr).decode(errors="replace")
