"""How pictures look, and how they get into a page: matplotlib's SVG, in the page's own font."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree as ET

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, MUTED, FAINT = "#1c2530", "#64707d", "#e3e8ee"
BANDS = {"blue": "#cfe0fb", "green": "#c9ecd3"}
EDGES = {"blue": "#2f6fde", "green": "#178a4c"}
FAULT, BAD = "#d9730d", "#c92a2a"
WIDTH_IN = 12.0

_SVG = "http://www.w3.org/2000/svg"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "turnout",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "path.simplify": True,
}


def new_figure(height_in: float, width_in: float = WIDTH_IN) -> Figure:
    """An empty figure that knows how it will be drawn."""
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasSVG(figure)
    figure.patch.set_alpha(0)
    return figure


def plain_axes(axes: Axes, *, grid: str = "x") -> None:
    """Faint lines behind the data, and nothing else that asks for attention."""
    axes.set_facecolor("none")
    axes.grid(visible=True, axis=grid, color=FAINT, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)


def svg(figure: Figure, titles: Mapping[str, str] | None = None) -> str:
    """The figure as an element for a page; ``titles`` are shown over what has that ``gid``."""
    target = io.BytesIO()
    figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
    root = ET.fromstring(target.getvalue())  # noqa: S314 - our own, just made
    for key in ("width", "height"):
        root.attrib.pop(key)
    _put_titles(root, titles or {})
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    return ET.tostring(root, encoding="unicode")


def _put_titles(root: ET.Element, titles: Mapping[str, str]) -> None:
    """Titles in, and matplotlib's names out: several pictures share one page."""
    for metadata in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(metadata)
    for element in root.iter(f"{{{_SVG}}}g"):
        name = element.attrib.pop("id", "")
        if name in titles:
            title = ET.Element(f"{{{_SVG}}}title")
            title.text = titles[name]
            element.insert(0, title)


@contextmanager
def in_style() -> Iterator[None]:
    """Whatever is drawn meanwhile is drawn in this style."""
    with mpl.rc_context(_STYLE):
        yield
