"""Figures of a training set, as images that stand in the page itself."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from cropmap_core.reports.drawing import as_image, date_axis, new_figure, short, styled
from cropmap_core.samples.files import ROLES
from cropmap_core.samples.summary import Profile, Summary

_ROLE_MARKERS = {"train": "o", "validation": "s", "test": "D"}


@styled
def class_distribution(summary: Summary) -> str:
    """Labelled pixels by class and set, on a logarithmic scale."""
    names = list(summary.counts)
    colours = {crop.name: crop.color for crop in summary.classes}
    figure = new_figure(0.32 * len(names) + 1.1)
    axes = figure.add_subplot()
    totals = [sum(summary.counts[name].values()) for name in names]
    rows = np.arange(len(names))
    axes.barh(rows, totals, color=[colours[name] for name in names], alpha=0.55)
    for role in ROLES:
        of_role = [summary.counts[name][role] or np.nan for name in names]
        axes.plot(of_role, rows, _ROLE_MARKERS[role], color="#222222", markersize=4, label=role)
    axes.set(xscale="log", xlabel="labelled pixels", yticks=rows, yticklabels=[short(name) for name in names])
    axes.set_xlim(left=0.8)
    axes.invert_yaxis()
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return as_image(figure)


@styled
def class_profile(profile: Profile, summary: Summary) -> str:
    """A class over the season: median and quartiles of NDVI and of the bands."""
    figure = new_figure(4.4 if profile.ndvi is not None else 2.8)
    panels = figure.subplots(2 if profile.ndvi is not None else 1, 1, sharex=True, squeeze=False)[:, 0]
    if profile.ndvi is not None:
        _band_of(panels[0], summary.dates, profile.ndvi, profile.crop.color, "NDVI", 0.25)
        panels[0].set(ylabel="NDVI", ylim=(-0.2, 1))
    colours = matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, len(summary.bands)))
    for channel, band in enumerate(summary.bands):
        _band_of(panels[-1], summary.dates, profile.bands[:, :, channel], colours[channel], band, 0.07)
    panels[-1].set(ylabel="reflectance", ylim=(0, None))
    panels[-1].legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=5, fontsize=8, handlelength=1)
    return as_image(figure)


@styled
def gap_statistics(summary: Summary) -> str:
    """How often each date was observed, and how long the longest gaps are."""
    figure = new_figure(4.2)
    above, below = figure.subplots(2, 1)
    above.plot(
        np.asarray(summary.dates, dtype="datetime64[D]"), 100 * summary.observed, "o-", color="#1f6f8b", markersize=3
    )
    above.set(ylabel="observed, % of series", ylim=(0, 103))
    date_axis(above)
    below.hist(summary.gaps, bins=min(20, max(5, len(np.unique(summary.gaps)))), color="#1f6f8b", alpha=0.7)
    below.set(xlabel="longest gap of a series, days", ylabel="series")
    return as_image(figure)


@styled
def separability(summary: Summary) -> str:
    """Jeffries-Matusita distance of each pair of classes."""
    values = sorted({value for pair in summary.separability for value in pair})
    names = {crop.value: crop.name for crop in summary.classes}
    matrix = np.full((len(values), len(values)), np.nan)
    for (one, other), distance in summary.separability.items():
        matrix[values.index(other), values.index(one)] = distance
    figure = new_figure(0.3 * len(values) + 2.0)
    axes = figure.add_subplot()
    image = axes.imshow(matrix, vmin=0, vmax=2, cmap="viridis")
    labels = [short(names[value]) for value in values]
    axes.set_xticks(range(len(values)), labels, rotation=90)
    axes.set_yticks(range(len(values)), labels)
    axes.grid(visible=False)
    if len(values) <= 12:
        for row, column in np.argwhere(np.isfinite(matrix)):
            dark = matrix[row, column] < 1.2
            axes.text(
                column,
                row,
                f"{matrix[row, column]:.1f}",
                ha="center",
                va="center",
                fontsize=7,
                color="w" if dark else "k",
            )
    figure.colorbar(image, ax=axes, shrink=0.7, label="0 alike, 2 apart")
    return as_image(figure)


def _band_of(
    axes: Axes, dates: Sequence[date], quartiles: NDArray[np.float32], colour: Any, name: str, shade: float
) -> None:
    low, median, high = quartiles
    days = np.asarray(dates, dtype="datetime64[D]")
    axes.fill_between(days, low, high, color=colour, alpha=shade, linewidth=0)
    axes.plot(days, median, color=colour, linewidth=1.5, label=name)
    date_axis(axes)
