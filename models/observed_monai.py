"""MONAI's networks of images, made to see observed pixels only.

MONAI's layers take one argument: the image. What of it was observed reaches them beside it, at each resolution. A layer
that halves the resolution has an observed pixel wherever one of the two by two below it is; what was not observed is
zero before each convolution, as is the padding at the edge, and has no part in a mean or a statistic. So a pixel that
was not observed and no pixel are the same, and an image that is wholly observed is to these layers what it is to
MONAI's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor, nn
from torch.nn import functional

from models.observed_convolutions import halved, observed_mean
from models.temporal_convolutions import ObservedBatchNorm

_resolutions: ContextVar[dict[tuple[int, ...], Tensor]] = ContextVar("resolutions")


@contextmanager
def observing(observed: Tensor) -> Iterator[None]:
    """Tells the layers below what of their images was observed, shape (N, H, W)."""
    found = {tuple(observed.shape[1:]): observed}
    while observed.shape[1:].numel() > 1:
        observed = halved(observed)
        found[tuple(observed.shape[1:])] = observed
    token = _resolutions.set(found)
    try:
        yield
    finally:
        _resolutions.reset(token)


def _observed(features: Tensor) -> Tensor:
    return _resolutions.get()[tuple(features.shape[2:])]


class ImageNorm(ObservedBatchNorm):
    """`ObservedBatchNorm` within `observing`.

    Its running statistics are those of the first batches, averaged, then take in a tenth of each: what they are before
    training is forgotten at once. In a network of many norms the rest of it would multiply.
    """

    def forward(self, features: Tensor) -> Tensor:  # type: ignore[override]
        """Shape (N, C, H, W), as what it gives."""
        if self.training:
            self.momentum = max(0.1, 1 / (1 + int(self.num_batches_tracked or 0)))
        return super().forward(features, _observed(features))


class ImageMaximum(nn.MaxPool2d):
    """A maximum of features that are never negative: zero wherever nothing was observed."""

    def forward(self, input: Tensor) -> Tensor:
        """Shape (N, C, H, W) to (N, C, H', W')."""
        maximum: Tensor = super().forward(input)
        return maximum * _observed(maximum).unsqueeze(1)


class HalvingMean(nn.Module):
    """The mean of the observed among two by two pixels, of features that are zero elsewhere; no edge is cut off."""

    def forward(self, features: Tensor) -> Tensor:
        """Shape (N, C, H, W) to (N, C, H', W')."""
        parts = (features, _observed(features).unsqueeze(1).to(features.dtype))
        total, count = (functional.avg_pool2d(part, 2, ceil_mode=True, divisor_override=1) for part in parts)
        return total / count.clamp(min=1)


class ImageMean(nn.Module):
    """The mean of the observed pixels of each image."""

    def forward(self, features: Tensor) -> Tensor:
        """Shape (N, C, H, W) to (N, C, 1, 1)."""
        return observed_mean(features, _observed(features))[..., None, None]


def see_observed_only(network: nn.Module) -> None:
    """Puts layers that know what was observed in the place of a network's batch norms and poolings.

    Args:
        network: Untrained; all that halves the resolution has an odd kernel and half of it as padding, or is the mean
            of two by two. It works within `observing` only.
    """
    for name, layer in network.named_children():
        known: nn.Module
        if isinstance(layer, nn.BatchNorm2d):
            known = ImageNorm(layer.num_features, eps=layer.eps)
        elif isinstance(layer, nn.MaxPool2d):
            known = ImageMaximum(layer.kernel_size, layer.stride, layer.padding)
        elif isinstance(layer, nn.AvgPool2d):
            known = HalvingMean()
        elif isinstance(layer, nn.AdaptiveAvgPool2d):
            known = ImageMean()
        else:
            see_observed_only(layer)
            continue
        setattr(network, name, known)
