"""Styles beside the rasters: QML that paints classes in their colours and confidence from low to high."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from cropmap_core.inference.bundles import CropClass
from cropmap_core.styles import (
    class_style,
    confidence_style,
    entropy_style,
    margin_style,
    probability_style,
    true_colour_style,
)


def parsed(document: str) -> ElementTree.Element:
    assert document.startswith("<!DOCTYPE qgis")
    root = ElementTree.fromstring(document)  # noqa: S314  (our own)
    assert root.tag == "qgis"
    return root


def test_classes_have_their_colour_and_name() -> None:
    crops = [CropClass(3, "Maize", "#f4c430"), CropClass(7, 'Peas & "beans" <dry>', "#4caf50")]
    renderer = parsed(class_style(crops)).find("pipe/rasterrenderer")
    assert renderer is not None
    assert (renderer.get("type"), renderer.get("band")) == ("paletted", "1")
    entries = [(entry.get("value"), entry.get("label"), entry.get("color")) for entry in renderer.iter("paletteEntry")]
    assert entries == [("3", "Maize", "#f4c430"), ("7", 'Peas & "beans" <dry>', "#4caf50")]


def test_confidence_runs_over_all_percents() -> None:
    items = list(parsed(confidence_style()).iter("item"))
    percents = [int(item.get("value", "")) for item in items]
    assert (percents[0], percents[-1]) == (0, 100)
    assert percents == sorted(percents)
    assert len({item.get("color") for item in items}) == len(items)


@pytest.mark.parametrize("style", [entropy_style, margin_style, probability_style])
def test_shares_run_from_0_to_1_as_qgis_shows_them(style: Callable[[], str]) -> None:
    renderer = parsed(style()).find("pipe/rasterrenderer")
    assert renderer is not None
    assert (renderer.get("classificationMin"), renderer.get("classificationMax")) == ("0", "1")
    values = [float(item.get("value", "")) for item in renderer.iter("item")]
    assert (values[0], values[-1]) == (0, 1)
    assert values == sorted(values)


def test_true_colour_shows_the_bands_it_is_told() -> None:
    renderer = parsed(true_colour_style(3, 2, 1, brightest=0.3)).find("pipe/rasterrenderer")
    assert renderer is not None
    assert [renderer.get(f"{colour}Band") for colour in ("red", "green", "blue")] == ["3", "2", "1"]
    assert [element.text for element in renderer.iter("maxValue")] == ["0.3"] * 3
