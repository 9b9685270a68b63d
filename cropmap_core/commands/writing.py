"""What several commands share: writing a series, and telling what it lacks."""

from __future__ import annotations

import glob
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from cropmap_core.errors import NoValidObservationError
from cropmap_core.io.outputs import Outputs, write_text, written_whole
from cropmap_core.jobs import Job
from cropmap_core.scenes.intake import READING
from cropmap_core.styles import true_colour_style
from cropmap_core.timeseries.companions import Companion
from cropmap_core.timeseries.compositing import Composite
from cropmap_core.timeseries.files import TimeSeriesFile, write_time_series
from cropmap_core.timeseries.series import Series

Result = Mapping[str, Any]


def job_outputs(job: Job) -> Outputs:
    """The job's files, which do not outlive it however it ends."""
    outputs = Outputs(job.id)
    job.undo_with(outputs.discard)
    return outputs


@contextmanager
def kept_if_killed(job: Job, folder: Path, outputs: Outputs) -> Iterator[Path]:
    """A folder of a job that only a killed process leaves behind."""

    def undo() -> bool:
        shutil.rmtree(folder, ignore_errors=True)
        return outputs.discard()

    job.undo_with(undo)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def job_folder(job: Job, output: Path, outputs: Outputs) -> Iterator[Path]:
    """A hidden folder beside an output for a job's own files; what killed jobs left of theirs is removed.

    Raises:
        OutputError: It cannot be made.
    """
    folder = output.absolute().parent / f".{output.name}.{job.id}.working"
    for left in folder.parent.glob(f".{glob.escape(output.name)}.*.working"):
        shutil.rmtree(left, ignore_errors=True)
    with written_whole(output):
        folder.mkdir()
    with kept_if_killed(job, folder, outputs):
        yield folder


def write_step(
    job: Job,
    series: Series,
    output: Path,
    provenance: dict[str, Any],
    source: TimeSeriesFile,
    beside: tuple[Companion, Path] | None = None,
) -> dict[str, Any]:
    """Writes what a step makes of a time series file."""
    origin = {"series": source.path.name, "source": source.provenance}
    return write_series(job, series, output, {**provenance, **origin}, [source.path], beside)


def write_series(
    job: Job,
    series: Series,
    output: Path,
    provenance: Mapping[str, Any],
    inputs: Iterable[Path],
    beside: tuple[Companion, Path] | None = None,
) -> dict[str, Any]:
    """Writes a series, with a true-colour style where it has the bands, and a companion raster where one is given."""
    with job_outputs(job) as outputs:
        outputs.protect(inputs)
        part = outputs.stage_raster(output)
        style = outputs.stage(output.with_suffix(".qml")) if _can_show_true_colour(series) else None
        accompanied: AbstractContextManager[Series] = nullcontext(series)
        if beside is not None:
            accompanied = beside[0].written(series, outputs.stage_raster(beside[1]))
        job.progress(READING, f"Writing {len(series.dates)} dates of {len(series.bands)} bands")
        with accompanied as steps:
            write_time_series(steps, part, provenance, job.part(READING, 0.99), job.log)
        if style is not None:
            write_text(style, _true_colour(series))
        outputs.commit()
    return {
        "output": str(output),
        "dates": [day.isoformat() for day in series.dates],
        "bands": list(series.bands),
    }


def tell_unseen(job: Job, composites: Composite) -> None:
    """Warns of periods that filling will have to make up.

    Raises:
        NoValidObservationError: That would be most of them: no honest season can be made of it.
    """
    unseen = [day.isoformat()[: 7 if composites.period == "month" else 10] for day in composites.unseen]
    if 2 * len(unseen) > len(composites.dates):
        raise NoValidObservationError(
            f"{len(unseen)} of {len(composites.dates)} periods have no acquisition at all ({', '.join(unseen[:12])}).",
            "Give the scenes of the whole season, or choose START_DATE and END_DATE to fit those that are there.",
        )
    if unseen:
        job.warning(f"No acquisition in {', '.join(unseen)}: filling takes these periods from their neighbours.")


def _can_show_true_colour(series: Series) -> bool:
    return {"B04", "B03", "B02"} <= set(series.bands)


def _true_colour(series: Series) -> str:
    """Red, green and blue of the middle date."""
    first = len(series.dates) // 2 * len(series.bands)
    red, green, blue = (first + series.bands.index(band) + 1 for band in ("B04", "B03", "B02"))
    return true_colour_style(red, green, blue, brightest=0.3)
