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
from cropmap_core.inference.seasons import season_around
from cropmap_core.timeseries.formulas import INDICES
from cropmap_core.timeseries.series import REFLECTANCE_SCALE, Values
from models.network import Network

ITEM = "item.json"
WEIGHTS = "weights.safetensors"
SIGNATURES = "signatures.json"
CARD = "README.md"
REACH = "cropmap:reach_pixels"
CALENDAR, THERMAL = "calendar", "thermal"
RESTORE = "Copy the whole bundle again from where it came from, or train it anew."


@dataclass(frozen=True)
class Accepts:
    """What a model takes beside the composites that it was made for."""

    periods: tuple[str, ...] = ()
    """Further compositing periods."""
    share: float = 1.0
    """Of its season that suffices, whichever part it is; 1: it takes all of it."""
    optional: tuple[tuple[str, ...], ...] = ()
    """Channels that may be missing together; they stand as their mean in training then."""


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
    accepts: Accepts = Accepts()
    """What else it takes."""
    properties: Mapping[str, Any] | None = None
    """`properties` of item.json as they stand there: description, training data, accuracy, ..."""

    @property
    def months(self) -> tuple[int, ...]:
        """Calendar months in which its composites begin."""
        return tuple(int(day[:2]) for day in self.first_days)

    @property
    def reach_pixels(self) -> int | None:
        """How far around a pixel its class was seen to depend on; None: as far as its network can look."""
        reach: int | None = (self.properties or {}).get(REACH)
        return reach

    @property
    def indices(self) -> tuple[str, ...]:
        """The channels that are vegetation indices."""
        return tuple(name for name in self.channels if name in INDICES)

    @property
    def reflectance_bands(self) -> tuple[str, ...]:
        """Bands to stack: those among the channels, and those that its indices are computed from."""
        used = (INDICES[name].bands if name in INDICES else (name,) for name in self.channels)
        return tuple(dict.fromkeys(band for bands in used for band in bands))

    def normalise(self, data: Values, there: Sequence[str] | None = None) -> NDArray[np.float32]:
        """Scales channels as the network expects them.

        Args:
            data: Channels in its order: int16 reflectance x 10000, or float32 reflectance and indices, shape
                (..., C, H, W).
            there: Which of its channels they are, in its order; None for all. The others are zero, their mean.

        Returns:
            float32, of all its channels; of no meaning where the data are not valid.
        """
        chosen = [place for place, name in enumerate(self.channels) if there is None or name in there]
        mean, std = np.array(self.mean)[chosen], np.array(self.std)[chosen]
        normalised = data.astype(np.float32)
        if data.dtype.kind == "i":
            normalised *= np.float32(REFLECTANCE_SCALE)  # by itself: the numbers that a float32 series holds
        normalised *= (1 / std).astype(np.float32)[:, None, None]
        normalised -= (mean / std).astype(np.float32)[:, None, None]
        if len(chosen) == len(self.channels):
            return normalised
        *before, _, height, width = data.shape
        whole = np.zeros((*before, len(self.channels), height, width), np.float32)
        whole[..., chosen, :, :] = normalised
        return whole

    def season_of(self, dates: Sequence[date]) -> tuple[date, ...]:
        """First days of its composites in the season that most of some dates, which there must be, lie in."""
        return season_around(self.first_days, self.period, dates)

    def season_start(self, dates: Sequence[date]) -> date:
        """The day that positions in the season of some dates are counted from, the first of a month."""
        return (self.season_of(dates) if self.accepts.share < 1 else dates)[0].replace(day=1)

    def season_days(self, dates: Sequence[date]) -> NDArray[np.float32]:
        """Days since the season's start, float32, shape (T,)."""
        start = self.season_start(dates)
        return np.array([(day - start).days for day in dates], dtype=np.float32)

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
