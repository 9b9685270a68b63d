"""What a model bundle says, and its network: the common ground of reading, writing and predicting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

import models
from cropmap_core.classes import CropClass
from cropmap_core.errors import ModelBundleError
from cropmap_core.timeseries.formulas import INDICES
from cropmap_core.timeseries.series import REFLECTANCE_SCALE, Values
from models.network import Network

ITEM = "item.json"
WEIGHTS = "weights.safetensors"
SIGNATURES = "signatures.json"
CARD = "README.md"
CALENDAR, THERMAL = "calendar", "thermal"
RESTORE = "Copy the whole bundle again from where it came from, or train it anew."


@dataclass(frozen=True)
class Bundle:
    """A trained model: everything but its weights, which `network` reads."""

    id: str
    title: str
    folder: Path
    architecture: str
    """Key of `models.ARCHITECTURES`."""
    hyper_parameters: Mapping[str, Any]
    channels: tuple[str, ...]
    """Bands and indices, in the network's order."""
    mean: tuple[float, ...]
    """Per channel, of reflectance 0-1 or the index."""
    std: tuple[float, ...]
    classes: tuple[CropClass, ...]
    """In the order of the network's outputs."""
    first_days: tuple[str, ...]
    """Days of the year like 05-01 on which the composites of its season begin, in order."""
    bbox: tuple[float, float, float, float]
    """Where it was trained: west, south, east, north in degrees."""
    period: str = "month"
    stride_pixels: int = 1
    """Edge of the cells that a patch network maps, in pixels; 1 for dense networks."""
    temperature: float = 1.0
    """What its logits are divided by, so that probabilities are as often right as they say."""
    positions: str = CALENDAR
    """How its network counts time: `calendar` days, or `thermal` days, for which it takes temperatures."""
    properties: Mapping[str, Any] | None = None
    """`properties` of item.json as they stand there: description, training data, accuracy, ..."""

    @property
    def months(self) -> tuple[int, ...]:
        """Calendar months in which its composites begin."""
        return tuple(int(day[:2]) for day in self.first_days)

    @property
    def indices(self) -> tuple[str, ...]:
        """The channels that are vegetation indices."""
        return tuple(name for name in self.channels if name in INDICES)

    @property
    def reflectance_bands(self) -> tuple[str, ...]:
        """Bands to stack: those among the channels, and those that its indices are computed from."""
        used = (INDICES[name].bands if name in INDICES else (name,) for name in self.channels)
        return tuple(dict.fromkeys(band for bands in used for band in bands))

    def normalise(self, data: Values) -> NDArray[np.float32]:
        """Scales channels as the network expects them.

        Args:
            data: Its channels in its order: int16 reflectance x 10000, or float32 reflectance and indices,
                shape (..., C, H, W).

        Returns:
            float32, of the same shape; of no meaning where the data are not valid.
        """
        scale = REFLECTANCE_SCALE if data.dtype.kind == "i" else 1.0
        factor = (scale / np.array(self.std)).astype(np.float32)[:, None, None]
        shift = (np.array(self.mean) / np.array(self.std)).astype(np.float32)[:, None, None]
        normalised = data.astype(np.float32)
        normalised *= factor
        normalised -= shift
        return normalised

    def season_days(self, dates: Sequence[date]) -> NDArray[np.float32]:
        """Days since the season's start, float32, shape (T,); the season starts with the first date's month."""
        return np.array([(day - dates[0].replace(day=1)).days for day in dates], dtype=np.float32)

    def network(self, device: torch.device | str = "cpu") -> Network:
        """The trained network, ready to predict.

        Raises:
            ModelBundleError: The weights cannot be read.
        """
        network = build_network(self)
        path = self.folder / WEIGHTS
        try:
            network.load_state_dict(load_file(path))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise ModelBundleError(f"{path} cannot be read: {error}.", RESTORE) from error
        return network.to(device).eval()


def build_network(bundle: Bundle) -> Network:
    """The untrained network that a bundle describes.

    Raises:
        ModelBundleError: Its architecture or hyper-parameters are not ones there are.
    """
    try:
        return models.build(bundle.architecture, **bundle.hyper_parameters)
    except (TypeError, ValueError) as error:
        raise ModelBundleError(f"{bundle.folder / ITEM} describes no network: {error}.", RESTORE) from error
