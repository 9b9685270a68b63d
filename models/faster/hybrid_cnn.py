"""The hybrid CNN: the series of some thousand pixels after the other, then the U-Net by stripes."""

from __future__ import annotations

import torch
from torch import Tensor

from models.faster.fused import ExactLinear, largest
from models.faster.network import TwoStages
from models.faster.regions import Region
from models.faster.series import FasterTemporalConvolutions, Series, see_pixels
from models.faster.unet import FasterUNet
from models.hybrid_cnn import HybridCNN


class FasterHybridCNN(TwoStages):
    """The logits of a `HybridCNN`."""

    def __init__(self, network: HybridCNN, precision: torch.dtype) -> None:
        super().__init__(network, precision)
        temporal = network.temporal
        self.embedding, self.shortcut = temporal.embedding, network.shortcut
        self.temporal = FasterTemporalConvolutions(temporal, network.channels, temporal.date_harmonics, precision)
        self.unet = FasterUNet(network.unet, precision)
        self.classify = ExactLinear(network.classify.weight.flatten(1), network.classify.bias, precision)

    def embed_pixels(self, x: Tensor, days: Tensor, valid: Tensor) -> Tensor:
        """The image that the U-Net sees, its last channel being 1 where observed if there is a shortcut."""
        height, width = x.shape[-2:]
        unseen = x.new_zeros(self.embedding + self.shortcut, dtype=self.precision)
        image = self.unet.workspace.take("image", unseen, height * width, len(unseen))
        see_pixels(self._embed, self.embedding, unseen, x, days, valid, image)
        return image.view(height, width, -1)

    def _embed(self, series: Series) -> Tensor:
        embedding = largest(self.temporal(series)[0], 0)  # (N, D)
        return torch.cat([embedding, embedding.new_ones(len(embedding), 1)], dim=1) if self.shortcut else embedding

    def classify_image(self, image: Tensor, observed: Tensor, inside: Region, logits: Tensor) -> None:
        def use(stripe: Region, context: Tensor) -> None:
            if self.shortcut:
                own = image[stripe.top : stripe.bottom, stripe.left : stripe.right, : self.embedding]
                context = torch.cat([own, context], dim=2)
            found = self.classify(context.flatten(0, 1)).view(*context.shape[:2], -1)
            logits[stripe.top - inside.top : stripe.bottom - inside.top] = found

        self.unet(image, observed, inside, use)
