"""Outputs appear whole or not at all: written beside their targets, renamed together at the end."""

from __future__ import annotations

import csv
import glob
import re
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import rasterio
from rasterio.errors import RasterioError
from rasterio.io import DatasetWriter

from cropmap_core.errors import Cancelled, OutputError
from cropmap_core.io.grid import Grid

BLOCK_SIZE = 512
"""Tile edge of the rasters that are written, in pixels."""
GDAL_CACHE = 256 * 2**20
"""Bytes that GDAL keeps while it writes: by itself it would take 5 % of the machine's memory."""
_NEARLY_FULL = 64 * 2**20  # bytes free: from here on a file is read back before it is trusted
_PART_NAME = re.compile(r"\.(.+)\.[0-9a-f]{8,32}\.part(\.\w+)*$")
_STALE_S = 7 * 24 * 3600  # seconds without a write: no job that lives is silent so long
_SIDECARS = (".aux.xml", ".ovr", ".msk")  # GDAL's: they belong to the file that is replaced


class Outputs:
    """The files of one job; leaving the block without `commit` removes them and touches no target.

    Args:
        job_id: Names the unfinished files, `.NAME.ID.part.EXT`.
    """

    def __init__(self, job_id: str) -> None:
        self._id = job_id
        self._parts: dict[Path, Path] = {}
        self._scratch: list[Path] = []
        self._gone: list[Path] = []
        self._lock = threading.Lock()
        self._committed = self._discarded = False
        self._inputs: set[Path] = set()

    def __enter__(self) -> Outputs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for part in (*self._parts.values(), *self._scratch):
            for file in _with_its_own(part):
                _remove(file)

    def protect(self, inputs: Iterable[Path]) -> None:
        """Names the files that the job reads: none of them may become a target."""
        self._inputs |= {path.resolve() for path in inputs}

    def stage(self, target: Path) -> Path:
        """The unfinished file to write instead of a target.

        Raises:
            OutputError: The target's folder is missing or not writable, or the target is a folder or an input.
        """
        target = target.absolute()
        if target.resolve() in self._inputs:
            raise OutputError(f"{target} is an input of the job.", "Give the output another file name.")
        if target in self._parts:
            raise OutputError(f"Two outputs are to be written to {target}.", "Give each its own file name.")
        if target.is_dir():
            raise OutputError(f"{target} is a folder.", "Give a file name as output.")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(target, error) from error
        part = target.parent / f".{target.name}.{self._id}.part{target.suffix}"
        _remove_stale(target)
        try:
            part.touch()
        except OSError as error:
            raise cannot_write(target, error) from error
        self._parts[target] = part
        return part

    def discard(self) -> bool:
        """Removes the unfinished files though another thread may still write them, and commits no more.

        Returns:
            False where they were committed before.
        """
        with self._lock:
            if not self._committed:
                self._discarded = True
                for part in (*self._parts.values(), *self._scratch):
                    for file in _with_its_own(part):
                        with suppress(OSError):  # Windows removes no open file: QGIS does it when the worker is gone
                            file.unlink()
            return self._discarded

    def stage_raster(self, target: Path) -> Path:
        """`stage` for a GeoTIFF.

        Raises:
            OutputError: The target is not named as one, or see `stage`.
        """
        if not target.is_dir() and target.suffix.lower() not in (".tif", ".tiff"):
            raise OutputError(f"{target} is not named as a GeoTIFF.", "Give a name that ends in .tif.")
        return self.stage(target)

    def scratch(self, beside: Path) -> Path:
        """A file for this job's own use, on the disk of a target; it is removed at the end.

        Raises:
            OutputError: See `stage`.
        """
        name = beside.absolute().with_name(f"{beside.stem}.scratch{beside.suffix}")
        part = self.stage(name)
        self._scratch.append(self._parts.pop(name))
        return part

    def remove(self, path: Path) -> None:
        """Names a file that is to go once the others are in place, if it is there: it tells of what they replace."""
        self._gone.append(path.absolute())

    def commit(self) -> None:
        """Puts all files in place, or none.

        Raises:
            OutputError: A target cannot be replaced; all targets are as they were.
            Cancelled: The files were discarded before.
        """
        with self._lock:
            if self._discarded:
                raise Cancelled
            self._put_in_place()
            self._committed = True

    def _put_in_place(self) -> None:
        moved: list[tuple[Path, Path | None]] = []
        try:
            for target, part in self._parts.items():
                backup = target.parent / f".{target.name}.{self._id}.part.old" if target.exists() else None
                if backup is not None:
                    _keep(target, backup)
                moved.append((target, backup))
                part.replace(target)
            for target in self._gone:
                if target.is_file():
                    backup = target.parent / f".{target.name}.{self._id}.part.old"
                    target.replace(backup)
                    moved.append((target, backup))
        except OSError as error:
            for done, backup in reversed(moved):
                if backup is not None:
                    backup.replace(done)
                    _remove(backup)  # a rename between two names of one file leaves both
                else:
                    _remove(done)
            raise OutputError(
                f"{target} cannot be replaced: {error.strerror or error}.",
                "Close the programs that have it open, or give another file name.",
            ) from error
        for target, backup in moved:
            if backup is not None:
                _remove(backup)
            for suffix in _SIDECARS:
                beside = target.with_name(target.name + suffix)
                if beside not in self._parts:
                    _remove(beside)
        self._parts.clear()


@contextmanager
def create_raster(
    path: Path, grid: Grid, count: int, dtype: str, nodata: float | None, **options: Any
) -> Iterator[DatasetWriter]:
    """Creates a tiled, ZSTD-compressed GeoTIFF and checks, once it is closed, that all of it reached the disk.

    GDAL is silent about writes that fail while a file is closed, so one has to look.

    Raises:
        OutputError: The file cannot be written or is incomplete.
    """
    predictor = 3 if dtype == "float32" else 2
    try:
        with (
            rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE),
            rasterio.open(
                path,
                "w",
                driver="GTiff",
                crs=grid.crs,
                transform=grid.transform,
                width=grid.width,
                height=grid.height,
                count=count,
                dtype=dtype,
                nodata=nodata,
                tiled=True,
                blockxsize=tile_edge(grid.width),
                blockysize=tile_edge(grid.height),
                interleave="band",
                compress="ZSTD",
                zstd_level=1,
                predictor=predictor,
                bigtiff="IF_SAFER",
                **options,  # no num_threads: GDAL's compressing threads lose the errors of their writes
            ) as dataset,
        ):
            yield dataset
        check_complete(path)
    except (RasterioError, OSError) as error:
        raise cannot_write(path, error) from error


def write_table(header: Sequence[str], rows: Iterable[Sequence[Any]], path: Path) -> None:
    """Writes a table as CSV; None makes an empty cell.

    Raises:
        OutputError: The file cannot be written.
    """
    try:
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(header)
            writer.writerows(rows)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error}.", "Make room on its disk.") from error


def write_text(path: Path, text: str) -> None:
    """Writes a small text file.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise cannot_write(path, error) from error


@contextmanager
def written_whole(path: Path) -> Iterator[None]:
    """Turns what goes wrong while a library writes a file into an error that names it.

    Raises:
        OutputError: The file cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error


def tile_edge(pixels: int) -> int:
    """The edge of the tiles of a raster of so many rows or columns, in pixels."""
    return min(BLOCK_SIZE, -(-pixels // 16) * 16)


def check_complete(path: Path) -> None:
    """Looks whether every tile of a GeoTIFF and of its overviews is within the file.

    Where the disk is nearly full all of them are read too: see docs/decisions/0004-writes-are-checked.md.

    Raises:
        OSError: A tile is not there.
        RasterioError: The file cannot be read.
    """
    with rasterio.open(path) as dataset:
        levels = len(dataset.overviews(1))
    _check_level(path, None)
    for level in range(levels):
        _check_level(path, level)


def _check_level(path: Path, level: int | None) -> None:
    size = path.stat().st_size
    options = {} if level is None else {"overview_level": level}
    with rasterio.open(path, **options) as dataset, rasterio.open(path) as whole:
        rows, cols = dataset.block_shapes[0]
        for band in dataset.indexes:
            for row in range(-(-dataset.height // rows)):
                for col in range(-(-dataset.width // cols)):
                    offset = whole.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", band, level)
                    length = whole.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", band, level)
                    if not offset or not length or int(offset) + int(length) > size:
                        raise OSError("not all of it reached the disk")
        if shutil.disk_usage(path.parent).free < _NEARLY_FULL:
            for band in dataset.indexes:
                for _, window in dataset.block_windows(band):
                    dataset.read(band, window=window)


def cannot_write(path: Path, error: Exception) -> OutputError:
    """The error for a file that went wrong while it was written, in the user's words for it."""
    free = 0
    with suppress(OSError):
        free = shutil.disk_usage(path.parent).free
    reason = getattr(error, "strerror", None) or str(error.__cause__ or error).rstrip(".")
    if free < _NEARLY_FULL:
        remedy = f"Only {free / 2**20:.1f} MB are free on its disk: make room, or write elsewhere."
    else:
        remedy = "Check that the folder exists and may be written to, and that no other program holds the file."
    name = _target_name(path)
    return OutputError(f"{name} cannot be written: {reason}.", remedy)


def _target_name(path: Path) -> Path:
    """The name that the user gave, for a part file."""
    match = _PART_NAME.match(path.name)
    return path.with_name(match[1]) if match else path


def _keep(target: Path, backup: Path) -> None:
    """Gives a file a second name, so that it stands at its own until it is replaced."""
    try:
        backup.hardlink_to(target)
    except OSError:  # not every file system has links: then there is a moment without the file
        target.replace(backup)


def _remove_stale(target: Path) -> None:
    """Removes what killed workers left of a target; files with shorter ids are QGIS's own and may hold results."""
    end = rf"{re.escape(target.suffix)}(\.tiles\.tif|\.ovr\.tmp)?"
    ours = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{12,32}}\.part{end}")
    for path in target.parent.glob(f".{glob.escape(target.name)}.*.part{glob.escape(target.suffix)}*"):
        with suppress(OSError):
            if ours.fullmatch(path.name) and path.stat().st_mtime < time.time() - _STALE_S:
                path.unlink()


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError):
        path.unlink()


def _with_its_own(part: Path) -> list[Path]:
    """An unfinished file, and those that its writer has beside it under longer names."""
    return [part, *part.parent.glob(f"{glob.escape(part.name)}.*")]
