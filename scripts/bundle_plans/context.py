"""Auto-context networks: their U-Net is taught by what models by pixel say of landscapes that they have not seen.

Were they told of landscapes whose series they know, they would be right nearly everywhere, and the U-Net would learn to
believe them. The first network of the bundle has learnt from all folds; what it is given later on it has not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from scipy.special import softmax

import models
from cropmap_core.learning.bundling import write_bundle
from cropmap_core.learning.feeding import NO_TARGET, Feed, Indices
from cropmap_core.learning.losses import balanced_weights, classification_loss
from cropmap_core.learning.made import CrossValidation, Made, Member
from cropmap_core.learning.recipes import Recipe
from cropmap_core.learning.schedule import share_of_rate
from cropmap_core.learning.scores import Scores
from cropmap_core.samples.files import SampleFile
from models.auto_context import LEAST_LOGARITHM, AutoContext
from scripts.bundle_plans.costs import FINAL, measured
from scripts.bundle_plans.cross_validation import identities, make_final
from scripts.bundle_plans.landscape_scores import Floats, PixelModels
from scripts.bundle_plans.spatial import SpatialTraining, mark

ARCHITECTURE = "auto_context"
RECIPE = Recipe(
    ARCHITECTURE,
    {"widths": (48, 64, 96), "dropout": 0.2},
    epochs=10,
    batch_size=8,
    learning_rate=1e-3,
    balance="weights",
)
"""Chosen on a fold of landscapes of the United States (docs/decisions/0051-pixels-in-context.md)."""
_FIRST = "first."
_UNSURE = 0.25  # standard deviation of what is added to log-probabilities in training
_AT_ONCE = 32  # landscapes


@dataclass(frozen=True)
class Images:
    """Landscapes as the U-Net sees them."""

    said: Floats
    """Log-probabilities, shape (N, K, H, W)."""
    means: Floats
    """Mean of each channel over the season, reflectance 0-1, shape (N, C, H, W)."""
    observed: NDArray[np.bool_]
    """Shape (N, H, W)."""

    def of(self, index: Indices) -> Images:
        """Some of them."""
        return Images(self.said[index], self.means[index], self.observed[index])

    def tensors(self, mean: Floats, std: Floats) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same for a network, whose channels are normalised so."""
        normalised = (self.means - mean[:, None, None]) / std[:, None, None]
        return torch.from_numpy(self.said), torch.from_numpy(normalised), torch.from_numpy(self.observed)


class ContextTraining(SpatialTraining):
    """The landscapes of a plan, and the U-Nets taught on them."""

    @cached_property
    def _first(self) -> PixelModels:
        return PixelModels(self.series, self._plan.by_pixel, self._by_pixel)

    @property
    def _seeds(self) -> list[int]:
        seeds = list(self._first.there())
        if not seeds:
            raise ValueError(f"no seed of {self._plan.by_pixel.id} is trained; run its plan first")
        return seeds

    @property
    def _members(self) -> list[Recipe]:
        return self._plan.by_pixel.members(self._seeds)

    def _images(self, group: tuple[int, ...] = ()) -> Images:
        """All landscapes, each told by models that have seen neither its fold nor those of a group; told only once.

        Those of the group are left out.
        """
        told = mark(self.landscapes.path.name, identities(self._members), self._plan.by_pixel.others, group)
        path = self.folder / f"images-{told}.npz"
        if not path.exists():
            index = np.flatnonzero(~np.isin(self._fold, group))
            for fold in (each for each in self.folds if group and each not in group):
                for recipe in self._members:
                    self._first.member(recipe, fold, group)
            with measured(self.folder, f"landscapes told by pixel, without folds {group}"):
                some = self._told(self.landscapes, index, group)
            said, means, observed = (self._spread(each, index) for each in (some.said, some.means, some.observed))
            part = path.with_suffix(".part.npz")
            np.savez(part, said=said, means=means, observed=observed)
            part.rename(path)
        with np.load(path) as kept:
            return Images(**kept)

    def _spread(self, values: NDArray[Any], index: Indices) -> NDArray[Any]:
        """Values of some landscapes among zeros for all others."""
        found = np.zeros((len(self.landscapes), *values.shape[1:]), values.dtype)
        found[index] = values
        return found

    def _told(self, file: SampleFile, index: Indices, group: tuple[int, ...] = ()) -> Images:
        said = _logarithms(self._first.tell(file, index, self._seeds, group))
        return Images(said, *_seasonal_means(file, index))

    def _taught(self, folds: Sequence[int]) -> tuple[AutoContext, Floats, Floats]:
        """The U-Net of some folds' landscapes, and mean and standard deviation of the channels of their series."""
        scaled = self._by_series()
        scaled.normalise_by(np.flatnonzero(np.isin(self.series.column("fold"), folds)))
        plan = self._plan
        recipe = plan.recipe
        sizes = {"channels": len(scaled.channels), "classes": len(scaled.classes)}
        torch.manual_seed(recipe.seed)
        network = models.build(ARCHITECTURE, **{**recipe.hyper_parameters, **sizes})
        if not isinstance(network, AutoContext):
            raise TypeError(f"{ARCHITECTURE} made a {type(network).__name__}")
        lacking = tuple(fold for fold in self.folds if fold not in folds) if plan.nested else ()
        own, *members = identities([recipe, *self._members])
        told = mark(own, self.landscapes.path.name, members, plan.by_pixel.others, lacking)
        path = self.folder / f"context-{told}-folds{''.join(map(str, folds))}.safetensors"
        if not path.exists():
            index = self.of_folds(folds)
            images = self._images(lacking).of(index).tensors(scaled.mean, scaled.std)
            of = FINAL if tuple(folds) == self.folds else f"folds {', '.join(map(str, folds))}"
            with measured(self.folder, f"U-Net of {of}"):
                loss = teach(network, images, self._target(index), recipe)
            part = path.with_suffix(".part")
            save_file(_without_first(network), part)
            part.rename(path)
            self.say(f"U-Net of folds {', '.join(map(str, folds))}, loss {loss:.3f}")
        network.load_state_dict({**network.state_dict(), **load_file(path)})
        return network.eval(), scaled.mean, scaled.std

    def _held_out(self, judged: Indices) -> tuple[Floats, dict[int, Floats], int]:
        plan, size, number = self._plan, self.landscapes.layout.size, len(self.landscapes.classes)
        logits = np.empty((len(judged), number, size, size), np.float32)
        edges = (1, plan.alone)
        alone = {edge: np.zeros((len(self.series), number), np.float32) for edge in edges}
        said = self._first.ensemble(self._members)[..., None, None]
        series = Images(_logarithms(softmax(said, axis=1)), *_seasonal_means(self.series, np.arange(len(self.series))))
        images, fold, reach = self._images(), self.series.column("fold"), 0
        for group in plan.held_out:
            network, mean, std = self._taught([each for each in self.folds if each not in group])
            reach = int(network.receptive_radius)
            here = np.isin(self._fold[judged], group)
            logits[here] = put_in_context(network, images.of(judged[here]).tensors(mean, std))
            index = np.flatnonzero(np.isin(fold, group))
            for edge in edges:
                some = series.of(index).tensors(mean, std)
                wide = tuple(each.expand(*each.shape[:-2], edge, edge) for each in some)
                alone[edge][index] = put_in_context(network, wide)[..., edge // 2, edge // 2]
        return logits, alone, reach

    def _map_real(self, group: Sequence[int]) -> Floats:
        network, mean, std = self._taught([each for each in self.folds if each not in group])
        images = self._told(self.real, np.zeros(1, np.int64))
        probabilities: Floats = softmax(put_in_context(network, images.tensors(mean, std)), axis=1)
        return probabilities

    def make_bundle(self, folder: Path, temperature: float, pooled: Scores, by_fold: tuple[Scores, ...]) -> None:
        """Puts the U-Net of all folds behind the models by pixel of all folds, and writes the bundle."""
        plan = self._plan
        folds = tuple(fold for group in plan.held_out for fold in group)
        first, _ = make_final(self.series, plan.by_pixel, self._first, self._seeds)
        taught, mean, std = self._taught(self.folds)
        sizes = {"channels": len(first.channels), "classes": len(first.classes)}
        of_first = {name: value for name, value in first.hyper_parameters.items() if name not in sizes}
        settings: dict[str, Any] = {
            **plan.recipe.hyper_parameters,
            **sizes,
            "first": {"architecture": first.architecture, "hyper_parameters": of_first},
            "temperature": first.temperature,
        }
        network = models.build(ARCHITECTURE, **settings)
        weights = {f"{_FIRST}{name}": each for name, each in first.network.state_dict().items()}
        network.load_state_dict({**weights, **_without_first(taught)})
        member = Member(plan.recipe, network.eval(), 1.0, (), plan.recipe.epochs, "all epochs are done", pooled, 0.0)
        feed = Feed(self.landscapes, first.channels, first.classes, by_pixel=False)
        training, counts = feed.labelled(self.of_folds(self.folds))
        made = Made(
            (member, *first.members), network, ARCHITECTURE, settings, temperature, pooled, first.channels,
            first.classes, tuple(map(float, mean)), tuple(map(float, std)), training, np.empty(0, np.int64),
            counts.sum(axis=0),
        )  # fmt: skip
        write_bundle(self.landscapes, made, CrossValidation(folds, by_fold, pooled), folder, plan.title)
        self.say(f"{folder} is written")


def teach(
    network: AutoContext,
    images: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    target: Indices,
    recipe: Recipe,
) -> float:
    """Trains all of a network but its first one.

    Args:
        network: The network.
        images: Log-probabilities, means and where observed, as `AutoContext.in_context` takes them.
        target: Positions of the classes, shape (N, H, W).
        recipe: How; `weights` are square roots of the balanced ones here. Nothing is varied but turns.

    Returns:
        The mean loss of the last epoch.
    """
    random = np.random.default_rng(recipe.seed)
    counts = np.bincount(target[target != NO_TARGET], minlength=network.classes)
    balanced = torch.from_numpy(np.sqrt(balanced_weights(counts))) if recipe.balance == "weights" else None
    weights = [each for name, each in network.named_parameters() if not name.startswith(_FIRST)]
    optimiser = torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    labels, size = torch.from_numpy(target), recipe.batch_size
    steps = -(-len(target) // size)
    losses: list[float] = []
    network.train()
    network.first.eval()
    for epoch in range(recipe.epochs):
        losses, order = [], random.permutation(len(target))
        for step in range(steps):
            for group in optimiser.param_groups:
                share = share_of_rate((epoch * steps + step) / (recipe.epochs * steps), recipe.warm_up)
                group["lr"] = recipe.learning_rate * share
            index = torch.from_numpy(order[step * size : (step + 1) * size])
            said, means, observed, label = (each[index] for each in (*images, labels))
            if not (label != NO_TARGET).any():
                continue
            turns, mirrored = int(random.integers(4)), random.random() < 0.5
            said, means, observed, label = (_turned(each, turns, mirrored) for each in (said, means, observed, label))
            logits = network.in_context(said + _UNSURE * torch.randn_like(said), means, observed)
            loss = classification_loss(logits, label, balanced, recipe.label_smoothing, None)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(weights, recipe.largest_gradient)
            optimiser.step()
            losses.append(float(loss.detach()))
    network.eval()
    return float(np.mean(losses))


def put_in_context(network: AutoContext, images: tuple[torch.Tensor, ...]) -> Floats:
    """Logits, shape (N, K, H, W)."""
    found = []
    with torch.inference_mode():
        for start in range(0, len(images[0]), _AT_ONCE):
            said, means, observed = (each[start : start + _AT_ONCE] for each in images)
            found.append(network.in_context(said, means, observed).numpy())
    return np.concatenate(found)


def _turned(image: torch.Tensor, turns: int, mirrored: bool) -> torch.Tensor:
    turned = torch.rot90(image, turns, (-2, -1))
    return turned.flip(-1) if mirrored else turned


def _without_first(network: AutoContext) -> dict[str, torch.Tensor]:
    return {name: each for name, each in network.state_dict().items() if not name.startswith(_FIRST)}


def _logarithms(probabilities: Floats) -> Floats:
    logarithms: Floats = np.log(np.clip(probabilities, np.exp(LEAST_LOGARITHM), None)).astype(np.float32)
    return logarithms


def _seasonal_means(file: SampleFile, index: Indices) -> tuple[Floats, NDArray[np.bool_]]:
    """Means of filled channels over the season, and which pixels were observed; shapes as of `Images`."""
    feed = Feed(file, file.layout.bands, file.classes, by_pixel=False)
    means, observed = [], []
    for batch in feed.batches(index, feed.samples_of(2**14)):
        times = batch.valid.sum(dim=1).clamp(min=1)[:, None]
        there = batch.x.masked_fill(~batch.valid.unsqueeze(2), 0.0)
        means.append((there.sum(dim=1) / times).numpy())
        observed.append(batch.valid.any(dim=1).numpy())
    return np.concatenate(means), np.concatenate(observed)
