"""From a training set to a trained, calibrated model, alone or once for each fold."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import models
from cropmap_core.classes import CropClass
from cropmap_core.errors import IncompatibleModelError, JobError, MissingBandError, TrainingError
from cropmap_core.inference.bundles import Bundle
from cropmap_core.learning.calibration import find_temperature
from cropmap_core.learning.feeding import Feed, Indices
from cropmap_core.learning.fitting import Entry, Fitting, Watch
from cropmap_core.learning.growing import grow
from cropmap_core.learning.recipes import Recipe
from cropmap_core.learning.scores import Scores, confusion_matrix
from cropmap_core.learning.validating import predict
from cropmap_core.samples.files import PIXEL, UNUSED, SampleFile
from cropmap_core.timeseries.formulas import INDICES
from models.network import Network
from models.tree_ensemble import TreeEnsemble

LARGEST_VALUE = 255
"""Class rasters are of bytes, and 0 is no class."""
_BAND = re.compile("B([0-9]{2}|8A)")
_PREDICTED_AT_ONCE = 1024
_FEWEST_FOLDS = 3  # one to learn from, one to be steered by, one to be judged on

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Made:
    """A trained model, but for what it is called."""

    recipe: Recipe
    network: Network
    hyper_parameters: Mapping[str, Any]
    """All of the network's, as `models.build` takes them."""
    channels: tuple[str, ...]
    classes: tuple[CropClass, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    temperature: float
    history: tuple[Entry, ...]
    best_epoch: int
    ended: str
    validation: Scores
    """On the samples that steered it: a little too good."""
    training: Indices
    """Samples that it has learnt from."""
    steering: Indices
    """Samples that it was steered by."""
    counts: Counts
    """Labelled pixels that it has learnt from, by class."""
    loader_share: float


@dataclass(frozen=True)
class CrossValidation:
    """What models of one recipe do on folds that they have not seen."""

    folds: tuple[int, ...]
    by_fold: tuple[Scores, ...]
    pooled: Scores

    def as_json(self) -> dict[str, Any]:
        """As it stands in training.json."""
        return {
            "folds": [
                {"fold": fold, "macro_f1": scores.macro_f1, "oa": scores.overall_accuracy}
                for fold, scores in zip(self.folds, self.by_fold, strict=True)
            ],
            "macro_f1": self.pooled.macro_f1,
            "oa": self.pooled.overall_accuracy,
        }


class Maker:
    """Makes models of one training set.

    Args:
        file: The training set.
        recipe: How they are trained.
        channels: Bands and indices that they take; all bands of the set if none is named.
        device: Where to compute.
        base: A model to go on from; None to begin anew.

    Raises:
        JobError: The recipe does not suit samples of this kind.
        TrainingError: A class cannot be put into a class raster.
        IncompatibleModelError: The base takes other dates or bands.
    """

    def __init__(
        self,
        file: SampleFile,
        recipe: Recipe,
        channels: Sequence[str],
        device: torch.device,
        base: Bundle | None = None,
    ) -> None:
        self._file, self._device, self._base = file, device, base
        self._recipe = recipe if base is None else _like(base, recipe)
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
        self._check_kind()

    def make(self, training: Indices, validation: Indices, folder: Path | None, watch: Watch) -> Made:
        """Trains one model.

        Args:
            training: Samples to learn from.
            validation: Samples to be steered by.
            folder: For the checkpoint; None for none.
            watch: Who looks on.

        Raises:
            TrainingError: There is no labelled sample to learn from or to be steered by, or of one class only.
        """
        known = Feed(self._file, self.channels, self._file.classes, self._by_pixel)
        _, counts = known.labelled(training)
        there = counts.sum(axis=0) > 0
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
        feed = Feed(self._file, self.channels, classes, self._by_pixel)
        training, counts = feed.labelled(training)
        steering, steered = feed.labelled(validation)
        if not len(steering):
            raise TrainingError(
                f"{self._file.path} has no validation samples of these classes: nothing says when to stop.",
                "Make the training set again with other VALIDATION_FOLDS.",
            )
        unjudged = [each.name for each, count in zip(classes, steered.sum(axis=0), strict=True) if not count]
        if unjudged:
            watch.warning(f"The validation samples lack {', '.join(unjudged)}: the best epoch is chosen without them.")
        self._normalise(feed, training)
        recipe = self._recipe
        if recipe.grows_trees:
            fitted, loader_share = grow(feed, training, steering, recipe, watch), 0.0
        else:
            fitting = Fitting(
                self._network(classes), feed, (training, counts), steering, recipe, self._device, folder, watch
            )
            fitted = fitting.run()
            loader_share = fitting.loader_share
        predicted = fitted.logits.argmax(axis=1)
        return Made(
            recipe,
            fitted.network,
            asdict(fitted.network.sizes) if isinstance(fitted.network, TreeEnsemble) else self._settings(len(classes)),
            self.channels,
            classes,
            tuple(map(float, feed.mean)),
            tuple(map(float, feed.std)),
            find_temperature(fitted.logits, fitted.target),
            fitted.history,
            fitted.best_epoch,
            fitted.ended,
            Scores(confusion_matrix(fitted.target, predicted, len(classes))),
            training,
            steering,
            counts.sum(axis=0),
            loader_share,
        )

    def cross_validate(self, folder: Path | None, watch_of: Callable[[int, int], Watch]) -> CrossValidation:
        """Judges the recipe on each fold by a model that has not seen it, steered by the fold after it.

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
            watch = watch_of(position, len(numbers))
            own = None if folder is None else folder / f"fold-{number}"
            training = np.flatnonzero((fold != UNUSED) & (fold != number) & (fold != steering))
            made = self.make(training, np.flatnonzero(fold == steering), own, watch)
            by_fold.append(self._judge(made, np.flatnonzero(fold == number)))
        pooled = Scores(np.sum([scores.confusion for scores in by_fold], axis=0))
        return CrossValidation(tuple(numbers), tuple(by_fold), pooled)

    def _judge(self, made: Made, index: Indices) -> Scores:
        """Of the set's classes, those that the model does not know included: they are always wrong."""
        feed = Feed(self._file, self.channels, self._file.classes, self._by_pixel)
        feed.mean, feed.std = np.array(made.mean, np.float32), np.array(made.std, np.float32)
        positions = np.array([self._file.classes.index(each) for each in made.classes])
        network = made.network.to(self._device)
        logits, target = predict(network, feed, index, _PREDICTED_AT_ONCE, made.recipe.patches, self._device)
        predicted = positions[logits.argmax(axis=1)]
        return Scores(confusion_matrix(target, predicted, len(self._file.classes)))

    def _normalise(self, feed: Feed, training: Indices) -> None:
        if self._base is None:
            feed.normalise_by(training)
        else:
            base = self._base
            feed.mean, feed.std = np.array(base.mean, np.float32), np.array(base.std, np.float32)

    def _network(self, classes: Sequence[CropClass]) -> Network:
        torch.manual_seed(self._recipe.seed)
        network = models.build(self._recipe.architecture, **self._settings(len(classes)))
        if self._base is not None:
            take_over(network, classes, self._base)
        return network

    def _settings(self, classes: int) -> dict[str, Any]:
        return {**self._recipe.hyper_parameters, "channels": len(self.channels), "classes": classes}

    @property
    def _by_pixel(self) -> bool:
        if self._recipe.grows_trees:
            return True
        kind = models.ARCHITECTURES[self._recipe.architecture][1].kind
        return kind == "dense" and not self._probe().receptive_radius

    def _probe(self) -> Network:
        with torch.device("meta"):
            return models.build(
                self._recipe.architecture, **{**self._recipe.hyper_parameters, "channels": 1, "classes": 2}
            )

    def _check_kind(self) -> None:
        if self._file.layout.kind == PIXEL and not self._by_pixel:
            raise JobError(
                f"{self._recipe.architecture} looks at the pixels around, and {self._file.path} holds single pixels.",
                "Make the training set with KIND=patch, or choose an architecture that works by pixel, like tempcnn.",
            )


def check_channels(channels: Sequence[str], bands: Sequence[str], where: str) -> None:
    """Refuses channels that cannot be made of some bands.

    Raises:
        JobError: One is neither a band nor an index, or is named twice.
        MissingBandError: A band that one is made of is not there.
    """
    for name in channels:
        if name not in bands and name not in INDICES and not _BAND.fullmatch(name):
            raise JobError(
                f"CHANNELS holds {name!r}.", f"Name bands ({', '.join(bands)}) and indices like NDVI: docs/indices.md."
            )
        needed = INDICES[name].bands if name in INDICES else (name,)
        missing = [band for band in needed if band not in bands]
        if missing:
            raise MissingBandError(missing, where, f"Make the training set with it, or leave {name} out.")
    if len(set(channels)) < len(channels):
        raise JobError(f"CHANNELS names one twice: {', '.join(channels)}.", "Name each once.")


def take_over(network: Network, classes: Sequence[CropClass], base: Bundle) -> None:
    """Starts a network from a trained one; outputs of classes that are new stay as they are.

    Args:
        network: Of the base's architecture, with other classes.
        classes: Its classes; those with the name of one of the base take over its output.
        base: The trained model.
    """
    own, theirs = network.state_dict(), base.network().state_dict()
    names = [each.name for each in base.classes]
    pairs = [(row, names.index(each.name)) for row, each in enumerate(classes) if each.name in names]
    outputs = _outputs(base)
    with torch.no_grad():
        for name, tensor in own.items():
            if name not in outputs:
                tensor.copy_(theirs[name])
                continue
            for row, old in pairs:
                tensor[row] = theirs[name][old]


def _outputs(base: Bundle) -> set[str]:
    """Names of the weights that have a row for each class."""
    shapes = []
    with torch.device("meta"):
        for more in (0, 1):
            settings = {**base.hyper_parameters, "classes": len(base.classes) + more}
            shapes.append({n: t.shape for n, t in models.build(base.architecture, **settings).state_dict().items()})
    return {name for name, shape in shapes[0].items() if shape != shapes[1][name]}


def _like(base: Bundle, recipe: Recipe) -> Recipe:
    """The recipe with the base's network."""
    if base.architecture not in models.ARCHITECTURES or base.architecture in ("tree_ensemble", "ensemble"):
        raise JobError(f"FROM_MODEL {base.id} cannot be trained further.", "Choose a model that is a single network.")
    if recipe.hyper_parameters or recipe.architecture not in ("", base.architecture):
        raise JobError(
            f"FROM_MODEL {base.id} is a {base.architecture} with its own hyper-parameters.",
            "Leave ARCHITECTURE and HYPER_PARAMETERS out.",
        )
    settings: Mapping[str, Any] = {k: v for k, v in base.hyper_parameters.items() if k not in ("channels", "classes")}
    return replace(recipe, architecture=base.architecture, hyper_parameters=settings)
