"""The command that makes one map of several."""

from __future__ import annotations

from pathlib import Path

from cropmap_core.commands.writing import Result, job_outputs
from cropmap_core.inference.combining import Ensemble, open_ensemble, write_combined
from cropmap_core.inference.map_files import stage_maps
from cropmap_core.inference.map_layers import MapPaths
from cropmap_core.inference.run_documents import item_path, manifest_path
from cropmap_core.jobs import Job


def combinepredictions(
    job: Job,
    *,
    predictions: tuple[Path, ...],
    output_classes: Path,
    method: str = "mean",
    weights: tuple[float, ...] = (),
    output_confidence: Path | None = None,
    output_probabilities: Path | None = None,
) -> Result:
    """Combines the class probabilities of several runs to one map.

    Args:
        predictions: Rasters of class probabilities on one grid, as classify and mapcrops write them.
        output_classes: Class raster to write, GeoTIFF.
        method: mean, weighted, or entropy_weighted: in each pixel by how sure a run is.
        weights: One number for each raster, in their order, where method is weighted.
        output_confidence: Confidence raster to write (percent), GeoTIFF.
        output_probabilities: Raster of the combined probabilities to write, a band for each class, GeoTIFF.
    """
    ensemble = open_ensemble(predictions, method, weights)
    for path, names in ensemble.lacking.items():
        job.warning(f"{path.name} does not know {', '.join(names)}: these count 0 there.")
    with job_outputs(job) as outputs:
        outputs.protect(predictions)
        written = MapPaths(output_classes, output_confidence, probabilities=output_probabilities)
        for told in (manifest_path(output_classes), item_path(output_classes)):
            outputs.remove(told)  # of the map that stood there
        maps = stage_maps(outputs, ensemble.classes, written)
        job.progress(0.0, f"Combining {len(predictions)} predictions of {len(ensemble.classes)} classes")
        pixels = write_combined(ensemble, maps, _provenance(ensemble), job.part(0, 0.99))
        outputs.commit()
    return {
        "output_classes": str(output_classes),
        "output_confidence": str(output_confidence) if output_confidence else None,
        "output_probabilities": str(output_probabilities) if output_probabilities else None,
        "pixels": dict(pixels),
        "classes": [{"value": crop.value, "name": crop.name, "color": crop.color} for crop in ensemble.classes],
    }


def _provenance(ensemble: Ensemble) -> dict[str, object]:
    members = [{"file": member.path.name, "model": member.model} for member in ensemble.members]
    weights = [round(weight, 6) for weight in ensemble.weights]
    return {"command": "combinepredictions", "method": ensemble.method, "weights": weights, "predictions": members}
