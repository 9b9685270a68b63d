"""Composites, filling and indices of a season in one pass, against GDAL decoding it and writing the same file.

A strip of a tile, 10980 x 1024 pixels, 73 dates of 4 bands and SCL; `--full` takes the whole tile.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from datetime import date

from benchmarks.full_tile import FULL_TILE, folder, season
from benchmarks.paired import run_process

STRIP = 1024
DATES, DISTINCT = 73, 12
FIRST, LAST = date(2023, 1, 1), date(2023, 12, 31)
INDICES = ("NDVI",)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    height = FULL_TILE if options.full else STRIP
    scenes = season("cog", DATES, FULL_TILE, height, DISTINCT)
    output, copy = folder() / "chain.tif", folder() / "copy.tif"
    print(
        f"\nMonthly medians, filled, {', '.join(INDICES)}: {DATES} dates of COG, {FULL_TILE} x {height} pixels, "
        "4 bands and SCL: at most 1.3 x GDAL, under 3072 MiB"
    )
    alone = [sys.executable, "-m", "benchmarks.gdal_alone", "decode_and_copy", *map(str, (scenes, output, copy))]
    for _ in range(options.rounds):
        ours = run_process([sys.executable, "-m", "benchmarks.whole_chain_once", str(scenes), str(output)])
        said = subprocess.run(alone, capture_output=True, text=True, check=True).stdout
        seconds, processor = map(float, said.split())
        print(
            f"  cropmap {ours.seconds:6.1f} s ({ours.processor_seconds:.0f} s of processor), {ours.peak_mib:.0f} MiB "
            f"at most; GDAL, decoded and written {seconds:6.1f} s ({processor:.0f} s): {ours.seconds / seconds:.2f} x, "
            f"{ours.processor_seconds / processor:.2f} x the processor time"
        )
    for path in (output, copy):
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
