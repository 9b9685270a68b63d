"""Auto-context: the first network in its own fast form, then the U-Net by stripes."""

from __future__ import annotations

import torch
from torch import Tensor

from models.auto_context import LEAST_LOGARITHM, AutoContext
from models.faster.fused import ExactLinear
from models.faster.network import FasterNetwork
from models.faster.regions import Region, looked_at
from models.faster.unet import FasterUNet


class FasterAutoContext(FasterNetwork):
    """The logits of an `AutoContext`; what the first network says itself counts in float32."""

    def __init__(self, network: AutoContext, first: FasterNetwork, precision: torch.dtype) -> None:
        super().__init__(network, precision)
        self.first, self.temperature = first, network.temperature
        self.unet = FasterUNet(network.unet, precision)
        weight, bias = network.classify.weight.flatten(1), network.classify.bias
        self.of_first = ExactLinear(weight[:, : self.classes], bias, torch.float32)
        self.of_context = ExactLinear(weight[:, self.classes :], None, precision)

    def logits_inside(self, x: Tensor, dates: Tensor, valid: Tensor, inside: Region) -> Tensor:
        said = torch.log_softmax(self.first.logits(x, dates, valid).movedim(1, -1) / self.temperature, dim=-1)
        logits = x.new_empty(len(x), inside.rows, inside.columns, self.classes, dtype=torch.float32)
        for each, own, sample, there in zip(logits, said, x, valid, strict=True):
            self._classify(own, sample, there, inside, each)
        return logits.permute(0, 3, 1, 2)  # (B, K, rows, columns)

    def _classify(self, said: Tensor, x: Tensor, valid: Tensor, inside: Region, logits: Tensor) -> None:
        observed = valid.any(dim=0)  # (H, W)
        there = observed.unsqueeze(2).float()
        said = said.clamp_(min=LEAST_LOGARITHM).mul_(there)  # (H, W, K)
        means = (x.sum(dim=0, dtype=torch.float32) / valid.sum(dim=0).clamp(min=1)).permute(1, 2, 0)  # (H, W, C)
        image = torch.cat([part.to(self.precision) for part in (said, means * there, there)], dim=2)

        def use(stripe: Region, context: Tensor) -> None:
            own = looked_at(said, stripe)
            found = self.of_first(own.flatten(0, 1)) + self.of_context(context.flatten(0, 1))
            logits[stripe.top - inside.top : stripe.bottom - inside.top] = found.view(own.shape)

        self.unet(image, observed, inside, use)
