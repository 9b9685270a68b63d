"""The pictures of a model card: small PNGs of few colours that stand in the bundle's folder."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from cropmap_core.inference.bundles import Bundle
from cropmap_core.learning.signatures import read_quartiles
from cropmap_core.reports.drawing import date_axis

LARGEST_BYTES = 40_000
_COLOURS = 48
_DPI = 110
_FEWEST = 20
"""Samples in a bin of confidence that is drawn."""
_LINES = (("#1f6f8b", "-", "o"), ("#b3501b", "--", "s"), ("#4b7d2f", "-.", "D"))
_STYLE: Any = {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}


def draw_reliability(models: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Share that is right by confidence, of each model of an evaluation."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4, 3.6), layout="constrained")
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle=":")
        for model, (colour, line, marker) in zip(models, _LINES, strict=False):
            bins = [each for each in model["calibration"]["bins"] if each["count"] >= _FEWEST]
            error = model["calibration"]["expected_calibration_error"]
            axes.plot(
                [each["confidence"] for each in bins],
                [each["accuracy"] for each in bins],
                color=colour,
                linestyle=line,
                marker=marker,
                markersize=3,
                label=f"{model['id']}, ECE {error:.3f}",
            )
        axes.set(xlabel="confidence", ylabel="share that is right", xlim=(0, 1.01), ylim=(0, 1.01))
        axes.legend(loc="upper left")
        _write(figure, path)


def draw_early(models: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Macro F1 by the last composite that is known, of each model of an evaluation."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(5, 2.8), layout="constrained")
        axes = figure.add_subplot()
        for model, (colour, line, marker) in zip(models, _LINES, strict=False):
            axes.plot(
                np.array([each["last"] for each in model["by_dates"]], dtype="datetime64[D]"),
                [each["macro_f1"] for each in model["by_dates"]],
                color=colour,
                linestyle=line,
                marker=marker,
                markersize=3,
                label=model["id"],
            )
        axes.set(ylabel="macro F1", ylim=(0, 1), xlabel="composites known up to the one that begins on")
        axes.legend(loc="lower right")
        date_axis(axes)
        _write(figure, path)


def draw_signatures(bundle: Bundle, path: Path) -> None:
    """Of the training samples the NDVI through the season, and median and quartiles of the short-wave infrared."""
    quartiles = read_quartiles(bundle)
    days = [date(2017, int(text[:2]), min(28, int(text[3:]))) for text in bundle.first_days]
    other = "B11" if "B11" in bundle.channels else bundle.channels[-1]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(6.4, 4.6), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True)
        for crop in bundle.classes:
            of_class = quartiles[crop.name]
            red, infrared = of_class["B04"][:, 1], of_class["B08"][:, 1]
            above.plot(days, (infrared - red) / (infrared + red), color=crop.color, linewidth=1.4, label=crop.name)
            below.plot(days, of_class[other][:, 1], color=crop.color, linewidth=1.4)
            below.fill_between(days, *of_class[other][:, [0, 2]].T, color=crop.color, alpha=0.12, linewidth=0)
        above.set(ylabel="NDVI of median reflectance")
        below.set(ylabel=f"{other}, median and quartiles")
        figure.legend(loc="outside right upper", fontsize=7)
        _months(below)
        _write(figure, path)


def _months(axes: Axes) -> None:
    axes.set_xticks([date(2017, month, 1) for month in range(1, 13)], list("JFMAMJJASOND"))


def _write(figure: Figure, path: Path) -> None:
    """Writes a PNG of so few colours that it is small.

    Raises:
        ValueError: It is larger than a card may carry.
    """
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DPI)
    file.seek(0)
    picture = Image.open(file).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)
    if path.stat().st_size > LARGEST_BYTES:
        raise ValueError(f"{path} has {path.stat().st_size} bytes; a card's picture has {LARGEST_BYTES} at most")
