"""A Sentinel-2 L2A scene: what it is of, which files hold its bands, and what its packaging says of its numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from cropmap_core.errors import MissingBandError
from cropmap_core.scenes.safe import Product
from cropmap_core.timeseries.series import SCL

NATIVE_RESOLUTION_M = {
    **dict.fromkeys(("B02", "B03", "B04", "B08"), 10),
    **dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12", SCL), 20),
    **dict.fromkeys(("B01", "B09"), 60),
}
"""Metres, by band. B10 is not in L2A products."""

RESOLUTIONS_M = (10, 20, 60)

DEFAULT_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")


@dataclass(frozen=True)
class BandSource:
    """Where one band of one scene is read from."""

    path: str
    """As GDAL takes it: a file, a member of an archive, or a variable of a netCDF file."""
    file: Path
    """The file on disk that a user knows."""
    resolution_m: int
    """Pixel size in metres."""
    number: int = 1
    """Band number in the raster, from 1."""
    nodata: int = 0
    """The digital number that stands for nothing measured, besides 0."""
    alone: bool = True
    """Whether the raster holds this band only."""


def band_order(band: str) -> tuple[int, str]:
    """Sorts bands as the sensor has them: B08, B8A, B09; SCL comes last."""
    if band == SCL:
        return 99, ""
    return (8, "A") if band == "B8A" else (int(band[1:]), "")


BandFiles = Mapping[tuple[str, int], BandSource]
"""Sources by (band, resolution in metres)."""


@dataclass(frozen=True)
class StatedOffset:
    """What a packaging says of the radiometric offset of its digital numbers."""

    value: int
    """To be added before scaling: 0 or -1000."""
    evidence: str
    """What says so, in words that follow 'scenes by', for instance 'their product XML'."""


@dataclass(frozen=True)
class Scene:
    """One Sentinel-2 L2A acquisition over one MGRS tile."""

    acquired: datetime
    """Sensing time, UTC; midnight where only the day is known."""
    mgrs_tile: str
    """For instance 31UDS; empty where the packaging does not tell."""
    files: BandFiles
    product: Product | None = None
    """What the product XML says; None for repackaged files."""
    named_baseline: str | None = None
    """Processing baseline as names or a catalogue state it, for instance 04.00."""
    told_offset: StatedOffset | None = None
    """What the packaging says where there is no product XML."""

    @property
    def acquisition_date(self) -> date:
        return self.acquired.date()

    @property
    def name(self) -> str:
        time = f"{self.acquired:%Y%m%dT%H%M%S}"
        return f"T{self.mgrs_tile}_{time}" if self.mgrs_tile else time

    @property
    def baseline(self) -> str | None:
        """Processing baseline; None where nothing states it."""
        return self.product.baseline if self.product else self.named_baseline

    @property
    def stated_offset(self) -> StatedOffset | None:
        """The offset by the best evidence of the packaging; None where it tells nothing."""
        return StatedOffset(self.product.offset, "their product XML") if self.product else self.told_offset

    @property
    def place(self) -> Path:
        """Where the scene lies: its product, its only file, or the folder of all of them."""
        if self.product is not None:
            return self.product.folder
        files = {source.file for source in self.files.values()}
        return files.pop() if len(files) == 1 else Path(os.path.commonpath([path.parent for path in files]))

    def has(self, band: str) -> bool:
        """Whether some file of the scene holds a band."""
        return any(name == band for name, _ in self.files)

    def band_file(self, band: str, resolution_m: int) -> BandSource:
        """The source to read a band from for a wanted resolution.

        One of just that resolution is best, then the coarsest finer one; a coarser one only where the sensor itself
        is coarser, so that a 60 m copy never passes for a 10 m band.

        Raises:
            MissingBandError: No such source belongs to the scene.
        """
        there = sorted((res for name, res in self.files if name == band), reverse=True)
        usable = [res for res in there if res <= max(resolution_m, NATIVE_RESOLUTION_M.get(band, 0))]
        fitting = [res for res in usable if res <= resolution_m] or usable[-1:]
        if not fitting:
            also = f" (there only at {', '.join(f'{res} m' for res in there)})" if there else ""
            remedy = "Add its file, or leave the scene out; stackscenes can do without the band (BANDS) or be coarser."
            if band == SCL:
                remedy = (
                    "Add its SCL file, without which clouds cannot be told; or choose what to do with scenes without "
                    "SCL (MISSING_SCL): leave_out, or as_clear."
                )
            raise MissingBandError([f"{band}{also}"], f"scene {self.name} in {self.place}", remedy)
        return self.files[band, fitting[0]]


@dataclass(frozen=True)
class Skipped:
    """Something among the inputs that is not used, and why."""

    path: Path
    reason: str
