"""Hierarchical heads: one for each level of a hierarchy of classes, on the embedding of any network.

The head of the coarsest level tells groups apart, each further one the members of the same node above. Probabilities
are multiplied down the tree, so that those of a node's members always add up to its own.

What the original of multi-scale hierarchies does that we do not: heads sit on layers of growing depth of one recurrent
network, and a last layer refines what they say; each level has probabilities of its own, which need not agree.

References:
    Morin, Bengio (2005), Hierarchical Probabilistic Neural Network Language Model, AISTATS; Turkoglu et al. (2021),
    Crop mapping from image time series: Deep learning with multi-scale label hierarchies, Remote Sensing of Environment
    264.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.network import Network, require_integers


@dataclass(frozen=True)
class HierarchicalParameters:
    """Hyper-parameters of `Hierarchical`."""

    channels: int
    """Bands and indices per date."""
    classes: int
    """Crop classes."""
    architecture: str
    """The network that embeds."""
    hyper_parameters: Mapping[str, Any]
    """Its own, but channels and classes."""
    levels: tuple[tuple[int, ...], ...]
    """For each level above the classes, coarsest first, the number of the node that each class belongs to."""

    def __post_init__(self) -> None:
        require_integers(1, channels=self.channels, classes=self.classes)
        above = [0] * self.classes
        for nodes in self.levels:
            require_integers(0, levels=tuple(nodes))
            if len(nodes) != self.classes or set(nodes) != set(range(max(nodes) + 1)):
                raise ValueError(f"a level is {tuple(nodes)}; expected a node from 0 on for each of the classes")
            parents = dict(zip(nodes, above, strict=True))
            if any(parents[node] != parent for node, parent in zip(nodes, above, strict=True)):
                raise ValueError(f"a node of the level {tuple(nodes)} has members of several nodes above")
            above = list(nodes)


class Hierarchical(Network):
    """A network whose last layer is replaced by a head per level."""

    def __init__(self, parameters: HierarchicalParameters) -> None:
        from models.registry import build  # it knows this one too

        super().__init__()
        self.sizes = parameters
        self.channels, self.classes = parameters.channels, parameters.classes
        own = {"channels": parameters.channels, "classes": parameters.classes}
        self.network = build(parameters.architecture, **{**parameters.hyper_parameters, **own})
        last = getattr(self.network, "classify", None)
        if not isinstance(last, (nn.Linear, nn.Conv2d)):
            raise ValueError(f"{parameters.architecture} has no embedding for heads of its own")
        self.kind = self.network.kind
        self.stride, self.receptive_radius = self.network.stride, self.network.receptive_radius
        self.patch_size = self.network.patch_size
        self.network.classify = nn.Identity()  # its weights are the finest head's
        self.dropout = getattr(self.network, "dropout", nn.Identity())  # what stood before the layer that is replaced
        features = last.in_features if isinstance(last, nn.Linear) else last.in_channels
        levels = [*(list(nodes) for nodes in parameters.levels), list(range(parameters.classes))]
        self.heads = nn.ModuleList(nn.Linear(features, max(nodes) + 1) for nodes in levels)
        tree = [[0] * parameters.classes, *levels]
        self._families = [_families(above, nodes) for above, nodes in itertools.pairwise(tree)]
        self._levels = levels

    def embed(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        return self.network.embed(x, dates, valid)

    def logits(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        """Logarithms of probabilities, shape (B, K, ...)."""
        features = self.dropout(self.embed(x, dates, valid).movedim(1, -1))  # (B, ..., E)
        total = features.new_zeros(())
        for head, families, nodes in zip(self.heads, self._families, self._levels, strict=True):
            total = total + _within(head(features), families)[..., nodes]
        log_probability: Tensor = total.movedim(-1, 1)
        return log_probability


def _families(above: Sequence[int], nodes: Sequence[int]) -> list[list[int]]:
    """Nodes of a level that share the node above."""
    parent = dict(zip(nodes, above, strict=True))
    return [[node for node in sorted(parent) if parent[node] == each] for each in sorted(set(above))]


def _within(logits: Tensor, families: Sequence[Sequence[int]]) -> Tensor:
    """Log-probabilities of nodes among those of their family, shape (..., nodes)."""
    together = [node for family in families for node in family]
    places = [together.index(node) for node in range(len(together))]
    parts = [torch.log_softmax(logits[..., list(family)].float(), dim=-1) for family in families]
    return torch.cat(parts, dim=-1)[..., places]
