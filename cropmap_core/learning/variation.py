"""Variation of samples in training: other skies, other seasons, other light, turned and cut.

All that is done to a sample is done to all of its dates and bands alike, so that nothing loses its place in the image
or its order in time.
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
_LONGEST_CLOUD = 4  # dates in a row
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
    mixup: float = 0.0
    """Parameter of the beta distribution by which two samples are mixed.

    References:
        Zhang et al. (2018), mixup: Beyond Empirical Risk Minimization, ICLR.
    """

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
        centre = random.random((count, 2)) * (height, width)
        radius = random.uniform(0.2, 0.8, count) * max(height, width)
        rows, cols = np.indices((height, width)) + 0.5
        distance = np.hypot(rows - centre[:, 0, None, None], cols - centre[:, 1, None, None])
        disc = distance <= radius[:, None, None] if height * width > 1 else np.ones((count, 1, 1), bool)
        clouds: Mask = under[:, :, None, None] & disc[:, None]
        return clouds

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


def _turned(image: NDArray[Any], turns: int, mirrored: bool) -> NDArray[Any]:
    turned = np.rot90(image, turns, axes=(-2, -1))
    return turned[..., ::-1] if mirrored else turned
