"""Stacking scenes against GDAL alone, and its peak memory on a whole MGRS tile.

`--full` adds the JP2 season of a whole tile, which takes OpenJPEG several minutes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.full_tile import BANDS, FULL_TILE, folder, season
from benchmarks.paired import compare_processes, run_process

SIZE = 5490


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    output = folder() / "stack.tif"

    scenes = season("jp2", 3, SIZE, SIZE)
    compare_processes(
        f"Stack 3 dates of JP2, {SIZE} x {SIZE} pixels, 4 bands and SCL: at most 1.25 x",
        {"cropmap, decoded and written": _stack(scenes, output), "GDAL, decoded only": _gdal("decode", scenes)},
        options.rounds,
    )
    scenes = season("cog", 12, SIZE, SIZE)
    compare_processes(
        f"Stack 12 dates of COG, {SIZE} x {SIZE} pixels, 4 bands and SCL: at most 1.25 x",
        {
            "cropmap, decoded and written": _stack(scenes, output),
            "GDAL, decoded and written": _gdal("rewrite", scenes, output),
        },
        options.rounds,
    )
    for packaging in ("cog", "jp2") if options.full else ("cog",):
        whole = run_process(_stack(season(packaging, 12), output))
        print(
            f"\nStack 12 dates of {packaging.upper()}, {FULL_TILE} x {FULL_TILE} pixels, 4 bands and SCL: "
            f"{whole.seconds:.0f} s, {whole.peak_mib:.0f} MiB at most (under 3072)"
        )
    for path in (output, output.with_suffix(".qml")):
        path.unlink(missing_ok=True)


def _stack(scenes: Path, output: Path) -> list[str]:
    command = [sys.executable, "-m", "cropmap_core", "stackscenes", "--scenes", str(scenes), "--bands", *BANDS]
    return [*command, "--output", str(output)]


def _gdal(what: str, *paths: Path) -> list[str]:
    return [sys.executable, "-m", "benchmarks.gdal_alone", what, *map(str, paths)]


if __name__ == "__main__":
    main()
