"""From models and a training set to all that can be said of how well they do on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray

from cropmap_core.errors import SamplesError
from cropmap_core.evaluation.bootstrap import Draws, draw_scores
from cropmap_core.evaluation.budgets import budget_dates, judge_budgets
from cropmap_core.evaluation.comparing import Comparison, McNemar, difference
from cropmap_core.evaluation.exposure import Exposure, find_exposure, refuse_seen
from cropmap_core.evaluation.fold_models import FoldModels, as_models
from cropmap_core.evaluation.judging import Judgement, Panel, judge
from cropmap_core.evaluation.legends import CommonLegend, common_legend
from cropmap_core.evaluation.partitions import Partition, find_groups, find_regions, find_sizes
from cropmap_core.evaluation.results import Evaluation, Level, ModelResult, level
from cropmap_core.evaluation.selection import Selection, select
from cropmap_core.evaluation.tallies import Tally
from cropmap_core.inference.bundles import Bundle, read_json
from cropmap_core.inference.predictor import Predictor, check_samples_fit
from cropmap_core.learning.bundling import TRAINING
from cropmap_core.learning.scores import Scores, confusion_matrix
from cropmap_core.samples.files import SampleFile
from cropmap_core.timeseries.temperatures import Temperatures

_SEARCHED, _PREDICTED, _CUT_OFF = 0.1, 0.4, 0.95  # shares of the work

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Asked:
    """What is to be judged, and how."""

    which: str = "test"
    """The set of samples."""
    allow_seen: bool = False
    group: str = "auto"
    """What confidence intervals draw."""
    seed: int = 0
    temperatures: Temperatures | None = None
    """What models that count thermal days need."""


@dataclass(frozen=True)
class _AtParcels:
    """Parcels, each with the class that its pixels have on average."""

    truth: NDArray[np.int64]
    predicted: tuple[NDArray[np.int64], ...]
    """Of each model."""
    tallies: tuple[Tally, ...]
    """Of each model, by group."""


def evaluate(
    file: SampleFile, models: Sequence[Bundle | FoldModels], device: torch.device, asked: Asked, progress: Progress
) -> Evaluation:
    """Judges models by a set of samples.

    Args:
        file: The training set.
        models: The models, whose ids differ; fold models count as one.
        device: Where they run.
        asked: What is judged, and how.
        progress: Called with the share that is done; may raise to stop.

    Raises:
        SamplesError: The set is empty or unlabelled, is of one class, or was never observed.
        SeenSamplesError: A model has seen some of the samples, and that is not allowed.
        IncompatibleModelError: A model takes other dates or bands, or knows none of the classes.
        JobError: A set or group is asked for that there is not.
    """
    judged_models = [as_models(each) for each in models]
    bundles = [each.bundle for each in judged_models]
    legend = common_legend(file.classes, bundles, file.path)
    selection = select(file, asked.which, legend.of_value, len(legend.classes))
    _check(selection, bundles, legend)
    exposures = find_exposure(selection, judged_models, lambda fraction: progress(_SEARCHED * fraction))
    if not asked.allow_seen:
        refuse_seen(exposures, judged_models, file.path, asked.which)
    groups, parts = find_groups(selection, asked.group), find_regions(selection)
    sizes = find_sizes(selection)
    parts += [sizes] if sizes is not None else []
    panel = Panel(
        tuple(tuple(Predictor(bundle, device, asked.temperatures) for bundle in each.folds) for each in judged_models),
        tuple(_by_sample_of_file(each.judge, selection) for each in exposures),
        legend,
        file,
    )
    judgement = judge(selection, panel, groups, parts, _part(progress, _SEARCHED, _PREDICTED))
    if not judgement.models[0].confusion.sum():
        raise SamplesError(
            f"No labelled pixel of the set {asked.which} of {file.path} was ever observed.", "Choose another SET."
        )
    budgets = judge_budgets(
        selection, panel, budget_dates(len(file.layout.days)), asked.seed, _part(progress, _PREDICTED, _CUT_OFF)
    )
    draws = draw_scores([model.groups for model in judgement.models], asked.seed)
    parcels = _at_parcels(selection, judgement, groups)
    parcel_draws = None if parcels is None else draw_scores(parcels.tallies, asked.seed)
    support = judgement.models[0].confusion.sum(axis=1)
    results = tuple(
        ModelResult(
            bundle,
            exposures[at],
            level(judged.confusion, draws, at),
            None if parcels is None or parcel_draws is None else _parcel_level(parcels, parcel_draws, at),
            judged.calibration,
            judged.parts,
            budgets.tallies[at],
            _named(legend, (support > 0) & ~legend.known_by(at)),
            _named(legend, (support == 0) & legend.known_by(at)),
            read_json(bundle.folder / TRAINING) if (bundle.folder / TRAINING).is_file() else None,
            judged.wrong.table(selection, legend.names, bundle.id),
            _judged_by(judged_models[at], exposures[at]),
        )
        for at, (bundle, judged) in enumerate(zip(bundles, judgement.models, strict=True))
    )
    seasons = selection.seasons()
    return Evaluation(
        path=file.path,
        which=asked.which,
        kind=file.layout.kind,
        samples=len(selection),
        unobserved=judgement.unobserved,
        names=legend.names,
        colours=tuple(each.color for each in legend.classes),
        groups=groups,
        drawn_groups=draws.groups,
        class_groups=(judgement.models[0].groups.support > 0).sum(axis=0),
        parts=tuple(parts),
        period=file.layout.period,
        dates=file.layout.dates(seasons[0]),
        seasons=tuple(seasons),
        budgets=budgets,
        split=file.split or {},
        provenance=file.provenance,
        models=results,
        comparisons=_compare(results, judgement, draws, parcels),
        allow_seen=asked.allow_seen,
    )


def _by_sample_of_file(judge: NDArray[np.int64], selection: Selection) -> NDArray[np.int64]:
    of_file = np.zeros(len(selection.file), np.int64)
    of_file[selection.index] = judge
    return of_file


def _judged_by(model: FoldModels, exposure: Exposure) -> dict[str, int]:
    """How many samples each of several fold models has judged."""
    counts = np.bincount(exposure.judge, minlength=len(model.folds))
    return {fold.id: int(count) for fold, count in zip(model.folds, counts, strict=True)} if len(counts) > 1 else {}


def _part(progress: Progress, start: float, end: float) -> Progress:
    return lambda fraction: progress(start + (end - start) * fraction)


def _check(selection: Selection, bundles: Sequence[Bundle], legend: CommonLegend) -> None:
    """Refuses what would fail later, or mean nothing."""
    layout = selection.file.layout
    for bundle in bundles:
        for season in selection.seasons():
            check_samples_fit(bundle, layout.bands, layout.period, layout.dates(season))
    if (selection.support > 0).sum() < 2:
        (there,) = _named(legend, selection.support > 0)
        raise SamplesError(
            f"The chosen samples of {selection.file.path} are all of one class, {there}: whatever a model says, it "
            "cannot be seen to tell classes apart.",
            "Choose another SET, or make the training set again with folds that hold several classes.",
        )


def _named(legend: CommonLegend, chosen: NDArray[np.bool_]) -> tuple[str, ...]:
    return tuple(name for name, wanted in zip(legend.names, chosen, strict=True) if wanted)


def _at_parcels(selection: Selection, judgement: Judgement, groups: Partition) -> _AtParcels | None:
    there = np.flatnonzero(judgement.parcel_pixels.sum(axis=1))
    if not len(there):
        return None
    truth = judgement.parcel_pixels[there].argmax(axis=1)
    predicted = tuple(model.parcels[there].argmax(axis=1) for model in judgement.models)
    part = groups.of_places(selection.parcel_sample[there], there)
    tallies = tuple(Tally.empty(groups.count, judgement.parcel_pixels.shape[1]) for _ in predicted)
    for tally, found in zip(tallies, predicted, strict=True):
        tally.add(part, truth, found)
    return _AtParcels(truth, predicted, tallies)


def _parcel_level(parcels: _AtParcels, draws: Draws, model: int) -> Level:
    classes = parcels.tallies[model].counts.shape[2]
    return level(confusion_matrix(parcels.truth, parcels.predicted[model], classes), draws, model)


def _compare(
    results: Sequence[ModelResult], judgement: Judgement, draws: Draws, parcels: _AtParcels | None
) -> tuple[Comparison, ...]:
    found = []
    for one, other in combinations(range(len(results)), 2):
        scores: list[Scores] = [results[at].pixels.scores for at in (one, other)]
        found.append(
            Comparison(
                one,
                other,
                judgement.pairs[one, other],
                None if parcels is None else _parcel_test(parcels, one, other),
                difference(one, other, "macro_f1", (scores[0].macro_f1, scores[1].macro_f1), draws),
                difference(
                    one, other, "overall_accuracy", (scores[0].overall_accuracy, scores[1].overall_accuracy), draws
                ),
            )
        )
    return tuple(found)


def _parcel_test(parcels: _AtParcels, one: int, other: int) -> McNemar:
    first, second = (parcels.predicted[at] == parcels.truth for at in (one, other))
    return McNemar(int((first & ~second).sum()), int((second & ~first).sum()))
