"""What training makes small, and class weights against classes of unequal size."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cropmap_core.learning.feeding import NO_TARGET


def balanced_weights(counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Weights by which all classes count alike: total / (classes x count), as scikit-learn's `balanced`.

    Args:
        counts: Of labelled pixels by class, shape (K,).
    """
    there = np.maximum(counts, 1)
    weights = counts.sum() / (max(int((counts > 0).sum()), 1) * there)
    balanced: NDArray[np.float32] = np.where(counts > 0, weights, 0.0).astype(np.float32)
    return balanced


def sampling_weights(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Chance of each sample to be drawn, so that all classes are drawn alike.

    Args:
        counts: Labelled pixels of each sample by class, shape (N, K).

    Returns:
        Shape (N,), of sum 1: the mean over a sample's pixels of their class's weight.
    """
    weights = balanced_weights(counts.sum(axis=0)).astype(np.float64)
    chance = counts @ weights / counts.sum(axis=1)
    drawn: NDArray[np.float64] = chance / chance.sum()
    return drawn


def classification_loss(
    logits: Tensor, target: Tensor, weight: Tensor | None, smoothing: float, focal_gamma: float | None
) -> Tensor:
    """Mean cross-entropy or focal loss over what has a target.

    Args:
        logits: Shape (B, K, ...).
        target: Position of the class, -1 where the loss does not look, shape (B, ...).
        weight: Of each class, shape (K,); None for all alike.
        smoothing: Share of the target that is spread over all classes.
        focal_gamma: How much less what is easy counts; None for cross-entropy.

    References:
        Lin et al. (2017), Focal Loss for Dense Object Detection, ICCV.
    """
    if focal_gamma is None:
        return functional.cross_entropy(logits, target, weight, ignore_index=NO_TARGET, label_smoothing=smoothing)
    each = functional.cross_entropy(
        logits, target, weight, ignore_index=NO_TARGET, label_smoothing=smoothing, reduction="none"
    )
    looked_at = target != NO_TARGET
    own = logits.softmax(dim=1).gather(1, target.clamp(min=0).unsqueeze(1)).squeeze(1)
    counted = looked_at.float() if weight is None else weight[target.clamp(min=0)] * looked_at
    return ((1 - own) ** focal_gamma * each).sum() / counted.sum().clamp(min=torch.finfo(each.dtype).tiny)
