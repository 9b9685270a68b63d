"""The command that judges models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas

from cropmap_core.commands.using import model_temperatures
from cropmap_core.commands.writing import Result, job_outputs
from cropmap_core.errors import JobError
from cropmap_core.evaluation.caveats import warnings_of
from cropmap_core.evaluation.document import as_json
from cropmap_core.evaluation.evaluating import Asked, evaluate
from cropmap_core.evaluation.fold_models import FoldModels, load_models
from cropmap_core.evaluation.report import render
from cropmap_core.evaluation.results import Evaluation, ModelResult
from cropmap_core.inference.devices import choose_device
from cropmap_core.io.outputs import write_text
from cropmap_core.jobs import Job
from cropmap_core.reports.points import check_layer_name, write_points
from cropmap_core.samples.files import SampleFile

_DRAWING = 0.96
_WORST = 3


def evaluatemodel(
    job: Job,
    *,
    models: tuple[str, ...],
    samples: Path,
    output_html: Path,
    output_json: Path | None = None,
    output_errors: Path | None = None,
    set: str = "test",
    allow_seen: bool = False,
    group: str = "auto",
    seed: int = 0,
    temperatures: Path | None = None,
    device: str = "auto",
) -> Result:
    """Judges models by samples that they have not seen, alone or side by side, and writes a report.

    Args:
        models: Ids of bundled models, folders of model bundles, or folders of the bundles of fold models.
        samples: Training set, .h5.
        output_html: Report to write, HTML.
        output_json: All its numbers, JSON; beside the report under its name if not given.
        output_errors: Points of wrongly predicted samples to write, GeoPackage or GeoJSON.
        set: Which samples: test, validation, train or all.
        allow_seen: Whether samples that a model has seen are judged all the same, and marked so.
        group: What confidence intervals draw: auto, parcel, zone, tile, cell (of 1 km) or sample.
        seed: Of what is drawn at random.
        temperatures: Daily mean air temperatures, CSV, for models that count thermal days.
        device: auto, cpu or cuda.
    """
    if output_html.suffix.lower() not in (".html", ".htm"):
        raise JobError(f"OUTPUT_HTML is {output_html.name}.", "Give a name that ends in .html.")
    if output_errors is not None:
        check_layer_name(output_errors)
    numbers = output_json or output_html.with_suffix(".json")
    judged = _load(models)
    bundles = [each.bundle for each in judged]
    with job_outputs(job) as outputs, SampleFile(samples) as file:
        outputs.protect([path for path in (samples, temperatures) if path is not None])
        page, table = outputs.stage(output_html), outputs.stage(numbers)
        layer = None if output_errors is None else outputs.stage(output_errors)
        job.progress(0.0, f"Judging {', '.join(each.id for each in bundles)}")
        asked = Asked(set, allow_seen, group, seed, model_temperatures(job, bundles, temperatures))
        evaluation = evaluate(file, judged, choose_device(device), asked, job.part(0.0, _DRAWING))
        job.progress(_DRAWING, "Drawing")
        write_text(table, as_json(evaluation))
        write_text(page, render(evaluation))
        if layer is not None and output_errors is not None:
            rows = pandas.concat([model.wrong for model in evaluation.models], ignore_index=True)
            write_points(rows, layer, output_errors.stem)
        outputs.commit()
    _tell(job, evaluation)
    return {
        "output_html": str(output_html),
        "output_json": str(numbers),
        "output_errors": str(output_errors) if output_errors else None,
        "samples": evaluation.samples,
        "models": [_summary(model) for model in evaluation.models],
    }


def _load(models: Sequence[str]) -> list[FoldModels]:
    """The models, each under a name of its own."""
    if not models:
        raise JobError("MODELS is empty.", "Give the id or folder of at least one model.")
    found: list[FoldModels] = []
    for model in models:
        loaded = load_models(model)
        bundle, others = loaded.bundle, [each.bundle for each in found]
        if bundle.folder.resolve() in [each.folder.resolve() for each in others]:
            raise JobError(f"MODELS holds {model} twice.", "Give each model once.")
        alike = sum(each.folder.name == bundle.folder.name or each.id == bundle.id for each in others)
        found.append(replace(loaded, bundle=replace(bundle, id=f"{bundle.id} ({alike + 1})")) if alike else loaded)
    return found


def _tell(job: Job, evaluation: Evaluation) -> None:
    for warning in warnings_of(evaluation):
        job.warning(warning)
    for model in evaluation.models:
        job.log(_in_words(model, evaluation))
    for each in evaluation.comparisons:
        one, other = (evaluation.models[at].bundle.id for at in (each.first, each.second))
        found = each.macro_f1
        limits = f" (95 %: {found.interval[0]:+.3f} to {found.interval[1]:+.3f})" if found.interval else ""
        job.log(
            f"{other} against {one}: macro F1 {found.value:+.3f}{limits}; McNemar p = {each.pixels.p_value:.3g} on "
            f"pixels{f', {each.parcels.p_value:.3g} on parcels' if each.parcels else ''}."
        )


def _in_words(model: ModelResult, evaluation: Evaluation) -> str:
    level = model.pixels
    of_oa, of_f1 = (
        f" (95 %: {limits[0]:.3f} to {limits[1]:.3f})" if limits else ""
        for limits in (level.overall_accuracy, level.macro_f1)
    )
    labelled = level.scores.support > 0
    there = np.flatnonzero(labelled & ~evaluation.unsure if (labelled & ~evaluation.unsure).any() else labelled)
    worst = there[np.argsort(level.scores.f1[there], kind="stable")][:_WORST]
    named = ", ".join(f"{evaluation.names[at]} {level.scores.f1[at]:.2f}" for at in worst)
    parcels = (
        f"; of {model.parcels.count} parcels {model.parcels.scores.overall_accuracy:.3f} right" if model.parcels else ""
    )
    return (
        f"{model.bundle.id} on {level.count} pixels of the set {evaluation.which}: OA "
        f"{level.scores.overall_accuracy:.3f}{of_oa}, macro F1 {level.scores.macro_f1:.3f}{of_f1}{parcels}. "
        f"Lowest F1: {named}."
    )


def _summary(model: ModelResult) -> dict[str, float | str | int | None]:
    scores = model.pixels.scores
    return {
        "id": model.bundle.id,
        "overall_accuracy": round(scores.overall_accuracy, 4),
        "macro_f1": round(scores.macro_f1, 4),
        "parcel_overall_accuracy": None if model.parcels is None else round(model.parcels.scores.overall_accuracy, 4),
        "seen": model.exposure.seen,
        "fold_models": len(model.folds) or None,
    }
