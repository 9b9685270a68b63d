"""ResNet: residual convolutions of the image of each date; their embeddings are averaged over the dates.

The network is MONAI's. ResNet-18 as published is `layers=(2, 2, 2, 2)`, `widths=(64, 128, 256, 512)`, `first_kernel=7`,
`first_stride=2` and `first_pool=True`; ResNet-50 has `block="bottleneck"` and `layers=(3, 4, 6, 3)` besides. Their
first layers leave a quarter of the resolution, which suits photographs: a patch of 9 x 9 pixels starts without them.

What the original does that we do not: it sees one photograph of three channels, all of it there. Here all that was not
observed is zero before each convolution and has no part in batch normalisation and in the global mean, and a season is
the mean over its dates.

References:
    He et al. (2016), Deep Residual Learning for Image Recognition, CVPR.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from monai.networks.nets import resnet as monai_resnet

from models.network import require_fraction, require_integers
from models.per_date import ImageNetwork, image_channels, require_first_layer, require_patch_size

EXPANSION = {"basic": 1, "bottleneck": 4}
"""Channels that a block gives, as a multiple of its width."""


@dataclass(frozen=True)
class ResNetParameters:
    """Hyper-parameters of `ResNet`."""

    channels: int
    """Bands and indices per date."""
    classes: int
    """Crop classes."""
    patch_size: int = 9
    """Height and width of the patch in pixels: odd, at most 65."""
    block: Literal["basic", "bottleneck"] = "basic"
    """`basic`: two 3x3 convolutions. `bottleneck`: one between two 1x1, four times the width behind it."""
    layers: tuple[int, ...] = (1, 1, 1, 1)
    """Blocks of each of the four stages."""
    widths: tuple[int, ...] = (16, 32, 64, 128)
    """Channels of each of the four stages; each but the first halves the resolution."""
    first_kernel: int = 3
    """Pixels under the first kernel; odd."""
    first_stride: int = 1
    """2 halves the resolution in the first convolution."""
    first_pool: bool = False
    """Halve the resolution after the first convolution."""
    date_harmonics: int = 2
    """Frequencies of the date channels; 0 leaves the dates out, and their order with them."""
    dropout: float = 0.2
    """Share of averaged features dropped in training."""

    def __post_init__(self) -> None:
        require_integers(1, channels=self.channels, classes=self.classes, layers=self.layers, widths=self.widths)
        require_integers(0, date_harmonics=self.date_harmonics)
        require_fraction(dropout=self.dropout)
        require_patch_size(self.patch_size)
        require_first_layer(self.first_kernel, self.first_stride, self.first_pool)
        if self.block not in EXPANSION:
            raise ValueError(f"block is {self.block!r}; expected {' or '.join(EXPANSION)}")
        if len(self.layers) != 4 or len(self.widths) != 4:
            raise ValueError(f"layers is {self.layers} and widths is {self.widths}; expected four stages")


class ResNet(ImageNetwork):
    """MONAI's ResNet on each date; the mean over the observed dates is classified."""

    def __init__(self, parameters: ResNetParameters) -> None:
        encoder = monai_resnet.ResNet(
            parameters.block,
            list(parameters.layers),
            list(parameters.widths),
            spatial_dims=2,
            n_input_channels=image_channels(parameters.channels, parameters.date_harmonics),
            conv1_t_size=parameters.first_kernel,
            conv1_t_stride=parameters.first_stride,
            no_max_pool=not parameters.first_pool,
            feed_forward=False,
            bias_downsample=False,
        )
        super().__init__(parameters, encoder, parameters.widths[-1] * EXPANSION[parameters.block])
