from __future__ import annotations

import codecs
import os
from pathlib import Path

import pytest

from simulator import matrices
from simulator.matrices import Matrix, MatrixError, load, parse
from turnout.protocol.clock import MS
from turnout.protocol.identifiers import Region

US, EU, ASIA = Region("us"), Region("eu"), Region("asia")

THREE = """\
# from somewhere
from,to,rtt_ms
us,eu,80
eu,us,81.5
us,asia,150
asia,us,150
eu,asia,200
asia,eu,200
"""


@pytest.mark.parametrize(
    ("name", "regions", "largest_ms"),
    [("aws-19", 19, 413), ("azure-24", 24, 332), ("one-continent", 8, 49), ("two-halves", 6, 236)],
)
def test_shipped_map_is_complete_and_as_measured(name: str, regions: int, largest_ms: int) -> None:
    matrix = load(name)
    assert len(matrix.regions) == regions
    assert len(matrix.round_trips_ns) == regions**2
    assert round(max(matrix.round_trips_ns.values()) / MS) == largest_ms


def test_shipped_maps_are_listed() -> None:
    assert matrices.shipped() == ("aws-19", "azure-24", "one-continent", "two-halves")


@pytest.mark.parametrize(
    ("part", "whole"), [("one-continent", "azure-24"), ("two-halves", "aws-19")]
)
def test_derived_map_repeats_the_figures_that_it_was_taken_from(part: str, whole: str) -> None:
    small, large = load(part), load(whole)
    assert small.round_trips_ns == large.among(small.regions).round_trips_ns


def test_two_halves_are_farther_apart_than_they_are_wide() -> None:
    matrix = load("two-halves")
    west = [region for region in matrix.regions if not region.startswith("ap-")]
    across = [ns for (a, b), ns in matrix.round_trips_ns.items() if (a in west) != (b in west)]
    inside = [ns for (a, b), ns in matrix.round_trips_ns.items() if (a in west) == (b in west)]
    assert len(west) * 2 == len(matrix.regions)
    assert max(inside) * 1.9 < min(across)


def test_map_of_a_user_may_be_asymmetric_and_has_a_millisecond_inside_a_region() -> None:
    matrix = parse(THREE, "three.csv")
    assert matrix.regions == (US, EU, ASIA)
    assert matrix.round_trip_ns(US, EU) == 80 * MS
    assert matrix.round_trip_ns(EU, US) == 81_500_000
    assert matrix.round_trip_ns(ASIA, ASIA) == MS


def test_map_takes_columns_in_any_order_beside_others(tmp_path: Path) -> None:
    file = tmp_path / "map.csv"
    file.write_text("note,rtt_ms,to,from\n\nnear, 2.5 , b , a\nnear,2,a,b\nself,0.3,a,a\n")
    matrix = load(file)
    assert matrix.round_trip_ns(Region("a"), Region("b")) == 2_500_000
    assert matrix.round_trip_ns(Region("a"), Region("a")) == 300_000


def test_map_takes_the_same_figure_twice() -> None:
    assert parse(THREE + "us,eu,80.0\n", "three.csv").round_trip_ns(US, EU) == 80 * MS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "bad.csv is empty"),
        ("# only a comment\n\n", "bad.csv is empty"),
        ("from,to,rtt_ms\n", "bad.csv has no pair"),
        ("from,to,ms\na,b,1\n", "bad.csv:1: .*rtt_ms is missing"),
        ("a,b,1\n", "bad.csv:1: .*from, to, rtt_ms are missing"),
        ("from,to,rtt_ms\na,b,1\n", "no line for b to a:"),
        (THREE.replace("asia,eu,200\n", "").replace("us,eu,80\n", ""), "us to eu and 1 more"),
        (THREE.replace("81.5", "-3"), "bad.csv:4: rtt_ms: -3 must be above 0"),
        (THREE.replace("81.5", "0"), "bad.csv:4: rtt_ms: 0 must be above 0"),
        (THREE.replace("81.5", "NaN"), "bad.csv:4: rtt_ms: NaN is not a time"),
        (THREE.replace("81.5", "-inf"), "bad.csv:4: rtt_ms: -inf is not a time"),
        (THREE.replace("81.5", "fast"), "bad.csv:4: rtt_ms: 'fast' is not a number"),
        (THREE.replace("81.5", "81500000"), "bad.csv:4: .*above a minute: give milliseconds"),
        (THREE.replace("81.5", "1e999999999"), "bad.csv:4: .*above a minute"),
        (THREE.replace("81.5", "-1e999999999"), "bad.csv:4: .*must be above 0"),
        (THREE.replace("81.5", "1e-999"), "bad.csv:4: rtt_ms: 1e-999 must be above 0"),
        (THREE.replace("81.5", "8" * 200_000), "bad.csv:4: not a line of a CSV: "),
        (THREE.replace("81.5", ""), "bad.csv:4: .*not all there"),
        (THREE.replace("us,eu,80", "us"), "bad.csv:3: .*not all there"),
        (THREE + "us,eu,79\n", "bad.csv:9: us to eu was given before, with 80 ms"),
        (THREE + '"us,eu,79\n', "bad.csv:9: "),
        (THREE.replace("asia,", "As ia,"), "bad.csv:5: 'As ia' is not a region"),
    ],
)
def test_impossible_map_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(MatrixError, match=said):
        parse(text, "bad.csv")


def test_map_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(MatrixError, match="no map aws-18: shipped are aws-19, azure-24"):
        load("aws-18")
    with pytest.raises(MatrixError, match=r"gone.csv cannot be read: No such file"):
        load(tmp_path / "gone.csv")
    with pytest.raises(MatrixError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_map_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "map.csv"
    file.write_bytes(os.urandom(64) + b"\xff\xfe")
    with pytest.raises(MatrixError, match=r"map.csv:\d+: not UTF-8 text"):
        load(file)


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_line_of_a_map_that_is_not_utf_8_is_named(tmp_path: Path, mark: bytes) -> None:
    file = tmp_path / "map.csv"
    file.write_bytes(mark + b"from,to,rtt_ms\nz\xfcrich,us,90\n")
    with pytest.raises(MatrixError, match=r"map\.csv:2: not UTF-8 text: save it as CSV in UTF-8"):
        load(file)


def test_map_may_begin_with_a_byte_order_mark_as_excel_writes_it(tmp_path: Path) -> None:
    file = tmp_path / "map.csv"
    rows = THREE.partition("\n")[2]
    file.write_bytes(codecs.BOM_UTF8 + rows.replace("\n", "\r\n").encode())
    assert load(file).round_trips_ns == parse(rows, "three.csv").round_trips_ns


def test_part_of_a_map_keeps_the_order_asked_for() -> None:
    part = parse(THREE, "three.csv").among(["asia", "us", "asia"])
    assert part.regions == (ASIA, US)
    assert list(part.round_trips_ns) == [(ASIA, ASIA), (ASIA, US), (US, ASIA), (US, US)]


def test_part_of_a_map_with_an_unknown_region_is_refused() -> None:
    matrix: Matrix = parse(THREE, "three.csv")
    with pytest.raises(MatrixError, match=r"three.csv has no region 'mars': it has us, eu, asia"):
        matrix.among(["us", "mars"])
    with pytest.raises(MatrixError, match="name at least one"):
        matrix.among([])
