"""TempCNN: the fused convolutions over time, then the means of each pixel as one small product."""

from __future__ import annotations

import torch
from torch import Tensor

from models.faster.fused import ExactLinear, FusedLinear, folded, largest
from models.faster.pixel_network import FasterPixelNetwork
from models.faster.series import FasterTemporalConvolutions, Series
from models.tempcnn import TempCNN


class FasterTempCNN(FasterPixelNetwork):
    """The logits of a `TempCNN`."""

    def __init__(self, network: TempCNN, precision: torch.dtype) -> None:
        super().__init__(network, precision)
        harmonics = network.date_harmonics
        self.temporal = FasterTemporalConvolutions(network.temporal, network.channels, harmonics, precision)
        self.width = self.temporal.width
        self.score = FusedLinear(network.score.weight, network.score.bias, precision)
        self.dense = FusedLinear(*folded(network.dense.weight, None, network.norm), precision, relu=True)
        self.classify = ExactLinear(network.classify.weight, network.classify.bias, precision)

    @property
    def unseen(self) -> Tensor:
        return self.classify.get_buffer("bias")

    def classify_series(self, series: Series) -> Tensor:
        features, valid = self.temporal(series)  # (T', N, D)
        weights = softmax_over_dates(self.score(features), valid)  # (T', N, heads)
        means = torch.bmm(weights.to(features.dtype).permute(1, 2, 0), features.transpose(0, 1))  # (N, heads, D)
        pooled = torch.cat([means.flatten(1), largest(features, 0)], dim=1)
        logits: Tensor = self.classify(self.dense(pooled.unsqueeze(0)).squeeze(0))
        return logits


def softmax_over_dates(scores: Tensor, valid: Tensor | None) -> Tensor:
    """Weights of the observations that add up to 1 for each pixel.

    Args:
        scores: Shape (T, N, heads).
        valid: Shape (T, N); None for all.

    Returns:
        float32, zero where not valid, shape (T, N, heads); NaN for pixels without any.
    """
    scores = scores.float()
    if valid is not None:
        scores = scores.masked_fill(~valid.unsqueeze(2), -torch.inf)
    return scores.softmax(dim=0)
