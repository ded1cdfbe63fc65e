"""Round trips between regions: shipped maps, and a user's own.

A map is a CSV with the columns ``from``, ``to`` and ``rtt_ms``, in any order and with any others beside
them; a line that begins with ``#`` says where the figures come from. Each ordered pair of two regions
has a line; a region's distance to itself may be left out, and is then a millisecond.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path

from attrs import frozen

from turnout.protocol.clock import MS
from turnout.protocol.identifiers import NAME_RULE, Region, is_name

WITHIN_REGION_NS = MS
"""A round trip between two hosts of one region, in different zones: clouds promise below 2 ms."""

MAX_ROUND_TRIP_MS = 60_000
"""A minute: a figure above it was not given in milliseconds."""

LEAST_ROUND_TRIP_MS = Decimal("0.000001")
"""A nanosecond, which is as fine as virtual time is."""

_DATA = Path(__file__).parent / "data"
_COLUMNS = ("from", "to", "rtt_ms")


class MatrixError(ValueError):
    """A map that cannot be used: says the file, the line and what to do."""


@frozen(eq=False)
class Matrix:
    """The round trips of every ordered pair of regions, a region with itself included."""

    name: str
    regions: tuple[Region, ...]
    round_trips_ns: Mapping[tuple[Region, Region], int]

    def round_trip_ns(self, a: Region, b: Region) -> int:
        """From ``a`` to ``b`` and back, as it was measured from ``a``."""
        return self.round_trips_ns[a, b]

    def among(self, regions: Iterable[str]) -> Matrix:
        """This map with these regions only, in this order; raises MatrixError for one it has not."""
        wanted = tuple(self.region(name) for name in dict.fromkeys(regions))
        if not wanted:
            raise MatrixError(f"{self.name}: no regions are asked for: name at least one")
        pairs = {(a, b): self.round_trips_ns[a, b] for a in wanted for b in wanted}
        return Matrix(self.name, wanted, pairs)

    def region(self, name: str) -> Region:
        """The region of this name; raises MatrixError where there is none."""
        if name not in self.regions:
            known = ", ".join(self.regions)
            raise MatrixError(f"{self.name} has no region {name!r}: it has {known}")
        return Region(name)


def shipped() -> tuple[str, ...]:
    """The names of the maps that come along."""
    return tuple(sorted(path.stem for path in _DATA.glob("*.csv")))


def load(name_or_path: str | Path) -> Matrix:
    """A shipped map by its name, or a file; raises MatrixError."""
    if str(name_or_path) in shipped():
        return _load_shipped(str(name_or_path))
    path = Path(name_or_path)
    if path.suffix == "" and not path.exists():
        known = ", ".join(shipped())
        raise MatrixError(f"there is no map {name_or_path!s}: shipped are {known}; or name a file")
    return _load(path, str(name_or_path))


@cache
def _load_shipped(name: str) -> Matrix:
    return _load(_DATA / f"{name}.csv", name)


def _load(path: Path, name: str) -> Matrix:
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else ""
        raise MatrixError(f"{name} cannot be read: {why or error}") from error
    content = content.removeprefix(codecs.BOM_UTF8)  # Excel's "CSV UTF-8" begins with it
    try:
        return parse(content.decode(), name)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise MatrixError(f"{name}:{line}: not UTF-8 text: save it as CSV in UTF-8") from error


def parse(text: str, name: str) -> Matrix:
    """A map out of a CSV's text; raises MatrixError, which calls the file by ``name``."""
    given: dict[tuple[Region, Region], int] = {}
    for line, a, b, round_trip_ns in _rows(text, name):
        if given.setdefault((a, b), round_trip_ns) != round_trip_ns:
            raise MatrixError(
                f"{name}:{line}: {a} to {b} was given before, with {given[a, b] / MS:g} ms: keep one"
            )
    return _completed(given, name)


def _rows(text: str, name: str) -> Iterator[tuple[int, Region, Region, int]]:
    lines = [
        (number, line)
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not lines:
        raise MatrixError(f"{name} is empty: it needs a line 'from,to,rtt_ms', and one a pair")
    number, heading = lines[0]
    places = _places(_cells(heading, f"{name}:{number}"), f"{name}:{number}")
    for number, line in lines[1:]:
        where = f"{name}:{number}"
        cells = _cells(line, where)
        if len(cells) <= max(places) or not all(cells[place] for place in places):
            raise MatrixError(f"{where}: from, to and rtt_ms are not all there: fill them in")
        a, b, figure = (cells[place] for place in places)
        yield number, _region(a, where), _region(b, where), _round_trip_ns(figure, where)


def _cells(line: str, where: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line]))]
    except csv.Error as error:
        raise MatrixError(f"{where}: not a line of a CSV: {error}") from error


def _places(headings: Sequence[str], where: str) -> tuple[int, ...]:
    missing = [column for column in _COLUMNS if column not in headings]
    if missing:
        raise MatrixError(
            f"{where}: the first line must name the columns from, to and rtt_ms;"
            f" {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
        )
    return tuple(headings.index(column) for column in _COLUMNS)


def _region(name: str, where: str) -> Region:
    if not is_name(name):
        raise MatrixError(f"{where}: {name!r} is not a region: its name must have {NAME_RULE}")
    return Region(name)


def _round_trip_ns(figure: str, where: str) -> int:
    try:
        milliseconds = Decimal(figure)
    except InvalidOperation as error:
        raise MatrixError(f"{where}: rtt_ms: {figure!r} is not a number") from error
    if not milliseconds.is_finite():
        raise MatrixError(f"{where}: rtt_ms: {figure} is not a time: leave no pair unmeasured")
    if milliseconds > MAX_ROUND_TRIP_MS:
        raise MatrixError(f"{where}: rtt_ms: {figure} is above a minute: give milliseconds")
    if milliseconds < LEAST_ROUND_TRIP_MS:
        raise MatrixError(f"{where}: rtt_ms: {figure} must be above 0")
    return int(milliseconds * MS)


def _completed(given: Mapping[tuple[Region, Region], int], name: str) -> Matrix:
    regions = tuple(dict.fromkeys(region for pair in given for region in pair))
    if not regions:
        raise MatrixError(f"{name} has no pair of regions: it needs one line a pair")
    pairs = {(region, region): WITHIN_REGION_NS for region in regions} | dict(given)
    missing = [f"{a} to {b}" for a in regions for b in regions if (a, b) not in pairs]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise MatrixError(f"{name} has no line for {missing[0]}{more}: each direction needs one")
    return Matrix(name, regions, pairs)
