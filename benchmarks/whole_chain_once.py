"""One pass of the chain, for benchmarks.whole_chain: `python -m benchmarks.whole_chain_once FOLDER FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.full_tile import BANDS
from benchmarks.whole_chain import FIRST, INDICES, LAST
from cropmap_core.scenes.inventory import find_scenes
from cropmap_core.scenes.scl import DEFAULT_KEEP_CLASSES
from cropmap_core.scenes.stack import stack_scenes
from cropmap_core.timeseries.compositing import composite
from cropmap_core.timeseries.files import write_time_series
from cropmap_core.timeseries.filling import Filled
from cropmap_core.timeseries.indices import with_indices


def main(scenes: Path, output: Path) -> None:
    stack = stack_scenes(find_scenes([scenes], FIRST, LAST).scenes, BANDS, 10, "auto", FIRST, LAST)
    filled = Filled(composite(stack, "month", FIRST, LAST, DEFAULT_KEEP_CLASSES))
    write_time_series(with_indices(filled, INDICES, include_reflectance=False), output, {}, log=print)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
