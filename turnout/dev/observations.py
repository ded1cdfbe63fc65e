"""What a load generator saw: one fixed-size line a request in a file, and what it comes to.

Kept on disk and read by whoever judges, so that neither has to trust the other's summary. All
moments are of this machine's wall clock, in nanoseconds.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from attrs import frozen

_LINE: Final = struct.Struct("<qqIBBB")  # sent, done, epoch, colour, kind, failed

COLOURS: Final = ("", "blue", "green")
KINDS: Final = ("keep-alive", "new connection", "slow")


@frozen(kw_only=True)
class Observation:
    """One request: when it was sent, who answered it, and whether the answer was whole.

    ``failed``: no connection, no whole answer, a status other than 200, no epoch, or no backend
    of the colour that the proxy names.
    """

    sent_ns: int
    done_ns: int
    epoch: int = 0
    colour: str = ""
    kind: str = "keep-alive"
    failed: bool = False

    def line(self) -> bytes:
        """The observation as a line of the file."""
        return _LINE.pack(
            self.sent_ns,
            self.done_ns,
            self.epoch,
            COLOURS.index(self.colour),
            KINDS.index(self.kind),
            self.failed,
        )


class ObservationFile:
    """Reads what one region's load generator has written, each line once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new(self) -> list[Observation]:
        """What came since the last call; a line being written waits for the next."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = len(data) - len(data) % _LINE.size
        self._offset += whole
        return list(_decoded(data[:whole]))


def _decoded(data: bytes) -> Iterator[Observation]:
    for sent_ns, done_ns, epoch, colour, kind, failed in _LINE.iter_unpack(data):
        yield Observation(
            sent_ns=sent_ns,
            done_ns=done_ns,
            epoch=epoch,
            colour=COLOURS[colour],
            kind=KINDS[kind],
            failed=bool(failed),
        )


@frozen(kw_only=True)
class Rule:
    """From ``since_ns`` on, requests to a region must be answered by ``colour``; "": by either."""

    since_ns: int
    colour: str


@frozen(kw_only=True)
class Requests:
    """The sum of what was seen during an act."""

    sent: int = 0
    failed: int = 0
    misrouted: int = 0
    slow: int = 0
    slowest_s: float = 0.0

    def __add__(self, other: Requests) -> Requests:
        """Both together."""
        return Requests(
            sent=self.sent + other.sent,
            failed=self.failed + other.failed,
            misrouted=self.misrouted + other.misrouted,
            slow=self.slow + other.slow,
            slowest_s=max(self.slowest_s, other.slowest_s),
        )


def judged(seen: Iterable[Observation], rules: Iterable[Rule]) -> Requests:
    """Counts; *misrouted* is an answer of another colour than the rule in force when it was sent.

    Of several rules the latest that had begun counts. Before the first nothing is misrouted.
    """
    ordered = sorted(rules, key=lambda rule: rule.since_ns)
    total = Requests()
    for one in seen:
        due = next((r.colour for r in reversed(ordered) if r.since_ns < one.sent_ns), "")
        wrong = due not in ("", one.colour) and not one.failed
        total += Requests(
            sent=1,
            failed=int(one.failed),
            misrouted=int(wrong),
            slow=int(one.kind == "slow"),
            slowest_s=(one.done_ns - one.sent_ns) / 1e9,
        )
    return total


def first_of_epoch(seen: Iterable[Observation], epoch: int) -> int | None:
    """When the first request was sent that this epoch (or a later one) answered."""
    return min((one.sent_ns for one in seen if one.epoch >= epoch and not one.failed), default=None)


def total_of(regions: Mapping[str, Requests]) -> Requests:
    """All regions together."""
    return sum(regions.values(), start=Requests())
