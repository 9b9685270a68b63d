"""How figures of reports are drawn: in one style, as images that stand in the page itself."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import matplotlib
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

WIDTH_IN = 4.6
LONGEST_NAME = 24
_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "cropmap",
    "legend.frameon": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
}

_Arguments = ParamSpec("_Arguments")


def styled(draw: Callable[_Arguments, str]) -> Callable[_Arguments, str]:
    """Has a figure drawn in our style, and leaves matplotlib's settings as they are."""

    @wraps(draw)
    def in_style(*arguments: _Arguments.args, **named: _Arguments.kwargs) -> str:
        with matplotlib.rc_context(_STYLE):
            return draw(*arguments, **named)

    return in_style


def new_figure(height_in: float, width_in: float = WIDTH_IN) -> Figure:
    """A figure, as wide as a phone shows it in readable letters unless told otherwise."""
    return Figure(figsize=(width_in, height_in), layout="constrained")


def as_image(figure: Figure) -> str:
    """A figure as the source of an image element."""
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + b64encode(file.getvalue()).decode("ascii")


def date_axis(axes: Axes) -> None:
    """Few and short dates along the x axis."""
    locator = AutoDateLocator(maxticks=7)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def short(name: str) -> str:
    """A name that fits beside an axis."""
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
