"""A bundle's network at work: normalised channels in, calibrated class probabilities out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cropmap_core.errors import IncompatibleModelError, ModelBundleError
from cropmap_core.inference.bundle_types import THERMAL
from cropmap_core.inference.bundles import Bundle, check_fits
from cropmap_core.inference.channels import Floats, Mask, sample_channels
from cropmap_core.inference.seasons import season_of
from cropmap_core.timeseries.formulas import INDICES
from cropmap_core.timeseries.temperatures import Temperatures

PATCHES_AT_ONCE = 1024
_PIXELS_AT_ONCE = 2**16
_COMMON_YEAR = 2001

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
        return self._temperatures.thermal_days(dates, lon, lat)

    def days_of_samples(
        self,
        first_days: NDArray[np.int32],
        lon: NDArray[np.float64],
        lat: NDArray[np.float64],
    ) -> Floats:
        """The same for samples, whose seasons start on the given days since 1970-01-01, shape (N, T)."""
        if self._temperatures is None:
            days = self.bundle.season_days(season_of(self.bundle.first_days, _COMMON_YEAR))
            return np.broadcast_to(days, (len(first_days), len(days)))
        return self._temperatures.thermal_days_of(
            lambda first: season_of(self.bundle.first_days, first.year), first_days, lon, lat
        )

    def of_window(
        self, values: Floats, valid: Mask, days: Floats, progress: Progress = lambda fraction: None
    ) -> Tensor:
        """Class probabilities of a window.

        Args:
            values: Channels of the bundle in its order, reflectance 0-1 and indices, or int16 reflectance x 10000, of
                the window and `halo` pixels around it, shape (T, C, H + 2 halo, W + 2 halo).
            valid: Where they may be used, of the same T, H and W.
            days: Days since the season's start, shape (T,).
            progress: Called with the share that is done; may raise to stop.

        Returns:
            On the device, shape (K, H, W); of no meaning where nothing was observed.
        """
        normalised, halo = self.bundle.normalise(values), self.halo
        if self.by_patch:
            return self._cells(normalised, valid, days, progress)
        inside = slice(halo, -halo) if halo else slice(None)
        return self._forward(normalised[None], valid[None], days)[0, :, inside, inside]

    def probabilities(
        self, data: NDArray[np.int16], valid: Mask, bands: Sequence[str], days: Floats | None = None
    ) -> Floats:
        """Class probabilities of samples, at every pixel.

        What lies around a patch is not known here: a spatial network sees it as never observed.

        Args:
            data: Composites of the bundle's season, reflectance x 10000, not filled, shape (N, T, C, H, W).
            valid: Where they were observed, shape (N, T, H, W).
            bands: Names of the C bands.
            days: As `days_of_samples` gives them, shape (N, T); may be left out where the bundle counts days of the
                calendar.

        Returns:
            Calibrated, in the order of the bundle's classes, shape (N, K, H, W); NaN where nothing was observed.

        Raises:
            MissingBandError: A band that the bundle needs is not there.
            IncompatibleModelError: There are fewer or more dates than the bundle's season has.
        """
        bundle = self.bundle
        count, times, _, height, width = data.shape
        if times != len(bundle.first_days):
            raise IncompatibleModelError(
                f"The model {bundle.id} takes {len(bundle.first_days)} composites, the samples have {times}.",
                f"Make them with PERIOD={bundle.period} of its season.",
            )
        if days is None:
            if self._temperatures is not None:
                raise ValueError(f"{bundle.id} counts thermal days: days of the samples are needed")
            days = np.broadcast_to(bundle.season_days(season_of(bundle.first_days, _COMMON_YEAR)), (count, times))
        result = np.empty((count, len(bundle.classes), height, width), dtype=np.float32)
        at_once = 1 if self.by_patch and width > 1 else max(1, _PIXELS_AT_ONCE // (height * width))
        for start in range(0, count, at_once):
            some = slice(start, start + at_once)
            result[some] = self._some(data[some], valid[some], bands, days[some])
        return result

    def _some(self, data: NDArray[np.int16], valid: Mask, bands: Sequence[str], days: Floats) -> Floats:
        values, there = sample_channels(data, valid, bands, self.bundle.channels)
        if self.by_patch:
            around = ((0, 0), (self.halo, self.halo), (self.halo, self.halo))
            found = torch.stack(
                [
                    self.of_window(np.pad(sample, ((0, 0), *around)), np.pad(mask, around), own)
                    for sample, mask, own in zip(values, there, days, strict=True)
                ]
            )
        else:
            found = self._forward(self.bundle.normalise(values), there, days)
        probabilities: Floats = found.cpu().numpy()
        probabilities.transpose(0, 2, 3, 1)[~np.asarray(there.any(axis=1))] = np.nan
        return probabilities

    def _cells(self, values: Floats, valid: Mask, days: Floats, progress: Progress) -> Tensor:
        """The probabilities of each cell of `stride_pixels`, from the patch around its middle."""
        cell, patch = self.bundle.stride_pixels, int(self._network.patch_size)
        height, width = (edge - 2 * self.halo for edge in valid.shape[1:])
        rows, cols = range(0, height, cell), range(0, width, cell)
        first = self.halo + cell // 2 - patch // 2
        corners = [(first + row, first + col) for row in rows for col in cols]
        found = []
        for start in range(0, len(corners), PATCHES_AT_ONCE):
            progress(start / len(corners))
            some = corners[start : start + PATCHES_AT_ONCE]
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
    check_period(bundle, period, "the samples have")
    computable = [name for name in bundle.indices if set(INDICES[name].bands) <= set(bands)]
    check_fits(bundle, (*bands, *computable), dates)


def check_period(bundle: Bundle, period: str | None, whose: str) -> None:
    """Refuses composites of another period than the model's.

    Raises:
        IncompatibleModelError: It is another one, or there is none.
    """
    if period != bundle.period:
        raise IncompatibleModelError(
            f"The model {bundle.id} takes one composite per {bundle.period}; {whose} "
            f"{f'one per {period}' if period else 'single acquisitions'}.",
            f"Make composites with PERIOD={bundle.period} first.",
        )
