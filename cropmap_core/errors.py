"""What can go wrong, said once: every error owns its wording and names the remedy.

The class name is the stable code under which an error crosses the seam to QGIS (docs/jobs.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike


class CropMapError(Exception):
    """Root of all errors that a user can do something about.

    Args:
        message: What went wrong, with the file or value it went wrong with.
        remedy: What to do about it, as a full sentence.
    """

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    @property
    def code(self) -> str:
        """The stable name under which this error crosses the seam."""
        return type(self).__name__

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}"


class JobError(CropMapError):
    """A job document or command line is not of the documented form."""


class SceneError(CropMapError):
    """Scenes are missing, unreadable or contradict each other."""


class BaselineError(CropMapError):
    """The radiometric offset of a scene cannot be decided."""


class GridMismatchError(CropMapError):
    """Rasters that must share CRS, transform and shape do not."""


class SeriesError(CropMapError):
    """A raster is not a time series file, or not of the kind that is needed."""


class MissingBandError(CropMapError):
    """A band that is needed is not there."""

    def __init__(self, bands: Iterable[str], where: str | PathLike[str], remedy: str) -> None:
        names = ", ".join(bands)
        super().__init__(f"Missing band {names} in {where}.", remedy)
        self.bands = names


class NoValidObservationError(CropMapError):
    """Nothing usable is left after masking, or in the chosen dates."""


class ParcelError(CropMapError):
    """The parcels are empty, not polygons, or lie elsewhere."""


class TemperatureError(CropMapError):
    """A table of temperatures is missing or damaged, or does not reach over a season."""


class LegendError(CropMapError):
    """A class legend is missing, is no table of codes and classes, or contradicts itself."""


class SamplesError(CropMapError):
    """A training set, or what it is to be made of, is damaged, empty or contradicts itself."""


class TrainingError(CropMapError):
    """A model cannot be trained: its samples do not suffice, or its loss is no number any more."""


class SeenSamplesError(CropMapError):
    """A model is to be judged by samples that it has seen."""


class ModelBundleError(CropMapError):
    """A model bundle is missing, incomplete or damaged."""


class IncompatibleModelError(CropMapError):
    """A model bundle does not fit the time series it is given."""


class CatalogueError(CropMapError):
    """A catalogue, or a file that it leads to, cannot be reached or refuses."""


class OutputError(CropMapError):
    """An output cannot be written: its folder, its disk, or another program that holds it open."""


class OutOfMemoryError(CropMapError):
    """The machine or the device has too little memory for the job."""


class Cancelled(CropMapError):  # noqa: N818  (the word users know)
    """The user cancelled the job."""

    def __init__(self) -> None:
        super().__init__("The job was cancelled.", "Outputs are as they were before.")
