"""The command that takes a model out of CropMap."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cropmap_core.commands.writing import Result, job_outputs
from cropmap_core.errors import IncompatibleModelError, JobError
from cropmap_core.inference.bundle_types import THERMAL
from cropmap_core.inference.bundles import Bundle, load_bundle
from cropmap_core.inference.seasons import season_of
from cropmap_core.jobs import Job
from cropmap_core.timeseries.temperatures import BASE_C, CAP_C, DEGREE_DAYS_A_DAY
from models.exporting import NotExportableError, export_program, sees_pixels_alone
from models.network import Network

DESCRIPTION = "cropmap.json"
"""What the program's inputs and outputs are, within its file."""
_SUFFIX = ".pt2"
_COMMON_YEAR = 2017


def exportmodel(job: Job, *, model: str, output: Path, size: int = 64) -> Result:
    """Writes a model as a torch.export program, which runs without CropMap.

    Args:
        model: A bundled model's id, or the folder of a model bundle.
        output: Program to write, .pt2.
        size: Height and width in pixels of what a model that looks at the pixels around will be given.
    """
    if output.suffix.lower() != _SUFFIX:
        raise JobError(f"OUTPUT is {output.name}.", f"Give a file name that ends with {_SUFFIX}.")
    if size < 1:
        raise JobError(f"SIZE is {size}.", "Give 1 or more.")
    bundle = load_bundle(model)
    network = bundle.network()
    edge = int(network.patch_size) if network.kind == "patch" else size
    described = describe(bundle, network, edge)
    with job_outputs(job) as outputs:
        outputs.protect(path for path in bundle.folder.iterdir() if path.is_file())
        part = outputs.stage(output)
        job.progress(0.1, f"Tracing {bundle.id}")
        scaling = (bundle.mean, bundle.std)
        try:
            program = export_program(network, len(bundle.first_days), edge, edge, scaling, bundle.temperature)
        except NotExportableError as error:
            raise IncompatibleModelError(
                f"{bundle.id} cannot be exported: {error}.", "Choose a model of another architecture."
            ) from error
        job.progress(0.9, "Writing the program")
        torch.export.save(program, part, extra_files={DESCRIPTION: json.dumps(described, indent=2)})
        outputs.commit()
    job.log(f"Takes {', '.join(described['takes'])}; see {DESCRIPTION} within {output.name}.")
    return {"output": str(output), "model": bundle.id, **described}


def describe(bundle: Bundle, network: Network, edge: int) -> dict[str, Any]:
    """What an exported program takes and gives; -1 stands for any number of samples."""
    times, channels, classes = len(bundle.first_days), len(bundle.channels), len(bundle.classes)
    around = [] if sees_pixels_alone(network) else [edge, edge]
    shapes: Mapping[str, list[int]] = {
        "reflectance 0-1 and indices, float32": [-1, times, channels, *around],
        "days since the season's start, float32": [-1, times],
        "where observed, bool": [-1, times, *around],
    }
    return {
        "takes": dict(shapes),
        "gives": {"probabilities, float32": [-1, classes, *(around if network.kind == "dense" else [])]},
        "channels": list(bundle.channels),
        "classes": [{"value": each.value, "name": each.name} for each in bundle.classes],
        "period": bundle.period,
        "first_days": list(bundle.first_days),
        "positions": bundle.positions,
        **_days(bundle),
    }


def _days(bundle: Bundle) -> dict[str, Any]:
    """The days to hand in, or how they are to be counted."""
    if bundle.positions == THERMAL:
        return {
            "thermal_days": "degree-days since the season's start "
            f"(daily mean, {BASE_C:g} to {CAP_C:g} degrees Celsius) by {DEGREE_DAYS_A_DAY:g}"
        }
    return {"days": [float(day) for day in bundle.season_days(season_of(bundle.first_days, _COMMON_YEAR))]}
