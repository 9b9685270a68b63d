"""Temperature scaling: probabilities that are as often right as they say.

References:
    Guo et al. (2017), On Calibration of Modern Neural Networks, ICML.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

_LIMITS = (0.5, 20.0)  # few samples, all of them right, would ask for certainty


def find_temperature(logits: NDArray[np.float32], target: NDArray[np.int64]) -> float:
    """The temperature that makes the likelihood of held-out labels largest.

    Args:
        logits: Of samples that were not trained on, shape (N, K).
        target: Positions of their classes, shape (N,).

    Returns:
        What to divide logits by, within 0.5 to 20; 1 where there is no sample.
    """
    if not len(target):
        return 1.0
    rows = np.arange(len(target))
    wide = logits.astype(np.float64)

    def surprise(log_temperature: float) -> float:
        return float(-log_softmax(wide / np.exp(log_temperature), axis=1)[rows, target].mean())

    found = minimize_scalar(surprise, bounds=tuple(np.log(_LIMITS)), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))
