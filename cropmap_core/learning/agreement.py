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

from cropmap_core.inference.bundle_types import ITEM, THERMAL, Bundle
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
_AT_ONCE = 256  # samples that are read


def record_agreement(folder: Path, file: SampleFile, index: NDArray[np.int64], edge: int = 128) -> float | None:
    """Measures the share of pixels of the same class in both precisions, and writes it into a bundle's item.json.

    An image is made of the samples' middle pixels; for networks that look around each fills a square, so that they see
    fields and borders.

    Args:
        folder: The bundle.
        file: Samples of its channels.
        index: Which of them.
        edge: Samples along an edge of the image, at most.

    Returns:
        The share; None of patch networks and trees, which know one precision only, of networks that count thermal days,
        and where nothing was observed.

    Raises:
        ModelBundleError: The bundle is damaged.
        OutputError: It cannot be written.
    """
    bundle = load_bundle(folder)
    if bundle.positions == THERMAL or Predictor(bundle, precision=torch.bfloat16).precision != torch.bfloat16:
        return None
    there = present_channels(bundle, file.layout.bands, computable_of(bundle, file.layout.bands))
    around = Predictor(bundle).halo
    field = _FIELD if around else 1
    values, valid, first, count = _image(file, index, there, around, edge, field)
    told = f"{count} samples of {file.path.stem}" + (f", squares of {field} x {field} pixels" if around else "")
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
    if not observed.any():
        return None
    share = float((exact == found)[observed].mean())
    if if_less and agreement_of(bundle) <= share:
        return share
    document = read_json(bundle.folder / ITEM)
    measured = {"agreement": round(share, 5), "pixels": int(observed.sum()), "measured_on": told}
    document["properties"][PROPERTY] = measured
    write_text(bundle.folder / ITEM, json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return share


def _image(
    file: SampleFile, index: NDArray[np.int64], channels: Sequence[str], around: int, edge: int, field: int
) -> tuple[Values, Mask, date, int]:
    """Channels of samples of one season as an image, with so many pixels around it.

    Returns:
        Values and where they are valid, the season's first day, and how many samples there are.
    """
    seasons = file.column("season")[index]
    common, counts = np.unique(seasons, return_counts=True)
    season = common[counts.argmax()]
    index = index[seasons == season]
    some = np.sort(np.random.default_rng(_SEED).choice(index, min(len(index), edge**2), replace=False))
    edge = math.isqrt(len(some))
    data, observed = _middles(file, some[: edge * edge])
    values, valid = sample_channels(data, observed, file.layout.bands, channels)
    places = np.arange(edge * edge).reshape(edge, edge)
    places = places.repeat(field, axis=0).repeat(field, axis=1)
    places = np.pad(places, around, mode="wrap")
    image = np.ascontiguousarray(np.moveaxis(values[..., 0, 0][places], (0, 1), (2, 3)))  # (T, C, H, W)
    usable = np.ascontiguousarray(np.moveaxis(valid[..., 0, 0][places], (0, 1), (1, 2)))  # (T, H, W)
    return image, usable, date(1970, 1, 1) + timedelta(days=int(season)), edge * edge


def _middles(file: SampleFile, index: NDArray[np.int64]) -> tuple[NDArray[np.int16], Mask]:
    """The middle pixels of samples, shapes (N, T, C, 1, 1) and (N, T, 1, 1); some samples at a time."""
    data, valid = [], []
    for start in range(0, len(index), _AT_ONCE):
        batch = file.read(index[start : start + _AT_ONCE])
        row, col = (edge // 2 for edge in batch.data.shape[-2:])
        data.append(batch.data[..., row : row + 1, col : col + 1].copy())
        valid.append(batch.valid[..., row : row + 1, col : col + 1].copy())
    return np.concatenate(data), np.concatenate(valid)
