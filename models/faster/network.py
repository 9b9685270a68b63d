"""What every fast form is: the logits of the network that it was made of, up to rounding."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from models.faster.unet import Region
from models.network import Network


class FasterNetwork(Network):
    """A trained network rearranged for prediction.

    It has no gradients and does not follow the network that it was made of, should that be trained on.

    Args:
        network: The trained one; its embedding is still asked of itself.
        precision: Of what `logits` takes, float32 or bfloat16; it gives float32.
    """

    def __init__(self, network: Network, precision: torch.dtype) -> None:
        super().__init__()
        self.original = network
        self.precision = precision
        self.kind = network.kind
        self.channels, self.classes = network.channels, network.classes
        self.stride, self.receptive_radius = network.stride, network.receptive_radius
        self.patch_size = network.patch_size

    @abstractmethod
    def logits_inside(self, x: Tensor, dates: Tensor, valid: Tensor, inside: Region) -> Tensor:
        """Logits of a part of the image, which saves what only its surroundings would need.

        Args:
            x: As `logits` gets it.
            dates: As in `forward`.
            valid: As in `forward`.
            inside: The part.

        Returns:
            float32, shape (B, K, rows, columns).
        """

    def logits(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        return self.logits_inside(x, dates, valid, Region(0, x.shape[3], 0, x.shape[4]))

    def embed(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        return self.original.embed(x.float(), dates, valid)
