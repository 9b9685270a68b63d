"""`make demo`: a synthetic season with a known truth, mapped by QGIS from the command line, and a picture of it.

Run by the worker's Python as `python -m scripts.demo`. The season follows the class signatures of the bundled model, so
what is printed checks that scenes, masks, composites, network and parcels work together; it says nothing about the
accuracy on real land.
"""

from __future__ import annotations

import argparse
import calendar
import shutil
import subprocess
import sys
import time
from pathlib import Path

import geopandas
import numpy as np
import rasterio
from numpy.typing import NDArray

from cropmap_core.errors import CropMapError
from cropmap_core.inference.bundles import Bundle, load_bundle
from cropmap_core.learning.synthetic import Season, make_season, year_of
from scripts.overview import Agreement, Outputs, draw_overview

ROOT = Path(__file__).resolve().parent.parent
MODEL = "flanders-2018-hybrid-cnn"
YEAR = 2018


def map_crops(season: Season, bundle: Bundle, model: str, outputs: Outputs) -> None:
    """Runs `cropmap:mapcrops` in the real qgis_process, showing what it says.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    first, last = bundle.months[0], bundle.months[-1]
    command = [
        str(ROOT / "scripts" / "qgis_process"),
        "run",
        "cropmap:mapcrops",
        f"--SCENES={season.scenes}",
        f"--PARCELS={season.parcels}",
        f"--START_DATE={YEAR}-{first:02}-01",
        f"--END_DATE={YEAR}-{last:02}-{calendar.monthrange(YEAR, last)[1]}",
        f"--MODEL={model}",
        f"--OUTPUT_CLASSES={outputs.classes}",
        f"--OUTPUT_CONFIDENCE={outputs.confidence}",
        f"--OUTPUT_PARCELS={outputs.parcels}",
    ]
    print("\n$ " + " \\\n    ".join([" ".join(command[:3]), *command[3:]]).replace(f"{ROOT}/", ""), flush=True)
    subprocess.run(command, check=True)


def compare(season: Season, bundle: Bundle, outputs: Outputs) -> list[Agreement]:
    """Compares the map with the truth, crop by crop, in the bundle's order."""
    truth, mapped = _read(season.truth), _read(outputs.classes)
    parcels = geopandas.read_file(outputs.parcels)
    found = []
    for crop in bundle.classes:
        if crop.name not in season.crops:
            continue
        here = truth == season.crops.index(crop.name) + 1
        own = parcels[parcels.crop_name == crop.name]
        right = int((own.pred_crop == crop.name).sum())
        found.append(Agreement(crop.name, int(here.sum()), int((mapped[here] == crop.value).sum()), len(own), right))
    return found


def report(agreements: list[Agreement], season: Season) -> None:
    """Prints the agreement as a table."""
    total = Agreement(
        "all",
        *(
            sum(getattr(one, name) for one in agreements)
            for name in ("pixels", "pixels_right", "parcels", "parcels_right")
        ),
    )
    print("\nSynthetic check, not an accuracy: agreement with the truth that the season was made from")
    print(f"{'crop':<28}{'pixels':>8}{'right':>8}{'parcels':>10}{'right':>8}")
    for one in [*agreements, total]:
        pixels = f"{one.pixels_right / max(one.pixels, 1):.1%}"
        parcels = f"{one.parcels_right / max(one.parcels, 1):.1%}"
        print(f"{one.crop:<28}{one.pixels:>8}{pixels:>8}{one.parcels:>10}{parcels:>8}")
    print(f"{len(season.times)} scenes; the scene classification misses {season.missed_share:.1%} of the cloud.")


def _read(path: Path) -> NDArray[np.uint8]:
    with rasterio.open(path) as raster:
        return np.asarray(raster.read(1))


def main() -> int:
    """Makes the season, maps it, compares, draws."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--folder", type=Path, default=ROOT / "demo", help="everything is written here")
    options.add_argument("--model", default=MODEL, help="id of a bundled model, or a bundle's folder")
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    started = time.monotonic()
    folder = chosen.folder.resolve()
    outputs = Outputs(folder / "crops.tif", folder / "confidence.tif", folder / "parcels.gpkg")
    picture = folder / "overview.png"
    try:
        bundle = load_bundle(chosen.model)
        shutil.rmtree(folder / "season", ignore_errors=True)
        season = make_season(folder / "season", year_of(bundle), chosen.seed, year=YEAR)
        print(f"A synthetic season of {len(season.times)} scenes: {season.scenes}")
        map_crops(season, bundle, chosen.model, outputs)
        agreements = compare(season, bundle, outputs)
        report(agreements, season)
        draw_overview(picture, season, bundle.classes, outputs, agreements)
    except CropMapError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"demo: qgis_process failed (status {error.returncode}); see above.", file=sys.stderr)
        return 1
    print("\nOutputs")
    for path in (outputs.classes, outputs.confidence, outputs.parcels, picture):
        print(f"  {path}")
    print(f"Done in {time.monotonic() - started:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
