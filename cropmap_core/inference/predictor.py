"""A bundle's network at work: normalised channels in, calibrated class probabilities out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cropmap_core.errors import IncompatibleModelError, ModelBundleError
from cropmap_core.inference.bundle_types import THERMAL
from cropmap_core.inference.bundles import Bundle
from cropmap_core.inference.channels import Floats, Mask, sample_channels
from cropmap_core.inference.fit import Composites, check_fits, present_channels
from cropmap_core.inference.seasons import season_of
from cropmap_core.inference.tree_kernels import ask_by_kernels
from cropmap_core.timeseries.formulas import INDICES
from cropmap_core.timeseries.series import REFLECTANCE_SCALE, Values
from cropmap_core.timeseries.temperatures import Temperatures

PATCH_PIXELS_AT_ONCE = 1024 * 5 * 5
"""Pixels of patches seen together; at least one patch."""
_PIXELS_AT_ONCE = 2**16
_COMMON_YEAR = 2017

Progress = Callable[[float], None]


class Predictor:
    """A bundle's network on a device.

    Args:
        bundle: The model.
        device: Where to compute.
        temperatures: What a bundle that counts thermal days needs; no other looks at them.

    Raises:
        IncompatibleModelError: The bundle counts thermal days, and there are no temperatures.
        ModelBundleError: The weights cannot be read, or the cells of a patch network are larger than its patches.
    """

    def __init__(
        self, bundle: Bundle, device: torch.device | str = "cpu", temperatures: Temperatures | None = None
    ) -> None:
        if bundle.positions == THERMAL and temperatures is None:
            raise IncompatibleModelError(
                f"The model {bundle.id} counts thermal days, and there are no temperatures.",
                "Give TEMPERATURES: daily means of where and when the series is from.",
            )
        self.bundle = bundle
        self._temperatures = temperatures if bundle.positions == THERMAL else None
        self.device = torch.device(device)
        self._network = bundle.network(self.device)
        self._trees = ask_by_kernels(self._network) if self.device.type == "cpu" else None
        if self.by_patch and bundle.stride_pixels > int(self._network.patch_size):
            raise ModelBundleError(
                f"The model bundle {bundle.folder} maps cells of {bundle.stride_pixels} pixels from patches of "
                f"{self._network.patch_size}, so that pixels of a cell would not be looked at.",
                "Set cropmap:stride_pixels in its item.json to the patch size or less.",
            )

    @property
    def by_patch(self) -> bool:
        """Whether a patch gets one class, and not each of its pixels."""
        return self._network.kind == "patch"

    @property
    def step(self) -> int:
        """Windows start and end on multiples of this many pixels, or at the raster's edge."""
        return self.bundle.stride_pixels if self.by_patch else int(self._network.stride)

    @property
    def halo(self) -> int:
        """Pixels around a window that its result depends on, in whole strides of the network."""
        return int(self._network.patch_size if self.by_patch else self._network.halo)

    def days(self, dates: Sequence[date], lon: float = math.nan, lat: float = math.nan) -> Floats:
        """Where dates lie in a season, as the network counts.

        Args:
            dates: Of one season, in order.
            lon: Where the series is, in degrees.
            lat: As `lon`.

        Returns:
            Days of the calendar or thermal days since the season's start, shape (T,).

        Raises:
            TemperatureError: The temperatures do not reach over the season.
        """
        if self._temperatures is None:
            return self.bundle.season_days(dates)
        return self._temperatures.thermal_days(self.bundle.season_start(dates), dates, lon, lat)

    def days_of_samples(
        self,
        dates_of: Callable[[date], Sequence[date]],
        first_days: NDArray[np.int32],
        lon: NDArray[np.float64],
        lat: NDArray[np.float64],
    ) -> Floats:
        """The same for samples.

        Args:
            dates_of: Gives the dates of the season whose first date is a day.
            first_days: The first date of each sample's season, days since 1970-01-01, shape (N,).
            lon: Degrees, shape (N,).
            lat: Degrees, shape (N,).

        Returns:
            Shape (N, T).

        Raises:
            TemperatureError: The temperatures do not reach over a season.
        """
        if self._temperatures is not None:
            return self._temperatures.thermal_days_of(
                lambda first: (self.bundle.season_start(dates_of(first)), dates_of(first)), first_days, lon, lat
            )
        firsts, which = np.unique(first_days, return_inverse=True)
        rows = [self.bundle.season_days(dates_of(date(1970, 1, 1) + timedelta(days=int(first)))) for first in firsts]
        return np.stack(rows)[which] if rows else np.empty((0, 0), np.float32)

    def of_window(
        self,
        values: Floats,
        valid: Mask,
        days: Floats,
        progress: Progress = lambda fraction: None,
        there: Sequence[str] | None = None,
    ) -> Tensor:
        """Class probabilities of a window.

        Args:
            values: Channels of the bundle that are `there`, in its order, reflectance 0-1 and indices, or int16
                reflectance x 10000, of the window and `halo` pixels around it, shape (T, C, H + 2 halo, W + 2 halo).
            valid: Where they may be used, of the same T, H and W.
            days: Days since the season's start, shape (T,).
            progress: Called with the share that is done; may raise to stop.
            there: The channels that are there, as `check_fits` gives them; None for all.

        Returns:
            On the device, shape (K, H, W); of no meaning where nothing was observed.
        """
        if self._trees is not None:
            return self._of_trees(values, valid, progress, there)
        normalised, halo = self.bundle.normalise(values, there), self.halo
        if self.by_patch:
            return self._cells(normalised, valid, days, progress)
        inside = slice(halo, -halo) if halo else slice(None)
        return self._forward(normalised[None], valid[None], days)[0, :, inside, inside]

    def _of_trees(self, values: Values, valid: Mask, progress: Progress, there: Sequence[str] | None) -> Tensor:
        """The probabilities of a window that trees say, of the values as they were read.

        Whole numbers are decided as the reflectance that they stand for, which trees were grown on: normalised at once
        they would be some rounding apart, and xgboost's thresholds are values that it has seen.
        """
        if self._trees is None:
            raise ValueError(f"{self.bundle.id} has no trees of its own")
        places = [place for place, name in enumerate(self.bundle.channels) if there is None or name in there]
        logits = self._trees.logits(values, valid, partial(_normalised, self.bundle, there), places, progress)
        return torch.softmax(logits / self.bundle.temperature, dim=0)

    def probabilities(
        self,
        data: NDArray[np.int16],
        valid: Mask,
        bands: Sequence[str],
        days: Floats | None = None,
        within: Mask | None = None,
    ) -> Floats:
        """Class probabilities of samples, at every pixel.

        What lies around a patch is not known here: a spatial network sees it as never observed.

        Args:
            data: Composites, reflectance x 10000, not filled, shape (N, T, C, H, W).
            valid: Where they were observed, shape (N, T, H, W).
            bands: Names of the C bands.
            days: As `days_of_samples` gives them, shape (N, T); may be left out where there are all composites of the
                bundle's season and it counts days of the calendar.
            within: The dates that the samples reach over, shape (N, T); None for all. Gaps are not filled beyond.

        Returns:
            Calibrated, in the order of the bundle's classes, shape (N, K, H, W); NaN where nothing was observed.

        Raises:
            IncompatibleModelError: A band that the bundle needs is not there, or no days are given and there are fewer
                or more dates than the bundle's season has.
        """
        count, times, _, height, width = data.shape
        if days is None:
            days = np.broadcast_to(self._usual_days(times), (count, times))
        there = present_channels(self.bundle, bands, computable_of(self.bundle, bands))
        result = np.empty((count, len(self.bundle.classes), height, width), dtype=np.float32)
        at_once = 1 if self.by_patch and width > 1 else max(1, _PIXELS_AT_ONCE // (height * width))
        for start in range(0, count, at_once):
            some = slice(start, start + at_once)
            values, usable = sample_channels(data[some], valid[some], bands, there)
            if within is not None:
                usable = usable & within[some, :, None, None]
            result[some] = self._of_samples(self.bundle.normalise(values, there), usable, days[some])
        return result

    def _usual_days(self, times: int) -> Floats:
        bundle = self.bundle
        if times != len(bundle.first_days):
            raise IncompatibleModelError(
                f"The model {bundle.id} takes {len(bundle.first_days)} composites, the samples have {times}.",
                f"Make them with PERIOD={bundle.period} of its season.",
            )
        if self._temperatures is not None:
            raise ValueError(f"{bundle.id} counts thermal days: days of the samples are needed")
        return bundle.season_days(season_of(bundle.first_days, _COMMON_YEAR))

    def _of_samples(self, values: Floats, there: Mask, days: Floats) -> Floats:
        if self.by_patch:
            around = ((0, 0), (self.halo, self.halo), (self.halo, self.halo))
            found = torch.stack(
                [
                    self._cells(np.pad(sample, ((0, 0), *around)), np.pad(mask, around), own)
                    for sample, mask, own in zip(values, there, days, strict=True)
                ]
            )
        else:
            found = self._forward(values, there, days)
        probabilities: Floats = found.cpu().numpy()
        probabilities.transpose(0, 2, 3, 1)[~np.asarray(there.any(axis=1))] = np.nan
        return probabilities

    def _cells(self, values: Floats, valid: Mask, days: Floats, progress: Progress = lambda fraction: None) -> Tensor:
        """The probabilities of each cell of `stride_pixels`, from the patch around its middle."""
        cell, patch = self.bundle.stride_pixels, int(self._network.patch_size)
        height, width = (edge - 2 * self.halo for edge in valid.shape[1:])
        rows, cols = range(0, height, cell), range(0, width, cell)
        first = self.halo + cell // 2 - patch // 2
        corners = [(first + row, first + col) for row in rows for col in cols]
        at_once = max(1, PATCH_PIXELS_AT_ONCE // patch**2)
        found = []
        for start in range(0, len(corners), at_once):
            progress(start / len(corners))
            some = corners[start : start + at_once]
            patches = np.stack([values[:, :, row : row + patch, col : col + patch] for row, col in some])
            masks = np.stack([valid[:, row : row + patch, col : col + patch] for row, col in some])
            found.append(self._forward(patches, masks, days))
        cells = torch.cat(found).T.reshape(-1, len(rows), len(cols))  # (K, rows, cols)
        return cells.repeat_interleave(cell, dim=1).repeat_interleave(cell, dim=2)[:, :height, :width]

    def _forward(self, values: Floats, valid: Mask, days: Floats) -> Tensor:
        with torch.inference_mode():
            logits: Tensor = self._network(
                torch.from_numpy(values).to(self.device),
                torch.from_numpy(np.array(days, np.float32)).to(self.device).expand(valid.shape[:2]),
                torch.from_numpy(np.ascontiguousarray(valid)).to(self.device),
            )
            return torch.softmax(logits.float() / self.bundle.temperature, dim=1)


def _normalised(bundle: Bundle, there: Sequence[str] | None, values: Values) -> Floats:
    reflectance = values * np.float32(REFLECTANCE_SCALE) if values.dtype.kind == "i" else values
    return bundle.normalise(reflectance, there)


def computable_of(bundle: Bundle, bands: Sequence[str]) -> tuple[str, ...]:
    """Those of a model's indices that can be computed from bands."""
    return tuple(name for name in bundle.indices if set(INDICES[name].bands) <= set(bands))


def check_samples_fit(bundle: Bundle, bands: Sequence[str], period: str | None, dates: Sequence[date]) -> None:
    """Refuses samples that a model was not made for.

    Args:
        bundle: The model.
        bands: Their reflectance bands; more than needed do no harm.
        period: Name of their compositing period, None for dates as they came.
        dates: First days of the composites of one of their seasons.

    Raises:
        IncompatibleModelError: Names what is missing or too much.
    """
    check_fits(bundle, Composites((*bands, *computable_of(bundle, bands)), period, tuple(dates), "the samples have"))
