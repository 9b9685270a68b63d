"""What training makes small, and class weights against classes of unequal size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cropmap_core.classes import CropClass
from cropmap_core.errors import JobError
from cropmap_core.hierarchy import flat_hierarchy, hierarchy_of
from cropmap_core.learning.feeding import NO_TARGET
from cropmap_core.learning.recipes import Recipe


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


def teaching_loss(logits: Tensor, taught: Tensor, valid: Tensor) -> Tensor:
    """Mean cross-entropy with what a teacher says of every pixel, labelled or not, that was ever observed.

    Args:
        logits: Shape (B, K, H, W).
        taught: The teacher's probabilities, shape (B, K, H, W).
        valid: Shape (B, T, H, W).

    References:
        Hinton, Vinyals, Dean (2015), Distilling the Knowledge in a Neural Network; Beyer et al. (2022), Knowledge
        distillation: A good teacher is patient and consistent, CVPR: both see the same variation of a sample.
    """
    seen = valid.any(dim=1)
    each = -(taught * logits.log_softmax(dim=1)).sum(dim=1)
    return (each * seen).sum() / seen.sum().clamp(min=1)


class TrainingLoss:
    """The loss that a recipe asks for: of the crops, or the weighted mean of those of each level of their hierarchy.

    The probability of a group is the sum of those of its crops.

    Args:
        recipe: Kind of the loss, and how much classes and levels count.
        classes: The model's classes.
        counts: Of labelled training pixels by class, shape (K,).
        device: Where to compute.

    Raises:
        JobError: The recipe has not one weight for each level.

    References:
        Turkoglu et al. (2021), Crop mapping from image time series: Deep learning with multi-scale label hierarchies,
        Remote Sensing of Environment 264.
    """

    def __init__(
        self, recipe: Recipe, classes: Sequence[CropClass], counts: NDArray[np.int64], device: torch.device
    ) -> None:
        self._smoothing = recipe.label_smoothing
        self._focal_gamma = recipe.focal_gamma if recipe.loss == "focal" else None
        hierarchy = hierarchy_of(classes) if recipe.level_weights else flat_hierarchy(classes)
        shares = recipe.level_weights or (1.0,)
        if len(shares) != len(hierarchy.levels):
            raise JobError(
                f"LEVEL_WEIGHTS are {len(shares)}; the classes have {len(hierarchy.levels)} levels.",
                "Give one for each, coarsest first; groups and families come from the legend of the labels.",
            )
        self._levels = []
        for level, share in enumerate(shares):
            if share:
                nodes = torch.tensor(hierarchy.levels[level], device=device)
                weights = balanced_weights(hierarchy.at(counts, level)) if recipe.balance == "weights" else None
                weight = None if weights is None else torch.from_numpy(weights).to(device)
                self._levels.append((share / sum(shares), nodes, weight))

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Of logits of shape (B, K, ...) and positions of the classes of shape (B, ...), -1 where it does not look."""
        log_probability = logits.log_softmax(dim=1)
        total = logits.new_zeros(())
        for share, nodes, weight in self._levels:
            wanted = torch.where(target == NO_TARGET, NO_TARGET, nodes[target.clamp(min=0)])
            told = _sum_members(log_probability, nodes)
            total = total + share * classification_loss(told, wanted, weight, self._smoothing, self._focal_gamma)
        return total


def _sum_members(log_probability: Tensor, nodes: Tensor) -> Tensor:
    """Log-probabilities of a level's nodes, shape (B, nodes, ...), of those of the classes, shape (B, K, ...)."""
    count = int(nodes.max()) + 1
    if count == len(nodes):
        return log_probability
    return torch.stack([log_probability[:, nodes == node].logsumexp(dim=1) for node in range(count)], dim=1)
