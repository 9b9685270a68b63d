"""A bundle's item.json: a STAC Item with the Machine Learning Model and classification extensions.

References:
    STAC 1.1; https://github.com/stac-extensions/mlm; https://github.com/stac-extensions/classification.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import torch

import models
from cropmap_core.classes import LARGEST_MAPPED, CropClass
from cropmap_core.errors import JobError, ModelBundleError
from cropmap_core.inference.bundle_types import (
    CALENDAR,
    CARD,
    ITEM,
    REACH,
    RESTORE,
    SIGNATURES,
    THERMAL,
    WEIGHTS,
    Accepts,
    Bundle,
)
from cropmap_core.inference.seasons import check_first_days
from cropmap_core.timeseries.formulas import INDICES
from cropmap_core.timeseries.periods import make_periods

EXTENSIONS = (
    "https://stac-extensions.github.io/mlm/v1.4.0/schema.json",
    "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
)
_Kind = TypeVar("_Kind")


def item_of_bundle(bundle: Bundle, parameters: int) -> dict[str, Any]:
    """The item.json of a bundle whose network has so many parameters."""
    west, south, east, north = bundle.bbox
    corners = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(EXTENSIONS),
        "id": bundle.id,
        "geometry": {"type": "Polygon", "coordinates": [corners]},
        "bbox": [west, south, east, north],
        "properties": {
            **(bundle.properties or {}),
            "title": bundle.title,
            "bands": [_band(name) for name in bundle.channels],
            "mlm:name": bundle.title,
            "mlm:architecture": bundle.architecture,
            "mlm:tasks": ["classification"],
            "mlm:framework": "PyTorch",
            "mlm:framework_version": torch.__version__.partition("+")[0],
            "mlm:total_parameters": parameters,
            "mlm:hyperparameters": dict(bundle.hyper_parameters),
            "mlm:input": [_input(bundle)],
            "mlm:output": [_output(bundle)],
            "cropmap:period": bundle.period,
            "cropmap:first_days": list(bundle.first_days),
            "cropmap:stride_pixels": bundle.stride_pixels,
            "cropmap:temperature": bundle.temperature,
            "cropmap:positions": bundle.positions,
            "cropmap:accepts": {
                "periods": list(bundle.accepts.periods),
                "share": bundle.accepts.share,
                "optional": [list(some) for some in bundle.accepts.optional],
            },
        },
        "assets": {
            "model": {
                "href": f"./{WEIGHTS}",
                "title": "Weights",
                "type": "application/vnd.safetensors",
                "roles": ["mlm:model", "mlm:weights"],
            },
            "signatures": {
                "href": f"./{SIGNATURES}",
                "title": "Quartiles of the training pixels by class, channel and composite; thresholds for ood",
                "type": "application/json",
                "roles": ["metadata"],
            },
            "card": {"href": f"./{CARD}", "title": "Model card", "type": "text/markdown", "roles": ["overview"]},
        },
        "links": [],
    }


def _band(name: str) -> dict[str, str]:
    if name in INDICES:
        index = INDICES[name]
        return {"name": name, "description": f"Index of {', '.join(index.bands)} ({index.source})"}
    return {"name": name, "description": f"Sentinel-2 L2A surface reflectance {name}, 0-1"}


def _input(bundle: Bundle) -> dict[str, Any]:
    edge = bundle.hyper_parameters.get("patch_size", -1)
    return {
        "name": "time series",
        "description": f"Medians per {bundle.period} of clear Sentinel-2 L2A reflectance, gaps filled; indices",
        "bands": list(bundle.channels),
        "input": {
            "shape": [-1, len(bundle.first_days), len(bundle.channels), edge, edge],
            "dim_order": ["batch", "time", "channel", "height", "width"],
            "data_type": "float32",
        },
        "value_scaling": [
            {"type": "z-score", "mean": mean, "stddev": std} for mean, std in zip(bundle.mean, bundle.std, strict=True)
        ],
        "pre_processing_function": None,
    }


def _output(bundle: Bundle) -> dict[str, Any]:
    dense = models.describe(bundle.architecture, **bundle.hyper_parameters).kind == "dense"
    return {
        "name": "crop class",
        "description": "Logits in the order of the classes; their softmax gives probabilities",
        "tasks": ["semantic-segmentation" if dense else "classification"],
        "result": {
            "shape": [-1, len(bundle.classes), *([-1, -1] if dense else [])],
            "dim_order": ["batch", "class", *(["height", "width"] if dense else [])],
            "data_type": "float32",
        },
        "classification:classes": [
            {
                "value": crop.value,
                "name": crop.name,
                "title": crop.name,
                "description": crop.description or crop.name,
                "color_hint": crop.color.lstrip("#").upper(),
                **({"cropmap:parents": list(crop.parents)} if crop.parents else {}),
            }
            for crop in bundle.classes
        ],
        "post_processing_function": None,
    }


def bundle_from_item(item: Mapping[str, Any], folder: Path) -> Bundle:
    """Reads and checks a bundle's item.json.

    Raises:
        ModelBundleError: A field is missing, of the wrong kind, or contradicts another.
    """
    path = folder / ITEM
    properties = _field(item, "properties", dict, path)
    entry = _first(properties, "mlm:input", path)
    bands = _field(entry, "bands", list, path)
    channels = tuple(band["name"] if isinstance(band, dict) and "name" in band else band for band in bands)
    _require(_distinct_texts(channels), path, f"bands of mlm:input are {bands}")
    scaling = _field(entry, "value_scaling", list, path)
    _require(len(scaling) == len(channels), path, f"{len(channels)} bands but {len(scaling)} entries of value_scaling")
    bbox = _field(item, "bbox", list, path)
    _require(len(bbox) == 4 and all(map(_is_number, bbox)), path, f"bbox is {bbox}")
    first_days = _field(properties, "cropmap:first_days", list, path)
    _require(check_first_days(first_days), path, f"cropmap:first_days is {first_days}")
    period = _field(properties, "cropmap:period", str, path)
    _require(_is_period(period), path, f"cropmap:period is '{period}', which this CropMap does not know")
    stride = _field(properties, "cropmap:stride_pixels", int, path)
    _require(stride >= 1, path, f"cropmap:stride_pixels is {stride}")
    temperature = properties.get("cropmap:temperature", 1.0)
    _require(_is_number(temperature) and temperature > 0, path, f"cropmap:temperature is {temperature!r}")
    positions = properties.get("cropmap:positions", CALENDAR)
    _require(positions in (CALENDAR, THERMAL), path, f"cropmap:positions is {positions!r}")
    reach = properties.get(REACH)
    whole = isinstance(reach, int) and not isinstance(reach, bool) and reach >= 0
    _require(reach is None or whole, path, f"{REACH} is {reach!r}, no whole number")
    accepts = _accepts(properties.get("cropmap:accepts", {}), path)
    return Bundle(
        id=_field(item, "id", str, path),
        title=_field(properties, "title", str, path),
        folder=folder,
        architecture=_field(properties, "mlm:architecture", str, path),
        hyper_parameters=_field(properties, "mlm:hyperparameters", dict, path),
        channels=channels,
        mean=tuple(_scaling(each, "mean", path) for each in scaling),
        std=tuple(_scaling(each, "stddev", path) for each in scaling),
        classes=_classes(_first(properties, "mlm:output", path), path),
        first_days=tuple(first_days),
        bbox=(bbox[0], bbox[1], bbox[2], bbox[3]),
        period=period,
        stride_pixels=stride,
        temperature=float(temperature),
        positions=positions,
        accepts=accepts,
        properties=properties,
    )


def _accepts(told: Any, path: Path) -> Accepts:
    _require(isinstance(told, dict), path, f"cropmap:accepts is {told!r}")
    periods, share, optional = told.get("periods", []), told.get("share", 1.0), told.get("optional", [])
    lists = isinstance(optional, list) and all(isinstance(some, list) for some in optional)
    texts = isinstance(periods, list) and all(isinstance(name, str) for name in periods)
    named = lists and all(isinstance(name, str) for some in optional for name in some)
    _require(texts and named and _is_number(share) and 0 < share <= 1, path, f"cropmap:accepts is {told!r}")
    return Accepts(tuple(periods), float(share), tuple(tuple(some) for some in optional))


def _classes(output: Mapping[str, Any], path: Path) -> tuple[CropClass, ...]:
    classes = []
    for entry in _field(output, "classification:classes", list, path):
        _require(isinstance(entry, dict), path, f"a class is {entry}")
        value = _field(entry, "value", int, path)
        color = _field(entry, "color_hint", str, path)
        _require(1 <= value <= LARGEST_MAPPED, path, f"class value {value} is not within 1-{LARGEST_MAPPED}")
        _require(re.fullmatch("[0-9A-Fa-f]{6}", color) is not None, path, f"color_hint of class {value} is '{color}'")
        name = _field(entry, "name", str, path)
        parents = entry.get("cropmap:parents", [])
        _require(
            isinstance(parents, list) and all(isinstance(each, str) for each in parents),
            path,
            f"cropmap:parents of class {value} are {parents!r}",
        )
        description = _field(entry, "description", str, path)
        classes.append(CropClass(value, name, f"#{color.lower()}", description, tuple(parents)))
    _require(bool(classes), path, "it has no class")
    for what, found in (("value", [str(c.value) for c in classes]), ("name", [c.name for c in classes])):
        twice = sorted({each for each in found if found.count(each) > 1})
        _require(not twice, path, f"two classes share the {what} {', '.join(twice)}")
    return tuple(classes)


def _scaling(entry: Any, key: str, path: Path) -> float:
    usable = isinstance(entry, dict) and entry.get("type") == "z-score" and _is_number(entry.get(key))
    _require(usable and (key == "mean" or entry[key] > 0), path, f"value_scaling holds {entry}")
    return float(entry[key])


def _first(properties: Mapping[str, Any], key: str, path: Path) -> Mapping[str, Any]:
    entries = _field(properties, key, list, path)
    _require(len(entries) == 1 and isinstance(entries[0], dict), path, f"{key} is not a list of one object")
    entry: Mapping[str, Any] = entries[0]
    return entry


def _field(holder: Mapping[str, Any], key: str, kind: type[_Kind], path: Path) -> _Kind:
    value = holder.get(key)
    _require(
        isinstance(value, kind) and not (kind is int and isinstance(value, bool)),
        path,
        f"{key} is {'missing' if key not in holder else f'{value!r}, not of type {kind.__name__}'}",
    )
    return value  # type: ignore[return-value]


def _require(condition: bool, path: Path, problem: str) -> None:
    if not condition:
        raise ModelBundleError(f"{path} is not a usable model description: {problem}.", RESTORE)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _distinct_texts(names: Sequence[Any]) -> bool:
    return bool(names) and all(isinstance(name, str) for name in names) and len(set(names)) == len(names)


def _is_period(name: str) -> bool:
    try:
        make_periods(name, date(2018, 1, 1), date(2018, 12, 31))
    except JobError:
        return False
    return True
