"""The real square `flanders_2018` as models map it that have not seen it, beside what was declared: a picture for docs.

Run as `python -m scripts.bundle_plans.real_patch WORK/europe-hybrid-cnn PICTURE` once `europe_spatial` has judged it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from cropmap_core.samples.files import NO_PARCEL, SampleFile
from scripts.bundle_plans.spatial import REAL, REAL_MAPS, SCORES

_SUMMER = 5  # June, from 0
_SHOWN = ("B08", "B04", "B03")
_BRIGHTEST = (5000, 1500, 1500)
_PALE = 0.45
_STYLE: Any = {"font.size": 9}


def draw(folder: Path, picture: Path) -> None:
    """Draws June in false colours, the declarations, and the map of each model.

    Args:
        folder: What `europe_spatial` has left: the patch, its maps and scores.
        picture: A PNG.
    """
    with SampleFile(folder / REAL) as file:
        classes, bands = file.classes, file.layout.bands
        batch = file.read(np.zeros(1, np.int64))
        parcel = file.read_parcels(np.zeros(1, np.int64))[0]
    scores = json.loads((folder / SCORES).read_text(encoding="utf-8"))["real"]
    chosen = batch.data[0, _SUMMER][[bands.index(name) for name in _SHOWN]].astype(float)
    colours = np.array([to_rgb(each.color) for each in classes])
    position = {each.value: place for place, each in enumerate(classes)}
    truth = np.vectorize(lambda value: position.get(value, -1))(batch.label[0])
    panels = [
        ("June 2018, B08 B04 B03", (chosen / np.array(_BRIGHTEST)[:, None, None]).clip(0, 1).transpose(1, 2, 0)),
        ("Declared", np.where((truth >= 0)[..., None], colours[truth], 1.0)),
    ]
    shown = set(np.unique(truth[truth >= 0]).tolist())
    with np.load(folder / REAL_MAPS) as maps:
        for name in list(scores)[1::-1]:  # by pixel, then in context
            found = maps[name].astype(np.float32).argmax(axis=0)
            pale = np.where((parcel != NO_PARCEL)[..., None], 1.0, _PALE)
            shown |= set(np.unique(found[parcel != NO_PARCEL]).tolist())
            right = scores[name]
            said = (
                f"{name.split(',')[0]}\n{right['parcels']['right']} of {right['parcels']['count']} parcels, "
                f"{100 * right['pixels']['oa']:.0f} % of their pixels"
            )
            panels.append((said, 1 - (1 - colours[found]) * pale))
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(12, 4.3), layout="constrained")
        for place, (title, image) in enumerate(panels, start=1):
            axes = figure.add_subplot(1, len(panels), place)
            axes.imshow(image, interpolation="nearest")
            _outline(axes, parcel)
            axes.set_title(title)
            axes.set_axis_off()
        names = [Patch(color=colours[each], label=classes[each].name) for each in sorted(shown)]
        figure.legend(handles=names, loc="outside lower center", ncols=len(names), frameon=False)
        figure.savefig(picture, dpi=110)


def _outline(axes: Any, parcel: NDArray[np.int64]) -> None:
    for number in np.unique(parcel[parcel != NO_PARCEL]):
        axes.contour(parcel == number, levels=[0.5], colors="black", linewidths=0.7)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Draws the real square as models map it that have not seen it.")
    parser.add_argument("folder", type=Path, help="work folder of europe-hybrid-cnn")
    parser.add_argument("picture", type=Path, help="a PNG")
    asked = parser.parse_args()
    draw(asked.folder, asked.picture)
