"""What becomes of accuracy when the input is not what it should be.

Run as `python -m scripts.bundle_plans.robustness SAMPLES OUTPUT MODEL [MODEL ...]`; SAMPLES is a training set, OUTPUT
the JSON to write, each MODEL what `evaluatemodel` takes. Each sample is altered and told by the fold model that has not
seen it as it was; samples that all have seen are left out. Alterations are made here, and not by what varies samples in
training.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.evaluation.exposure import find_exposure
from cropmap_core.evaluation.fold_models import FoldModels, load_models
from cropmap_core.evaluation.legends import common_legend
from cropmap_core.evaluation.selection import select
from cropmap_core.inference.bundles import Bundle
from cropmap_core.inference.predictor import Predictor
from cropmap_core.io.outputs import write_text
from cropmap_core.learning.scores import Scores, confusion_matrix
from cropmap_core.samples.files import Batch, SampleFile

MOST_SAMPLES = 4000
JITTER_DAYS = {"dekad": 5, "half_month": 7, "month": 10}
"""Largest shift of an observation by period: it comes to lie in the period beside with about a quarter of chance."""
CLOUDY = 0.1
_TEN_METRES = ("B02", "B03", "B04", "B08")
_NO_VALUE = np.int16(-32768)


@dataclass(frozen=True)
class Series:
    """Samples as a model is given them."""

    data: NDArray[np.int16]
    """Shape (N, T, C, H, W)."""
    valid: NDArray[np.bool_]
    """Shape (N, T, H, W)."""
    bands: tuple[str, ...]
    period: str | None
    first: date
    """Of the earliest season."""
    dates_of: Callable[[date], Sequence[date]]
    """Dates of the season whose first is given."""


@dataclass(frozen=True)
class Alteration:
    """Something that may be wrong with an input."""

    name: str
    alter: Callable[[Series, np.random.Generator], Series]

    def of(self, series: Series, seed: int) -> Series:
        """The altered samples."""
        return self.alter(series, np.random.default_rng(seed))


def jittered(series: Series, random: np.random.Generator) -> Series:
    """Observations of any day of their period, moved by up to some days; what then lies in one period is averaged."""
    if series.period not in JITTER_DAYS:
        return series
    dates = series.dates_of(series.first)
    first = np.array([(day - dates[0]).days for day in dates])
    length = np.diff(first, append=first[-1] + int(np.median(np.diff(first))))
    most, count, times = JITTER_DAYS[series.period], *series.valid.shape[:2]
    day = first + random.integers(length, size=(count, times)) + random.integers(-most, most + 1, (count, times))
    place = np.clip(np.searchsorted(first, day, side="right") - 1, 0, times - 1)
    total = np.zeros(series.data.shape, np.float32)
    number = np.zeros(series.valid.shape, np.int32)
    sample = np.broadcast_to(np.arange(count)[:, None], place.shape)
    np.add.at(number, (sample, place), series.valid)
    np.add.at(total, (sample, place), np.where(series.valid[:, :, None], series.data, 0))
    mean = np.rint(total / np.maximum(number, 1)[:, :, None]).astype(np.int16)
    return replace(series, data=np.where((number > 0)[:, :, None], mean, _NO_VALUE), valid=number > 0)


def monthly(series: Series, random: np.random.Generator) -> Series:
    """Composites of a month, as medians of the shorter ones in it."""
    dates = series.dates_of(series.first)
    month = np.array([day.month for day in dates])
    firsts = [place for place in range(len(dates)) if place == 0 or month[place] != month[place - 1]]
    values = np.where(series.valid[:, :, None], series.data.astype(np.float32), np.nan)
    data, valid = [], []
    for begin, end in zip(firsts, [*firsts[1:], len(dates)], strict=True):
        seen = series.valid[:, begin:end].any(axis=1)
        median = np.nanmedian(np.where(seen[:, None, None], values[:, begin:end], 0), axis=1)
        data.append(np.where(seen[:, None], median, _NO_VALUE).astype(np.int16))
        valid.append(seen)

    def dates_of(first: date) -> list[date]:
        own = series.dates_of(first)
        return [own[place] for place in firsts]

    return Series(np.stack(data, axis=1), np.stack(valid, axis=1), series.bands, "month", series.first, dates_of)


def without(*bands: str) -> Callable[[Series, np.random.Generator], Series]:
    """Samples that lack some bands."""

    def alter(series: Series, random: np.random.Generator) -> Series:
        kept = [place for place, band in enumerate(series.bands) if band not in bands]
        return replace(series, data=series.data[:, :, kept], bands=tuple(series.bands[place] for place in kept))

    return alter


def of_ten_metres(series: Series, random: np.random.Generator) -> Series:
    """Samples that have the bands of 10 m only."""
    return without(*(band for band in series.bands if band not in _TEN_METRES))(series, random)


def cloudy(series: Series, random: np.random.Generator) -> Series:
    """One observation in ten is the top of a cloud: as bright in all bands, and taken for clear."""
    count, times = series.valid.shape[:2]
    clouds = (random.random((count, times)) < CLOUDY)[:, :, None, None] & series.valid
    brightness = random.integers(3000, 9000, (count, times, 1, 1, 1)).astype(np.int16)
    return replace(series, data=np.where(clouds[:, :, None], brightness, series.data))


def sparse(series: Series, random: np.random.Generator) -> Series:
    """Half of the observations are missing; a sample keeps one at least."""
    kept = series.valid & (random.random(series.valid.shape[:2]) < 0.5)[:, :, None, None]
    lost = series.valid.any(axis=1) & ~kept.any(axis=1)
    return replace(series, valid=kept | (series.valid & lost[:, None]))


ALTERATIONS = (
    Alteration("as they are", lambda series, random: series),
    Alteration("composites of a month", monthly),
    Alteration("dates off by up to {days} days", jittered),
    Alteration("half of the observations missing", sparse),
    Alteration("one observation in ten a cloud that no mask knows", cloudy),
    Alteration("no B8A", without("B8A")),
    Alteration("only the four bands of 10 m", of_ten_metres),
)


def judge(file: SampleFile, models: Sequence[FoldModels], seed: int = 0) -> dict[str, Any]:
    """Scores of models on altered samples.

    Args:
        file: The training set.
        models: The models, whose ids differ.
        seed: Of what is drawn.

    Returns:
        `samples`, their number, and `rows`: for each alteration its `name`, and by model `macro_f1` and
        `overall_accuracy`; null where a model does not take such an input.
    """
    legend = common_legend(file.classes, [each.bundle for each in models], file.path)
    selection = select(file, "all", legend.of_value, len(legend.classes))
    exposures = find_exposure(selection, models, lambda fraction: None)
    drawn = np.flatnonzero(~np.logical_or.reduce([each.known for each in exposures]))
    drawn = np.sort(np.random.default_rng(seed).permutation(drawn)[:MOST_SAMPLES])
    predictors = [[Predictor(bundle) for bundle in each.folds] for each in models]
    rows = []
    for alteration in ALTERATIONS:
        name = alteration.name.format(days=JITTER_DAYS.get(file.layout.period or "", 0))
        row: dict[str, Any] = {"name": name}
        if _says_nothing(alteration, file):
            continue
        for at, (model, exposure) in enumerate(zip(models, exposures, strict=True)):
            row[model.bundle.id] = None
            confusion = np.zeros((len(legend.classes),) * 2, np.int64)
            for number, (batch, pixels) in enumerate(selection.batches(drawn)):
                series = alteration.of(_series(file, batch, selection.seasons()[0]), seed + number)
                if not takes(model.bundle, series):
                    break
                judges = exposure.judge[np.searchsorted(selection.index, batch.index)]
                said = pixels.of(_ask(predictors[at], judges, series, batch))
                seen = np.isfinite(said).all(axis=1)
                predicted = legend.of_model[at][said[seen].argmax(axis=1)]
                confusion += confusion_matrix(pixels.truth[seen], predicted, len(legend.classes))
            else:
                scores = Scores(confusion)
                row[model.bundle.id] = {"macro_f1": scores.macro_f1, "overall_accuracy": scores.overall_accuracy}
        rows.append(row)
    return {"samples": len(drawn), "rows": rows}


def takes(bundle: Bundle, series: Series) -> bool:
    """Whether a model says that it takes such samples."""
    missing = {name for name in bundle.reflectance_bands if name not in series.bands}
    fits = not missing or any(missing == set(some) for some in bundle.accepts.optional)
    return fits and series.period in (bundle.period, *bundle.accepts.periods)


def _says_nothing(alteration: Alteration, file: SampleFile) -> bool:
    """Whether it changes nothing of such samples."""
    bands, period = file.layout.bands, file.layout.period
    if alteration.alter is monthly:
        return period == "month"
    if alteration.alter is jittered:
        return period not in JITTER_DAYS
    if alteration.alter is of_ten_metres:
        return set(bands) <= set(_TEN_METRES)
    return alteration.name == "no B8A" and "B8A" not in bands


def _series(file: SampleFile, batch: Batch, first: date) -> Series:
    return Series(batch.data, batch.valid, file.layout.bands, file.layout.period, first, file.layout.dates)


def _ask(
    predictors: Sequence[Predictor], judges: NDArray[np.int64], series: Series, batch: Batch
) -> NDArray[np.float32]:
    classes = len(predictors[0].bundle.classes)
    said = np.empty((len(batch), classes, *batch.label.shape[1:]), np.float32)
    for number in np.unique(judges):
        some = np.flatnonzero(judges == number)
        nowhere = np.full((2, len(some)), np.nan)
        days = predictors[number].days_of_samples(series.dates_of, batch.season[some], *nowhere)
        said[some] = predictors[number].probabilities(series.data[some], series.valid[some], series.bands, days)
    return said


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Accuracy on altered input.")
    parser.add_argument("samples", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("models", nargs="+", help="ids or folders, as evaluatemodel takes them")
    asked = parser.parse_args()
    with SampleFile(asked.samples) as file:
        found = judge(file, [load_models(model) for model in asked.models])
    write_text(asked.output, json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
