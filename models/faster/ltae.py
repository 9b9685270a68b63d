"""L-TAE in two products per observation.

The second layer of the observation's network is centred, so that the layer normalisation has only to divide by the
length. Queries, keys and that layer make one matrix, which stands below the layer's own: one product gives the
observation and its score in each head. The layer normalisation's scales and shifts and the positions, whose sines and
cosines are the same for all heads, follow after the sum over time, once for each pixel.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from models.faster.fused import ExactLinear, FusedLinear, folded, in_full
from models.faster.pixel_network import FasterPixelNetwork
from models.faster.series import Series
from models.faster.tempcnn import softmax_over_dates
from models.ltae import LTAE
from models.network import day_positions


class FasterLTAE(FasterPixelNetwork):
    """The logits of an `LTAE`."""

    def __init__(self, network: LTAE, precision: torch.dtype) -> None:
        super().__init__(network, precision)
        self.width = network.width + network.heads
        self.embedding, self.heads = network.width, network.heads
        first, second, norm = _layers(network)
        self.eps = norm.eps
        self.register_buffer("scale", norm.weight.detach().to(precision))
        asks = _asks(network)  # (heads, width)
        self.register_buffer("asks", asks.float())
        weight, bias = in_full(second.weight), in_full(second.bias)
        weight, bias = weight - weight.mean(dim=0), bias - bias.mean()
        scores = asks * in_full(norm.weight)
        self.first = FusedLinear(first.weight, first.bias, precision, relu=True)
        self.both = FusedLinear(torch.cat([weight, scores @ weight]), torch.cat([bias, scores @ bias]), precision)
        heads = torch.eye(self.heads).repeat_interleave(self.embedding // self.heads, dim=0)
        self.spread = FusedLinear(heads, heads.new_zeros(self.embedding), precision)
        dense, shift = folded(network.dense.weight, None, network.norm)
        self.dense = FusedLinear(dense, shift + dense @ in_full(norm.bias), precision, relu=True)
        self.classify = ExactLinear(network.classify.weight, network.classify.bias, precision)

    @property
    def unseen(self) -> Tensor:
        return self.classify.get_buffer("bias")

    def classify_series(self, series: Series) -> Tensor:
        both = self.both(self.first(series.values.to(self.precision)))  # (T, N, width + heads)
        observations, scores = both[..., : self.embedding], both[..., self.embedding :]
        squares = torch.linalg.vector_norm(observations, dim=2, keepdim=True).float().square_()
        length = (squares / self.embedding).add_(self.eps).sqrt_()  # (T, N, 1)
        positions = day_positions(series.days.float().unsqueeze(0), self.embedding // self.heads).squeeze(0)
        scores = scores / length + (positions.repeat(1, self.heads) @ self.get_buffer("asks").T).unsqueeze(1)
        weights = softmax_over_dates(scores, series.valid)  # (T, N, heads)
        shares = self.spread((weights / length).to(self.precision))  # (T, N, width)
        mixed = observations[0] * shares[0]
        for observation, share in zip(observations[1:], shares[1:], strict=True):
            mixed.addcmul_(observation, share)
        where = weights.to(self.precision).permute(1, 2, 0) @ positions.to(self.precision)  # (N, heads, width / heads)
        mixed = torch.addcmul(where.flatten(1), mixed, self.get_buffer("scale"))
        logits: Tensor = self.classify(self.dense(mixed.unsqueeze(0)).squeeze(0))
        return logits


def _layers(network: LTAE) -> tuple[nn.Linear, nn.Linear, nn.LayerNorm]:
    first, _, second, norm = network.observation
    return cast("nn.Linear", first), cast("nn.Linear", second), cast("nn.LayerNorm", norm)


def _asks(network: LTAE) -> Tensor:
    """What the score of each head multiplies the normalised observation with, as `in_full`, shape (heads, width)."""
    keys = in_full(network.keys.weight).view(network.heads, network.keys_width, -1)
    queries = in_full(network.queries) / math.sqrt(network.keys_width)
    return torch.einsum("hk,hkw->hw", queries, keys)
