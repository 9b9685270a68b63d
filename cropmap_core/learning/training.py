"""Training of networks on landscapes made of labelled seasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

import models
from cropmap_core.learning.augmentation import Augmentation, Labelled, Landscape, LandscapeMaker, Reflectance
from cropmap_core.learning.patches import patches_at_random
from cropmap_core.learning.schedule import share_of_rate
from cropmap_core.timeseries.formulas import INDICES
from models.network import Network

_WARM_UP = 0.1


@dataclass(frozen=True)
class Recipe:
    """A network and how it is trained."""

    architecture: str
    hyper_parameters: Mapping[str, Any]
    """Those of the architecture but channels and classes."""
    steps: int = 200
    landscapes: int = 4
    """Landscapes per step."""
    patches: int = 24
    """Patches per landscape, for a patch network."""
    learning_rate: float = 3e-3
    """At its highest, after a tenth of the steps; it falls to zero along a cosine."""
    weight_decay: float = 1e-2
    label_smoothing: float = 0.05
    augmentation: Augmentation = field(default_factory=Augmentation)


@dataclass(frozen=True)
class Trained:
    """A trained network and what it expects."""

    network: Network
    channels: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    bands: tuple[str, ...]
    """Names of the reflectance bands that the channels are made of."""
    days: tuple[float, ...]
    """Days since the season's start of its dates."""

    def tensor(self, reflectance: Reflectance) -> Tensor:
        """Reflectance of shape (..., C, H, W) as normalised channels."""
        channels = make_channels(reflectance, self.bands, self.channels)
        mean, std = (np.array(each, dtype=np.float32)[:, None, None] for each in (self.mean, self.std))
        return torch.from_numpy((channels - mean) / std)


def make_channels(reflectance: Reflectance, bands: Sequence[str], channels: Sequence[str]) -> Reflectance:
    """Bands and indices in the order of a network's channels.

    Args:
        reflectance: Shape (..., C, H, W).
        bands: Names of the C bands.
        channels: Names of bands and indices.
    """
    by_name = {band: reflectance[..., position, :, :] for position, band in enumerate(bands)}
    parts = [
        INDICES[name].compute(*(by_name[band] for band in INDICES[name].bands)) if name in INDICES else by_name[name]
        for name in channels
    ]
    return np.stack(parts, axis=-3)


def train(
    labelled: Labelled,
    bands: Sequence[str],
    channels: Sequence[str],
    days: Sequence[float],
    class_count: int,
    recipe: Recipe,
    seed: int,
) -> Trained:
    """Trains a network.

    Args:
        labelled: The training pixels.
        bands: Names of the bands of its seasons.
        channels: Names of the bands and indices that the network is to see.
        days: Days since the season's start of its dates.
        class_count: Classes of the network, those without a training pixel included.
        recipe: Which network, and how.
        seed: Decides weights and landscapes.
    """
    pixels = make_channels(labelled.seasons[0], bands, channels)[..., labelled.classes >= 0]  # (T, C, N)
    mean, std = pixels.mean(axis=(0, 2)), pixels.std(axis=(0, 2))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = models.build(
            recipe.architecture, channels=len(channels), classes=class_count, **recipe.hyper_parameters
        )
        trained = Trained(
            network, tuple(channels), tuple(map(float, mean)), tuple(map(float, std)), tuple(bands), tuple(days)
        )
        _fit(trained, LandscapeMaker(labelled, recipe.augmentation, seed), recipe)
    network.eval()
    return trained


def _fit(trained: Trained, maker: LandscapeMaker, recipe: Recipe) -> None:
    network = trained.network.train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: share_of_rate(step / recipe.steps, _WARM_UP))
    days = torch.tensor(trained.days)
    rng = np.random.default_rng(maker.seed)
    for _ in range(recipe.steps):
        landscapes = [maker.make() for _ in range(recipe.landscapes)]
        x, valid, target = _batch(trained, landscapes)
        if network.kind == "patch":
            x, valid, target, _ = patches_at_random(x, valid, target, network.patch_size, recipe.patches, rng)
        logits = network(x, days.expand(len(x), -1), valid)
        loss = functional.cross_entropy(logits, target, ignore_index=-1, label_smoothing=recipe.label_smoothing)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()


def _batch(trained: Trained, landscapes: Sequence[Landscape]) -> tuple[Tensor, Tensor, Tensor]:
    x = trained.tensor(np.stack([landscape.reflectance for landscape in landscapes]))
    valid = torch.from_numpy(np.stack([landscape.valid for landscape in landscapes]))
    return x, valid, torch.from_numpy(np.stack([landscape.classes for landscape in landscapes]))
