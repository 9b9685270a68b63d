"""QGIS styles beside the rasters that are written, so that every way of opening them shows them styled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, indent, tostring

if TYPE_CHECKING:  # torch takes a second to import, and time series need none
    from cropmap_core.classes import CropClass

CONFIDENCE_COLOURS = ((0, "#7f3b08"), (40, "#e08214"), (60, "#fee0b6"), (80, "#b2abd2"), (100, "#2d004b"))
"""Percent and colour: low confidence stands out."""

OOD_COLOUR = "#d7191c"


def class_style(classes: Sequence[CropClass]) -> str:
    """A QML document that paints class values in their colours, with the crops' names."""
    document, renderer = _document("paletted", {"band": "1"})
    palette = SubElement(renderer, "colorPalette")
    for crop in classes:
        SubElement(palette, "paletteEntry", value=str(crop.value), label=crop.name, color=crop.color, alpha="255")
    return _text(document)


def confidence_style() -> str:
    """A QML document for confidence in percent."""
    document, renderer = _document(
        "singlebandpseudocolor", {"band": "1", "classificationMin": "0", "classificationMax": "100"}
    )
    shader = SubElement(SubElement(renderer, "rastershader"), "colorrampshader")
    shader.attrib.update(
        colorRampType="INTERPOLATED", classificationMode="1", clip="0", minimumValue="0", maximumValue="100"
    )
    for percent, colour in CONFIDENCE_COLOURS:
        SubElement(shader, "item", value=str(percent), label=f"{percent} %", color=colour, alpha="255")
    return _text(document)


def ood_style() -> str:
    """A QML document that paints what is out of distribution, and nothing where a pixel is as in training."""
    document, renderer = _document("paletted", {"band": "1"})
    palette = SubElement(renderer, "colorPalette")
    for value, label, alpha in (("0", "as in training", "0"), ("1", "unlike training", "255")):
        SubElement(palette, "paletteEntry", value=value, label=label, color=OOD_COLOUR, alpha=alpha)
    return _text(document)


def true_colour_style(red: int, green: int, blue: int, brightest: float) -> str:
    """A QML document that shows three bands as red, green and blue.

    Args:
        red: Number of the band shown as red, from 1; likewise the others.
        green: See red.
        blue: See red.
        brightest: The value, in the file's own unit after its scale, that is shown brightest.
    """
    document, renderer = _document(
        "multibandcolor", {"redBand": str(red), "greenBand": str(green), "blueBand": str(blue)}
    )
    for colour in ("red", "green", "blue"):
        stretch = SubElement(renderer, f"{colour}ContrastEnhancement")
        SubElement(stretch, "minValue").text = "0"
        SubElement(stretch, "maxValue").text = str(brightest)
        SubElement(stretch, "algorithm").text = "StretchToMinimumMaximum"
    return _text(document)


def _document(renderer_type: str, attributes: dict[str, str]) -> tuple[Element, Element]:
    document = Element("qgis", version="3.40.0", styleCategories="Symbology")
    pipe = SubElement(document, "pipe")
    renderer = SubElement(
        pipe, "rasterrenderer", {"type": renderer_type, "opacity": "1", "alphaBand": "-1", **attributes}
    )
    SubElement(renderer, "rasterTransparency")
    SubElement(document, "blendMode").text = "0"
    return document, renderer


def _text(document: Element) -> str:
    indent(document)
    head = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
    return head + tostring(document, encoding="unicode") + "\n"
