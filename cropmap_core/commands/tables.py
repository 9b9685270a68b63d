"""The command that classifies tables of point time series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas
import pyarrow

from cropmap_core.commands.using import model_temperatures, tell_seen, warn_of_missing, warn_of_place
from cropmap_core.commands.writing import Result, job_folder, job_outputs
from cropmap_core.inference.bundles import Bundle, load_bundle
from cropmap_core.inference.channels import Mask
from cropmap_core.inference.classification import check_sure_from, legend_of
from cropmap_core.inference.devices import choose_device
from cropmap_core.inference.fit import fewest_dates, present_channels
from cropmap_core.inference.guards import SAMPLES, InputWatch
from cropmap_core.inference.predictor import Predictor, computable_of
from cropmap_core.inference.table_classes import (
    Counts,
    SampleClasses,
    check_table_name,
    class_table,
    classify_rows,
    reach_of,
    season_in_words,
    table_columns,
    table_places,
    table_seasons,
    write_classes,
)
from cropmap_core.jobs import Job
from cropmap_core.samples.drawers import sort_into_drawers
from cropmap_core.samples.row_composites import REFLECTANCE, check_magnitude, check_reflectance
from cropmap_core.samples.seasons import Season
from cropmap_core.samples.table_columns import find_columns

_SORTED, _CLASSIFIED = 0.4, 0.95  # shares of the job


def classifysamples(
    job: Job,
    *,
    model: str,
    input: Path,
    output: Path,
    reflectance: str = "scaled",
    probabilities: bool = False,
    temperatures: Path | None = None,
    sure_from: float = 0.0,
    device: str = "auto",
) -> Result:
    """Classifies the samples of a table of point time series with a model.

    Args:
        model: A bundled model's id, or the folder of a model bundle.
        input: Long table, parquet or CSV: sample_id, date, bands, and optional valid.
        output: Table to write, parquet or CSV: sample_id, pred_code, pred_crop, pred_prob, ood.
        reflectance: Of the bands: scaled (x 10000) or unit (0-1).
        probabilities: Whether to add a column of probabilities for each class.
        temperatures: Daily mean air temperatures, CSV, for a model that counts thermal days; of several places, where
            the table has x and y in degrees.
        sure_from: The least probability of a crop; below it a sample is of the finest group that has it.
        device: auto, cpu or cuda.
    """
    check_reflectance(reflectance)
    check_table_name(output)
    check_sure_from(sure_from)
    bundle = load_bundle(model)
    seasons, columns = table_seasons(bundle), table_columns(input, bundle)
    predictor = Predictor(bundle, choose_device(device), model_temperatures(job, [bundle], temperatures))
    bands = tuple(columns.bands)
    warn_of_missing(job, bundle, present_channels(bundle, bands, computable_of(bundle, bands)))
    if predictor.halo:
        job.warning(
            f"The model {bundle.id} judges a pixel by those around it, which a table does not have: "
            "expect less of it than on maps."
        )
    with job_outputs(job) as outputs:
        outputs.protect([path for path in (input, temperatures) if path is not None])
        part = outputs.stage(output)
        with job_folder(job, output, outputs) as folder:
            job.progress(0.0, f"Sorting the rows of {input.name} by sample")
            drawers, overview = sort_into_drawers(input, columns, folder, job.part(0.0, _SORTED))
            check_magnitude(input, overview.largest, reflectance)
            job.progress(_SORTED, f"Classifying with {bundle.id} on {predictor.device.type}")
            reach = reach_of(overview.dates, whole=bundle.accepts.share == 1)
            _warn_of_part(job, bundle, seasons, reach)
            warn_of_place(job, bundle, *table_places(input, find_columns(input)), sorted(overview.dates))
            watch = InputWatch(bundle, SAMPLES)
            found: list[SampleClasses] = []
            for number, drawer in enumerate(drawers):
                start, end = (_SORTED + (_CLASSIFIED - _SORTED) * done / len(drawers) for done in (number, number + 1))
                rows = pandas.read_parquet(drawer)
                scale = REFLECTANCE[reflectance]
                found.append(classify_rows(rows, seasons, scale, predictor, watch, reach, job.part(start, end)))
        table = class_table(found, bundle.classes, input, columns.named["sample_id"], probabilities, sure_from)
        write_classes(table, part)
        outputs.commit()
    counts = sum((each.counts for each in found), Counts())
    _tell(job, counts, seasons[0])
    tell_seen(job, bundle, watch, watch.warnings())
    return {
        "output": str(output),
        "samples": counts.samples,
        "classified": counts.samples - counts.unseen,
        "classes": _count(table, [crop.name for crop in legend_of(bundle, sure_from)]),
        "device": predictor.device.type,
        "ood_share": watch.share,
    }


def _warn_of_part(job: Job, bundle: Bundle, seasons: Sequence[Season], reach: Callable[[Season], Mask]) -> None:
    """Says so where a table reaches over less of the season than the model has learnt to do with."""
    coarsest = seasons[-1]
    reached = int(reach(coarsest).sum())
    if reached < fewest_dates(bundle, coarsest.period or bundle.period):
        job.warning(
            f"The table reaches over {reached} of the {len(coarsest.dates)} periods ({coarsest.period}) of the season "
            f"of {bundle.id}, which is less than the model has learnt to do with: do not rely on the classes."
        )


def _tell(job: Job, counts: Counts, season: Season) -> None:
    days = season_in_words(season)
    job.log(f"{counts.samples - counts.unseen} of {counts.samples} samples have a class.")
    if counts.outside:
        job.log(f"{counts.outside} of {counts.rows} rows lie outside of the season, {days}: they are not used.")
    if counts.several:
        job.warning(
            f"{counts.several} samples have rows in the seasons of several years: of each the season with most "
            "observed periods counts, of equals the latest."
        )
    if counts.unseen:
        job.warning(
            f"{counts.unseen} of {counts.samples} samples have no valid observation in the season, {days}: "
            "they have no class."
        )
    if counts.sparse:
        job.warning(
            f"{counts.sparse} samples were observed in less than half of the periods: the rest was filled from these."
        )


def _count(table: pyarrow.Table, names: Sequence[str]) -> dict[str, int]:
    found = table["pred_crop"].to_pandas().value_counts()
    return {name: int(found.get(name, 0)) for name in names}
