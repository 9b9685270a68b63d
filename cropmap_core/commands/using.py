"""What commands that use models share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from numpy.typing import ArrayLike

from cropmap_core.inference.bundle_types import THERMAL, Bundle
from cropmap_core.inference.guards import InputWatch, place_warning, year_note
from cropmap_core.jobs import Job
from cropmap_core.timeseries.temperatures import Temperatures, read_temperatures


def model_temperatures(job: Job, bundles: Sequence[Bundle], path: Path | None) -> Temperatures | None:
    """Reads a table of temperatures; says so where no model looks at it.

    Raises:
        TemperatureError: It cannot be read.
    """
    if path is None:
        return None
    if not any(bundle.positions == THERMAL for bundle in bundles):
        job.warning(
            f"{', '.join(bundle.id for bundle in bundles)} counts days of the calendar: TEMPERATURES is not looked at."
        )
    return read_temperatures(path)


def warn_of_missing(job: Job, bundle: Bundle, there: Sequence[str]) -> tuple[str, ...]:
    """Says which of a model's bands are not there, and gives the warnings."""
    missing = [name for name in bundle.channels if name not in there]
    if not missing:
        return ()
    warning = (
        f"{', '.join(missing)} of the model {bundle.id} {'is' if len(missing) == 1 else 'are'} not there: it has "
        "learnt to do without, and is less sure."
    )
    job.warning(warning)
    return (warning,)


def warn_of_place(job: Job, bundle: Bundle, lon: ArrayLike, lat: ArrayLike, dates: Sequence[date]) -> tuple[str, ...]:
    """Warns of a place far from where a model was trained, notes other years, and gives the warnings."""
    note, warning = year_note(bundle, dates), place_warning(bundle, lon, lat)
    if note:
        job.log(note)
    if warning:
        job.warning(warning)
    return (warning,) if warning else ()


def tell_seen(job: Job, bundle: Bundle, watch: InputWatch, warnings: Sequence[str]) -> None:
    """Says how much of what was classified is unlike what a model has learnt, and what the watch warns of."""
    if not watch.has_test:
        job.log(f"The model {bundle.id} has no thresholds for ood: it cannot tell what it has not learnt.")
    if watch.told():
        job.log(watch.told())
    for warning in warnings:
        job.warning(warning)
