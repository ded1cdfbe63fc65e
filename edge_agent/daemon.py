"""The agent's process: from ``agent.toml`` to a running agent, and back on SIGTERM.

What is wired here is described where it lives: ``agent.py`` puts the machines and their hands
together, ``state_folder.py`` and ``disk.py`` keep what must survive, ``drivers/`` the proxy.
However the process ends, the proxy goes on serving, and the next one adopts it.
"""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import structlog
import trio
from attrs import asdict

from edge_agent.agent import Agent, AgentParts
from edge_agent.config import AgentSettings, load_settings
from edge_agent.disk import Disk, FileDisk
from edge_agent.drivers.base import Driver
from edge_agent.drivers.envoy import settings as envoy
from edge_agent.drivers.envoy.driver import EnvoyDriver
from edge_agent.drivers.haproxy import settings as haproxy
from edge_agent.drivers.haproxy.driver import HAProxyDriver
from edge_agent.drivers.nginx import settings as nginx
from edge_agent.drivers.nginx.driver import NginxDriver
from edge_agent.metrics import CountingWatcher, StateCollector
from edge_agent.narrator import Narrator
from edge_agent.state_folder import StateError, StateFolder
from edge_agent.status import status_app
from edge_agent.watcher import Watchers
from turnout.protocol.participant_state import ParticipantConfig
from turnout.protocol.signing import Ed25519Signer, Ed25519Verifier
from turnout.runtime.clock import SystemClock
from turnout.runtime.config import ConfigError, Fault
from turnout.runtime.http.limits import HttpLimits
from turnout.runtime.http.server import Listener, Server, open_listeners, serve
from turnout.runtime.key_file import KeyFileError, load_signer
from turnout.runtime.log import configure_logging
from turnout.runtime.metrics import new_registry
from turnout.runtime.problems import ExitCode
from turnout.runtime.tls import TlsError, client_context
from turnout.runtime.wall_bound import WallBound

_log = structlog.get_logger(__name__)


def main(config: Path) -> int:
    """Run the agent of a configuration file until a signal; return the exit code."""
    code = ExitCode.DONE
    try:
        settings = load_settings(config)
        configure_logging(level=settings.log_level)
        with open_state(settings) as disk:
            signer = load_signer(settings.key_file)
            _calm_the_collector()
            trio.run(run, settings, disk, signer, proxy_driver(settings))
    except* (ConfigError, KeyFileError, StateError, TlsError) as errors:
        for error in _each(errors):
            sys.stderr.write(f"turnout agent: {error}\n")
        code = ExitCode.REFUSED
    return code


def _calm_the_collector() -> None:
    """Keep the search for cycles rare and short: a flip that is due waits for it (S8).

    Among the 60,000 objects of the modules, which all stay, it takes 25 ms, without them next to
    nothing (measured).
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _each(group: BaseExceptionGroup[Exception]) -> Iterator[Exception]:
    """Every exception in a group of groups."""
    for one in group.exceptions:
        if isinstance(one, BaseExceptionGroup):
            yield from _each(one)
        else:
            yield one


@contextmanager
def open_state(settings: AgentSettings) -> Iterator[Disk]:
    """Lock and open the state folder. Raises StateError."""
    with StateFolder(settings.state_folder) as folder:
        disk = FileDisk(folder.path)
        try:
            yield disk
        finally:
            disk.close()


def proxy_driver(settings: AgentSettings) -> Driver:
    """The driver of the proxy that the settings name."""
    if settings.haproxy is not None:
        chosen = asdict(settings.haproxy, recurse=False)
        kept = settings.haproxy.attach
        chosen["attach"] = kept and haproxy.Attached(**asdict(kept, recurse=False))
        return HAProxyDriver(haproxy.HAProxySettings(region=settings.region, **chosen))
    if settings.nginx is not None:
        chosen = asdict(settings.nginx, recurse=False)
        added = settings.nginx.attach
        chosen["attach"] = added and nginx.Attached(**asdict(added, recurse=False))
        return NginxDriver(nginx.NginxSettings(region=settings.region, **chosen))
    assert settings.envoy is not None, "the settings name one proxy"
    chosen = asdict(settings.envoy, recurse=False)
    attach = settings.envoy.attach
    chosen["attach"] = attach and envoy.Attached(**asdict(attach, recurse=False))
    return EnvoyDriver(envoy.EnvoySettings(region=settings.region, **chosen))


async def run(settings: AgentSettings, disk: Disk, signer: Ed25519Signer, driver: Driver) -> None:
    """Run the agent and its status server until SIGTERM or SIGINT."""
    wall_bound = WallBound()
    registry = new_registry("agent", version("turnout"))
    config = ParticipantConfig(
        agent=settings.id,
        region=settings.region,
        domain_key=settings.domain_key,
        timing=settings.timing.protocol,
    )
    agent = Agent(
        AgentParts(
            config=config,
            coordinators=settings.coordinators,
            signer=signer,
            verifier=Ed25519Verifier(),
            disk=disk,
            driver=driver,
            clock=SystemClock(wall_bound),
            ssl_context=client_context(settings.tls) if settings.tls else None,
            withdraw_after_s=settings.timing.withdraw_after_s,
            watcher=Watchers(Narrator(), CountingWatcher(registry)),
        )
    )
    registry.register(StateCollector(agent))
    structlog.contextvars.bind_contextvars(agent=settings.id, region=settings.region)
    listeners = await _listen(settings)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_signal, nursery.cancel_scope)
            nursery.start_soon(wall_bound.keep)
            app = status_app(agent, config, registry)
            server: Server = await nursery.start(serve, app, listeners, HttpLimits())
            _log.info("status is served", addresses=server.addresses)
            await nursery.start(agent.run)
    finally:
        with trio.CancelScope(shield=True):
            await driver.aclose()
        _log.info("stopped; the proxy goes on serving")


async def _listen(settings: AgentSettings) -> list[Listener]:
    try:
        return await open_listeners(*settings.listen_address)
    except OSError as error:
        message = f"{settings.listen} cannot be listened on: {error.strerror or error}"
        raise ConfigError(settings.id, (Fault(path="listen", message=message),)) from error


async def _stop_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            _log.info("stopping", signal=signal.Signals(number).name)
            scope.cancel()
            return
