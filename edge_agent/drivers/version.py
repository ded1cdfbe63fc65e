"""What a listener says that it serves: asked of the listener itself, which costs no backend anything.

Every proxy answers the host ``turnout.invalid`` (RFC 2606) with its *version*,
``INCARNATION:EPOCH:DIGEST:BUILD``, on its live and on its staged routes. BUILD is a digest of what was
made of the table, for another region, or another release of a driver, makes something else of it.
"""

from __future__ import annotations

import hashlib
import json

from attrs import evolve, frozen

from edge_agent.request import AskError, Endpoint, Request, ask
from turnout.protocol.identifiers import Digest, Epoch
from turnout.protocol.records import Active

VERSION_HOST = "turnout.invalid"

_BUILD_CHARACTERS = 12
_ASK_TIMEOUT_S = 1.0


@frozen(kw_only=True)
class Version:
    """What a listener says it serves; epoch 0 is a proxy without a table."""

    serving: Active = Active()
    build: str = ""

    def __str__(self) -> str:
        """The version as a proxy keeps and answers it."""
        serving = self.serving
        return f"{serving.incarnation}:{serving.epoch}:{serving.digest}:{self.build}"

    @classmethod
    def parse(cls, text: str) -> Version | None:
        """Read back what ``str`` wrote, or return None for anything else."""
        match text.split(":"):
            case [number, epoch, digest, build] if number.isdecimal() and epoch.isdecimal():
                serving = Active(
                    incarnation=int(number), epoch=Epoch(int(epoch)), digest=Digest(digest)
                )
                return cls(serving=serving, build=build)
            case _:
                return None

    def under(self, incarnation: int) -> Version:
        """The same, served in this incarnation."""
        return evolve(self, serving=evolve(self.serving, incarnation=incarnation))


async def version_at(endpoint: Endpoint) -> Version | None:
    """Ask a listener for the version it serves; None if it gives no such answer."""
    try:
        answer = await ask(endpoint, Request(host=VERSION_HOST), timeout_s=_ASK_TIMEOUT_S)
    except AskError:
        return None
    return Version.parse(answer.body.decode(errors="replace"))


def short_digest(value: object) -> str:
    """A few hex digits that name a value by its content, as JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_BUILD_CHARACTERS]
