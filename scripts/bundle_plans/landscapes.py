"""Landscapes of real signals: parcel mosaics whose fields are filled with real pixel series, for spatial networks.

Labels of points are many, labelled images are few. A field holds series of one class, or one finer label of it, that
were observed near each other in the same season; they blend smoothly into each other over the field. Neighbours mix at
borders as a sensor mixes them. A landscape has one calendar of acquisitions and clouds of real shapes, and all of its
series are of one source, season and fold: what is held out makes landscapes that are held out. Real are the signals and
the clouds, made up is where things lie.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d
from scipy.spatial import cKDTree

from cropmap_core.samples.files import NO_PARCEL
from cropmap_core.timeseries.series import NODATA
from scripts.bundle_plans.cloud_shapes import CloudShapes
from scripts.bundle_plans.parcel_mosaics import FIELD, Mosaic, MosaicSettings, make_mosaic

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Numbers = NDArray[np.int64]
BRIGHTEST = 20000  # digital numbers
_MARGIN = 3  # pixels around a landscape that its edge is blurred with
_KM_A_DEGREE = 111.3
_LEAST_DATES = 3  # of a pixel, where its series have as many
_LEAST_SEEN = 0.8  # of a landscape, at a date of its calendar


@dataclass(frozen=True)
class LandscapeSettings:
    """How landscapes are made; shares are probabilities."""

    edge: int = 48
    """Height and width in pixels of 10 m."""
    mosaic: MosaicSettings = field(default_factory=MosaicSettings)
    background: str = "Others"
    """Name of the class of roads, hedges and farmsteads."""
    strips: tuple[str, ...] = ()
    """Finer labels of those; none: any of the class."""
    details: str = ""
    """Column of the finer labels: a field is of one. Empty: of one class."""
    series: int = 4
    """Series in a field at most."""
    reach_km: float = 8.0
    """How far the series of a field may lie apart."""
    window: int = 60
    """Series around a landscape that say what grows there."""
    local: float = 0.6
    """How much they count, beside what grows in all of the source."""
    blur: tuple[float, float] = (0.5, 0.7)
    """Standard deviation of the sensor's point spread, in pixels, drawn between the two."""
    texture: float = 0.05
    """Largest standard deviation of the logarithm of the brightness over a field."""
    noise: float = 0.02
    """The same of each value."""
    overcast: float = 0.15
    """Largest share of dates at which a whole landscape is not seen although its series were."""
    cloudy: float = 0.35
    """Largest share of dates with clouds over parts of it."""
    bare_borders: float = 0.5
    """Share of landscapes without any label at borders; in others a part of the pixels there lacks it."""
    unlabelled: float = 0.12
    """Share of fields without a label."""


@dataclass(frozen=True)
class Group:
    """The series of one source, season and fold."""

    data: NDArray[np.int16]
    """Reflectance x 10000, shape (N, T, C)."""
    valid: Mask
    """Shape (N, T)."""
    label: NDArray[np.int16]
    """Values of their classes, shape (N,)."""
    detail: NDArray[np.str_]
    """Finer labels, shape (N,)."""
    lonlat: NDArray[np.float64]
    """Degrees, shape (N, 2)."""

    @property
    def place_km(self) -> NDArray[np.float64]:
        """Kilometres east and north, shape (N, 2)."""
        narrow = np.cos(np.deg2rad(self.lonlat[:, 1].mean()))
        return np.asarray(self.lonlat * (narrow * _KM_A_DEGREE, _KM_A_DEGREE))


@dataclass(frozen=True)
class Landscape:
    """A square of land over a season."""

    data: NDArray[np.int16]
    """Reflectance x 10000, nodata where not valid, shape (T, C, H, W)."""
    valid: Mask
    """Shape (T, H, W)."""
    label: NDArray[np.int16]
    """Class values, 0 unlabelled, shape (H, W)."""
    parcel: Numbers
    """Number of the field, -1 for none, shape (H, W)."""
    lonlat: tuple[float, float]
    """Of the series that it was made around."""


class LandscapeMaker:
    """Makes landscapes of the series of one group.

    Args:
        group: The series.
        background: Value of the class of roads, hedges and farmsteads.
        how: How.
        clouds: Shapes of clouds.
    """

    def __init__(self, group: Group, background: int, how: LandscapeSettings, clouds: CloudShapes) -> None:
        self._group, self._background, self._how, self._clouds = group, background, how, clouds
        self._place = group.place_km
        self._values, kind, counts = np.unique(group.label, return_inverse=True, return_counts=True)
        self._kind = kind
        self._everywhere = np.sqrt(counts) / np.sqrt(counts).sum()
        rarity = 1 / np.sqrt(counts[kind])
        self._rarity = rarity / rarity.sum()
        strips = np.isin(group.detail, how.strips) & (group.label == background)
        self._strips = np.flatnonzero(strips if strips.any() else group.label == background)
        self._tree = cKDTree(self._place)

    def make(self, random: np.random.Generator) -> Landscape:
        """A landscape around a series; rare classes are drawn more often than they are there."""
        how, around = self._how, int(random.choice(len(self._rarity), p=self._rarity))
        size = how.edge + 2 * _MARGIN
        mosaic = make_mosaic(size, how.mosaic, random)
        chosen, used = self._choose(mosaic, around, random)
        values, valid = self._fill(mosaic.part, chosen, used, random)
        values = _blur(values, valid, random.uniform(*how.blur))
        values = values * np.exp(
            how.noise * random.random(dtype=np.float32) * random.standard_normal(values.shape, np.float32)
        )
        inside = np.s_[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
        seen = self._masked(valid[inside].transpose(2, 0, 1), random)  # (T, H, W)
        data = np.rint(values[inside]).clip(1, BRIGHTEST).astype(np.int16).transpose(2, 3, 0, 1)  # (T, C, H, W)
        data = np.where(seen[:, None], data, np.int16(NODATA))
        label = self._labelled(mosaic, self._group.label[chosen[:, 0]], random)[inside]
        parcel = np.where(mosaic.kind == FIELD, np.arange(len(mosaic.kind)), NO_PARCEL)[mosaic.part][inside]
        lon, lat = self._group.lonlat[around]
        return Landscape(data, seen, label, parcel, (float(lon), float(lat)))

    def _choose(self, mosaic: Mosaic, around: int, random: np.random.Generator) -> tuple[Numbers, Mask]:
        """Series of each part, the first its own, and which of them it uses, each of shape (F, S)."""
        how, group = self._how, self._group
        _, near = self._tree.query(self._place[around], min(how.window, len(self._place)))
        here = np.bincount(self._kind[np.atleast_1d(near)], minlength=len(self._values))
        share = how.local * here / here.sum() + (1 - how.local) * self._everywhere
        chosen = np.empty((len(mosaic.kind), how.series), np.int64)
        used = np.arange(how.series) < random.integers(1, how.series + 1, (len(chosen), 1))
        for part, kind in enumerate(mosaic.kind):
            if kind == FIELD or not len(self._strips):
                candidates = np.flatnonzero(self._kind == random.choice(len(share), p=share))
            else:
                candidates = self._strips
            own = self._one_of(self._seen_with(candidates, around), around, 15, random)
            alike = np.flatnonzero((group.label == group.label[own]) & (group.detail == group.detail[own]))
            distance = np.hypot(*(self._place[alike] - self._place[own]).T)
            alike = alike[(distance <= how.reach_km) & (alike != own)]
            beside = [self._one_of(alike, own, 8, random) for _ in range(how.series - 1)] if len(alike) else []
            chosen[part] = [own, *beside] if beside else own
        return chosen, used

    def _seen_with(self, candidates: Numbers, around: int) -> Numbers:
        """The half of the candidates nearby that lacks the fewest dates of a series: those of its orbit."""
        distance = ((self._place[candidates] - self._place[around]) ** 2).sum(axis=1)
        near = candidates[np.argsort(distance, kind="stable")[:30]]
        lacking = (self._group.valid[around] & ~self._group.valid[near]).sum(axis=1)
        return near[np.argsort(lacking, kind="stable")[: max(1, (len(near) + 1) // 2)]]

    def _one_of(self, candidates: Numbers, around: int, nearest: int, random: np.random.Generator) -> int:
        """One of the candidates that lie nearest to a series."""
        distance = ((self._place[candidates] - self._place[around]) ** 2).sum(axis=1)
        some = np.argpartition(distance, nearest - 1)[:nearest] if len(candidates) > nearest else range(len(candidates))
        return int(candidates[int(random.choice(np.asarray(some)))])

    def _fill(self, part: Numbers, chosen: Numbers, used: Mask, random: np.random.Generator) -> tuple[Floats, Mask]:
        """Digital numbers (H, W, T, C), and where any series of the part was observed (H, W, T)."""
        how, group = self._how, self._group
        height, width = part.shape
        hills = random.standard_normal((how.series, height, width), np.float32)
        hills = gaussian_filter(hills, (0, *[random.uniform(1, 6)] * 2), mode="wrap")
        hills *= np.exp(random.uniform(-0.5, 1.5)) / hills.std()  # from a blend all over to patches of one series each
        level = random.normal(0, 0.7, chosen.shape).astype(np.float32)
        score = np.where(used[part], hills.transpose(1, 2, 0) + level[part], -np.inf)  # (H, W, S)
        weight = np.exp(score - score.max(axis=2, keepdims=True)) + np.float32(1e-3) * used[part]
        total = np.zeros((height, width, group.data.shape[1]), np.float32)
        values = np.zeros((*total.shape, group.data.shape[2]), np.float32)
        for number in range(how.series):
            series = chosen[part, number]
            share = weight[..., number, None] * group.valid[series]  # (H, W, T)
            total += share
            values += share[..., None] * group.data[series]
        values /= np.where(total > 0, total, 1)[..., None]
        hill = gaussian_filter(random.standard_normal((height, width), np.float32), random.uniform(1, 5), mode="wrap")
        brightness = np.exp(how.texture * random.random(dtype=np.float32) * hill / hill.std())
        return values * brightness[..., None, None], total > 0

    def _masked(self, valid: Mask, random: np.random.Generator) -> Mask:
        """What is seen of it, shape (T, H, W): dates on which most of it was observed, but for clouds."""
        how, times, edge = self._how, len(valid), valid.shape[-1]
        calendar = valid.mean(axis=(1, 2)) > _LEAST_SEEN
        open_sky = calendar & (random.random(times) >= random.uniform(0, how.overcast))
        clouded = random.random(times) < random.uniform(0, how.cloudy)
        seen = valid & open_sky[:, None, None]
        for time in np.flatnonzero(clouded & open_sky):
            cloud = self._clouds.draw(edge, random)
            if random.random() < 0.5:  # a composite of two acquisitions lacks what is hidden in both
                cloud &= self._clouds.draw(edge, random)
            seen[time] &= ~cloud
        few = seen.sum(axis=0) < _LEAST_DATES
        return np.where(few, valid, seen)

    def _labelled(self, mosaic: Mosaic, label: NDArray[np.int16], random: np.random.Generator) -> NDArray[np.int16]:
        how, part = self._how, mosaic.part
        shown = random.random(len(label)) >= np.where(mosaic.kind == FIELD, how.unlabelled, 0.5)
        if not len(self._strips):
            shown &= mosaic.kind == FIELD
        missing = _borders(part)
        if random.random() >= how.bare_borders:
            missing &= random.random(part.shape) < random.uniform(0, 0.7)
        return np.where(shown[part] & ~missing, label[part], 0).astype(np.int16)


def _blur(values: Floats, valid: Mask, sigma: float) -> Floats:
    """Pixels mixed with their neighbours, shape (H, W, T, C), by those that were observed, shape (H, W, T)."""
    seen = valid.astype(np.float32)
    mixed, weight = values * seen[..., None], seen
    for axis in (0, 1):
        mixed = gaussian_filter1d(mixed, sigma, axis=axis, mode="nearest", truncate=3)
        weight = gaussian_filter1d(weight, sigma, axis=axis, mode="nearest", truncate=3)
    return np.where(valid[..., None], mixed / np.maximum(weight, 1e-6)[..., None], values)


def _borders(part: Numbers) -> Mask:
    """Pixels beside, above or below one of another part."""
    border = np.zeros(part.shape, bool)
    for axis in (0, 1):
        differs = np.diff(part, axis=axis) != 0
        ahead = [(0, 1) if each == axis else (0, 0) for each in (0, 1)]
        behind = [(1, 0) if each == axis else (0, 0) for each in (0, 1)]
        border |= np.pad(differs, ahead) | np.pad(differs, behind)
    return border
