"""3-D CNN: convolutions over time and space at once; as a hybrid, 2-D convolutions follow after time is folded away.

All kernels are 3 dates x 3 x 3 pixels. Mean and maximum over what was observed stand in the end for the flattened
features of the original, whose dense layers fit one number of dates and one size of patch.

What usual implementations do and this one does not: kernels of one date, which are 2-D convolutions under another name;
zeros for clouded dates and behind short series, which batch normalisation then turns into values; a reshape of
(B, T, C, H, W) where time and channels had to change places, which mixes them; variation of the training patches that
is drawn anew for each date, so that dates do not lie on each other. Here a patch's dates without an observation are
dropped, and positions that were not observed are zero before each convolution.

References:
    Ji et al. (2018), 3D Convolutional Neural Networks for Crop Classification with Multi-Temporal Remote Sensing
    Images, Remote Sensing 10(1); the hybrid after Roy et al. (2020), HybridSN: Exploring 3-D-2-D CNN Feature Hierarchy
    for Hyperspectral Image Classification, IEEE GRSL 17(2), which folds its third axis, bands, into channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.network import Network, require_fraction, require_integers
from models.observed_convolutions import ObservedConvolutions, observed_mean
from models.per_date import PIXELS_AT_ONCE, image_channels, images, observed_dates, require_patch_size


@dataclass(frozen=True)
class CNN3DParameters:
    """Hyper-parameters of `CNN3D`."""

    channels: int
    """Bands and indices per date."""
    classes: int
    """Crop classes."""
    patch_size: int = 9
    """Height and width of the patch in pixels: odd, at most 65."""
    widths: tuple[int, ...] = (32, 64, 64)
    """Channels of each 3-D convolution; each but the first halves time and resolution before it."""
    hybrid: bool = False
    """Fold time away after the 3-D convolutions; 2-D convolutions follow."""
    flat_widths: tuple[int, ...] = (64,)
    """Channels of each 2-D convolution of a hybrid; each but the first halves the resolution before it."""
    date_harmonics: int = 2
    """Frequencies of the date channels; 0 leaves the dates to their order."""
    dropout: float = 0.2
    """Share of pooled features dropped in training."""

    def __post_init__(self) -> None:
        require_integers(1, channels=self.channels, classes=self.classes)
        require_integers(1, widths=self.widths, flat_widths=self.flat_widths)
        require_integers(0, date_harmonics=self.date_harmonics)
        require_fraction(dropout=self.dropout)
        require_patch_size(self.patch_size)
        if not isinstance(self.hybrid, bool):
            raise ValueError(f"hybrid is {self.hybrid!r}; expected true or false")
        if not self.widths or not self.flat_widths:
            raise ValueError("widths or flat_widths is empty; expected the channels of at least one convolution")


class CNN3D(Network):
    """3-D convolutions; their mean and maximum over time and space, or over time and then over space, are classified.

    A patch that was never observed has an embedding of zeros.
    """

    kind = "patch"

    def __init__(self, parameters: CNN3DParameters) -> None:
        super().__init__()
        self.channels = parameters.channels
        self.classes = parameters.classes
        self.patch_size = parameters.patch_size
        self.date_harmonics = parameters.date_harmonics
        inputs = image_channels(parameters.channels, parameters.date_harmonics)
        last = parameters.widths[-1]
        self.convolutions = ObservedConvolutions(3, (inputs, *parameters.widths))
        self.flat: ObservedConvolutions | None = None
        if parameters.hybrid:
            self.flat = ObservedConvolutions(2, (2 * last, *parameters.flat_widths))
            last = parameters.flat_widths[-1]
        self.embedding = 2 * last
        self.dropout = nn.Dropout(parameters.dropout)
        self.classify = nn.Linear(self.embedding, parameters.classes)

    def logits(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        logits: Tensor = self.classify(self.dropout(self.embed(x, dates, valid)))
        return logits

    def embed(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        if self.training or torch.compiler.is_exporting():
            return self._embed(x, dates, valid)
        at_once = max(1, PIXELS_AT_ONCE.get(x.device.type, 2**14) // valid[0].numel())
        chunks = [slice(start, start + at_once) for start in range(0, len(x), at_once)]
        return torch.cat([self._embed(x[chunk], dates[chunk], valid[chunk]) for chunk in chunks])

    def _embed(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        x, dates, valid = observed_dates(x, dates, valid)
        image = images(x, dates, valid, self.date_harmonics).transpose(1, 2)  # (B, C', T, H, W)
        features, observed = self.convolutions(image, valid)
        if self.flat is not None:
            features = torch.cat([_mean_over_time(features, observed), features.amax(dim=2)], dim=1)  # (B, 2D, H, W)
            features, observed = self.flat(features, observed.any(dim=1))
        # Features are never negative: what was not observed is never the maximum.
        return torch.cat([observed_mean(features, observed), features.flatten(2).amax(dim=2)], dim=1).to(x.dtype)


def _mean_over_time(features: Tensor, observed: Tensor) -> Tensor:
    """Of what was observed, shapes (B, D, T, H, W), zero elsewhere, and (B, T, H, W), to (B, D, H, W)."""
    return features.sum(dim=2) / observed.sum(dim=1).clamp(min=1).unsqueeze(1)
