"""Class signatures: how the training pixels of each class run through the season (docs/models.md has the layout)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.errors import ModelBundleError
from cropmap_core.inference.bundles import Bundle, CropClass, read_json

QUARTILES = {"q25": 25, "q50": 50, "q75": 75}
"""Names and percentages, in order."""


def make_signatures(
    season: NDArray[np.float32],
    labels: NDArray[np.int64],
    parcels: NDArray[np.int64],
    channels: Sequence[str],
    months: Sequence[int],
    classes: Sequence[CropClass],
    period: str = "month",
) -> dict[str, Any]:
    """Quartiles of the training pixels by class, channel and month.

    Args:
        season: Filled composites, reflectance 0-1 and indices, shape (T, C, H, W).
        labels: Position of the class among `classes`, -1 where there is none, shape (H, W).
        parcels: Parcel number, shape (H, W).
        channels: Names of the C channels.
        months: Calendar months in which the T composites begin.
        classes: The model's classes.
        period: Of the composites.

    Returns:
        What `signatures.json` holds.
    """
    entries = []
    for position, crop in enumerate(classes):
        here = labels == position
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
                    for channel, name in enumerate(channels)
                },
            }
        )
    return {
        "version": 1,
        "statistic": f"quartiles over training pixels of filled median composites, PERIOD={period}",
        "months": list(months),
        "channels": list(channels),
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
