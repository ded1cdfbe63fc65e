"""The coordinator daemon: a replica, its HTTP server, and how both begin and end.

Read from here: ``replica.py`` joins the parts, ``hands.py`` does what the machine asks for,
``api/addresses.py`` lists what can be asked. There is no policy in this file.
"""

from __future__ import annotations

import gc
import signal
import sys
from pathlib import Path

import structlog
import trio
from attrs import frozen

from coordinator.api.application import make_application
from coordinator.config import CoordinatorSettings, load_settings, split_address
from coordinator.replica import Replica
from turnout.protocol.signing import Signer
from turnout.runtime.config import ConfigError
from turnout.runtime.http.server import Listener, open_listeners, serve
from turnout.runtime.key_file import KeyFileError, load_signer
from turnout.runtime.log import configure_logging
from turnout.runtime.problems import ExitCode
from turnout.runtime.store.etcd import EtcdStore

_RETIRE_S = 3.0
"""For giving up the leader key; an etcd that does not answer lets it expire instead."""

_log = structlog.get_logger(__name__)


@frozen(kw_only=True)
class Running:
    """A daemon that serves.

    ``stop`` begins its orderly end: leadership is handed over at once, requests in flight are
    answered, and ``run_daemon`` returns.
    """

    url: str
    replica: Replica
    stopping: trio.Event

    def stop(self) -> None:
        """Begin to end; a second call changes nothing."""
        self.stopping.set()


def main(config: Path) -> int:
    """What ``turnout serve`` does: run until SIGTERM or SIGINT, and return the exit code."""
    try:
        settings = load_settings(config)
    except ConfigError as error:
        return _refused(str(error))
    configure_logging(level=settings.log.level, json_lines=settings.log.json_lines)
    # A thousand frozen values live and die with each switch; looking for cycles among them every
    # 700 costs 5 % of a leader's time (measured).
    gc.set_threshold(50_000, 20, 20)
    try:
        trio.run(run, settings)
    except KeyFileError as error:
        return _refused(str(error))
    except OSError as error:
        return _refused(f"cannot listen on {settings.listen}: {error.strerror or error}")
    return ExitCode.DONE


def _refused(text: str) -> int:
    sys.stderr.write(f"turnout serve: {text}\n")
    return ExitCode.REFUSED


async def run(settings: CoordinatorSettings) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        KeyFileError: the domain's key cannot be used.
        OSError: the address cannot be listened on.
    """
    parts = await prepare(settings)
    # Listening for signals first: whoever reads "serving" may end the program at once.
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            running = await nursery.start(run_daemon, settings, parts)
            async for number in signals:
                _log.info("stopping", signal=signal.Signals(number).name)
                break
            running.stop()


@frozen(kw_only=True)
class Parts:
    """What may be refused before anything runs."""

    signer: Signer
    listeners: list[Listener]


async def prepare(settings: CoordinatorSettings) -> Parts:
    """Load the key and take the address. Raises as ``run`` does."""
    signer = load_signer(settings.domain_key)
    return Parts(signer=signer, listeners=await open_listeners(*split_address(settings.listen)))


async def run_daemon(
    settings: CoordinatorSettings,
    parts: Parts,
    *,
    task_status: trio.TaskStatus[Running] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run until the ``Running`` handed to ``task_status`` is stopped."""
    url = settings.url or _url_of(parts.listeners[0])
    async with EtcdStore(settings.etcd_options()) as store, trio.open_nursery() as nursery:
        replica = Replica(settings, parts.signer, store, nursery, url)
        replica.start()
        application = make_application(replica.context)
        async with trio.open_nursery() as serving:
            limits = settings.http_limits()
            server = await serving.start(serve, application, parts.listeners, limits)
            running = Running(url=url, replica=replica, stopping=trio.Event())
            _log.info("serving", url=url, domain=settings.domain, replica=settings.replica)
            task_status.started(running)
            await running.stopping.wait()
            # First of all, so that the next leader need not wait for the last request here.
            with trio.move_on_after(_RETIRE_S):
                await replica.candidate.retire("the replica is shut down")
            server.shut_down()
        nursery.cancel_scope.cancel()
    _log.info("stopped", replica=settings.replica)


def _url_of(listener: Listener) -> str:
    assert isinstance(listener, trio.SocketListener), "TLS comes with identities"
    host, port = listener.socket.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
