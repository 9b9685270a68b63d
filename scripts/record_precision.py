"""Measures of every bundled model whether it maps the same in bfloat16, and writes it into its item.json.

Run as `python -m scripts.record_precision DATA`; DATA is the folder of the shared data.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from cropmap_core.inference.bundles import BUNDLED, bundled_ids, load_bundle
from cropmap_core.inference.predictor import Predictor
from cropmap_core.learning.agreement import record_agreement, record_agreement_on
from cropmap_core.samples.files import SampleFile
from cropmap_core.timeseries.indices import as_channels
from scripts.bundle_plans import canada_2017, europe, us_2021
from scripts.bundle_plans.flanders_site import read_site


def main() -> None:
    """Measures and writes."""
    data = Path(sys.argv[1])
    sources = {
        "us-2021": (us_2021.prepare, data / "pixels" / "us_2021"),
        "canada-2017": (canada_2017.prepare, data / "pixels" / "canada_2017"),
        "europe": (europe.prepare, data),
    }
    with tempfile.TemporaryDirectory() as scratch:
        for name in bundled_ids():
            prepare, folder = next(
                (found for prefix, found in sources.items() if name.startswith(prefix)), (None, data)
            )
            if prepare is None:
                _tell(name, _on_the_square(BUNDLED / name, data))
                continue
            path = Path(scratch) / f"{prepare.__module__.rpartition('.')[2]}.h5"
            if not path.exists():
                prepare(folder, path)
            with SampleFile(path) as file:
                share = record_agreement(BUNDLED / name, file, np.arange(len(file)))
            _tell(name, share)
            if name.startswith("europe"):  # the square is of its region too
                _tell(f"{name}, the square", _on_the_square(BUNDLED / name, data, if_less=True))


def _on_the_square(folder: Path, data: Path, if_less: bool = False) -> float | None:
    """Of a model that takes bands which only the real square has."""
    bundle, season = load_bundle(folder), read_site(data / "flanders_2018").season
    channels = as_channels(season, bundle.channels)  # filled
    block = channels.read(season.grid.window().expanded(Predictor(bundle).halo))
    told = "the real square of flanders_2018"
    return record_agreement_on(bundle, block.data, block.valid, season.dates, told, if_less=if_less)


def _tell(name: str, share: float | None) -> None:
    print(f"{name}: {'not measured' if share is None else f'{share:.3%}'}", flush=True)


if __name__ == "__main__":
    main()
