"""The files of a map: cloud-optimised rasters with their colours, names and styles."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from numpy.typing import NDArray

from cropmap_core.classes import CLASSES_TAG, CropClass, value_type
from cropmap_core.inference.map_layers import NO_CLASS, NO_VALUE, SCALE, Layer, MapPaths
from cropmap_core.io.cloud_optimised import CogWriter, Overviews, create_cog
from cropmap_core.io.grid import Grid, Window
from cropmap_core.io.outputs import Outputs, write_text
from cropmap_core.styles import (
    class_style,
    confidence_style,
    entropy_style,
    margin_style,
    ood_style,
    probability_style,
)


@dataclass(frozen=True)
class _Kind:
    """What a layer is written as."""

    description: str
    """Of its band."""
    overviews: Overviews
    style: Callable[[], str] | None
    """None for classes, whose style is that of the legend."""
    is_scaled: bool = False


_KINDS: dict[Layer, _Kind] = {
    "classes": _Kind("crop class", "mode", None),
    "confidence": _Kind("confidence, percent", "average", confidence_style),
    "entropy": _Kind("entropy, 0-1", "average", entropy_style, is_scaled=True),
    "margin": _Kind("margin, 0-1", "average", margin_style, is_scaled=True),
    "probabilities": _Kind("probability, 0-1", "average", probability_style, is_scaled=True),
    "ood": _Kind("ood", "mode", ood_style),
}


class MapWriter:
    """The rasters of a map in the making.

    Args:
        files: By the name of their layers.
    """

    def __init__(self, files: Mapping[Layer, CogWriter]) -> None:
        self._files = files

    def write(self, window: Window, layers: Mapping[str, NDArray[Any]]) -> None:
        """Writes what a window shows.

        Args:
            window: Inside the grid.
            layers: By their names, all that have a file.
        """
        for name, file in self._files.items():
            values = layers[name]
            file.write(window, values if values.ndim == 3 else values[None])

    def tag(self, tags: Mapping[str, str]) -> None:
        """Adds to the tags of the class raster what is known by now."""
        self._files["classes"].tag(tags)


@contextmanager
def create_maps(
    paths: MapPaths,
    grid: Grid,
    classes: Sequence[CropClass],
    legend: Sequence[CropClass],
    tags: Mapping[str, str] | None = None,
) -> Iterator[MapWriter]:
    """Creates the rasters of a map, cloud-optimised, whole when the block has ended well.

    Args:
        paths: Their files.
        grid: Of all of them.
        classes: The model's, in its order: the bands of the probabilities.
        legend: What class values stand for: the classes, and groups where crops may be unsure.
        tags: Of every file.

    Raises:
        OutputError: A file cannot be written or is incomplete.
    """
    told = {"classes": _legend_tag(legend), "probabilities": _legend_tag(classes)}
    with ExitStack() as stack:
        files: dict[Layer, CogWriter] = {}
        for name, path in paths.there.items():
            kind = _KINDS[name]
            several = name == "probabilities"
            names = [each.name for each in classes] if several else [kind.description]
            files[name] = stack.enter_context(
                create_cog(
                    path,
                    grid,
                    len(names),
                    value_type(max(each.value for each in legend)) if name == "classes" else "uint8",
                    NO_CLASS if name == "classes" else NO_VALUE,
                    overviews=kind.overviews,
                    colours={each.value: each.color for each in legend} if name == "classes" else None,
                    descriptions=names,
                    tags={**(tags or {}), **told.get(name, {})},
                    scales=[SCALE] * len(names) if kind.is_scaled else None,
                )
            )
        yield MapWriter(files)


def _legend_tag(classes: Sequence[CropClass]) -> dict[str, str]:
    told = [{"value": each.value, "name": each.name, "color": each.color} for each in classes]
    return {CLASSES_TAG: json.dumps(told)}


def stage_maps(outputs: Outputs, legend: Sequence[CropClass], written: MapPaths) -> MapPaths:
    """The unfinished files of a map.

    Their styles and the class names are written at once, for nothing in them depends on the pixels.

    Args:
        outputs: Of the job.
        legend: What class values stand for.
        written: What the files are to become.

    Raises:
        OutputError: One of them cannot be written to.
    """
    parts = {name: outputs.stage_raster(path) for name, path in written.there.items()}
    for name, path in written.there.items():
        styled = _KINDS[name].style
        style = class_style(legend) if styled is None else styled()
        write_text(outputs.stage(path.with_suffix(".qml")), style)
    names = written.classes.with_name(f"{written.classes.name}.aux.xml")
    write_text(outputs.stage(names), category_names(legend))
    return MapPaths(**parts)


def category_names(legend: Sequence[CropClass]) -> str:
    """The document in which GDAL, and what builds on it, looks for the names of a raster's values (PAM)."""
    document = Element("PAMDataset")
    names = SubElement(SubElement(document, "PAMRasterBand", band="1"), "CategoryNames")
    by_value = {each.value: each.name for each in legend}
    for value in range(max(by_value) + 1):
        SubElement(names, "Category").text = by_value.get(value, "")
    indent(document)
    return tostring(document, encoding="unicode") + "\n"
