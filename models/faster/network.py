"""What every fast form is: the logits of the network that it was made of, up to rounding."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from models.faster.regions import Region
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
        self.stride, self.receptive_radius = int(network.stride), int(network.receptive_radius)
        self.patch_size = int(network.patch_size)

    @abstractmethod
    def logits_inside(self, x: Tensor, dates: Tensor, valid: Tensor, inside: Region) -> Tensor:
        """Logits of a part of the image, which saves what only its surroundings would need.

        Args:
            x: As `logits` gets it; fastest if it lies as (B, T, H, W, C) in memory.
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


class TwoStages(FasterNetwork):
    """A network that first looks at each pixel alone, and then at the image that it makes of them.

    Who has a wide image in blocks asks the first stage once for every pixel, and the second with what is around.
    """

    @abstractmethod
    def embed_pixels(self, x: Tensor, days: Tensor, valid: Tensor) -> Tensor:
        """The image that is looked at then; it may last only until the next one is made in this thread.

        Args:
            x: Shape (T, C, H, W).
            days: Shape (T,).
            valid: Shape (T, H, W).

        Returns:
            Shape (H, W, D).
        """

    @abstractmethod
    def classify_image(self, image: Tensor, observed: Tensor, inside: Region, logits: Tensor) -> None:
        """Classifies what `embed_pixels` gives, or a block of it.

        Args:
            image: Shape (H, W, D).
            observed: Shape (H, W).
            inside: The part whose logits are asked for.
            logits: Where to put them, float32, shape (rows, columns, K).
        """

    def logits_inside(self, x: Tensor, dates: Tensor, valid: Tensor, inside: Region) -> Tensor:
        logits = x.new_empty(len(x), inside.rows, inside.columns, self.classes, dtype=torch.float32)
        for each, sample, days, there in zip(logits, x, dates, valid, strict=True):
            self.classify_image(self.embed_pixels(sample, days, there), there.any(dim=0), inside, each)
        return logits.permute(0, 3, 1, 2)  # (B, K, rows, columns)


class Single(FasterNetwork):
    """A network as it is, in float32, for those that have no fast form; patch networks have no inside."""

    def logits(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        return self.original.logits(x.float(), dates, valid).float()

    def logits_inside(self, x: Tensor, dates: Tensor, valid: Tensor, inside: Region) -> Tensor:
        return self.logits(x, dates, valid)[..., inside.top : inside.bottom, inside.left : inside.right]
