"""Training landscapes: the real one with its context masked at random, and mosaics of fields made of its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.scenes.scl import keep_table
from cropmap_core.timeseries.interpolation import fill_from_neighbours
from cropmap_core.timeseries.medians import median_by_period
from cropmap_core.timeseries.periods import Periods
from cropmap_core.timeseries.series import NODATA, REFLECTANCE_SCALE, SCL, Series

Reflectance = NDArray[np.float32]
Labels = NDArray[np.int64]
_LEAST_SHARE, _LARGEST_SHARE = 0.4, 0.9


def resampled_seasons(
    stack: Series, periods: Periods, keep_classes: Sequence[str], count: int, seed: int
) -> Reflectance:
    """The season as it is and as it would have been with fewer of its scenes.

    Args:
        stack: Acquisitions with SCL, int16.
        periods: What to make composites of.
        keep_classes: SCL classes that count as clear.
        count: Seasons, V; the first is that of all scenes, the others keep 40-90 % of them, drawn at random.
        seed: Decides which.

    Returns:
        Surface reflectance 0-1 of filled composites, shape (V, T, C, H, W): just what the chain of compositing and
        filling makes; where a draw leaves nothing clear, the season of all scenes; NaN where nothing ever was.
    """
    block = stack.read(stack.grid.window())
    scl = block.data[:, stack.bands.index(SCL)]
    clear = block.valid & keep_table(keep_classes)[scl.clip(0, 255)]
    bands = [position for position, band in enumerate(stack.bands) if band != SCL]
    starts = np.searchsorted([periods.index_of(day) for day in stack.dates], np.arange(len(periods.first_days) + 1))
    random = np.random.default_rng(seed)
    shape = (len(periods.first_days), len(bands), *block.data.shape[2:])
    seasons = np.empty((count, *shape), dtype=np.float32)
    for variant in range(count):
        kept = random.random(len(stack.dates)) < random.uniform(_LEAST_SHARE, _LARGEST_SHARE)
        chosen = clear & kept[:, None, None] if variant else clear
        composite = median_by_period(block.data, chosen, starts, bands)
        fill_from_neighbours(composite, composite[:, 0] != NODATA)
        seasons[variant] = np.where(
            composite == NODATA, seasons[0], composite.astype(np.float32) * np.float32(REFLECTANCE_SCALE)
        )
        if not variant:
            seasons[0][composite == NODATA] = np.nan
    return seasons


@dataclass(frozen=True)
class Labelled:
    """Seasons of one raster and what grows where.

    Only labelled pixels are ever shown to a network: what has no label, or is held out, is not there in training.
    """

    seasons: Reflectance
    """Surface reflectance 0-1 of filled composites, variants of the same season, shape (V, T, C, H, W)."""
    classes: Labels
    """Position of the class, -1 where there is none, shape (H, W)."""
    parcels: Labels
    """Parcel number, 0 where there is none, shape (H, W)."""

    def without(self, parcel: int) -> Labelled:
        """The same with one parcel held out: its pixels have no label any more."""
        held_out = self.parcels == parcel
        return Labelled(self.seasons, np.where(held_out, -1, self.classes), np.where(held_out, 0, self.parcels))


@dataclass(frozen=True)
class Landscape:
    """A piece of country to train on."""

    reflectance: Reflectance
    """Shape (T, C, H, W)."""
    valid: NDArray[np.bool_]
    """Shape (T, H, W)."""
    classes: Labels
    """Position of the class, -1 where the loss does not look, shape (H, W)."""
    fields: Labels
    """Number of the field, 0 outside, shape (H, W)."""


@dataclass(frozen=True)
class Augmentation:
    """How landscapes are made; shares are probabilities."""

    size: int = 32
    """Edge of a landscape in pixels."""
    mosaics: float = 0.5
    """Share of landscapes that are mosaics of fields, the others being cuts of the real raster."""
    isolated: float = 0.25
    """Share of landscapes whose fields are mapped each without its neighbours."""
    dropped_dates: float = 0.1
    """Share of dates that are missing, in half of the landscapes."""
    gain: float = 0.06
    """Standard deviation of the logarithm of a field's brightness, and of that of each of its bands."""
    shift_months: float = 0.3
    """Largest shift of a field's calendar."""
    noise: float = 0.03
    """Standard deviation of the logarithm of each value."""


class LandscapeMaker:
    """An endless supply of landscapes.

    Args:
        labelled: The pixels to make them of.
        augmentation: How.
        seed: Decides all of them.
    """

    def __init__(self, labelled: Labelled, augmentation: Augmentation, seed: int) -> None:
        self._labelled = labelled
        self._how = augmentation
        self.seed = seed
        self._random = np.random.default_rng(seed)
        self._rows, self._cols = np.nonzero(labelled.classes >= 0)
        classes, parcels = labelled.classes[self._rows, self._cols], labelled.parcels[self._rows, self._cols]
        self._pixels_of = {
            int(kind): [np.flatnonzero(parcels == parcel) for parcel in np.unique(parcels[classes == kind])]
            for kind in np.unique(classes)
        }

    def make(self) -> Landscape:
        """The next landscape."""
        variant = self._random.integers(len(self._labelled.seasons))
        season = self._labelled.seasons[variant]
        mosaic = self._random.random() < self._how.mosaics
        reflectance, classes, fields = self._mosaic(season) if mosaic else self._cut(season)
        reflectance = self._vary(reflectance, fields)
        valid = np.broadcast_to(fields > 0, (len(reflectance), *fields.shape)).copy()
        if self._random.random() < self._how.isolated:
            alone = self._random.choice(np.unique(fields[fields > 0]))
            valid &= fields == alone
        if self._random.random() < 0.5:
            kept = self._random.random((len(valid), 1, 1)) >= self._how.dropped_dates
            valid &= kept | ~kept.any()  # a landscape without a date would teach nothing
        return self._turn(Landscape(reflectance, valid, np.where(valid.any(axis=0), classes, -1), fields))

    def _cut(self, season: Reflectance) -> tuple[Reflectance, Labels, Labels]:
        """A square of the real raster around a labelled pixel; what is not labelled is no field."""
        size = self._how.size
        height, width = self._labelled.classes.shape
        pixel = self._random.integers(len(self._rows))
        row = np.clip(self._rows[pixel] - self._random.integers(size), 0, max(0, height - size))
        col = np.clip(self._cols[pixel] - self._random.integers(size), 0, max(0, width - size))
        square = np.s_[..., row : row + size, col : col + size]
        classes = self._labelled.classes[square]
        return season[square], classes, np.where(classes >= 0, self._labelled.parcels[square], 0)

    def _mosaic(self, season: Reflectance) -> tuple[Reflectance, Labels, Labels]:
        """Voronoi cells, each a field of one class whose pixels are blends of two pixels of one training parcel."""
        size = self._how.size
        sites = self._random.random((self._random.integers(4, 20), 2)) * size
        place = np.indices((size, size)).reshape(2, -1).T + 0.5
        cell = ((place[:, None] - sites) ** 2).sum(axis=2).argmin(axis=1)  # (size * size,)
        kinds = self._random.choice(list(self._pixels_of), size=len(sites))
        source = np.empty((2, size * size), dtype=np.int64)
        for site, kind in enumerate(kinds):
            parcels = self._pixels_of[int(kind)]
            pixels = parcels[self._random.integers(len(parcels))]
            source[:, cell == site] = self._random.choice(pixels, size=(2, int((cell == site).sum())))
        one, other = season[..., self._rows[source], self._cols[source]].transpose(2, 0, 1, 3)  # (T, C, size * size)
        weight = self._random.random(size * size, dtype=np.float32)
        blended = (one * weight + other * (1 - weight)).reshape(*season.shape[:2], size, size)
        if self._random.random() < 0.5:
            blended = _blur(blended)  # neighbouring fields share the pixels of their border
        return blended, kinds[cell].reshape(size, size), cell.reshape(size, size) + 1

    def _vary(self, reflectance: Reflectance, fields: Labels) -> Reflectance:
        """Other brightness and another calendar per field, noise per value."""
        count, channels, how = int(fields.max()) + 1, reflectance.shape[1], self._how
        normal = self._random.standard_normal
        shift = self._random.uniform(-how.shift_months, how.shift_months, count).astype(np.float32)[fields]
        later, earlier = reflectance[[*range(1, len(reflectance)), -1]], reflectance[[0, *range(len(reflectance) - 1)]]
        moved = reflectance + shift.clip(0) * (later - reflectance) + (-shift).clip(0) * (earlier - reflectance)
        gain = how.gain * (normal((1, count), dtype=np.float32) + normal((channels, count), dtype=np.float32))
        gain = gain[:, fields] + how.noise * normal(moved.shape, dtype=np.float32)
        varied: Reflectance = moved * np.exp(gain)
        return varied

    def _turn(self, landscape: Landscape) -> Landscape:
        turns, mirrored = int(self._random.integers(4)), self._random.random() < 0.5

        def turn(array: NDArray[Any]) -> NDArray[Any]:
            turned = np.rot90(array, turns, axes=(-2, -1))
            return np.ascontiguousarray(turned[..., ::-1] if mirrored else turned)

        return Landscape(*(turn(part) for part in vars(landscape).values()))


def _blur(image: Reflectance) -> Reflectance:
    """Mean over 3 x 3 pixels with the centre counted twice; edges repeat."""
    padded = np.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    height, width = image.shape[-2:]
    total = image.copy()
    for row in range(3):
        for col in range(3):
            total += padded[..., row : row + height, col : col + width]
    return total / np.float32(10)
