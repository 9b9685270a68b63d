"""Sentinel-2 L2A scenes on disk: found by their content, whatever folder they lie in."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path

from cropmap_core.errors import MissingBandError, NoValidObservationError, SceneError
from cropmap_core.safe import PRODUCT_XML, Product, read_product
from cropmap_core.series import SCL

NATIVE_RESOLUTION_M = {
    **dict.fromkeys(("B02", "B03", "B04", "B08"), 10),
    **dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12", SCL), 20),
    **dict.fromkeys(("B01", "B09"), 60),
}
"""Metres, by band. B10 is not in L2A products."""

DEFAULT_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")

_BAND_FILE = re.compile(
    r"^(?:L2A_)?T(?P<tile>\d{2}[A-Z]{3})_(?P<time>\d{8}T\d{6})_(?P<band>B\d[\dA]|SCL)_(?P<resolution>\d{2})m\.(?:tiff?|jp2)$",
    re.IGNORECASE,
)
_L1C_XML = "MTD_MSIL1C.xml"


@dataclass(frozen=True)
class Scene:
    """One Sentinel-2 L2A acquisition over one MGRS tile."""

    acquired: datetime
    """Sensing time, UTC."""
    mgrs_tile: str
    """For instance 31UDS."""
    files: Mapping[tuple[str, int], Path]
    """Band files by (band, resolution in metres)."""
    product: Product | None = None
    """What the product XML says; None for repackaged files."""

    @property
    def acquisition_date(self) -> date:
        return self.acquired.date()

    @property
    def name(self) -> str:
        return f"T{self.mgrs_tile}_{self.acquired:%Y%m%dT%H%M%S}"

    def band_file(self, band: str, resolution_m: int) -> tuple[Path, int]:
        """The file to read a band from for a wanted resolution.

        A file of just that resolution is best, then the coarsest finer one; a coarser one only where the sensor
        itself is coarser, so that a 60 m copy never passes for a 10 m band.

        Returns:
            The path and its resolution in metres.

        Raises:
            MissingBandError: No such file belongs to the scene.
        """
        there = sorted((res for name, res in self.files if name == band), reverse=True)
        usable = [res for res in there if res <= max(resolution_m, NATIVE_RESOLUTION_M.get(band, 0))]
        fitting = [res for res in usable if res <= resolution_m] or usable[-1:]
        if not fitting:
            also = f" (there only at {', '.join(f'{res} m' for res in there)})" if there else ""
            raise MissingBandError(
                [f"{band}{also}"],
                f"scene {self.name} in {self.folder}",
                "Add its file, leave the band out of BANDS, choose another RESOLUTION, or leave the scene out.",
            )
        return self.files[band, fitting[0]], fitting[0]

    @property
    def folder(self) -> Path:
        """Where the scene's files lie."""
        return Path(os.path.commonpath([path.parent for path in self.files.values()]))


@dataclass(frozen=True)
class Skipped:
    """Something among the inputs that is not a Sentinel-2 L2A scene."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Inventory:
    """What was found in the inputs."""

    scenes: tuple[Scene, ...]
    skipped: tuple[Skipped, ...]


def find_scenes(paths: Iterable[Path], start: date | None = None, end: date | None = None) -> Inventory:
    """Finds the scenes in folders, SAFE folders and lists of band files.

    Args:
        paths: Where to look; folders are searched to their depths.
        start: First acquisition date that counts, inclusive.
        end: Last acquisition date that counts, inclusive.

    Returns:
        Scenes by acquisition time, whatever the order of the inputs.

    Raises:
        SceneError: A path does not exist, nothing is a scene, or two scenes share their date.
        NoValidObservationError: No scene lies between the dates.
    """
    paths = [Path(path) for path in paths]
    skipped: list[Skipped] = []
    files: dict[tuple[str, datetime, Path | None], dict[tuple[str, int], Path]] = {}
    for path in paths:
        if not path.exists():
            raise SceneError(f"There is no file or folder {path}.", "Check the path given as SCENES.")
        for found, product_folder in _walk(path, skipped):
            match = _BAND_FILE.match(found.name)
            if match is None:
                if product_folder is None:
                    skipped.append(Skipped(found, _why_not(found)))
                continue
            time = _sensing_time(match["time"], found)
            bands = files.setdefault((match["tile"].upper(), time, product_folder), {})
            key = (match["band"].upper(), int(match["resolution"]))
            if bands.setdefault(key, found).resolve() != found.resolve():
                raise SceneError(
                    f"{bands[key]} and {found} are the same band of the same scene.", "Remove one of them from SCENES."
                )
    scenes = [_scene(tile, time, folder, bands) for (tile, time, folder), bands in files.items()]
    if not scenes:
        raise SceneError(f"No Sentinel-2 L2A scene in {_listed(paths)}.{_reasons(skipped)}", _WHAT_IS_A_SCENE)
    chosen = [
        scene
        for scene in sorted(scenes, key=lambda scene: (scene.acquired, scene.mgrs_tile))
        if (start is None or scene.acquisition_date >= start) and (end is None or scene.acquisition_date <= end)
    ]
    if not chosen:
        dates = sorted(scene.acquisition_date for scene in scenes)
        raise NoValidObservationError(
            f"No scene between {start or 'the beginning'} and {end or 'the end'}.",
            f"The scenes run from {dates[0]} to {dates[-1]}: change START_DATE or END_DATE.",
        )
    _refuse_shared_dates(chosen)
    return Inventory(tuple(chosen), tuple(skipped))


_WHAT_IS_A_SCENE = (
    "Give a SAFE folder, or per-band files named like T31UDS_20180504T105029_B04_10m.tif with their SCL file."
)


def _walk(path: Path, skipped: list[Skipped]) -> Iterator[tuple[Path, Path | None]]:
    """Files below a path, each with the SAFE folder that it belongs to."""
    if path.is_file():
        yield path, None
        return
    for folder, subfolders, names in os.walk(path):
        subfolders.sort()
        if _L1C_XML in names:
            skipped.append(Skipped(Path(folder), "a Level-1C product (top of atmosphere): get its Level-2A product"))
            subfolders.clear()
        elif PRODUCT_XML in names:
            subfolders.clear()
            for inner, _, inner_names in os.walk(Path(folder) / "GRANULE"):
                if Path(inner).name != "QI_DATA":
                    yield from ((Path(inner) / name, Path(folder)) for name in sorted(inner_names))
        else:
            yield from ((Path(folder) / name, None) for name in sorted(names))


def _why_not(path: Path) -> str:
    if path.suffix.lower() == ".zip":
        return "a zip archive: unpack it first"
    return "its name is not that of a Sentinel-2 band file"


def _sensing_time(text: str, path: Path) -> datetime:
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%S")
    except ValueError:
        raise SceneError(f"{path} has no real date and time in its name.", "Correct the name.") from None


def _scene(tile: str, time: datetime, product_folder: Path | None, bands: dict[tuple[str, int], Path]) -> Scene:
    scene = Scene(time, tile, bands)
    if product_folder is not None:
        scene = replace(scene, product=read_product(product_folder))
    return scene


def _refuse_shared_dates(scenes: list[Scene]) -> None:
    for earlier, later in pairwise(scenes):
        if earlier.mgrs_tile != later.mgrs_tile:
            raise SceneError(
                f"Two MGRS tiles: {earlier.name} in {earlier.folder}, {later.name} in {later.folder}.",
                "Map one MGRS tile at a time.",
            )
        if earlier.acquisition_date == later.acquisition_date:
            raise SceneError(
                f"Two scenes share the date {later.acquisition_date}: {earlier.folder} and {later.folder}.",
                "Keep one of them, the newest processing where one scene was processed twice.",
            )


def _listed(paths: list[Path]) -> str:
    shown = ", ".join(str(path) for path in paths[:3])
    return shown + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")


def _reasons(skipped: list[Skipped]) -> str:
    if not skipped:
        return " There is nothing in it."
    shown = "; ".join(f"{item.path.name}: {item.reason}" for item in skipped[:3])
    return f" Skipped {len(skipped)}, for instance {shown}."
