"""Tree ensemble: a random forest or gradient-boosted trees on the flattened time series of each pixel, as plain arrays.

Whoever grows the trees fills the arrays; here they are kept and asked. The nodes of all trees stand in one list: first
those that ask, then the leaves. A node asks whether a feature is less than its threshold.

A forest has no slot for a missing value: a value that is not valid is 0, the mean in training of what is normalised.
And it has no time but the places of its features: the same number of dates, always.

References:
    Breiman (2001), Random Forests, Machine Learning 45; Chen, Guestrin (2016), XGBoost: A Scalable Tree Boosting
    System, KDD; Nakandala et al. (2020), A Tensor Compiler for Unified Machine Learning Prediction Serving, OSDI.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.network import Network, require_integers

VALUES_AT_ONCE = {"cpu": 2**17, "cuda": 2**24}
"""Pixels times trees that are walked together, by device: what fits its caches, and memory stays bounded."""

STEPS_TOGETHER = 8
"""Questions after which those that reached a leaf are done; most leaves of a deep tree are not at its depth."""

LEAST_PROBABILITY = 1e-7
"""Averaged probabilities below it are taken for it, so that their logarithm is finite."""


@dataclass(frozen=True)
class TreeEnsembleParameters:
    """Hyper-parameters of `TreeEnsemble`: the sizes of its arrays."""

    channels: int
    """Bands and indices per date."""
    classes: int
    """Crop classes."""
    times: int
    """Dates."""
    trees: int
    """Trees."""
    nodes: int
    """Nodes that ask, of all trees together."""
    leaves: int
    """Leaves of all trees together."""
    depth: int
    """Most questions from a root to a leaf."""
    averaged: bool
    """A random forest: leaves hold the probabilities of all classes, which are averaged. Else boosted trees: each
    belongs to one class, its leaves hold margins, which are added."""

    def __post_init__(self) -> None:
        require_integers(1, channels=self.channels, classes=self.classes, times=self.times, trees=self.trees)
        require_integers(1, leaves=self.leaves)
        require_integers(0, nodes=self.nodes, depth=self.depth)
        if not isinstance(self.averaged, bool):
            raise ValueError(f"averaged is {self.averaged!r}; expected true or false")


class TreeEnsemble(Network):
    """Trees that each pixel walks through.

    Its buffers are the trees. A node's number counts those that ask first; leaf l is number `nodes` + l.

    - `roots`: int32 (trees,), the number of each tree's first node.
    - `asked`: int32 (nodes,), the feature a node asks for: date * channels + channel.
    - `thresholds`: float32 (nodes,).
    - `branches`: int32 (nodes, 2), the number of the node to go on with: not less than the threshold, less.
    - `scores`: float32 (leaves, classes) probabilities, or (leaves, 1) margins.
    - `tree_classes`: int32 (trees,), the class of each tree's margins.
    - `base`: float32 (classes,), what margins are added to.
    """

    kind = "dense"

    roots: Tensor
    asked: Tensor
    thresholds: Tensor
    branches: Tensor
    scores: Tensor
    tree_classes: Tensor
    base: Tensor

    asked_by: Callable[[Tensor], Tensor] | None = None
    """Gives the logits of what `logits` gets in place of the loops here, which run on every device; None of nobody."""

    def __init__(self, parameters: TreeEnsembleParameters) -> None:
        super().__init__()
        self.sizes = parameters
        self.channels = parameters.channels
        self.classes = parameters.classes
        self.times = parameters.times
        self.nodes = parameters.nodes
        self.depth = parameters.depth
        self.averaged = parameters.averaged
        outputs = parameters.classes if parameters.averaged else 1
        # Before arrays are loaded every question leads to the first leaf.
        self.register_buffer("roots", torch.full((parameters.trees,), parameters.nodes, dtype=torch.int32))
        self.register_buffer("asked", torch.zeros(parameters.nodes, dtype=torch.int32))
        self.register_buffer("thresholds", torch.zeros(parameters.nodes))
        self.register_buffer("branches", torch.full((parameters.nodes, 2), parameters.nodes, dtype=torch.int32))
        self.register_buffer("scores", torch.zeros(parameters.leaves, outputs))
        self.register_buffer("tree_classes", torch.zeros(parameters.trees, dtype=torch.int32))
        self.register_buffer("base", torch.zeros(parameters.classes))
        self.register_load_state_dict_post_hook(_check_arrays)  # type: ignore[no-untyped-call]

    def logits(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        batch, times, channels, height, width = x.shape
        if times != self.times:
            raise ValueError(f"x has {times} dates; the trees were grown on {self.times}")
        exporting = torch.compiler.is_exporting()
        if self.asked_by is not None and not exporting:
            return self.asked_by(x)
        pixels = x.permute(0, 3, 4, 1, 2).reshape(-1, times * channels)  # (B * H * W, T * C)
        at_once = max(1, VALUES_AT_ONCE.get(x.device.type, 2**17) // len(self.roots))
        lots = (pixels,) if exporting else torch.split(pixels, at_once)
        walk = self._padded()
        found = torch.cat([self._ask(some, *walk) for some in lots])
        return found.view(batch, height, width, -1).permute(0, 3, 1, 2)

    def embed(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        """Trees have no layer before the last: their logits."""
        return self.logits(x, dates, valid)

    def _padded(self) -> tuple[Tensor, Tensor, Tensor]:
        """Features, thresholds and branches of nodes and leaves; both branches of a leaf lead to itself."""
        leaves = torch.arange(self.nodes, self.nodes + len(self.scores), device=self.roots.device, dtype=torch.int32)
        nothing = torch.zeros_like(leaves)
        features = torch.cat([self.asked, nothing])
        thresholds = torch.cat([self.thresholds, nothing.to(self.thresholds.dtype)])
        return features, thresholds, torch.cat([self.branches.flatten(), leaves.repeat_interleave(2)])

    def _ask(self, pixels: Tensor, features: Tensor, thresholds: Tensor, branches: Tensor) -> Tensor:
        """The logits of (N, T * C) pixels, shape (N, K)."""
        count, width = pixels.shape
        values = pixels.flatten()
        first = (torch.arange(count, device=pixels.device, dtype=torch.int32) * width).repeat(len(self.roots))
        at = self.roots.unsqueeze(1).repeat(1, count).flatten()  # (trees * N): tree by tree, its nodes stay cached
        exporting = torch.compiler.is_exporting()  # then all are asked to the end: a leaf leads to itself
        reached, going = at.clone(), torch.arange(at.shape[0], device=at.device)
        for step in range(1, self.depth + 1):
            value = values.index_select(0, first + features.index_select(0, at))
            less = value < thresholds.index_select(0, at)
            at = branches.index_select(0, 2 * at + less)
            if exporting:
                reached = at
            elif step % STEPS_TOGETHER == 0 or step == self.depth:
                reached.index_copy_(0, going, at)
                on_the_way = (at < self.nodes).nonzero().squeeze(1)
                at, first, going = (each.index_select(0, on_the_way) for each in (at, first, going))
        scores = self.scores.index_select(0, reached - self.nodes).view(len(self.roots), count, -1)
        if self.averaged:
            return scores.mean(dim=0).clamp(min=LEAST_PROBABILITY).log()
        margins = self.base.unsqueeze(1).repeat(1, count)  # (K, N)
        return margins.index_add_(0, self.tree_classes, scores.squeeze(2)).T


def _check_arrays(network: TreeEnsemble, _: Any) -> None:
    """Refuses arrays that point nowhere, or to a leaf that is farther than `depth`."""
    if network.roots.is_meta:
        return
    features, numbers = network.channels * network.times, network.nodes + len(network.scores)
    for name, values, end in (
        ("roots", network.roots, numbers),
        ("asked", network.asked, features),
        ("branches", network.branches, numbers),
        ("tree_classes", network.tree_classes, network.classes),
    ):
        if len(values) and not 0 <= int(values.min()) <= int(values.max()) < end:
            raise RuntimeError(f"{name} of the trees are not all from 0 to {end - 1}")
    at = torch.zeros(numbers, dtype=torch.bool).index_fill_(0, network.roots.cpu().long(), True)
    for _ in range(network.depth):
        below = network.branches.cpu()[at[: network.nodes]].flatten()
        at = torch.zeros_like(at).index_fill_(0, below.long(), True)
    if at[: network.nodes].any():
        raise RuntimeError(f"the trees are deeper than {network.depth}")
