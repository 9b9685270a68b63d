"""Whether the disk has room for a map, asked before anything is computed."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

from cropmap_core.errors import OutputError
from cropmap_core.inference.map_layers import Layer


def bytes_per_pixel(layers: Collection[Layer], classes: int, class_bytes: int) -> int:
    """Of layers, as they stand in a block and, before they are compressed, in a raster.

    Args:
        layers: Their names.
        classes: How many the model knows.
        class_bytes: Of a class value.
    """
    return sum({"classes": class_bytes, "probabilities": classes}.get(name, 1) for name in layers)


def check_room(folder: Path | None, blocks: int, rasters: Mapping[Path, int]) -> str:
    """Looks at the room on the disks of a map.

    Blocks are not compressed, so that too little for them is certain. How much rasters shrink is not known before they
    are written.

    Args:
        folder: Where the blocks will be kept; None for in memory.
        blocks: Bytes of those that are to be made.
        rasters: Bytes of each raster before it is compressed.

    Returns:
        What to warn of; nothing if there is room for all.

    Raises:
        OutputError: There is no room for the blocks.
    """
    needed: dict[int, int] = {}
    places: dict[int, Path] = {}
    for path, size in [*([(folder, blocks)] if folder is not None else []), *rasters.items()]:
        place = _existing(path)
        disk = place.stat().st_dev
        places.setdefault(disk, place)
        needed[disk] = needed.get(disk, 0) + size
    if folder is not None:
        free = shutil.disk_usage(_existing(folder)).free
        if free < blocks:
            raise OutputError(
                f"The finished blocks of the map need {_told(blocks)} in {folder}, but {_told(free)} are free there.",
                "Make room on its disk, write elsewhere, or leave out OUTPUT_PROBABILITIES, which takes the most.",
            )
    scarce = []
    for disk, size in needed.items():
        free = shutil.disk_usage(places[disk]).free
        if free < size:
            scarce.append(f"{_told(size)} for the map in {places[disk]}, where {_told(free)} are free")
    return f"The disk may get full: it can take up to {' and '.join(scarce)}." if scarce else ""


def _existing(path: Path) -> Path:
    """The next folder above that is there."""
    return next(each for each in (path.absolute(), *path.absolute().parents) if each.is_dir())


def _told(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
