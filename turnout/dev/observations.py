"""What a load generator saw: one fixed-size line a request in a file, and what it comes to.

Kept on disk and read by whoever judges, so that neither has to trust the other's summary. All
moments are of this machine's wall clock, in nanoseconds.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

_LINE: Final = struct.Struct("<qqIBBB")  # sent, done, epoch, colour, kind, failed

NOBODY: Final = ""
"""The proxy itself has answered: no route matches, or it has no table yet."""

COLOURS: Final = (NOBODY, "blue", "green")
KINDS: Final = ("keep-alive", "new connection", "slow")


@frozen(kw_only=True)
class Observation:
    """One request: when it was sent, who answered it, and whether the answer was whole.

    ``failed``: no connection, no whole answer, no epoch, another status than 200 from a backend of
    the colour that the proxy names, or than 404 (503 before its first table) from the proxy itself,
    for which ``colour`` is NOBODY.
    """

    sent_ns: int
    done_ns: int
    epoch: int = 0
    colour: str = NOBODY
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
    """From ``since_ns`` on, requests to a region must be answered by one of ``colours``."""

    since_ns: int
    colours: frozenset[str]


EITHER: Final = frozenset({"blue", "green"})


@frozen(kw_only=True)
class Requests:
    """The sum of what was seen; of new connections and slow requests, those that backends answered."""

    sent: int = 0
    failed: int = 0
    misrouted: int = 0
    on_new_connections: int = 0
    slow: int = 0
    slowest_s: float = 0.0

    def __add__(self, other: Requests) -> Requests:
        """Both together."""
        return Requests(
            sent=self.sent + other.sent,
            failed=self.failed + other.failed,
            misrouted=self.misrouted + other.misrouted,
            on_new_connections=self.on_new_connections + other.on_new_connections,
            slow=self.slow + other.slow,
            slowest_s=max(self.slowest_s, other.slowest_s),
        )


def judged(seen: Sequence[Observation], rules: Iterable[Rule]) -> Requests:
    """Counts what failed, and what was *misrouted*: answered by another colour than the rules say.

    Of several rules the latest counts that had begun when a request was sent; before the first,
    either colour is right. Where a colour is due, that there is no route is a failure.
    """
    ordered = sorted(rules, key=lambda rule: rule.since_ns)
    begins = [rule.since_ns for rule in ordered]
    failed = misrouted = 0
    for one in seen:
        at = bisect_left(begins, one.sent_ns)
        due = ordered[at - 1].colours if at else EITHER
        wrong = one.colour not in due
        if one.failed or (wrong and one.colour == NOBODY):
            failed += 1
        elif wrong:
            misrouted += 1
    kinds = Counter(one.kind for one in seen if one.colour != NOBODY)
    return Requests(
        sent=len(seen),
        failed=failed,
        misrouted=misrouted,
        on_new_connections=kinds["new connection"],
        slow=kinds["slow"],
        slowest_s=max((one.done_ns - one.sent_ns for one in seen), default=0) / 1e9,
    )


def first_of_epoch(seen: Iterable[Observation], epoch: int) -> int | None:
    """When the first request was sent that this epoch (or a later one) answered."""
    return min((one.sent_ns for one in seen if one.epoch >= epoch and not one.failed), default=None)


def total_of(regions: Mapping[str, Requests]) -> Requests:
    """All regions together."""
    return sum(regions.values(), start=Requests())
