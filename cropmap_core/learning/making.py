"""From a training set to a trained, calibrated model, alone or once for each fold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import models
from cropmap_core.classes import CropClass
from cropmap_core.errors import IncompatibleModelError, JobError, TrainingError
from cropmap_core.hierarchy import hierarchy_of
from cropmap_core.inference.bundle_types import CALENDAR, THERMAL
from cropmap_core.inference.bundles import Bundle
from cropmap_core.learning.calibration import find_temperature
from cropmap_core.learning.checkpoints import CHECKPOINT
from cropmap_core.learning.feeding import Feed, Indices, check_channels
from cropmap_core.learning.fine_tuning import like_base, take_over
from cropmap_core.learning.fitting import Fitting, Watch
from cropmap_core.learning.growing import Encoder, grow
from cropmap_core.learning.made import CrossValidation, Made, Member
from cropmap_core.learning.recipes import HIERARCHICAL, Recipe
from cropmap_core.learning.scores import Scores, confusion_matrix
from cropmap_core.learning.stacking import MOST_PIXELS, Stacking, hear, parts_of, stack
from cropmap_core.learning.validating import predict
from cropmap_core.samples.files import PIXEL, UNUSED, SampleFile
from cropmap_core.timeseries.temperatures import Temperatures
from models.ensemble import COMBINATIONS, Ensemble
from models.network import Network

LARGEST_VALUE = 255
"""Class rasters are of bytes, and 0 is no class."""
_FITTED = 0.9  # share of the time of trees on features that their network takes
_PREDICTED_AT_ONCE = 2**14  # pixel series
_FEWEST_FOLDS = 3  # one to learn from, one to be steered by, one to be judged on


class Maker:
    """Makes models of one training set.

    Args:
        file: The training set.
        recipes: How they are trained; of several, a model is the ensemble.
        channels: Bands and indices that they take; all bands of the set if none is named.
        device: Where to compute.
        base: A model to go on from; None to begin anew.
        temperatures: To count thermal days by; None for days of the calendar.
        combine: How an ensemble is made of its members, `mean` or `stacked`.

    Raises:
        JobError: A recipe does not suit samples of this kind, or an ensemble; or there is nothing to stack.
        MissingBandError: A band that a channel is made of is not in the set.
        TrainingError: A class cannot be put into a class raster.
        IncompatibleModelError: The base takes other channels.
    """

    def __init__(
        self,
        file: SampleFile,
        recipes: Sequence[Recipe],
        channels: Sequence[str],
        device: torch.device,
        base: Bundle | None = None,
        temperatures: Temperatures | None = None,
        combine: str = COMBINATIONS[0],
    ) -> None:
        self._file, self._device, self._base = file, device, base
        self._temperatures, self._combine = temperatures, combine
        if combine not in COMBINATIONS:
            raise JobError(f"COMBINE is '{combine}'.", f"Choose one of {', '.join(COMBINATIONS)}.")
        if combine != COMBINATIONS[0] and len(recipes) < 2:
            raise JobError(
                f"COMBINE is {combine}, and the model has a single member.", "Give several, or leave COMBINE out."
            )
        self._recipes = tuple(recipes if base is None else (like_base(base, each) for each in recipes))
        self.channels = tuple(channels or (file.layout.bands if base is None else base.channels))
        if base is not None and self.channels != base.channels:
            raise IncompatibleModelError(
                f"FROM_MODEL {base.id} takes the channels {', '.join(base.channels)}.", "Leave CHANNELS empty."
            )
        check_channels(self.channels, file.layout.bands, str(file.path))
        too_large = [each for each in file.classes if each.value > LARGEST_VALUE]
        if too_large:
            raise TrainingError(
                f"Class {too_large[0].name} of {file.path} has the value {too_large[0].value}, and class rasters hold "
                f"values up to {LARGEST_VALUE}.",
                "Give the classes smaller values in the legend, and make the training set again.",
            )
        for recipe in self._recipes:
            self._check_kind(recipe)
        if temperatures is not None and all(recipe.by_steps is None for recipe in self._recipes):
            raise JobError("Trees know no dates: TEMPERATURES would not be looked at.", "Leave TEMPERATURES out.")
        if base is not None and (base.positions == THERMAL) != (temperatures is not None):
            remedy = "Give TEMPERATURES." if base.positions == THERMAL else "Leave TEMPERATURES out."
            raise IncompatibleModelError(f"FROM_MODEL {base.id} counts {base.positions} days.", remedy)

    def make(self, training: Indices, validation: Indices, folder: Path | None, watch: Watch) -> Made:
        """Trains a model.

        Args:
            training: Samples to learn from.
            validation: Samples to be steered by.
            folder: For the checkpoints; None for none.
            watch: Who looks on.

        Raises:
            TrainingError: There is no labelled sample to learn from or to be steered by, or of one class only.
        """
        training, counts = self._feed(self._file.classes).labelled(training)
        there = np.asarray(counts.any(axis=0))
        feed = self._feed(self._classes(there, watch))
        counts = counts[:, there]
        classes = feed.classes
        steering, steered = feed.labelled(validation)
        if not len(steering):
            raise TrainingError(
                f"{self._file.path} has no validation samples of these classes: nothing says when to stop.",
                "Make the training set again with other VALIDATION_FOLDS.",
            )
        unjudged = [each.name for each, count in zip(classes, steered.sum(axis=0), strict=True) if not count]
        if unjudged:
            watch.warning(f"The validation samples lack {', '.join(unjudged)}: the best epoch is chosen without them.")
        if self._base is None:
            feed.normalise_by(training)
        else:
            feed.mean, feed.std = np.array(self._base.mean, np.float32), np.array(self._base.std, np.float32)
        members = []
        for number, recipe in enumerate(self._recipes):
            own = None if folder is None else folder / f"member-{number}"
            if watch.finish and number and own is not None and not (own / CHECKPOINT).exists():
                watch.warning(f"The model has {number} members: the others had not been begun.")
                break
            part = watch.part(number, len(self._recipes), recipe.architecture)
            members.append(self._member(recipe, feed, (training, counts), steering, own, part))
        return self._together(members, feed, training, steering, counts.sum(axis=0))

    def cross_validate(self, folder: Path | None, watch_of: Callable[[int, int], Watch]) -> CrossValidation:
        """Judges the recipes on each fold by a model that has not seen it, steered by the fold after it.

        Args:
            folder: For the checkpoints, one folder for each fold.
            watch_of: Who looks on, of a fold's number among so many.

        Raises:
            TrainingError: There are fewer than three folds.
        """
        fold = self._file.column("fold")
        numbers = [int(number) for number in np.unique(fold[fold != UNUSED])]
        if len(numbers) < _FEWEST_FOLDS:
            raise TrainingError(
                f"{self._file.path} has {len(numbers)} folds; cross-validation needs {_FEWEST_FOLDS}.",
                "Make the training set again with more FOLDS.",
            )
        by_fold = []
        for position, number in enumerate(numbers):
            steering = numbers[(position + 1) % len(numbers)]
            own = None if folder is None else folder / f"fold-{number}"
            training = np.flatnonzero((fold != UNUSED) & (fold != number) & (fold != steering))
            made = self.make(training, np.flatnonzero(fold == steering), own, watch_of(position, len(numbers)))
            by_fold.append(self._judge(made, np.flatnonzero(fold == number)))
        pooled = Scores(np.sum([scores.confusion for scores in by_fold], axis=0))
        return CrossValidation(tuple(numbers), tuple(by_fold), pooled)

    def _classes(self, there: np.ndarray, watch: Watch) -> tuple[CropClass, ...]:
        """Those of the set's classes that the training samples have."""
        classes = tuple(each for each, here in zip(self._file.classes, there, strict=True) if here)
        if len(classes) < 2:
            named = f"one class only, {classes[0].name}" if classes else "no class at all"
            raise TrainingError(
                f"The training samples of {self._file.path} have {named}.",
                "Choose other VALIDATION_FOLDS and TEST_FOLDS, or add samples of other classes.",
            )
        missing = [each.name for each in self._file.classes if each not in classes]
        if missing:
            watch.warning(f"The training samples lack {', '.join(missing)}: the model will not know them.")
        return classes

    def _member(
        self,
        recipe: Recipe,
        feed: Feed,
        training: tuple[Indices, np.ndarray],
        steering: Indices,
        folder: Path | None,
        watch: Watch,
    ) -> Member:
        own = feed.of(by_pixel=self._by_pixel(recipe))
        steps, loader_share = recipe.by_steps, 0.0
        if steps is None:
            fitted = grow(own, training[0], steering, recipe, watch)
        else:
            seen = watch if steps is recipe else watch.between(0.0, _FITTED)
            fitting = Fitting(
                self._network(steps, feed.classes), own, training, steering, steps, self._device, folder, seen
            )
            fitted, loader_share = fitting.run(), fitting.loader_share
        if steps is not None and recipe.grows_trees:
            encoder = Encoder(steps, fitted, self._device)
            fitted = grow(own, training[0], steering, recipe, watch.between(_FITTED, 1.0), encoder)
        scores = Scores(confusion_matrix(fitted.target, fitted.logits.argmax(axis=1), len(feed.classes)))
        temperature = find_temperature(fitted.logits, fitted.target)
        return Member(
            recipe, fitted.network, temperature, fitted.history, fitted.best_epoch, fitted.ended, scores, loader_share
        )

    def _together(
        self, members: Sequence[Member], feed: Feed, training: Indices, steering: Indices, counts: np.ndarray
    ) -> Made:
        sizes = {"channels": len(self.channels), "classes": len(feed.classes)}
        first = members[0]
        network, architecture, settings = first.network, first.architecture, {**first.hyper_parameters, **sizes}
        temperature, scores = first.temperature, first.validation
        stacking: Stacking | None = None
        if len(members) > 1:
            told = [
                {
                    "architecture": each.architecture,
                    "hyper_parameters": each.hyper_parameters,
                    "temperature": each.temperature,
                }
                for each in members
            ]
            architecture, settings = "ensemble", {"members": told, "combine": self._combine, **sizes}
            network = models.build(architecture, **settings)
            states = network.state_dict()
            for number, each in enumerate(members):
                states |= {f"members.{number}.{name}": tensor for name, tensor in each.network.state_dict().items()}
            network.load_state_dict(states)
            stacking = self._stack(network.eval(), feed, steering)
            if stacking is None:
                logits, target = self._predict(network, feed, steering)
            else:
                logits, target = stacking.logits, stacking.target
            temperature = find_temperature(logits, target)
            scores = Scores(confusion_matrix(target, logits.argmax(axis=1), len(feed.classes)))
        return Made(
            tuple(members),
            network,
            architecture,
            settings,
            temperature,
            scores,
            self.channels,
            feed.classes,
            tuple(map(float, feed.mean)),
            tuple(map(float, feed.std)),
            training,
            steering,
            counts,
            CALENDAR if self._temperatures is None else THERMAL,
            stacking,
        )

    def _stack(self, network: Network, feed: Feed, steering: Indices) -> Stacking | None:
        """Fits the correction of a stacked ensemble, and gives it to the network."""
        if not isinstance(network, Ensemble) or network.correction is None:
            return None
        own = feed.of(by_pixel=all(map(self._by_pixel, self._recipes)))
        heard = hear(network.to(self._device), own, steering, own.samples_of(_PREDICTED_AT_ONCE), self._device)
        network.cpu()
        seed = self._recipes[0].seed
        heard = heard.some(MOST_PIXELS, seed)
        found = stack(heard, parts_of(self._file, heard.sample, seed), network.classes)
        network.correction.load_state_dict({"weight": found.weight, "bias": found.bias})
        return found

    def _judge(self, made: Made, index: Indices) -> Scores:
        """Of the set's classes, those that the model does not know included: they are always wrong."""
        feed = self._feed(self._file.classes)
        feed.mean, feed.std = np.array(made.mean, np.float32), np.array(made.std, np.float32)
        positions = np.array([self._file.classes.index(each) for each in made.classes])
        logits, target = self._predict(made.network, feed, index)
        predicted = positions[logits.argmax(axis=1)]
        return Scores(confusion_matrix(target, predicted, len(self._file.classes)))

    def _predict(self, network: Network, feed: Feed, index: Indices) -> tuple[np.ndarray, np.ndarray]:
        own = feed.of(by_pixel=all(map(self._by_pixel, self._recipes)))
        patches = self._recipes[0].patches
        found = predict(network.to(self._device), own, index, own.samples_of(_PREDICTED_AT_ONCE), patches, self._device)
        network.cpu()
        return found

    def _feed(self, classes: Sequence[CropClass]) -> Feed:
        return Feed(self._file, self.channels, classes, by_pixel=False, temperatures=self._temperatures)

    def _network(self, recipe: Recipe, classes: Sequence[CropClass]) -> Network:
        torch.manual_seed(recipe.seed)
        sizes = {"channels": len(self.channels), "classes": len(classes)}
        network = models.build(recipe.architecture, **{**recipe.hyper_parameters, **sizes})
        if recipe.level_weights:
            told = {"architecture": recipe.architecture, "hyper_parameters": dict(recipe.hyper_parameters)}
            torch.manual_seed(recipe.seed)
            network = models.build(HIERARCHICAL, **told, levels=hierarchy_of(classes).levels[:-1], **sizes)
        if self._base is not None:
            take_over(network, classes, self._base)
        return network

    def _by_pixel(self, recipe: Recipe) -> bool:
        """Whether a pixel's class depends on that pixel alone."""
        steps = recipe.by_steps
        if steps is None:
            return True
        network = _described(steps)
        return network.kind == "dense" and not network.receptive_radius

    def _check_kind(self, recipe: Recipe) -> None:
        steps = recipe.by_steps
        if self._file.layout.kind == PIXEL and not self._by_pixel(recipe):
            name = (steps or recipe).architecture
            raise JobError(
                f"{name} looks at the pixels around, and {self._file.path} holds single pixels.",
                "Make the training set with KIND=patch, or choose an architecture that works by pixel, like tempcnn.",
            )
        dense = steps is None or _described(steps).kind == "dense"
        if len(self._recipes) > 1 and not dense:
            raise JobError(
                f"{recipe.architecture} gives a patch one class: it cannot be a member of an ensemble.",
                "Choose architectures that classify every pixel.",
            )


def _described(recipe: Recipe) -> Network:
    return models.describe(recipe.architecture, **{**recipe.hyper_parameters, "channels": 1, "classes": 2})


def members_of(recipe: Recipe, architectures: Sequence[str], count: int) -> tuple[Recipe, ...]:
    """Recipes of an ensemble: each architecture so many times, each with a seed of its own."""
    return tuple(
        replace(recipe, architecture=name, seed=recipe.seed + number)
        for number, name in enumerate(name for name in architectures for _ in range(count))
    )
