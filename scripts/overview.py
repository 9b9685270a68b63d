"""The demo's picture: the season through the year, a clear scene, truth, map, confidence and parcels."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import geopandas
import matplotlib as mpl
import numpy as np
import rasterio
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray

from cropmap_core.inference.bundles import CropClass
from cropmap_core.learning.synthetic import Season

INK, QUIET, PAPER, NO_CROP = "#22302a", "#6b756f", "#ffffff", "#e4e6e1"


@dataclass(frozen=True)
class Outputs:
    """What `cropmap:mapcrops` writes."""

    classes: Path
    confidence: Path
    parcels: Path


@dataclass(frozen=True)
class Agreement:
    """How many of one crop's pixels and parcels are mapped as what they are."""

    crop: str
    pixels: int
    pixels_right: int
    parcels: int
    parcels_right: int


def draw_overview(
    path: Path, season: Season, classes: Sequence[CropClass], outputs: Outputs, agreements: Sequence[Agreement]
) -> None:
    """Draws the overview and writes it as PNG.

    Args:
        path: The picture.
        season: What was mapped.
        classes: The model's classes; their colours are used everywhere.
        outputs: What was written.
        agreements: For the legend, in its order.
    """
    mpl.use("Agg")
    style = {"font.family": "DejaVu Sans", "text.color": INK, "axes.edgecolor": "#c9cec8", "axes.linewidth": 0.6}
    with pyplot.rc_context(style):
        figure = pyplot.figure(figsize=(15, 12.9), facecolor=PAPER)
        rows = figure.add_gridspec(
            3, 1, height_ratios=(0.235, 1, 1), left=0.025, right=0.975, top=0.925, bottom=0.025, hspace=0.16
        )
        _film_strip(figure, rows[0].subgridspec(1, 12, wspace=0.04), season)
        upper, lower = (row.subgridspec(1, 3, wspace=0.05) for row in (rows[1], rows[2]))
        panels = [figure.add_subplot(part) for part in (*upper, *lower)]
        colors = {crop.value: crop.color for crop in classes}
        names = {crop.name: crop.value for crop in classes}
        with rasterio.open(season.truth) as raster:
            bounds, crs, truth = raster.bounds, raster.crs, raster.read(1)
        extent = (bounds.left, bounds.right, bounds.bottom, bounds.top)
        crop_values = np.array([0] + [names[crop] for crop in season.crops], np.uint8)
        day = season.times[[_folder(season, time) for time in season.times].index(season.clearest)]

        panels[0].imshow(_true_colour(season.clearest), extent=extent, interpolation="bilinear")
        _title(panels[0], "Scene", f"{day:%-d %B %Y}, true colour")
        panels[1].imshow(_colour(crop_values[truth], colors), extent=extent, interpolation="nearest")
        _title(panels[1], "Truth", "what the synthetic fields grow")
        panels[2].imshow(_colour(_read(outputs.classes), colors), extent=extent, interpolation="nearest")
        _title(panels[2], "Crop map", "class of every pixel")
        _confidence(panels[3], outputs.confidence, extent)
        _parcels(panels[4], outputs.parcels, crs, classes)
        _legend(panels[5], classes, agreements)
        for panel in panels[:5]:
            panel.set(xlim=extent[:2], ylim=extent[2:], xticks=[], yticks=[], xlabel="", ylabel="", aspect="equal")
        _scale_bar(panels[0], extent)

        figure.text(0.025, 0.972, "CropMap on a synthetic Sentinel-2 season", fontsize=19, weight="bold")
        figure.text(
            0.025,
            0.951,
            f"{len(season.times)} scenes of {season.times[0]:%Y}, the fields grown from the model's own class "
            "signatures: a check that everything works together, not an accuracy.",
            fontsize=11,
            color=QUIET,
        )
        figure.savefig(path, dpi=110)
        pyplot.close(figure)


def _film_strip(figure: Any, cells: Any, season: Season) -> None:
    """One scene of each month, the clouds as they come."""
    for month in range(1, 13):
        panel = figure.add_subplot(cells[month - 1])
        panel.set(xticks=[], yticks=[])
        panel.set_title(f"{date(2000, month, 1):%B}", fontsize=8, color=QUIET, pad=3)
        scenes = [_folder(season, time) for time in season.times if time.month == month]
        if scenes:
            panel.imshow(_true_colour(scenes[len(scenes) // 2])[::2, ::2], interpolation="bilinear")
        else:
            panel.set_facecolor(NO_CROP)
            panel.set_aspect("equal")


def _confidence(panel: Axes, path: Path, extent: tuple[float, ...]) -> None:
    percent = np.ma.masked_equal(_read(path), 255)
    image = panel.imshow(percent, extent=extent, cmap="YlGnBu", vmin=0, vmax=100, interpolation="nearest")
    _title(panel, "Confidence", "percent, of the class that is mapped")
    inset = panel.inset_axes((0.03, 0.035, 0.3, 0.028))
    panel.add_patch(
        Rectangle((0.012, 0.012), 0.345, 0.092, transform=panel.transAxes, color=PAPER, alpha=0.88, zorder=3)
    )
    bar = panel.figure.colorbar(image, cax=inset, orientation="horizontal", ticks=[0, 50, 100])
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=0, pad=2, colors=INK)
    bar.ax.xaxis.set_ticks_position("top")


def _parcels(panel: Axes, path: Path, crs: Any, classes: Sequence[CropClass]) -> None:
    parcels = geopandas.read_file(path).to_crs(crs)
    wrong = parcels[parcels.pred_crop != parcels.crop_name]
    for crop in classes:
        own = parcels[parcels.pred_crop == crop.name]
        if len(own):
            own.plot(ax=panel, color=crop.color, edgecolor=PAPER, linewidth=0.7)
    if len(wrong):
        wrong.plot(ax=panel, facecolor="none", edgecolor=INK, hatch="////", linewidth=1.0)
        panel.legend(
            handles=[Patch(facecolor=PAPER, edgecolor=INK, hatch="////", label="not what it grows")],
            loc="lower left",
            fontsize=8.5,
            framealpha=0.88,
            edgecolor="none",
        )
    panel.set_facecolor(NO_CROP)
    _title(panel, "Parcels", "predicted crop of each")


def _legend(panel: Axes, classes: Sequence[CropClass], agreements: Sequence[Agreement]) -> None:
    """The colours of all panels, with how far map and truth agree."""
    colors = {crop.name: crop.color for crop in classes}
    panel.set(xlim=(0, 1), ylim=(0, 1), box_aspect=1)
    panel.axis("off")
    _title(panel, "Crops", "and agreement with the truth (synthetic check)")
    left, right = 0.45, 0.82
    step = min(0.15, 0.8 / max(len(agreements), 1))
    for x, text in ((left, "pixels"), (right, "parcels")):
        panel.text(x, 0.955, text, fontsize=10, color=QUIET)
    for row, one in enumerate(agreements):
        y = 0.87 - row * step
        panel.add_patch(Rectangle((0, y - 0.025), 0.05, 0.05, color=colors[one.crop]))
        panel.text(0.07, y, textwrap.fill(one.crop, 18), fontsize=11, va="center", linespacing=1.1)
        share = one.pixels_right / max(one.pixels, 1)
        panel.add_patch(Rectangle((left, y - 0.018), 0.22, 0.036, color="#eceeea"))
        panel.add_patch(Rectangle((left, y - 0.018), 0.22 * share, 0.036, color=colors[one.crop]))
        panel.text(left + 0.235, y, f"{share:.0%}", fontsize=11, va="center")
        panel.text(right, y, f"{one.parcels_right} of {one.parcels}", fontsize=11, va="center")
    y = 0.87 - len(agreements) * step
    panel.add_patch(Rectangle((0, y - 0.025), 0.05, 0.05, color=NO_CROP))
    panel.text(0.07, y, "no field", fontsize=11, va="center", color=QUIET)


def _title(panel: Axes, title: str, subtitle: str) -> None:
    panel.set_title(title, loc="left", fontsize=13, weight="bold", pad=7)
    panel.set_title(subtitle, loc="right", fontsize=9.5, color=QUIET, pad=7)


def _scale_bar(panel: Axes, extent: tuple[float, ...], metres: float = 500) -> None:
    x, y = extent[0] + 90, extent[2] + 90
    panel.add_patch(Rectangle((x - 45, y - 45), metres + 90, 190, color=PAPER, alpha=0.82, linewidth=0))
    panel.add_patch(Rectangle((x, y), metres, 28, color=INK, linewidth=0))
    panel.text(x + metres / 2, y + 45, f"{metres:.0f} m", ha="center", fontsize=9)


def _true_colour(scene: Path) -> NDArray[np.float64]:
    """Red, green and blue reflectance, stretched for the eye; shape (H, W, 3)."""
    bands = []
    for band, brightest in (("B04", 0.19), ("B03", 0.165), ("B02", 0.145)):
        (path,) = scene.glob(f"*_{band}_*.tif")
        bands.append(((_read(path) / 1e4 - 0.01) / brightest).clip(0, 1) ** 0.72)
    image = np.dstack(bands)
    grey = image.mean(2, keepdims=True)
    return np.asarray((grey + 1.35 * (image - grey)).clip(0, 1))


def _colour(values: NDArray[np.uint8], colors: dict[int, str]) -> NDArray[np.float64]:
    table = np.ones((256, 3)) * to_rgb(NO_CROP)
    for value, color in colors.items():
        table[value] = to_rgb(color)
    return table[values]


def _folder(season: Season, time: Any) -> Path:
    return season.scenes / time.strftime("%Y%m%dT%H%M%S")


def _read(path: Path) -> NDArray[Any]:
    with rasterio.open(path) as raster:
        return np.asarray(raster.read(1))
