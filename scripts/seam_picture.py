"""docs/images/seams.png: the corner of four blocks of a real square, mapped without a halo, with one, and blended.

The network is a dense ConvLSTM with the weights of the bundled flanders-2018-convlstm. What its states pass on from
date to date is all but gone after 8 pixels, of the 12 that are read with a block: to see anything, the picture reads 2.
Blended, a block is computed 4 pixels into its neighbours as well, and sees 6. That is as much work as a halo of 6
pixels without blending, which comes as close.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib import pyplot
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

import models
from cropmap_core.inference.bundles import Bundle, load_bundle
from cropmap_core.io.grid import Window
from cropmap_core.scenes.inventory import find_scenes
from cropmap_core.scenes.scl import DEFAULT_KEEP_CLASSES
from cropmap_core.scenes.stack import stack_scenes
from cropmap_core.timeseries.compositing import composite
from cropmap_core.timeseries.filling import Filled
from cropmap_core.timeseries.indices import as_channels
from scripts.blending import Blend

BUNDLE = Path(__file__).parents[1] / "models" / "bundled" / "flanders-2018-convlstm"
START, END = date(2018, 1, 1), date(2018, 12, 31)
SIZE, HALO, OVERLAP = 32, 2, 4
SHOWN = slice(16, 48)
CROP = "Maize"
CLIPPED_AT = 0.025
INK, QUIET, PAPER, EDGE = "#22302a", "#6b756f", "#ffffff", "#22302a"

Compute = Callable[[Window], Tensor]


def read(data: Path, bundle: Bundle) -> tuple[Tensor, Tensor, Tensor]:
    """Channels, days and validity of the square, as a network takes them."""
    stack = stack_scenes(
        find_scenes([data / "scenes"], START, END).scenes, bundle.reflectance_bands, 10, "auto", START, END
    )
    series = as_channels(Filled(composite(stack, "month", START, END, DEFAULT_KEEP_CLASSES)), bundle.channels)
    block = series.read(series.grid.window())
    days = torch.from_numpy(bundle.season_days(series.dates))
    return torch.from_numpy(bundle.normalise(block.data))[None], days[None], torch.from_numpy(block.valid)[None]


def dense_network(bundle: Bundle) -> models.network.Network:
    """The bundle's weights, which classify every pixel by its own state."""
    network = models.build(bundle.architecture, **{**bundle.hyper_parameters, "dense": True})
    network.load_state_dict(bundle.network().state_dict())
    return network.eval()


def computing(bundle: Bundle, given: tuple[Tensor, Tensor, Tensor], halo: int) -> Compute:
    """Probabilities of a window, from itself and a halo."""
    network = dense_network(bundle)
    x, days, valid = given

    def compute(window: Window) -> Tensor:
        seen = window.expanded(halo).clipped(*valid.shape[-2:])
        place = tuple(slice(*bounds) for bounds in seen.bounds_rc)
        with torch.inference_mode():
            logits = network(x[..., *place], days, valid[..., *place])
        return functional.softmax(logits / bundle.temperature, dim=1)[0, :, *window.slices_within(seen)]

    return compute


def by_blocks(shape: tuple[int, int], compute: Compute, overlap: int) -> Tensor:
    """Probabilities of the square."""
    blocks = [Window(row, col, SIZE, SIZE) for row in range(0, shape[0], SIZE) for col in range(0, shape[1], SIZE)]
    blend = Blend(blocks, SIZE, overlap)
    rows = {block: finished for each in blocks for block, finished in blend.add(each, compute(blend.window(each)))}
    return torch.cat(
        [torch.cat([rows[block] for block in blocks if block.row == row], dim=2) for row in range(0, shape[0], SIZE)],
        dim=1,
    )


def draw(data: Path, picture: Path) -> None:
    """Draws the picture.

    Args:
        data: The folder flanders_2018.
        picture: PNG to write.
    """
    bundle = load_bundle(BUNDLE)
    given = read(data, bundle)
    shape = given[0].shape[-2], given[0].shape[-1]
    whole = computing(bundle, given, 0)(Window(0, 0, *shape))
    ways = {
        "Cut": ("no halo", by_blocks(shape, computing(bundle, given, 0), 0)),
        "With a halo": (f"{HALO} pixels around each block", by_blocks(shape, computing(bundle, given, HALO), 0)),
        "Blended": (
            f"the halo, and blocks that overlap by {2 * OVERLAP} pixels",
            by_blocks(shape, computing(bundle, given, HALO), OVERLAP),
        ),
    }
    place = [crop.name for crop in bundle.classes].index(CROP)
    mpl.use("Agg")
    with pyplot.rc_context({"font.family": "DejaVu Sans", "text.color": INK, "axes.edgecolor": "#c9cec8"}):
        figure, axes = pyplot.subplots(2, 3, figsize=(12, 9.3), facecolor=PAPER)
        for (title, (told, found)), (upper, lower) in zip(ways.items(), axes.T, strict=True):
            error = found - whole
            likely = _show(upper, found[place].numpy(), "YlGnBu", 0, 1)
            apart = _show(lower, error[place].numpy(), "RdBu_r", -CLIPPED_AT, CLIPPED_AT)
            upper.set_title(title, loc="left", fontsize=13, weight="bold", pad=20)
            upper.text(0, 1.02, told, fontsize=9.5, color=QUIET, transform=upper.transAxes)
            lower.text(0, 1.02, _told(error), fontsize=9.5, transform=lower.transAxes)
        figure.subplots_adjust(left=0.02, right=0.9, top=0.84, bottom=0.02, wspace=0.05, hspace=0.12)
        for row, image, label in (
            (0, likely, f"probability of {CROP.lower()}"),
            (1, apart, "difference from the map in one piece"),
        ):
            box = axes[row, 2].get_position()
            bar = figure.colorbar(
                image, cax=figure.add_axes((0.915, box.y0, 0.014, box.height)), extend="both" if row else "neither"
            )
            bar.set_label(label, fontsize=9.5)
            bar.outline.set_visible(False)
            bar.ax.tick_params(labelsize=8.5, length=0)
        figure.text(0.02, 0.953, "Where four blocks meet", fontsize=19, weight="bold")
        figure.text(
            0.02,
            0.94,
            "32 x 32 pixels of the real square in Flanders, a dense ConvLSTM. Dashed: the blocks' edges. With its "
            f"reach of 12 pixels there would\nbe nothing to see, so {HALO} are read here; overlapping blocks see "
            f"{HALO + OVERLAP}. Below: differences, twenty times as strong as above.",
            va="top",
            fontsize=10,
            color=QUIET,
        )
        figure.savefig(picture, dpi=110)
        pyplot.close(figure)


def _show(panel: Any, values: NDArray[np.float32], colours: str, least: float, most: float) -> Any:
    image = panel.imshow(values[SHOWN, SHOWN], cmap=colours, vmin=least, vmax=most, interpolation="nearest")
    middle = SIZE - SHOWN.start - 0.5
    for line in (panel.axhline, panel.axvline):
        line(middle, color=EDGE, linewidth=0.9, linestyle=(0, (4, 4)))
    panel.set(xticks=[], yticks=[])
    return image


def _told(error: Tensor) -> str:
    """The largest difference, and the largest step of it from one side of a block's edge to the other."""
    steps = [error.diff(dim=axis).select(axis, SIZE - 1).abs().max() for axis in (1, 2)]
    return f"at most {float(error.abs().max()):.3f}; across an edge {float(max(steps)):.4f}"


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
