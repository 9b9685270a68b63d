"""Class signatures: how the training pixels of each class run through the season (docs/models.md has the layout)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.errors import ModelBundleError
from cropmap_core.inference.bundles import Bundle, read_json
from cropmap_core.inference.out_of_distribution import (
    CUT,
    FEWEST_PIXELS,
    QUARTILES,
    STATISTIC,
    STATISTICS,
    Reference,
    reference_of,
)
from cropmap_core.inference.seasons import season_of

VERSION = 2
PERCENTILE = 99.5
"""Of the training pixels of a class: the threshold of each of the two statistics, so that 1 % at most exceed any."""
_COMMON_YEAR = 2017
_DECIMALS = 3  # of correlations

Floats = NDArray[np.float32]


def make_signatures(
    season: Floats, labels: NDArray[np.int64], parcels: NDArray[np.int64], bundle: Bundle
) -> dict[str, Any]:
    """Quartiles of the training pixels by class, channel and composite, and the thresholds of the test for `ood`.

    Args:
        season: Filled composites, reflectance 0-1 and indices, shape (T, C, H, W).
        labels: Position of the class among the bundle's, -1 where there is none, shape (H, W).
        parcels: Parcel number, shape (H, W).
        bundle: The model that learnt from them; its folder need not exist.

    Returns:
        What `signatures.json` holds.
    """
    known = (labels >= 0) & np.isfinite(season).all(axis=(0, 1))
    entries = []
    for position, crop in enumerate(bundle.classes):
        here = (labels == position) & known
        pixels = season[..., here] if here.any() else np.full((*season.shape[:2], 1), np.nan)
        found = np.percentile(pixels, list(QUARTILES.values()), axis=2)  # (3, T, C)
        entries.append(
            {
                "value": crop.value,
                "name": crop.name,
                "pixels": int(here.sum()),
                "parcels": int(np.unique(parcels[here]).size),
                "quartiles": {
                    name: {
                        quartile: [
                            round(float(value), 4) if np.isfinite(value) else None for value in found[row, :, channel]
                        ]
                        for row, quartile in enumerate(QUARTILES)
                    }
                    for channel, name in enumerate(bundle.channels)
                },
                "ood": None,
            }
        )
    without = ((), *bundle.accepts.optional)
    for entry, limits in zip(
        entries, _limits(season[..., known], labels[known], bundle, entries, without), strict=True
    ):
        entry["ood"] = limits
    return {
        "version": VERSION,
        "statistic": f"quartiles over training pixels of filled median composites, PERIOD={bundle.period}",
        "ood": {
            "statistic": STATISTIC,
            "percentile": PERCENTILE,
            "fewest_pixels": FEWEST_PIXELS,
            "without": [list(some) for some in without],
        },
        "months": list(bundle.months),
        "channels": list(bundle.channels),
        "classes": entries,
    }


def read_quartiles(bundle: Bundle) -> Mapping[str, Mapping[str, NDArray[np.float64]]]:
    """The signatures of a bundle.

    Returns:
        Class name -> channel -> array of shape (months, 3): quartiles 25, 50 and 75 %; reflectance is 0-1.

    Raises:
        ModelBundleError: Its signatures.json is not of the documented layout.
    """
    path = bundle.folder / "signatures.json"
    document = read_json(path)
    try:
        return {
            entry["name"]: {
                channel: np.array([values[quartile] for quartile in QUARTILES], dtype=np.float64).T
                for channel, values in entry["quartiles"].items()
            }
            for entry in document["classes"]
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelBundleError(
            f"{path} is not of the documented layout: {error!r}.",
            "Train the model anew, or copy its whole folder again.",
        ) from error


def _limits(
    pixels: Floats,
    labels: NDArray[np.int64],
    bundle: Bundle,
    entries: Sequence[Mapping[str, Any]],
    without: Sequence[Sequence[str]],
) -> list[dict[str, Any] | None]:
    """Thresholds and correlations of each class: those of all pixels for one that has few, None for one without any.

    Args:
        pixels: Shape (T, C, P).
        labels: Shape (P,).
        bundle: The model.
        entries: What signatures.json has of its classes so far.
        without: Sets of channels that may be missing.
    """
    reference = reference_of(bundle, entries)
    count = np.bincount(labels, minlength=len(entries))
    moments = np.stack([_moments(pixels[..., labels == k], reference, k) for k in range(len(entries))])
    moments[count < FEWEST_PIXELS] = moments.sum(axis=0)
    reference = replace(reference, correlation=np.stack([_correlation(each) for each in moments]))
    limits = [_thresholds(pixels, labels, count, reference, some) for some in without]  # [V][2, K]
    return [
        {
            **{name: [each[row][k] for each in limits] for row, name in enumerate(STATISTICS)},
            "correlation": reference.correlation[k].tolist(),
        }
        if count[k]
        else None
        for k in range(len(entries))
    ]


def _thresholds(
    pixels: Floats, labels: NDArray[np.int64], count: NDArray[np.int64], reference: Reference, missing: Sequence[str]
) -> list[list[float]]:
    """Percentiles of level and spectrum by class where some channels are missing, shape (2, K)."""
    bundle = reference.bundle
    there = [name for name in bundle.channels if name not in missing]
    some = [bundle.channels.index(name) for name in there]
    test = reference.test(season_of(bundle.first_days, _COMMON_YEAR), bundle.period, there)
    valid = np.ones((len(pixels), len(labels)), bool)
    found = test.statistics(pixels[:, some], valid, labels.astype(np.int32))
    limits = np.zeros((2, len(count)))
    for k, own in enumerate(count):
        if own:
            alike = labels == k if own >= FEWEST_PIXELS else slice(None)
            limits[:, k] = np.percentile(found[:, alike], PERCENTILE, axis=1)
    return [[round(float(limit), 4) for limit in row] for row in limits]


def _moments(pixels: Floats, reference: Reference, position: int) -> NDArray[np.float64]:
    """Sums of the products of a class's channels at a date, in units of their spreads, shape (C, C)."""
    channels = pixels.shape[1]
    total = np.zeros((channels, channels))
    for time in range(len(pixels)):
        median, spread = (each[position, time, :, None] for each in (reference.median, reference.spread))
        z = np.clip((pixels[time] - median) / spread, -CUT, CUT)
        total += z @ z.T
    return total


def _correlation(moments: NDArray[np.float64]) -> NDArray[np.float64]:
    deviation = np.sqrt(np.diag(moments))
    correlation = moments / np.maximum(np.outer(deviation, deviation), np.finfo(float).tiny)
    np.fill_diagonal(correlation, 1)
    rounded: NDArray[np.float64] = correlation.round(_DECIMALS)
    return rounded
