"""EfficientNet: inverted bottlenecks with squeeze and excitation on the image of each date, averaged over the dates.

The network is MONAI's. EfficientNet-B0 as published is `width=1.0`, `depth=1.0`, `stages=7`, `first_stride=2`,
`drop_connect=0.2` and `dropout=0.2`; B1 to B7 are wider and deeper by the factors of the paper. All seven stages halve
the resolution four times, the first convolution once more, which suits photographs: a patch of 9 x 9 pixels has five
stages, and a first convolution that leaves the resolution as it is.

What the original does that we do not: it sees one photograph of three channels, all of it there; it pads images of even
size at one side only; its running statistics take in a hundredth of each batch, ours a tenth, for training sets are
small. Here all that was not observed is zero before each convolution and has no part in batch normalisation and in the
means, those of the excitation included, and a season is the mean over its dates.

References:
    Tan, Le (2019), EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML.
"""

from __future__ import annotations

from dataclasses import dataclass

from monai.networks.nets import efficientnet as monai_efficientnet
from torch import nn

from models.network import require_fraction, require_integers
from models.per_date import ImageNetwork, image_channels, require_first_layer, require_patch_size

STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)
"""Table 1 of the paper: blocks, kernel, stride, expansion, channels in and out."""

STAYS_ODD_WHEN_HALVED = 2**8 + 1
"""Told that this is their size, images of any size are padded alike at both sides by MONAI."""


@dataclass(frozen=True)
class EfficientNetParameters:
    """Hyper-parameters of `EfficientNet`."""

    channels: int
    """Bands and indices per date."""
    classes: int
    """Crop classes."""
    patch_size: int = 9
    """Height and width of the patch in pixels: odd, at most 65."""
    width: float = 0.5
    """Channels, as a multiple of those of B0, rounded to eights."""
    depth: float = 1.0
    """Blocks of each stage, as a multiple of those of B0, rounded up."""
    stages: int = 5
    """How many of the seven stages, from the first; the second, third, fourth and sixth halve the resolution."""
    first_stride: int = 1
    """2 halves the resolution in the first convolution."""
    drop_connect: float = 0.0
    """Share of samples that skip the last block in training; in blocks before it, fewer in proportion."""
    date_harmonics: int = 2
    """Frequencies of the date channels; 0 leaves the dates out, and their order with them."""
    dropout: float = 0.2
    """Share of averaged features dropped in training."""

    def __post_init__(self) -> None:
        require_integers(1, channels=self.channels, classes=self.classes, stages=self.stages)
        require_integers(0, date_harmonics=self.date_harmonics)
        require_fraction(drop_connect=self.drop_connect, dropout=self.dropout)
        require_patch_size(self.patch_size)
        require_first_layer(kernel=3, stride=self.first_stride, pool=False)
        for name, factor in (("width", self.width), ("depth", self.depth)):
            if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 0 < factor <= 8:
                raise ValueError(f"{name} is {factor!r}; expected a number above 0 and up to 8")
        if self.stages > len(STAGES):
            raise ValueError(f"stages is {self.stages}; expected at most {len(STAGES)}")


class EfficientNet(ImageNetwork):
    """MONAI's EfficientNet on each date; the mean over the observed dates is classified."""

    def __init__(self, parameters: EfficientNetParameters) -> None:
        stages = STAGES[: parameters.stages]
        encoder = monai_efficientnet.EfficientNet(
            [f"r{blocks}_k{k}_s{s}{s}_e{expansion}_i{c}_o{d}_se0.25" for blocks, k, s, expansion, c, d in stages],
            spatial_dims=2,
            in_channels=image_channels(parameters.channels, parameters.date_harmonics),
            width_coefficient=parameters.width,
            depth_coefficient=parameters.depth,
            image_size=STAYS_ODD_WHEN_HALVED,
            drop_connect_rate=parameters.drop_connect,
        )
        encoder._conv_stem.stride = (parameters.first_stride, parameters.first_stride)
        embedding = encoder._fc.in_features
        for last in ("_dropout", "_fc"):  # they come after the mean over the dates
            encoder.set_submodule(last, nn.Identity())
        for layer in encoder.modules():
            if isinstance(layer, nn.Conv2d) and layer.groups > 1:
                # As in the original: each kernel of a depthwise convolution has one input. MONAI counts all channels.
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        super().__init__(parameters, encoder, embedding)
