"""Variation of samples in training: other skies, other seasons, other composites, other light, turned and cut.

What is turned, cut or brightened is so at all dates and bands of a sample alike, so that nothing loses its place in the
image. Weather and the calendar vary from date to date.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.errors import JobError

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Labels = NDArray[np.int64]
Integers = NDArray[np.int16]
_LONGEST_CLOUD = 4  # dates in a row
_UNDISTURBED = 0.5  # of samples have masks as good as ours, and all in its time
_SHADOWS = 0.2  # of what masks let through
_LONGER = (1.5, 2.0, 3.0)  # composites: of ten days, half a month, twenty days, a month
_REACHED = 0.3  # of a composite, for a longer one to hold it
SHORTEST_SEASON = 2 / 3
"""Share of a season that is left after cuts at either end."""
_SWIR = ("B11", "B12")
_BRIGHTEST = 20000  # reflectance x 10000
_TEN_METRES = ("B02", "B03", "B04", "B08")
_SMALLEST_CUT = 0.6  # of a patch's edge


@dataclass(frozen=True)
class Variation:
    """What is varied, and how strongly; 0 leaves it out."""

    turns: float = 1.0
    """Share of patches that are turned by quarters and mirrored."""
    crops: float = 0.25
    """Share of patches of which only a part, 60 % of the edge or more, is shown."""
    dates: float = 0.1
    """Share of observations that are dropped, of every sample."""
    clouds: float = 0.5
    """Share of samples over which a cloud lies for up to four dates in a row: over a disc of a patch."""
    shift: float = 0.3
    """Largest shift of the season, in composites."""
    jitter: float = 0.05
    """Standard deviation of the logarithm of a sample's brightness, and of each of its bands."""
    noise: float = 0.02
    """Standard deviation of the logarithm of each value."""
    haze: float = 0.0
    """Largest share of a sample's observations that are cloud, snow, haze or shadow which a mask let through."""
    wander: float = 0.0
    """Largest share of a sample's observations that belong to the date before or after."""
    periods: float = 0.0
    """Share of batches made of composites 1.5, 2 or 3 times as long, the first of which starts at any time."""
    cuts: float = 0.0
    """Share of samples whose season begins later or ends earlier, by up to a third."""
    bands: float = 0.0
    """Share of samples without B8A (half of them), or with the bands of 10 m only."""
    mixed_pixels: float = 0.0
    """Share of samples of single pixels that another one of their source covers a part of, as at borders of fields."""
    outliers: float = 0.0
    """Share of samples of single pixels that go on as one of another class of their source: no crop that is known. They
    are taken for the class `Other` or `Others`, where there is one."""
    mixup: float = 0.0
    """Parameter of the beta distribution by which two samples are mixed.

    References:
        Zhang et al. (2018), mixup: Beyond Empirical Risk Minimization, ICLR.
    """

    def weather(
        self, data: Integers, valid: Mask, bands: Sequence[str], random: np.random.Generator
    ) -> tuple[Integers, Mask]:
        """Observations that are not what they are taken for: of the date beside, or of a cloud.

        Args:
            data: Reflectance x 10000, shape (N, T, C, H, W).
            valid: Shape (N, T, H, W).
            bands: Names of the C bands.
            random: Decides which.
        """
        count, times = valid.shape[:2]
        if self.wander:
            moved = random.random((count, times)) < self._rates(self.wander, count, random)
            step = np.where(moved, random.choice([-1, 1], (count, times)), 0)
            source = (np.arange(times) + step).clip(0, times - 1)
            sample = np.arange(count)[:, None]
            data, valid = data[sample, source], valid[sample, source]
        if self.haze:
            let_through = random.random((count, times)) < self._rates(self.haze, count, random)
            data = self._hazy(data, valid, let_through, bands, random)
        return data, valid

    def _rates(self, largest: float, count: int, random: np.random.Generator) -> NDArray[np.float64]:
        return random.uniform(0, largest, (count, 1)) * (random.random((count, 1)) >= _UNDISTURBED)

    def _hazy(
        self,
        data: Integers,
        valid: Mask,
        let_through: Mask,
        bands: Sequence[str],
        random: np.random.Generator,
    ) -> Integers:
        """Values blended with a bright, grey spectrum, dark or not in the short-wave infrared, or dimmed by shadow."""
        sample, time = np.nonzero(let_through)
        number, one = len(sample), (len(sample), 1)
        swir = np.where(np.isin(bands, _SWIR), random.uniform(0.15, 0.95, one), 1.0)  # (M, C): snow is dark there
        spectrum = random.uniform(1500, 9000, one) * swir * np.exp(0.08 * random.standard_normal((number, len(bands))))
        thin, any_thickness = random.uniform(0.05, 0.5, one), random.uniform(0.3, 1, one)
        share = np.where(random.random(one) < 0.5, thin, any_thickness)
        shade = random.uniform(0.3, 0.8, one)
        dark = random.random(one) < _SHADOWS
        keeps = np.where(dark, shade, 1 - share)[..., None, None]
        gains = np.where(dark, 0, share * spectrum)[..., None, None]
        disc = self._discs(number, data.shape[3], data.shape[4], random)
        before = data[sample, time]
        after = (keeps * before + gains).clip(0, _BRIGHTEST).astype(np.int16)
        hazy = data.copy()
        hazy[sample, time] = np.where((disc & valid[sample, time])[:, None], after, before)
        return hazy

    def recomposited(
        self, data: Integers, valid: Mask, days: Floats, random: np.random.Generator
    ) -> tuple[Integers, Mask, Floats]:
        """Longer composites of the same season: medians of those that they reach over.

        Args:
            data: Reflectance x 10000, shape (N, T, C, H, W).
            valid: Shape (N, T, H, W).
            days: First days of the composites, shape (N, T).
            random: Decides whether, how long, and where the first one starts.
        """
        if not self.periods or random.random() >= self.periods:
            return data, valid, days
        times, length = valid.shape[1], float(random.choice(_LONGER))
        start = float(random.uniform(0, length)) if random.random() < 0.5 else 0.0
        firsts = np.arange(start, times - length / 2, length)
        place = np.arange(times)
        medians, seen = [], []
        for first in firsts:
            reached = np.minimum(place + 1, first + length) - np.maximum(place, first) >= _REACHED
            medians.append(_median(data[:, reached], valid[:, reached]))
            seen.append(valid[:, reached].any(axis=1))
        if not medians:
            return data, valid, days
        before = np.floor(firsts).astype(np.int64)
        after = np.minimum(before + 1, times - 1)
        share = (firsts - before).astype(np.float32)
        starts = days[:, before] + share * (days[:, after] - days[:, before])
        return np.stack(medians, axis=1), np.stack(seen, axis=1), starts.astype(np.float32)

    def reached(self, valid: Mask, random: np.random.Generator) -> Mask:
        """The dates that samples reach over: some seasons begin later or end earlier.

        Args:
            valid: Where they were observed, shape (N, T, H, W); a pixel with no observation left keeps its season.
            random: Decides which.

        Returns:
            Shape (N, T, H, W). What lies beyond is not there, neither to be seen nor to fill gaps from.
        """
        if not self.cuts:
            return np.ones_like(valid)
        count, times = valid.shape[:2]
        most = int(times * (1 - SHORTEST_SEASON)) + 1
        which = random.random(count) < self.cuts
        begin = np.where(which & (random.random(count) < 0.4), random.integers(most, size=count), 0)
        end = times - np.where(which & (random.random(count) < 0.6), random.integers(most, size=count), 0)
        place = np.arange(times)
        kept = ((place >= begin[:, None]) & (place < end[:, None]))[:, :, None, None]
        lost = ~(valid & kept).any(axis=1, keepdims=True)
        reached: Mask = kept | lost
        return reached

    def blinded(self, values: Floats, needed: Sequence[Sequence[str]], random: np.random.Generator) -> Floats:
        """Samples that lack bands: normalised channels that are made of them are 0, the mean.

        Args:
            values: Normalised channels, shape (N, T, C, H, W).
            needed: The bands that each channel is made of.
            random: Decides which samples, and which bands.
        """
        if not self.bands:
            return values
        drawn = random.random(len(values))
        no_narrow = drawn < self.bands / 2
        ten_metres = ~no_narrow & (drawn < self.bands)
        narrow, coarse = lacking_channels(needed)
        lacking = (no_narrow[:, None] & narrow) | (ten_metres[:, None] & coarse)  # (N, C)
        return np.where(lacking[:, None, :, None, None], np.float32(0), values)

    def mask(self, valid: Mask, random: np.random.Generator) -> Mask:
        """Fewer observations, before gaps are filled; a pixel keeps at least one of those that it has.

        Args:
            valid: Shape (N, T, H, W).
            random: Decides which.
        """
        kept = valid
        if self.dates:
            kept = kept & (random.random(valid.shape[:2]) >= self.dates)[:, :, None, None]
        if self.clouds:
            kept = kept & ~self._clouds(valid.shape, random)
        lost = valid.any(axis=1, keepdims=True) & ~kept.any(axis=1, keepdims=True)
        masked: Mask = kept | (valid & lost)
        return masked

    def _clouds(self, shape: Sequence[int], random: np.random.Generator) -> Mask:
        count, times, height, width = shape
        first = random.integers(times, size=count)
        last = first + random.integers(1, _LONGEST_CLOUD + 1, count)
        place = np.arange(times)
        under = (place >= first[:, None]) & (place < last[:, None]) & (random.random((count, 1)) < self.clouds)
        clouds: Mask = under[:, :, None, None] & self._discs(count, height, width, random)[:, None]
        return clouds

    def _discs(self, count: int, height: int, width: int, random: np.random.Generator) -> Mask:
        """Discs somewhere on patches, shape (count, height, width); a single pixel is always under one."""
        centre = random.random((count, 2)) * (height, width)
        radius = random.uniform(0.2, 0.8, count) * max(height, width)
        if height * width == 1:
            return np.ones((count, 1, 1), bool)
        rows, cols = np.indices((height, width)) + 0.5
        distance = np.hypot(rows - centre[:, 0, None, None], cols - centre[:, 1, None, None])
        discs: Mask = distance <= radius[:, None, None]
        return discs

    def vary(self, reflectance: Floats, random: np.random.Generator) -> Floats:
        """Another calendar, light and noise of filled reflectance 0-1, shape (N, T, C, H, W)."""
        count, _, channels = reflectance.shape[:3]
        varied = reflectance
        if self.shift:
            by = np.asarray(random.uniform(-self.shift, self.shift, (count, 1, 1, 1, 1)), np.float32)
            later = np.concatenate([varied[:, 1:], varied[:, -1:]], axis=1)
            earlier = np.concatenate([varied[:, :1], varied[:, :-1]], axis=1)
            moved = varied + by.clip(0) * (later - varied) + (-by).clip(0) * (earlier - varied)
            varied = moved.astype(np.float32)
        if self.jitter:
            whole = random.standard_normal((count, 1, 1, 1, 1), np.float32)
            each = random.standard_normal((count, 1, channels, 1, 1), np.float32)
            gain: Floats = np.exp(self.jitter * (whole + each)).astype(np.float32)
            varied = varied * gain
        if self.noise:
            values = random.standard_normal(varied.shape, np.float32)
            varied = varied * (1 + self.noise * values).astype(np.float32)
        return varied

    def place(
        self, values: Floats, valid: Mask, target: Labels, random: np.random.Generator
    ) -> tuple[Floats, Mask, Labels]:
        """Turned, mirrored and cut patches, shapes (N, T, C, H, W), (N, T, H, W) and (N, H, W)."""
        size = target.shape[-1]
        if size == 1:
            return values, valid, target
        values, valid, target = values.copy(), valid.copy(), target.copy()
        for sample in range(len(target)):
            if random.random() < self.turns:
                turns, mirrored = int(random.integers(4)), random.random() < 0.5
                for array in (values, valid, target):
                    array[sample] = _turned(array[sample], turns, mirrored)
            if random.random() < self.crops:
                edge = int(random.integers(int(np.ceil(_SMALLEST_CUT * size)), size + 1))
                row, col = random.integers(size - edge + 1, size=2)
                outside = np.ones((size, size), bool)
                outside[row : row + edge, col : col + edge] = False
                if (target[sample][~outside] >= 0).any():
                    valid[sample, :, outside] = False
                    target[sample][outside] = -1
        return values, valid, target

    def mixed(self, count: int, random: np.random.Generator) -> tuple[NDArray[np.int64], float] | None:
        """With which other sample each is mixed, and what share it keeps; None for not at all."""
        if not self.mixup:
            return None
        share = float(random.beta(self.mixup, self.mixup))
        return random.permutation(count), max(share, 1 - share)


def lacking_channels(needed: Sequence[Sequence[str]]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The channels that samples lack without B8A, and with the bands of 10 m only.

    Args:
        needed: The bands that each channel is made of.
    """
    narrow = np.array(["B8A" in bands for bands in needed])
    return narrow, np.array([not set(bands) <= set(_TEN_METRES) for bands in needed])


NO_VARIATION = Variation(**{each.name: 0.0 for each in fields(Variation)})


def read_variation(settings: Mapping[str, Any]) -> Variation:
    """A variation of other strengths than the usual ones.

    Raises:
        JobError: A name is unknown, or a strength is no number from 0 to 1.
    """
    names = [each.name for each in fields(Variation)]
    for name, value in settings.items():
        if name not in names:
            raise JobError(f"AUGMENTATION knows no '{name}'.", f"It takes {', '.join(names)}.")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise JobError(f"AUGMENTATION has {name}={value}.", "Give a strength from 0 (not at all) to 1.")
    return Variation(**{name: float(value) for name, value in settings.items()})


def _median(data: Integers, valid: Mask) -> Integers:
    """Of what is valid over axis 1, shapes (N, T, C, H, W) and (N, T, H, W); 0 where nothing is."""
    last = np.int16(np.iinfo(np.int16).max)
    in_order = np.sort(np.where(valid[:, :, None], data, last), axis=1).astype(np.int32)
    number = valid.sum(axis=1)[:, None, None]  # (N, 1, 1, H, W)
    lower = np.take_along_axis(in_order, np.maximum((number - 1) // 2, 0), axis=1)
    upper = np.take_along_axis(in_order, np.minimum(number // 2, np.maximum(number - 1, 0)), axis=1)
    median = np.where(number > 0, (lower + upper) // 2, 0)[:, 0]
    return median.astype(np.int16)


def _turned(image: NDArray[Any], turns: int, mirrored: bool) -> NDArray[Any]:
    turned = np.rot90(image, turns, axes=(-2, -1))
    return turned[..., ::-1] if mirrored else turned
