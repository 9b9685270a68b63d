"""A patch date by date: the images of the dates with any observation, each encoded alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from models.network import Network, date_channels, require_integers
from models.observed_monai import observing, see_observed_only

LARGEST_PATCH = 65

PIXELS_AT_ONCE = {"cpu": 2**14, "cuda": 2**19}
"""Pixels of images encoded together outside training, by device; at least one image."""


def require_patch_size(patch_size: int) -> None:
    """Refuses heights and widths of patches that are even or larger than `LARGEST_PATCH`."""
    require_integers(1, patch_size=patch_size)
    if patch_size % 2 == 0 or patch_size > LARGEST_PATCH:
        raise ValueError(f"patch_size is {patch_size}; expected an odd number of at most {LARGEST_PATCH}")


def require_first_layer(kernel: int, stride: int, pool: bool) -> None:
    """Refuses what cannot be the first convolution of a network of images, and the pooling behind it."""
    require_integers(1, first_kernel=kernel, first_stride=stride)
    if kernel % 2 == 0:
        raise ValueError(f"first_kernel is {kernel}; expected an odd number")
    if stride > 2:
        raise ValueError(f"first_stride is {stride}; expected 1 or 2")
    if not isinstance(pool, bool):
        raise ValueError(f"first_pool is {pool!r}; expected true or false")


def image_channels(channels: int, date_harmonics: int) -> int:
    """Channels of the images that `images` makes."""
    return channels + 1 + 2 * date_harmonics


def images(x: Tensor, dates: Tensor, valid: Tensor, date_harmonics: int) -> Tensor:
    """The images that an encoder sees; all of their channels are zero where not valid.

    Args:
        x: Zero where not valid, shape (N, T, C, H, W).
        dates: Shape (N, T).
        valid: Shape (N, T, H, W).
        date_harmonics: Frequencies of the date channels.

    Returns:
        Channels, one that is 1 where valid, and date channels, shape (N, T, C + 1 + 2 * date_harmonics, H, W).
    """
    where = valid.unsqueeze(2).to(x.dtype)  # (N, T, 1, H, W)
    if not date_harmonics:
        return torch.cat([x, where], dim=2)
    season = date_channels(dates, date_harmonics)[..., None, None].to(x.dtype)  # (N, T, 2 * harmonics, 1, 1)
    return torch.cat([x, where, season * where], dim=2)


def observed_dates(x: Tensor, dates: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Drops the dates at which a patch was observed nowhere; those left stand at the front, in the order given.

    Args:
        x: Zero where not valid, shape (B, T, C, H, W).
        dates: Shape (B, T).
        valid: Shape (B, T, H, W).

    Returns:
        The same for as many dates as the patch with most of them has; nothing is valid behind a patch's last.
    """
    seen = valid.flatten(2).any(dim=2)  # (B, T)
    exporting = torch.compiler.is_exporting()  # then shapes and branches must not depend on values
    if not exporting and seen.all():
        return x, dates, valid
    longest = seen.shape[1] if exporting else max(1, int(seen.sum(dim=1).max()))
    order = torch.argsort(~seen, dim=1, stable=True)[:, :longest]
    sample = torch.arange(x.shape[0], device=x.device).unsqueeze(1)
    return x[sample, order], dates[sample, order], valid[sample, order]


def encode_dates(
    encode: Callable[[Tensor, Tensor], Tensor],
    embedding: int,
    x: Tensor,
    dates: Tensor,
    valid: Tensor,
    date_harmonics: int,
    together: bool,
) -> tuple[Tensor, Tensor]:
    """What a function makes of the image of each date that was observed anywhere.

    Args:
        encode: Makes (N, embedding) of N images, (N, C + 1 + 2 * date_harmonics, H, W), and of what was observed of
            them, (N, H, W).
        embedding: Its channels.
        x: Zero where not valid, shape (B, T, C, H, W).
        dates: Shape (B, T).
        valid: Shape (B, T, H, W).
        date_harmonics: Frequencies of the date channels.
        together: All images at once, as batch statistics need them; else `PIXELS_AT_ONCE`.

    Returns:
        Embeddings of the `observed_dates`, shape (B, T', embedding), zero behind a patch's last, and which of them are
        there, shape (B, T').
    """
    x, dates, valid = observed_dates(x, dates, valid)
    seen = valid.flatten(2).any(dim=2)  # (B, T')
    if torch.compiler.is_exporting():  # all images, observed or not: which ones are is not known yet
        image = images(x, dates, valid, date_harmonics).flatten(0, 1)  # (B * T', C', H, W)
        found = encode(image, valid.flatten(0, 1)).view(*seen.shape, -1)  # (B, T', embedding)
        return torch.where(seen.unsqueeze(-1), found, 0.0), seen
    embeddings = x.new_zeros(*seen.shape, embedding)
    sample, date = seen.nonzero(as_tuple=True)
    at_once = max(1, PIXELS_AT_ONCE.get(x.device.type, 2**14) // valid.shape[2:].numel())
    if together:
        at_once = max(1, len(sample))
    for start in range(0, len(sample), at_once):
        b, t = sample[start : start + at_once], date[start : start + at_once]
        observed = valid[b, t]  # (N, H, W)
        image = images(x[b, t].unsqueeze(1), dates[b, t].unsqueeze(1), observed.unsqueeze(1), date_harmonics)
        embeddings[b, t] = encode(image.squeeze(1), observed).to(embeddings.dtype)
    return embeddings, seen


class ImageParameters(Protocol):
    """Hyper-parameters that all networks of images have."""

    @property
    def channels(self) -> int: ...

    @property
    def classes(self) -> int: ...

    @property
    def patch_size(self) -> int: ...

    @property
    def date_harmonics(self) -> int: ...

    @property
    def dropout(self) -> float: ...


class ImageNetwork(Network):
    """A patch network that encodes the image of each date alone and averages the embeddings over the observed dates.

    The order of the dates is lost but for the date channels. A patch that was never observed has an embedding of zeros.

    Args:
        parameters: Those of the network.
        encoder: One of MONAI's, untrained, of images of `image_channels`; it ends in global pooling, which becomes the
            mean over observed pixels.
        embedding: Channels that it gives.
    """

    kind = "patch"

    def __init__(self, parameters: ImageParameters, encoder: nn.Module, embedding: int) -> None:
        super().__init__()
        self.channels = parameters.channels
        self.classes = parameters.classes
        self.patch_size = parameters.patch_size
        self.date_harmonics = parameters.date_harmonics
        self.embedding = embedding
        see_observed_only(encoder)
        self.encoder = encoder
        self.dropout = nn.Dropout(parameters.dropout)
        self.classify = nn.Linear(embedding, parameters.classes)

    def logits(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        logits: Tensor = self.classify(self.dropout(self.embed(x, dates, valid)))
        return logits

    def embed(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        embeddings, seen = encode_dates(
            self._encode, self.embedding, x, dates, valid, self.date_harmonics, together=self.training
        )
        return embeddings.sum(dim=1) / seen.sum(dim=1, keepdim=True).clamp(min=1)

    def _encode(self, image: Tensor, observed: Tensor) -> Tensor:
        with observing(observed):
            embedding: Tensor = self.encoder(image)
        return embedding
