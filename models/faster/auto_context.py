"""Auto-context: the first network in its own fast form, then the U-Net by stripes."""

from __future__ import annotations

import torch
from torch import Tensor

from models.auto_context import LEAST_LOGARITHM, AutoContext
from models.faster.fused import ExactLinear
from models.faster.network import FasterNetwork, TwoStages
from models.faster.regions import Region, looked_at
from models.faster.unet import FasterUNet


class FasterAutoContext(TwoStages):
    """The logits of an `AutoContext`; what the first network says itself counts in float32."""

    def __init__(self, network: AutoContext, first: FasterNetwork, precision: torch.dtype) -> None:
        super().__init__(network, precision)
        self.first, self.temperature = first, network.temperature
        self.unet = FasterUNet(network.unet, precision)
        weight, bias = network.classify.weight.flatten(1), network.classify.bias
        self.of_first = ExactLinear(weight[:, : self.classes], bias, torch.float32)
        self.of_context = ExactLinear(weight[:, self.classes :], None, precision)

    def embed_pixels(self, x: Tensor, days: Tensor, valid: Tensor) -> Tensor:
        """What the first network says and the seasonal means, zero where never observed, float32, (H, W, K + C)."""
        logits = self.first.logits(x[None], days[None], valid[None])[0].permute(1, 2, 0)  # (H, W, K)
        there = valid.any(dim=0).unsqueeze(2).float()
        said = torch.log_softmax(logits / self.temperature, dim=-1).clamp_(min=LEAST_LOGARITHM)
        means = (x.sum(dim=0, dtype=torch.float32) / valid.sum(dim=0).clamp(min=1)).permute(1, 2, 0)  # (H, W, C)
        return torch.cat([said, means], dim=2).mul_(there)

    def classify_image(self, image: Tensor, observed: Tensor, inside: Region, logits: Tensor) -> None:
        said = image[..., : self.classes]
        seen = torch.cat([image, observed.unsqueeze(2).float()], dim=2).to(self.precision)  # (H, W, K + C + 1)

        def use(stripe: Region, context: Tensor) -> None:
            own = looked_at(said, stripe)
            found = self.of_first(own.flatten(0, 1)) + self.of_context(context.flatten(0, 1))
            logits[stripe.top - inside.top : stripe.bottom - inside.top] = found.view(own.shape)

        self.unet(seen, observed, inside, use)
