"""A bundle's network at work: normalised channels in, calibrated class probabilities out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from functools import cached_property, partial
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from cropmap_core.errors import IncompatibleModelError, JobError, ModelBundleError
from cropmap_core.inference.bundle_types import THERMAL
from cropmap_core.inference.bundles import Bundle
from cropmap_core.inference.channels import Floats, Mask, sample_channels
from cropmap_core.inference.devices import full_float32
from cropmap_core.inference.fit import Composites, check_fits, present_channels
from cropmap_core.inference.preparing import prepare, prepare_on
from cropmap_core.inference.seasons import season_of
from cropmap_core.inference.tree_kernels import ask_by_kernels
from cropmap_core.timeseries.formulas import INDICES
from cropmap_core.timeseries.series import Values
from cropmap_core.timeseries.temperatures import Temperatures
from models.convlstm import ConvLSTM
from models.dense_patches import Cells, patch_logits, runs_densely
from models.faster import TwoStages, faster, has_bfloat16
from models.faster.convolutional_recurrence import faster_recurrence
from models.faster.regions import Region
from models.faster.workspace import keep_freed_memory
from models.network import Network

PATCH_PIXELS_AT_ONCE = 1024 * 5 * 5
"""Pixels of patches seen together; at least one patch."""
_PIXELS_AT_ONCE = 2**16
_COMMON_YEAR = 2017
_FEWEST_TOGETHER = 64  # samples of the same days, on average, so that they are seen as one image

Progress = Callable[[float], None]


class Predictor:
    """A bundle's network on a device.

    Args:
        bundle: The model.
        device: Where to compute.
        temperatures: What a bundle that counts thermal days needs; no other looks at them.
        stride: Edge of the cells that a patch network maps, in pixels, at most its patches'; None for the bundle's.
        precision: float32 or bfloat16, of a dense network over windows; samples are always seen in float32.

    Raises:
        IncompatibleModelError: The bundle counts thermal days, and there are no temperatures.
        JobError: The stride is none.
        ModelBundleError: The weights cannot be read, or the cells of a patch network are larger than its patches.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: torch.device | str = "cpu",
        temperatures: Temperatures | None = None,
        stride: int | None = None,
        precision: torch.dtype = torch.float32,
    ) -> None:
        _check_temperatures(bundle, temperatures)
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
        if stride is not None and not (self.by_patch and 1 <= stride <= int(self._network.patch_size)):
            takes = f"1 to {self._network.patch_size}" if self.by_patch else "none: it gives every pixel a class"
            raise JobError(f"The stride is {stride}; the model {bundle.id} takes {takes}.", "Leave the stride out.")
        self._stride = stride or bundle.stride_pixels
        if self.device.type == "cpu":
            keep_freed_memory()
        halved = not self.by_patch and has_bfloat16(self._network)
        self.precision = precision if halved else torch.float32
        self._fast = self._network if self.by_patch else faster(self._network, self.precision)
        self._shared: ConvLSTM | None = None  # computes the states of overlapping patches once
        if runs_densely(self._network):
            self._shared = cast(ConvLSTM, faster_recurrence(self._network))

    @property
    def by_trees(self) -> bool:
        """Whether trees are asked, by kernels of our own."""
        return self._trees is not None

    @property
    def by_patch(self) -> bool:
        """Whether a patch gets one class, and not each of its pixels."""
        return self._network.kind == "patch"

    @property
    def step(self) -> int:
        """Windows start and end on multiples of this many pixels, or at the raster's edge."""
        return self._stride if self.by_patch else int(self._network.stride)

    @property
    def halo(self) -> int:
        """Pixels around a window that its result depends on, in whole strides of the network.

        As many as its bundle says were seen to matter, if it does, else all that the network can look at.
        """
        if self.by_patch:
            return int(self._network.patch_size)
        reach = self.bundle.reach_pixels
        return int(self._network.halo) if reach is None else -(-reach // self.step) * self.step

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
        return days_of(self.bundle, self._temperatures, dates, lon, lat)

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
        images = self.first_stage(values, valid, days, there, progress)
        observed = torch.from_numpy(np.ascontiguousarray(valid.any(axis=0)))[..., None].to(self.device)
        return self.second_stage([*images, observed], days, self.halo, progress).permute(2, 0, 1)

    @full_float32()
    def first_stage(
        self,
        values: Values,
        valid: Mask,
        days: Floats,
        there: Sequence[str] | None = None,
        progress: Progress = lambda fraction: None,
    ) -> list[Tensor]:
        """What can be said of each pixel by itself, or else its channels as the network takes them.

        Args:
            values: As `of_window` takes them, with or without pixels around.
            valid: As above.
            days: As above.
            there: As above.
            progress: As above.

        Returns:
            Images on the device for `second_stage`, each of shape (..., H, W, F).
        """
        if self._trees is not None:
            return [self._of_trees(values, valid, progress, there).permute(1, 2, 0)]
        with torch.inference_mode():
            x = self._prepared(values, valid, there)  # (T, H, W, C)
            usable = torch.from_numpy(np.ascontiguousarray(valid)).to(self.device)  # (T, H, W)
            dates = torch.from_numpy(np.array(days, np.float32)).to(self.device)
            if self.by_patch:
                return [x, usable[..., None]]
            if isinstance(self._fast, TwoStages):
                return [self._fast.embed_pixels(x.permute(0, 3, 1, 2), dates, usable)]
            if not self.halo:
                return [self._calibrated(self._logits(x, dates, usable)).permute(1, 2, 0)]
            return [x, usable[..., None]]

    @full_float32()
    def second_stage(
        self,
        images: Sequence[Tensor],
        days: Floats,
        around: int,
        progress: Progress = lambda fraction: None,
    ) -> Tensor:
        """Class probabilities of a window, from what the first stage gave of it and of the pixels around it.

        Args:
            images: Those of `first_stage`, and which pixels were ever observed, bool, shape (H, W, 1).
            days: As `of_window` takes them.
            around: Pixels around the window that the images have; at least `halo`.
            progress: Called with the share that is done; may raise to stop.

        Returns:
            On the device, float32, shape (H - 2 around, W - 2 around, K).
        """
        observed = images[-1][..., 0]
        height, width = observed.shape
        inside = Region(around, height - around, around, width - around)
        within = slice(inside.top, inside.bottom), slice(inside.left, inside.right)
        with torch.inference_mode():
            if not self.by_patch and isinstance(self._fast, TwoStages):
                shape = inside.bottom - inside.top, inside.right - inside.left, self._fast.classes
                logits = torch.empty(shape, device=observed.device)
                self._fast.classify_image(images[0], observed, inside, logits)
                return self._calibrated(logits.permute(2, 0, 1)).permute(1, 2, 0)
            if self._trees is not None or (not self.halo and not self.by_patch):
                return images[0][within]
            x, usable = images[0], images[1][..., 0]
            dates = torch.from_numpy(np.array(days, np.float32)).to(self.device)
            if self.by_patch:
                return self._cells(x, usable, dates, around, progress).permute(1, 2, 0)
            return self._calibrated(self._logits(x, dates, usable)).permute(1, 2, 0)[within]

    def _prepared(self, values: Values, valid: Mask, there: Sequence[str] | None) -> Tensor:
        """Normalised channels on the device, zero where not valid, shape (T, H, W, C)."""
        if self.device.type == "cpu":
            return prepare(self.bundle, values, valid, there, self.precision)
        return prepare_on(self.device, self.bundle, values, valid, there, self.precision)

    def _logits(self, x: Tensor, days: Tensor, valid: Tensor) -> Tensor:
        """Of prepared channels (T, H, W, C), float32, shape (K, H, W)."""
        logits: Tensor = self._fast.logits(x.permute(0, 3, 1, 2)[None], days[None], valid[None])
        return logits[0].float()

    def _of_trees(self, values: Values, valid: Mask, progress: Progress, there: Sequence[str] | None) -> Tensor:
        """The probabilities of a window that trees say, of the values as they were read, shape (K, H, W)."""
        if self._trees is None:
            raise ValueError(f"{self.bundle.id} has no trees of its own")
        places = [place for place, name in enumerate(self.bundle.channels) if there is None or name in there]
        normalise = partial(self.bundle.normalise, there=there)
        return self._calibrated(self._trees.logits(values, valid, normalise, places, progress))

    @full_float32()
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
            found = torch.stack([self._of_patch(*each) for each in zip(values, there, days, strict=True)])
        else:
            with torch.inference_mode():
                usable = torch.from_numpy(np.ascontiguousarray(there)).to(self.device)
                x = torch.from_numpy(values).to(self.device).masked_fill(~usable.unsqueeze(2), 0.0)
                found = self._calibrated(self._logits_of_samples(x, np.array(days, np.float32), usable), dim=1)
        probabilities: Floats = found.cpu().numpy()
        probabilities.transpose(0, 2, 3, 1)[~np.asarray(there.any(axis=1))] = np.nan
        return probabilities

    def _logits_of_samples(self, x: Tensor, days: Floats, valid: Tensor) -> Tensor:
        """Of shape (N, K, H, W); where no pixel sees another, samples of the same days stand as one image."""
        seasons, which = np.unique(days, axis=0, return_inverse=True)
        if self.halo or len(seasons) * _FEWEST_TOGETHER > len(days):
            dates = torch.from_numpy(days).to(self.device)
            found: Tensor = self._network.logits(x, dates, valid)
            return found
        count, _, _, height, width = x.shape
        logits = x.new_empty(count, self._network.classes, height, width)
        for number, season in enumerate(seasons):
            some = torch.from_numpy(np.flatnonzero(which.reshape(-1) == number)).to(self.device)
            image = x[some].permute(1, 0, 3, 4, 2).flatten(1, 2).permute(0, 3, 1, 2)  # (T, C, N * H, W), channels last
            seen = valid[some].transpose(0, 1).flatten(1, 2)  # (T, N * H, W)
            said = self._exact.logits(image[None], torch.from_numpy(season).to(self.device)[None], seen[None])
            logits[some] = said[0].float().view(-1, len(some), height, width).transpose(0, 1)
        return logits

    @cached_property
    def _exact(self) -> Network:
        """The fast form in float32."""
        return self._fast if self.precision == torch.float32 else faster(self._network)

    def _of_patch(self, values: Floats, valid: Mask, days: Floats) -> Tensor:
        """The probabilities of a sample, the network run on each patch alone; nothing was observed around it."""
        around = self.halo
        with torch.inference_mode():
            x = torch.from_numpy(np.moveaxis(values, 1, -1)).to(self.device)  # (T, H, W, C)
            usable = torch.from_numpy(np.ascontiguousarray(valid)).to(self.device)
            x, usable = pad(x, (0, 0, *(around,) * 4)), pad(usable, (around,) * 4)
            dates = torch.from_numpy(np.array(days, np.float32)).to(self.device)
            return self._cells(x, usable, dates, around, cut_out=True)

    def _cells(
        self,
        x: Tensor,
        valid: Tensor,
        days: Tensor,
        around: int,
        progress: Progress = lambda fraction: None,
        cut_out: bool = False,
    ) -> Tensor:
        """The probabilities of each cell of `step` pixels, from the patch around its middle.

        Patches that overlap share what they can, which is not the same to the last digit: see `models.dense_patches`.
        `cut_out` runs the network on each patch alone.

        Args:
            x: Normalised channels, shape (T, H, W, C).
            valid: Shape (T, H, W).
            days: Shape (T,).
            around: Pixels around the cells that there are.
            progress: Called with the share that is done; may raise to stop.
            cut_out: As above.

        Returns:
            Shape (K, H - 2 around, W - 2 around).
        """
        edge, patch = self.step, int(self._network.patch_size)
        height, width = (length - 2 * around for length in valid.shape[1:])
        cells = Cells(edge, -(-height // edge), -(-width // edge), corner=around + edge // 2 - patch // 2)
        if self._shared is None or cut_out:
            found = self._of_patches(x, valid, days, cells, progress)
        else:
            logits = patch_logits(self._shared, x.permute(0, 3, 1, 2), days, valid, cells, progress)
            found = self._calibrated(logits)
        return found.repeat_interleave(edge, dim=1).repeat_interleave(edge, dim=2)[:, :height, :width]

    def _of_patches(self, x: Tensor, valid: Tensor, days: Tensor, cells: Cells, progress: Progress) -> Tensor:
        """The probabilities of each patch, cut out, shape (K, rows, cols)."""
        patch = int(self._network.patch_size)
        corners = [
            (cells.corner + row * cells.stride, cells.corner + col * cells.stride)
            for row in range(cells.rows)
            for col in range(cells.cols)
        ]
        at_once = max(1, PATCH_PIXELS_AT_ONCE // patch**2)
        found = []
        for start in range(0, len(corners), at_once):
            progress(start / len(corners))
            some = corners[start : start + at_once]
            patches = torch.stack([x[:, row : row + patch, col : col + patch] for row, col in some])
            masks = torch.stack([valid[:, row : row + patch, col : col + patch] for row, col in some])
            logits = self._network(patches.permute(0, 1, 4, 2, 3), days.expand(len(some), -1), masks)
            found.append(self._calibrated(logits, dim=1))
        return torch.cat(found).T.reshape(-1, cells.rows, cells.cols)

    def _calibrated(self, logits: Tensor, dim: int = 0) -> Tensor:
        """Probabilities of logits whose classes are along an axis."""
        return torch.softmax(logits.float() / self.bundle.temperature, dim=dim)


def days_of(
    bundle: Bundle,
    temperatures: Temperatures | None,
    dates: Sequence[date],
    lon: float = math.nan,
    lat: float = math.nan,
) -> Floats:
    """Where dates lie in a season, as a bundle's network counts; see `Predictor.days`.

    Raises:
        IncompatibleModelError: The bundle counts thermal days, and there are no temperatures.
        TemperatureError: The temperatures do not reach over the season.
    """
    _check_temperatures(bundle, temperatures)
    if bundle.positions != THERMAL or temperatures is None:
        return bundle.season_days(dates)
    return temperatures.thermal_days(bundle.season_start(dates), dates, lon, lat)


def _check_temperatures(bundle: Bundle, temperatures: Temperatures | None) -> None:
    if bundle.positions == THERMAL and temperatures is None:
        raise IncompatibleModelError(
            f"The model {bundle.id} counts thermal days, and there are no temperatures.",
            "Give TEMPERATURES: daily means of where and when the series is from.",
        )


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
