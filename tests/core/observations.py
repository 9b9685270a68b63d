"""Random observations of thousands of pixels, with all that is hard in them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cropmap_core.timeseries.series import NODATA

LOWEST, HIGHEST = NODATA + 1, 32767
PIXELS = (100, 100)


def observations(times: int, channels: int, seed: int) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """10,000 pixels: values of the whole range, its extremes and ties; pixels from never to always observed.

    Returns:
        Values, shape (T, C, 100, 100), rubbish where not observed, and what is observed, shape (T, 100, 100).
    """
    random = np.random.default_rng(seed)
    shape = (times, channels, *PIXELS)
    kinds = random.integers(0, 3, (channels, *PIXELS))
    values = np.choose(
        kinds,
        [
            random.integers(LOWEST, HIGHEST, shape, endpoint=True),
            random.choice([LOWEST, LOWEST + 1, -1, 0, 1, HIGHEST - 1, HIGHEST], shape),
            random.integers(-2, 3, shape),
        ],
    )
    observed = random.random((times, *PIXELS)) < random.choice([0.0, 0.2, 0.6, 0.9, 1.0], PIXELS)
    return values.astype(np.int16), observed
