"""What a Sentinel-2 L2A product says of itself in its XML.

References:
    ESA, Sentinel-2 Products Specification Document, Level-2A user product metadata.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePath
from xml.etree import ElementTree

from cropmap_core.errors import SceneError

PRODUCT_XML = "MTD_MSIL2A.xml"
QUANTIFICATION = 10000

_STRIP = re.compile(r"_S(\d{8}T\d{6})(?:_|$)")
_PRODUCT_NAME = re.compile(r"S2[A-D]_MSIL2A_\d{8}T\d{6}_N(\d{2})(\d{2})_R\d{3}")


@dataclass(frozen=True)
class Product:
    """The radiometry of one product."""

    folder: Path
    baseline: str
    """Processing baseline, for instance 04.00."""
    offset: int
    """BOA_ADD_OFFSET, added to digital numbers before scaling; 0 before baseline 04.00."""
    strip_start: datetime | None = None
    """When its datastrip began: a pass that went down to two stations has two, each with a part of a tile."""


def read_product(folder: Path) -> Product:
    """Reads the processing baseline and offset of a SAFE folder.

    Raises:
        SceneError: The XML is missing, damaged, declares a DTD, or states another quantification than 10000.
    """
    path = folder / PRODUCT_XML
    try:
        xml = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    return parse_product(xml, path, folder)


def parse_product(xml: bytes, path: Path, folder: Path) -> Product:
    """Reads the processing baseline and offset from a product's XML.

    Args:
        xml: The content of MTD_MSIL2A.xml.
        path: Where it comes from, for messages.
        folder: The SAFE folder.

    Raises:
        SceneError: As `read_product`.
    """
    root = _parse(xml, path)
    baseline = _text(root, "PROCESSING_BASELINE", path)
    # Until October 2018 (product specification 14.2 and before) the names of L2A's own values began with L2A_.
    quantification = _number(_text(root, "BOA_QUANTIFICATION_VALUE", path, "L2A_BOA_QUANTIFICATION_VALUE"), path)
    if quantification != QUANTIFICATION:
        raise SceneError(
            f"{path} states the quantification value {quantification:g}, not {QUANTIFICATION}.",
            "Check that the product is an unchanged Sentinel-2 L2A product.",
        )
    offsets = {_number(element.text or "", path) for element in root.iter() if _tag(element) == "BOA_ADD_OFFSET"}
    if len(offsets) > 1:
        raise SceneError(f"{path} gives its bands different offsets.", "Such a product is not known; report it.")
    offset = offsets.pop() if offsets else 0.0
    if not offset.is_integer():
        raise SceneError(f"{path} states an offset that is no whole number.", "Download the product again.")
    return Product(folder, baseline, int(offset), _strip_start(root))


def _strip_start(root: ElementTree.Element) -> datetime | None:
    """From an identifier like S2A_OPER_MSI_L2A_DS_ATOS_20221005T164454_S20221005T115407_N04.00."""
    for element in root.iter():
        match = _STRIP.search(element.get("datastripIdentifier", ""))
        if match is not None:
            with suppress(ValueError):
                return datetime.strptime(match[1], "%Y%m%dT%H%M%S")
    return None


def baseline_in_name(path: PurePath) -> str | None:
    """The processing baseline in the name of a product that a path leads through, for instance 04.00."""
    for part in reversed(path.parts):
        match = _PRODUCT_NAME.search(part)
        if match is not None and match[1] != "99":  # 99.99 marks products of no known baseline
            return f"{match[1]}.{match[2]}"
    return None


def offset_of_baseline(baseline: str) -> int:
    """The offset of digital numbers as ESA distributes them: -1000 from baseline 04.00 on."""
    major, _, _ = baseline.partition(".")
    return -1000 if int(major) >= 4 else 0


def _parse(xml: bytes, path: Path) -> ElementTree.Element:
    try:
        text = xml.decode("utf-8-sig")  # what is not UTF-8 could hide a DTD
        if "<!DOCTYPE" in text or "<!ENTITY" in text or "\0" in text:
            raise SceneError(f"{path} declares a DTD, which no Sentinel-2 product does.", "Download the product again.")
        return ElementTree.fromstring(text)  # noqa: S314  (no DTD, so no entities)
    except (UnicodeDecodeError, ElementTree.ParseError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> SceneError:
    return SceneError(f"{path} cannot be read: {error}.", "Download the product again.")


def _number(text: str, path: Path) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise SceneError(f"{path} has '{text}' where a number belongs.", "Download the product again.")
    return value


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _text(root: ElementTree.Element, tag: str, path: Path, earlier_tag: str = "") -> str:
    for element in root.iter():
        if _tag(element) in (tag, earlier_tag) and element.text:
            return element.text.strip()
    raise SceneError(f"{path} has no {tag}.", "Check that the product is a complete Sentinel-2 L2A product.")
