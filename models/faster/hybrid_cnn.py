"""The hybrid CNN: the series of some thousand pixels after the other, then the U-Net by stripes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.faster.fused import ExactLinear, largest
from models.faster.network import FasterNetwork
from models.faster.series import FasterTemporalConvolutions, Series, image_of_series
from models.faster.unet import FasterUNet, Region, looked_at
from models.hybrid_cnn import HybridCNN


class FasterHybridCNN(FasterNetwork):
    """The logits of a `HybridCNN`."""

    def __init__(self, network: HybridCNN, precision: torch.dtype) -> None:
        super().__init__(network, precision)
        temporal = network.temporal
        self.embedding, self.shortcut = temporal.embedding, network.shortcut
        self.temporal = FasterTemporalConvolutions(temporal, network.channels, temporal.date_harmonics, precision)
        self.unet = FasterUNet(network.unet, precision)
        bias = network.classify.bias
        assert isinstance(bias, nn.Parameter)
        self.classify = ExactLinear(network.classify.weight.flatten(1), bias, precision)

    def logits_inside(self, x: Tensor, dates: Tensor, valid: Tensor, inside: Region) -> Tensor:
        shape = (x.shape[0], inside.bottom - inside.top, inside.right - inside.left, self.classes)
        logits = x.new_empty(shape, dtype=torch.float32)
        for each, *season in zip(logits, x, dates, valid, strict=True):
            self._classify(*season, inside, each)
        return logits.permute(0, 3, 1, 2)  # (B, K, H, W)

    def embed_pixels(self, x: Tensor, days: Tensor, valid: Tensor) -> Tensor:
        """The image that the U-Net sees.

        Args:
            x: Shape (T, C, H, W).
            days: Shape (T,).
            valid: Shape (T, H, W).

        Returns:
            Shape (H, W, D), the last channel being 1 where observed if there is a shortcut.
        """
        unseen = x.new_zeros(self.embedding + self.shortcut, dtype=self.precision)
        return image_of_series(self._embed, unseen, x, days, valid, self.unet.workspace)

    def _embed(self, series: Series) -> Tensor:
        embedding = largest(self.temporal(series)[0], 0)  # (N, D)
        return torch.cat([embedding, embedding.new_ones(len(embedding), 1)], dim=1) if self.shortcut else embedding

    def _classify(self, x: Tensor, days: Tensor, valid: Tensor, inside: Region, logits: Tensor) -> None:
        self.classify_image(self.embed_pixels(x, days, valid), valid.any(dim=0), inside, logits)

    def classify_image(self, image: Tensor, observed: Tensor, inside: Region, logits: Tensor) -> None:
        """Classifies what `embed_pixels` gives, or a part of it.

        Args:
            image: Shape (H, W, D).
            observed: Shape (H, W).
            inside: The part whose logits are asked for.
            logits: Where to put them, float32, shape (rows, columns, K).
        """
        height, width = observed.shape
        padded = Region(0, height + -height % self.stride, 0, width + -width % self.stride)

        def use(stripe: Region, context: Tensor) -> None:
            if self.shortcut:
                own = image[stripe.top : stripe.bottom, stripe.left : stripe.right, : self.embedding]
                context = torch.cat([own, context], dim=2)
            found = self.classify(context.flatten(0, 1)).view(*context.shape[:2], -1)
            logits[stripe.top - inside.top : stripe.bottom - inside.top] = found

        there = looked_at(observed.unsqueeze(2), padded).squeeze(2)
        self.unet(lambda region: looked_at(image, region), there, inside, use)
