"""QGIS styles beside the rasters that are written, so that every way of opening them shows them styled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, indent, tostring

if TYPE_CHECKING:  # torch takes a second to import, and time series need none
    from cropmap_core.classes import CropClass

CONFIDENCE_COLOURS = ((0, "#7f3b08"), (40, "#e08214"), (60, "#fee0b6"), (80, "#b2abd2"), (100, "#2d004b"))
"""Percent and colour: low confidence stands out."""

ENTROPY_COLOURS = ((0.0, "#fcfdbf"), (0.25, "#fc8961"), (0.5, "#b73779"), (0.75, "#51127c"), (1.0, "#000004"))
"""Share of the most entropy and colour: light where one class has it all."""

MARGIN_COLOURS = ((0.0, "#7f3b08"), (0.1, "#e08214"), (0.3, "#fee0b6"), (0.6, "#b2abd2"), (1.0, "#2d004b"))
"""Difference of the first two probabilities and colour: what is nearly a tie stands out."""

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
    return _ramp([(percent, f"{percent} %", colour) for percent, colour in CONFIDENCE_COLOURS])


def entropy_style() -> str:
    """A QML document for entropy, 0 to 1."""
    return _ramp([(share, f"{share:g}", colour) for share, colour in ENTROPY_COLOURS])


def margin_style() -> str:
    """A QML document for the margin between the two most probable classes, 0 to 1."""
    return _ramp([(margin, f"{margin:g}", colour) for margin, colour in MARGIN_COLOURS])


def probability_style() -> str:
    """A QML document for the probability of the first class, 0 to 1; others show in the same way with another band."""
    return _ramp([(0, "0", "#ffffff"), (0.5, "0.5", "#78c679"), (1, "1", "#00441b")])


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


def _ramp(items: Sequence[tuple[float, str, str]]) -> str:
    """A document that interpolates between colours: value, label and colour of each, ascending."""
    lowest, highest = f"{items[0][0]:g}", f"{items[-1][0]:g}"
    document, renderer = _document(
        "singlebandpseudocolor", {"band": "1", "classificationMin": lowest, "classificationMax": highest}
    )
    shader = SubElement(SubElement(renderer, "rastershader"), "colorrampshader")
    shader.attrib.update(
        colorRampType="INTERPOLATED", classificationMode="1", clip="0", minimumValue=lowest, maximumValue=highest
    )
    for value, label, colour in items:
        SubElement(shader, "item", value=f"{value:g}", label=label, color=colour, alpha="255")
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
