"""What a map consists of: crop classes, how sure the model is of them, and all that it found likely.

Confidence is the probability of the mapped class. Entropy is that of all probabilities, divided by the most that it can
be: 0 where one class has all of the probability, 1 where each has the same. Margin is the first probability less the
second. Entropy, margin and probabilities are stored as 0 to 250 with the scale 0.004, which GDAL and QGIS apply.

References:
    Shannon (1948), A mathematical theory of communication, Bell System Technical Journal 27.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cropmap_core.classes import CropClass, value_type
from cropmap_core.hierarchy import Hierarchy
from cropmap_core.timeseries.kernels import CHUNK, compiled, flat, over_pixels

NO_CLASS = 0
"""Class value of pixels that were never observed."""
NO_VALUE = 255
"""The same of all other layers."""
STEPS = 250
"""What 1 is stored as in entropy, margin and probabilities."""
SCALE = 1 / STEPS

Layer = Literal["classes", "confidence", "entropy", "margin", "probabilities", "ood"]
Percent = NDArray[np.uint8]
Stored = NDArray[np.uint8]
ClassValues = NDArray[np.uint8] | NDArray[np.uint16]

_WHOLE = np.float32(1.5 * 2**23)  # added and subtracted it rounds a smaller float32, half to even
_FRACTION, _EXPONENT_BIAS = np.int32(2**23 - 1), np.int32(127)  # of a float32
_OF_FRACTION = np.float32(2.0**-23)
_L0, _L1, _L2, _L3, _L4, _L5, _L6 = (  # log2(1 + x) for x from 0 to 1, within 2e-6
    np.polynomial.Chebyshev.interpolate(lambda x: np.log2(1 + x), 6, (0, 1))
    .convert(kind=np.polynomial.Polynomial)
    .coef.astype(np.float32)
)


@dataclass(frozen=True)
class MapPaths:
    """The files of a map; None for those that are not asked for."""

    classes: Path
    confidence: Path | None = None
    entropy: Path | None = None
    margin: Path | None = None
    probabilities: Path | None = None
    ood: Path | None = None

    @property
    def there(self) -> dict[Layer, Path]:
        """Those that are asked for."""
        return {field.name: path for field in fields(self) if (path := getattr(self, field.name)) is not None}  # type: ignore[misc]


class Layers(NamedTuple):
    """What a window shows, each of shape (H, W); None what was not asked for."""

    classes: ClassValues
    """Class values, 0 where never observed."""
    confidence: Percent
    """Percent; 255 where never observed, as in all below."""
    places: NDArray[np.int32]
    """The most probable class in the model's order, from which `ood` is told; of no meaning where not observed."""
    entropy: Stored | None = None
    margin: Stored | None = None
    probabilities: Stored | None = None
    """Shape (K, H, W), in the order of the model's classes."""
    ood: Stored | None = None
    """1 where the pixel is out of distribution, 0 where not, 255 too where the model has no test."""


def layers_of(
    probabilities: NDArray[np.float32],
    observed: NDArray[np.bool_],
    classes: Sequence[CropClass],
    asked: Collection[Layer] = (),
    hierarchy: Hierarchy | None = None,
    sure_from: float = 0.0,
) -> Layers:
    """What is asked for of a window, but for `ood`, in one pass over its pixels.

    Args:
        probabilities: Calibrated, shape (K, H, W); of no meaning where nothing was observed.
        observed: Where anything was, shape (H, W).
        classes: The model's, in its order, K.
        asked: Names of layers; classes and confidence are always there.
        hierarchy: Of the classes, where a crop that is not sure is to be mapped as its group.
        sure_from: The least probability that counts as sure.
    """
    values = flat(probabilities)
    some, pixels = values.shape
    height, width = observed.shape
    largest = max(each.value for each in (*classes, *(hierarchy.stops() if hierarchy else ())))
    own = np.array([each.value for each in classes], value_type(largest))
    places = np.empty(pixels, np.int32)
    found = np.empty(pixels, own.dtype)
    confidence = np.empty(pixels, np.uint8)
    entropy, margin = (np.empty(pixels if name in asked else 0, np.uint8) for name in ("entropy", "margin"))
    stored = np.empty((some, pixels) if "probabilities" in asked else (0, 0), np.uint8)
    over_pixels(
        _layers, pixels, values, values.view(np.int32), flat(observed), own, places, found, confidence, entropy, margin,
        stored,
    )  # fmt: skip
    shape = height, width
    whole = Layers(
        found.reshape(shape),
        confidence.reshape(shape),
        places.reshape(shape),
        entropy.reshape(shape) if entropy.size else None,
        margin.reshape(shape) if margin.size else None,
        stored.reshape(some, *shape) if stored.size else None,
    )
    if hierarchy is None or not sure_from:
        return whole
    decided, sure = hierarchy.decide(probabilities, sure_from)
    whole.classes[observed] = decided[observed]
    whole.confidence[observed] = np.rint(100 * sure[observed]).astype(np.uint8)
    return whole


@compiled
def _layers(
    values: Any, bits: Any, observed: Any, own: Any, places: Any, found: Any, confidence: Any, entropy: Any,
    margin: Any, stored: Any, begin: int, end: int,
) -> None:  # fmt: skip
    """Pixels from `begin` to `end`; `bits` are those of the probabilities. What is not asked for is empty."""
    best, second = np.empty(CHUNK, np.float32), np.empty(CHUNK, np.float32)
    total = np.empty(CHUNK, np.float32)
    count = len(values)
    most = np.float32(np.log2(np.float64(count))) if count > 1 else np.float32(1)
    percent, steps = np.float32(100), np.float32(STEPS)
    for at in range(begin, end, CHUNK):
        size = min(CHUNK, end - at)
        place, seen = places[at : at + size], observed[at : at + size]
        place[:] = 0
        best[:size] = values[0, at : at + size]
        second[:] = 0
        for one in range(1, count):
            number, row = np.int32(one), values[one, at : at + size]
            for pixel in range(size):
                value, top = row[pixel], best[pixel]
                higher = value > top
                lower = top if higher else value
                second[pixel] = lower if lower > second[pixel] else second[pixel]
                best[pixel] = value if higher else top
                place[pixel] = number if higher else place[pixel]
        classes, sure = found[at : at + size], confidence[at : at + size]
        for pixel in range(size):
            classes[pixel] = own[place[pixel]] if seen[pixel] else NO_CLASS
        for pixel in range(size):
            rounded = np.int32((percent * best[pixel] + _WHOLE) - _WHOLE)
            sure[pixel] = np.uint8(rounded if seen[pixel] else NO_VALUE)
        if margin.size:
            out = margin[at : at + size]
            for pixel in range(size):
                rounded = np.int32((steps * (best[pixel] - second[pixel]) + _WHOLE) - _WHOLE)
                out[pixel] = np.uint8(rounded if seen[pixel] else NO_VALUE)
        if entropy.size:
            total[:] = 0
            for one in range(count):
                row, bit = values[one, at : at + size], bits[one, at : at + size]
                for pixel in range(size):
                    power = np.float32(np.int32(bit[pixel] >> 23) - _EXPONENT_BIAS)
                    x = np.float32(bit[pixel] & _FRACTION) * _OF_FRACTION
                    logarithm = _L0 + x * (_L1 + x * (_L2 + x * (_L3 + x * (_L4 + x * (_L5 + x * _L6)))))
                    total[pixel] -= row[pixel] * (power + logarithm)
            out = entropy[at : at + size]
            for pixel in range(size):
                share = total[pixel] / most
                share = share if share > 0 else np.float32(0)
                share = share if share < 1 else np.float32(1)
                rounded = np.int32((steps * share + _WHOLE) - _WHOLE)
                out[pixel] = np.uint8(rounded if seen[pixel] else NO_VALUE)
        for one in range(len(stored)):
            row, out = values[one, at : at + size], stored[one, at : at + size]
            for pixel in range(size):
                rounded = np.int32((steps * row[pixel] + _WHOLE) - _WHOLE)
                out[pixel] = np.uint8(rounded if seen[pixel] else NO_VALUE)
