"""What Envoy is asked about itself, over its admin socket."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlencode

from edge_agent.drivers.base import RefusalCode, Refused
from edge_agent.request import AskError, Request, ask

# Ten thousand clusters describe themselves in about 20 MB.
_MAX_BODY_BYTES = 64 << 20
_TIMEOUT_S = 5.0


class Admin:
    """Envoy's admin interface. Every method raises Refused (PROXY_DOWN) when nobody answers."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def state(self) -> str:
        """``LIVE`` once Envoy serves; before that ``PRE_INITIALIZING`` or ``INITIALIZING``."""
        info = json.loads(await self._get("/server_info"))
        return str(info["state"])

    async def stats(self, *names: str) -> dict[str, str]:
        """Values of stats whose whole name matches one of the regular expressions, by name."""
        pattern = "^(" + "|".join(names) + ")$"
        text = (await self._get(f"/stats?filter={quote(pattern, safe='')}")).decode()
        pairs = (line.rsplit(": ", 1) for line in text.splitlines() if ": " in line)
        return {name: value.strip('"') for name, value in pairs}

    async def sum_of(self, *names: str) -> int:
        """Sum of the counters or gauges whose whole name matches one of the expressions."""
        return sum(int(value) for value in (await self.stats(*names)).values())

    async def addresses(self) -> dict[str, set[tuple[str, int]]]:
        """Resolved (address, port) of every cluster's endpoints, by cluster."""
        listing = json.loads(await self._get("/clusters?format=json"))
        return {
            cluster["name"]: {
                (where["address"], where["port_value"])
                for host in cluster.get("host_statuses", ())
                if (where := host["address"].get("socket_address"))
            }
            for cluster in listing.get("cluster_statuses", ())
        }

    async def runtime(self, prefix: str) -> dict[str, str]:
        """The values of the runtime's keys that begin like this."""
        entries = json.loads(await self._get("/runtime?format=json"))["entries"]
        return {
            key: entry["final_value"] for key, entry in entries.items() if key.startswith(prefix)
        }

    async def set_runtime(self, values: Mapping[str, str]) -> None:
        """Set keys of the runtime's admin layer.

        Raises:
            Refused: REJECTED, in Envoy's words: it has no such layer.
        """
        said = await self._get(f"/runtime_modify?{urlencode(values)}", method="POST")
        if not said.startswith(b"OK"):
            raise Refused(
                RefusalCode.REJECTED, f"Envoy refuses it: {said.decode(errors='replace')}"
            )

    async def _get(self, path: str, method: str = "GET") -> bytes:
        request = Request(host="turnout", path=path, method=method)
        try:
            answer = await ask(
                self._socket, request, timeout_s=_TIMEOUT_S, max_body_bytes=_MAX_BODY_BYTES
            )
        except AskError as error:
            raise Refused(
                RefusalCode.PROXY_DOWN, f"Envoy does not answer on '{self._socket}': {error}"
            ) from error
        return answer.body


def literally(name: str) -> str:
    """A regular expression for a cluster's name in stats, where Envoy writes ``_`` for ``:``."""
    return re.escape(name.replace(":", "_"))
