"""Feature trees: a random forest or boosted trees on what a trained network makes of the series.

The network's embedding takes the place of its dates: to the trees it is one date of E channels. So a missing date is
dropped, and any number of dates goes, where trees on the series themselves see a zero and one number of dates. What
Yang et al. do that we do not: they choose the features of the series first, and take the last convolution of a 1-D CNN
where we take the embedding of any network that classifies every pixel.

The trees are grown on embeddings of the samples that the network has learnt from, where classes lie farther apart than
on others: what the trees think of their own certainty says nothing before they are calibrated on other samples.

References:
    Yang et al. (2020), Crop Classification Method Based on Optimal Feature Selection and Hybrid CNN-RF Networks for
    Multi-Temporal Remote Sensing Imagery, Remote Sensing 12(19); Breiman (2001), Random Forests, Machine Learning 45.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.network import Network, require_integers
from models.tree_ensemble import TreeEnsemble, TreeEnsembleParameters

_NOT_OF_TREES = ("channels", "classes", "times")


@dataclass(frozen=True)
class FeatureTreesParameters:
    """Hyper-parameters of `FeatureTrees`."""

    channels: int
    """Bands and indices per date."""
    classes: int
    """Crop classes."""
    encoder: Mapping[str, Any]
    """The network's `architecture` and its `hyper_parameters` but channels and classes."""
    trees: Mapping[str, Any]
    """The sizes of the trees, as `TreeEnsembleParameters` has them, but channels, classes and times."""

    def __post_init__(self) -> None:
        require_integers(1, channels=self.channels, classes=self.classes)
        if not isinstance(self.encoder, Mapping) or set(self.encoder) != {"architecture", "hyper_parameters"}:
            raise ValueError(f"encoder is {self.encoder!r}; expected architecture and hyper_parameters")
        if not isinstance(self.trees, Mapping):
            raise ValueError(f"trees is {self.trees!r}; expected the sizes of the trees")


class FeatureTrees(Network):
    """A network without its last layer, and the trees that classify its embedding."""

    kind = "dense"

    def __init__(self, parameters: FeatureTreesParameters) -> None:
        from models.registry import build  # it knows the feature trees too

        super().__init__()
        self.hyper_parameters = parameters
        self.channels = parameters.channels
        self.classes = parameters.classes
        architecture = parameters.encoder["architecture"]
        own = {"channels": parameters.channels, "classes": parameters.classes}
        encoder = build(architecture, **{**parameters.encoder["hyper_parameters"], **own})
        if encoder.kind != "dense" or not isinstance(getattr(encoder, "classify", None), (nn.Linear, nn.Conv2d)):
            raise ValueError(f"{architecture} has no embedding of every pixel that trees could classify")
        self.stride = encoder.stride
        self.receptive_radius = encoder.receptive_radius
        embedding = encoder.get_parameter("classify.weight").shape[1]
        del encoder.classify
        self.encoder = encoder
        sizes = {**parameters.trees, "channels": embedding, "classes": parameters.classes, "times": 1}
        unknown = set(sizes) ^ set(TreeEnsembleParameters.__dataclass_fields__)
        if unknown:
            raise ValueError(f"trees do not have, or lack, {', '.join(sorted(unknown))}")
        self.trees = TreeEnsemble(TreeEnsembleParameters(**sizes))

    @classmethod
    def of(cls, encoder: Mapping[str, Any], network: Network, trees: TreeEnsemble) -> FeatureTrees:
        """Puts a trained network and trees that were grown on its embedding together.

        Args:
            encoder: As in `FeatureTreesParameters`.
            network: What it describes, with its last layer.
            trees: Of one date of as many channels as the embedding has.
        """
        sizes = {name: value for name, value in asdict(trees.sizes).items() if name not in _NOT_OF_TREES}
        made = cls(FeatureTreesParameters(network.channels, network.classes, dict(encoder), sizes))
        kept = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("classify.")}
        made.encoder.load_state_dict(kept)
        made.trees.load_state_dict(trees.state_dict())
        return made.eval()

    def logits(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        features = self.embed(x, dates, valid).float().unsqueeze(1)  # (B, 1, E, H, W)
        there = torch.ones_like(features[:, :, 0], dtype=torch.bool)
        return self.trees.logits(features, dates[:, :1], there)  # (B, K, H, W)

    def embed(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        """The network's embedding, which the trees classify."""
        return self.encoder.embed(x, dates, valid)
