"""Whether a model maps the same in bfloat16 as in float32, measured on the samples that it learnt from.

The arithmetic is what is judged here and not the model, so that it does not matter that it knows these samples.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cropmap_core.inference.bundle_types import ITEM, Bundle
from cropmap_core.inference.bundles import load_bundle, read_json
from cropmap_core.inference.channels import sample_channels
from cropmap_core.inference.fit import present_channels
from cropmap_core.inference.precision import PROPERTY, agreement_of
from cropmap_core.inference.predictor import Predictor, computable_of
from cropmap_core.io.outputs import write_text
from cropmap_core.samples.files import SampleFile
from cropmap_core.timeseries.series import Mask, Values

_FIELD = 4  # pixels along an edge of the square that a sample fills
_SEED = 0


def record_agreement(folder: Path, file: SampleFile, index: NDArray[np.int64], edge: int = 64) -> float | None:
    """Measures the share of pixels of the same class in both precisions, and writes it into a bundle's item.json.

    An image is made of samples, each a square of 4 x 4 pixels of its middle: so networks that look around see borders.

    Args:
        folder: The bundle.
        file: Samples of its channels.
        index: Which of them.
        edge: Samples along an edge of the image, at most.

    Returns:
        The share; None of patch networks and trees, which know one precision only.

    Raises:
        ModelBundleError: The bundle is damaged.
        OutputError: It cannot be written.
    """
    bundle = load_bundle(folder)
    there = present_channels(bundle, file.layout.bands, computable_of(bundle, file.layout.bands))
    values, valid, first = _image(file, index, there, Predictor(bundle).halo, edge)
    told = f"squares of {_FIELD} x {_FIELD} pixels of samples of {file.path.stem}"
    return record_agreement_on(bundle, values, valid, file.layout.dates(first), told, there)


def record_agreement_on(
    bundle: Bundle,
    values: Values,
    valid: Mask,
    dates: Sequence[date],
    told: str,
    there: Sequence[str] | None = None,
    if_less: bool = False,
) -> float | None:
    """The same on an image.

    Args:
        bundle: The bundle.
        values: Its channels that are `there`, with the network's halo around, as `Predictor.of_window` takes them.
        valid: As above.
        dates: Of the image.
        told: What the image is.
        there: As above.
        if_less: What the bundle says already stays, unless this is less.

    Returns:
        As above.

    Raises:
        OutputError: The bundle cannot be written.
    """
    halved = Predictor(bundle, precision=torch.bfloat16)
    if halved.precision != torch.bfloat16:
        return None
    exact, found = (
        each.of_window(values, valid, each.days(dates), there=there).argmax(dim=0).numpy()
        for each in (Predictor(bundle), halved)
    )
    inside = slice(halved.halo, -halved.halo or None)
    observed: Mask = np.asarray(valid.any(axis=0))[inside, inside]
    share = float((exact == found)[observed].mean())
    if if_less and agreement_of(bundle) <= share:
        return share
    document = read_json(bundle.folder / ITEM)
    measured = {"agreement": round(share, 5), "pixels": int(observed.sum()), "measured_on": told}
    document["properties"][PROPERTY] = measured
    write_text(bundle.folder / ITEM, json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return share


def _image(
    file: SampleFile, index: NDArray[np.int64], channels: Sequence[str], around: int, edge: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_], date]:
    """Channels of samples of one season as an image, with so many pixels around it, and the season's first day."""
    seasons = file.column("season")[index]
    common, counts = np.unique(seasons, return_counts=True)
    season = common[counts.argmax()]
    index = index[seasons == season]
    some = np.sort(np.random.default_rng(_SEED).choice(index, min(len(index), edge**2), replace=False))
    batch = file.read(some)
    row, col = (edge // 2 for edge in batch.data.shape[-2:])
    middle = slice(row, row + 1), slice(col, col + 1)
    values, valid = sample_channels(batch.data[..., *middle], batch.valid[..., *middle], file.layout.bands, channels)
    edge = math.ceil(math.sqrt(len(some)))
    places = np.resize(np.arange(len(some)), edge * edge).reshape(edge, edge)
    places = places.repeat(_FIELD, axis=0).repeat(_FIELD, axis=1)
    places = np.pad(places, around, mode="wrap")
    image = np.ascontiguousarray(np.moveaxis(values[..., 0, 0][places], (0, 1), (2, 3)))  # (T, C, H, W)
    usable = np.ascontiguousarray(np.moveaxis(valid[..., 0, 0][places], (0, 1), (1, 2)))  # (T, H, W)
    return image, usable, date(1970, 1, 1) + timedelta(days=int(season))
