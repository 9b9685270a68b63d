"""DenseNet: densely connected convolutions of the image of each date; their embeddings are averaged over the dates.

The network is MONAI's. DenseNet-121 as published is `layers=(6, 12, 24, 16)`, `growth=32`, `first_width=64`,
`first_kernel=7`, `first_stride=2` and `first_pool=True`. Its first layers leave a quarter of the resolution, which
suits photographs: a patch of 9 x 9 pixels starts without them.

What the original does that we do not: it sees one photograph of three channels, all of it there, and its transitions
cut off the last row and column of an odd image. Here all that was not observed is zero before each convolution and has
no part in batch normalisation and in means, and a season is the mean over its dates.

References:
    Huang et al. (2017), Densely Connected Convolutional Networks, CVPR.
"""

from __future__ import annotations

from dataclasses import dataclass

from monai.networks.nets import densenet as monai_densenet
from torch import nn

from models.network import require_fraction, require_integers
from models.per_date import ImageNetwork, image_channels, require_first_layer, require_patch_size


@dataclass(frozen=True)
class DenseNetParameters:
    """Hyper-parameters of `DenseNet`."""

    channels: int
    """Bands and indices per date."""
    classes: int
    """Crop classes."""
    patch_size: int = 9
    """Height and width of the patch in pixels: odd, at most 65."""
    layers: tuple[int, ...] = (3, 3, 3)
    """Layers of each dense block; a transition between two halves the resolution and the channels."""
    growth: int = 16
    """Channels that each layer adds."""
    bottleneck: int = 4
    """Channels between the two convolutions of a layer, as a multiple of `growth`."""
    first_width: int = 32
    """Channels of the first convolution."""
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
        require_integers(1, channels=self.channels, classes=self.classes, layers=self.layers, growth=self.growth)
        require_integers(1, bottleneck=self.bottleneck, first_width=self.first_width)
        require_integers(0, date_harmonics=self.date_harmonics)
        require_fraction(dropout=self.dropout)
        require_patch_size(self.patch_size)
        require_first_layer(self.first_kernel, self.first_stride, self.first_pool)
        if not self.layers:
            raise ValueError("layers is empty; expected the layers of at least one block")


class DenseNet(ImageNetwork):
    """MONAI's DenseNet on each date; the mean over the observed dates is classified."""

    def __init__(self, parameters: DenseNetParameters) -> None:
        inputs = image_channels(parameters.channels, parameters.date_harmonics)
        encoder = monai_densenet.DenseNet(
            spatial_dims=2,
            in_channels=inputs,
            out_channels=1,
            init_features=parameters.first_width,
            growth_rate=parameters.growth,
            block_config=parameters.layers,
            bn_size=parameters.bottleneck,
        )
        kernel = parameters.first_kernel
        first = nn.Conv2d(
            inputs, parameters.first_width, kernel, parameters.first_stride, padding=kernel // 2, bias=False
        )
        nn.init.kaiming_normal_(first.weight)
        encoder.set_submodule("features.conv0", first)
        if not parameters.first_pool:
            encoder.set_submodule("features.pool0", nn.Identity())
        embedding = encoder.get_parameter("class_layers.out.weight").shape[1]
        encoder.set_submodule("class_layers.out", nn.Identity())
        super().__init__(parameters, encoder, embedding)
