"""From a trained model to its bundle: what it takes, what it learnt from, and how it did."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from cropmap_core import __version__
from cropmap_core.errors import TrainingError
from cropmap_core.inference.bundle_types import Accepts
from cropmap_core.inference.bundles import Bundle, check_free, save_bundle
from cropmap_core.io.outputs import write_text
from cropmap_core.learning.agreement import record_agreement
from cropmap_core.learning.describing import describe_architectures
from cropmap_core.learning.feeding import Feed, bands_of
from cropmap_core.learning.made import CrossValidation, Made
from cropmap_core.learning.recipes import LAST
from cropmap_core.learning.seen import collect_seen, write_seen
from cropmap_core.learning.signatures import make_signatures
from cropmap_core.learning.stacking import Stacking
from cropmap_core.learning.variation import SHORTEST_SEASON, lacking_channels
from cropmap_core.samples.files import SampleFile
from cropmap_core.timeseries.periods import FIRST_DAYS_OF_MONTH

TRAINING = "training.json"
_SIGNATURE_SERIES = 100_000
_AT_ONCE = 2**14  # pixel series
_PRECISION_SAMPLES = 64  # along an edge of the image that precisions are compared on
_EVERYWHERE = (-180.0, -90.0, 180.0, 90.0)

_CARD = """# {title}

{architecture}, {parameters:,} parameters, trained by CropMap {version} on `{samples}`.

## What it is
{described}

## Input
{period} composites (median of clear observations, gaps filled by the reference rule) from {first} on, {dates} dates.
Channels: {channels}.

## Classes and training samples
| value | class | labelled pixels |
|---|---|---|
{classes}

Sources: {sources}. Split by {method}{random}: {training} samples to learn from, {steering} to be steered by.
Least distance between training and validation: {distance}.

## Accuracy
| on | macro F1 | overall accuracy |
|---|---|---|
{accuracy}

{fairness} What counts is what `evaluatemodel` says of samples that this model has not seen. Labels are declarations,
surveys or maps: agreement with them is what is measured.

## Limits
It knows the classes above and no others: whatever else grows is given one of them. It was trained on the seasons
{seasons}, within {bbox}; elsewhere and in other years it has to be tried before it is trusted.

## Recipe
{recipe}

{ended}

Temperature {temperature:.3f}.
"""


def write_bundle(file: SampleFile, made: Made, judged: CrossValidation | None, folder: Path, title: str) -> Bundle:
    """Writes a trained model as a bundle, with what it has seen (`seen.safetensors`) and `training.json` beside.

    Args:
        file: The training set.
        made: The model.
        judged: What cross-validation said of its recipe.
        folder: Where the bundle goes; its name is the bundle's id.
        title: As users see it; made of the classes and place if empty.

    Raises:
        OutputError: The folder cannot be written, or holds something else.
        TrainingError: The samples have dates of no period.
    """
    check_free(folder)
    bundle = _describe(file, made, judged, folder, title)
    seen = collect_seen(file, made.training, made.steering)
    told = json.dumps(_training(file, made, judged), indent=2, allow_nan=False) + "\n"

    def write_more(part: Path) -> None:
        write_seen(seen, part)
        write_text(part / TRAINING, told)
        record_agreement(part, file, made.training, _PRECISION_SAMPLES)

    return save_bundle(
        bundle, made.network, _signatures(file, made, bundle), _card(file, made, judged, bundle), write_more
    )


def period_of(file: SampleFile) -> str:
    """The compositing period of a training set.

    Raises:
        TrainingError: It has dates of no period, which no map could be made of.
    """
    if file.layout.period is None:
        raise TrainingError(
            f"{file.path} has dates as they came: no time series to be mapped would have them.",
            "Make the training set again with a PERIOD, such as month or dekad.",
        )
    return file.layout.period


def _describe(file: SampleFile, made: Made, judged: CrossValidation | None, folder: Path, title: str) -> Bundle:
    seasons = _seasons(file, made)
    first_days = tuple(f"{day:%m-%d}" for day in file.layout.dates(_in_common_year(seasons[0])))
    sources = _sources(file, made)
    properties = {
        "description": f"Trained on {len(made.training)} samples of {file.path.name}.",
        "datetime": None,
        "start_datetime": f"{seasons[0]}T00:00:00Z",
        "end_datetime": f"{file.layout.dates(seasons[-1])[-1]}T00:00:00Z",
        "cropmap:training_data": [{"name": source, "license": "not stated"} for source in sources],
        "cropmap:accuracy": {
            "method": _judged_by(made)
            + ("; the members' weights were cross-fitted on them" if made.stacking is not None else ""),
            "macro_f1": round(made.validation.macro_f1, 4),
            "overall_accuracy": round(made.validation.overall_accuracy, 4),
            "cross_validation": None if judged is None else judged.as_json(),
        },
    }
    return Bundle(
        id=folder.name,
        title=title or f"{', '.join(each.name for each in made.classes[:4])}{', ...' * (len(made.classes) > 4)}",
        folder=folder,
        architecture=made.architecture,
        hyper_parameters=made.hyper_parameters,
        channels=made.channels,
        mean=made.mean,
        std=made.std,
        classes=made.classes,
        first_days=first_days,
        bbox=_bbox(file, made),
        period=period_of(file),
        stride_pixels=max(1, int(made.network.patch_size) // 2) if made.network.kind == "patch" else 1,
        temperature=made.temperature,
        positions=made.positions,
        accepts=_accepts(file, made),
        properties=properties,
    )


def _in_words(stacking: Stacking) -> str:
    if stacking.ridge is None:
        return "stacked: nothing did better on the validation samples than the mean of the members"
    return (
        f"stacked: the members' weights were fitted on the validation samples with a ridge of {stacking.ridge:g}; the "
        "figures on them are cross-fitted, each pixel by weights that were fitted on other places"
    )


def _accepts(file: SampleFile, made: Made) -> Accepts:
    """What it has learnt to go without: all of its members, for an ensemble."""
    varied = [each.recipe.variation for each in made.members]
    if any(each.recipe.grows_trees for each in made.members):
        return Accepts()  # trees are grown on what is not varied
    period = period_of(file)
    of_months = list(FIRST_DAYS_OF_MONTH)  # the longest first
    longer = of_months[: of_months.index(period)] if period in of_months else []
    periods = tuple(longer) if all(each.periods for each in varied) else ()
    share = SHORTEST_SEASON if all(each.cuts for each in varied) else 1.0
    lacking = lacking_channels([bands_of(name) for name in made.channels]) if all(each.bands for each in varied) else ()
    optional = (tuple(np.array(made.channels)[some].tolist()) for some in lacking)
    return Accepts(periods, share, tuple(some for some in optional if 0 < len(some) < len(made.channels)))


def _in_common_year(day: date) -> date:
    return day.replace(year=2017, day=min(day.day, 28)) + timedelta(days=max(0, day.day - 28))


def _seasons(file: SampleFile, made: Made) -> list[date]:
    """First days of the seasons that it was trained on."""
    days = np.unique(file.column("season")[made.training])
    return [date(1970, 1, 1) + timedelta(days=int(day)) for day in days]


def _sources(file: SampleFile, made: Made) -> list[str]:
    found = [str(source) for source in np.unique(file.column("source")[made.training]) if source]
    return found or [file.path.name]


def _bbox(file: SampleFile, made: Made) -> tuple[float, float, float, float]:
    lon, lat = (file.column(name)[made.training] for name in ("lon", "lat"))
    known = np.isfinite(lon) & np.isfinite(lat)
    if not known.any():
        return _EVERYWHERE
    west, south, east, north = (
        round(float(each), 5) for each in (lon[known].min(), lat[known].min(), lon[known].max(), lat[known].max())
    )
    return west, south, east, north


def _training(file: SampleFile, made: Made, judged: CrossValidation | None) -> dict[str, Any]:
    """What training.json tells; of an ensemble, its first member stands where other models stand."""
    first, *others = (each.as_json() for each in made.members)
    return {
        **first,
        "temperature": made.temperature,
        "validation_macro_f1": made.validation.macro_f1,
        "validation_oa": made.validation.overall_accuracy,
        "members": [first, *others] if others else [],
        "stacking": None if made.stacking is None else made.stacking.as_json(),
        "samples": {"train": len(made.training), "validation": len(made.steering)},
        "cross_validation": None if judged is None else judged.as_json(),
        "split": file.split,
        "provenance": file.provenance,
    }


def _signatures(file: SampleFile, made: Made, bundle: Bundle) -> dict[str, Any]:
    """Of the training samples, or so many of them drawn at random."""
    random = np.random.default_rng(made.members[0].recipe.seed)
    index = made.training
    feed = Feed(file, made.channels, made.classes, by_pixel=True)
    most = feed.samples_of(_SIGNATURE_SERIES)
    if len(index) > most:
        index = np.sort(random.choice(index, most, replace=False))
    values, labels, parcels = [], [], []
    of_sample = file.column("parcel").reshape(len(file), -1)[:, 0]
    for batch in feed.batches(index, feed.samples_of(_AT_ONCE)):
        values.append(batch.x[..., 0, 0].numpy())
        labels.append(batch.target[:, 0, 0].numpy())
        parcels.append(of_sample[batch.index])
    season = np.concatenate(values).transpose(1, 2, 0)[..., None]  # (T, C, N, 1)
    return make_signatures(season, np.concatenate(labels)[:, None], np.concatenate(parcels)[:, None], bundle)


def _card(file: SampleFile, made: Made, judged: CrossValidation | None, bundle: Bundle) -> str:
    split: Mapping[str, Any] = file.split or {}
    distance = split.get("leakage", {}).get("min_distance_m", {}).get("train-validation")
    rows = [("validation samples", made.validation)] if len(made.steering) else []
    if judged is not None:
        rows.append((f"{len(judged.folds)} folds, each by a model that has not seen it", judged.pooled))
    return _CARD.format(
        title=bundle.title,
        architecture=" + ".join(each.recipe.architecture for each in made.members),
        parameters=sum(weight.numel() for weight in made.network.state_dict().values()),
        version=__version__,
        described=describe_architectures(made),
        samples=file.path.name,
        period=bundle.period,
        first=bundle.first_days[0],
        dates=len(bundle.first_days),
        channels=", ".join(made.channels),
        classes="\n".join(
            f"| {each.value} | {each.name} | {count} |" for each, count in zip(made.classes, made.counts, strict=True)
        ),
        sources=", ".join(_sources(file, made)),
        method=split.get("method", "nothing"),
        random=" (at random: figures are too good)" if split.get("random") else "",
        training=len(made.training),
        steering=len(made.steering),
        distance="unknown" if distance is None else f"{distance:.0f} m",
        fairness=_fairness(made),
        accuracy="\n".join(f"| {on} | {s.macro_f1:.3f} | {s.overall_accuracy:.3f} |" for on, s in rows),
        seasons=", ".join(str(day) for day in _seasons(file, made)),
        bbox="unknown bounds" if bundle.bbox == _EVERYWHERE else f"{bundle.bbox} degrees",
        recipe=", ".join(f"{name} {value}" for name, value in made.members[0].recipe.as_json().items()),
        ended="\n".join(
            f"- {each.recipe.architecture}, seed {each.recipe.seed}: {len(each.history)} epochs, the best "
            f"{each.best_epoch}; {each.ended}"
            for each in made.members
        )
        + ("" if made.stacking is None else f"\n- {_in_words(made.stacking)}"),
        temperature=made.temperature,
    )


def _chosen(made: Made) -> str:
    """What the validation samples have had a part in."""
    last = all(each.recipe.keep == LAST for each in made.members)
    return "the temperature" if last else "the epoch and the temperature"


def _judged_by(made: Made) -> str:
    if not len(made.steering):
        return "cross-validation: each sample by members that have not seen its fold"
    return f"validation samples, which chose {_chosen(made)}"


def _fairness(made: Made) -> str:
    if not len(made.steering):
        return (
            "No sample was held out of the weights here: the figures are of members trained alike without the fold "
            "that they were judged on."
        )
    return f"The validation samples chose {_chosen(made)}, so their figures are a little too good."
