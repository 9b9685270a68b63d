"""How the learning rate runs through a training."""

from __future__ import annotations

import math


def share_of_rate(progress: float, warm_up: float) -> float:
    """Share of the highest learning rate: up to 1 in the warm-up, then down to 0 along a cosine.

    Args:
        progress: Share of the steps that are done, 0 to 1.
        warm_up: Share of the steps that the warm-up takes.
    """
    if progress < warm_up:
        return 0.1 + 0.9 * progress / warm_up
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))
