"""Every architecture by the same measure: trained, judged on what it has not seen, timed, and printed as a table.

    python -m benchmarks.networks pixels     models by pixel, on us_2021, folds 0 and 1 held out
    python -m benchmarks.networks parcels    networks that look around, on flanders_2018, leaving one parcel out
    python -m benchmarks.networks speed      parameters, training and inference, after pixels
    python -m benchmarks.networks rates      learning rates by pixel, on folds that are never held out
    python -m benchmarks.networks table      what is known so far, as Markdown

Results are kept piece by piece: a run that was killed goes on, and only what is not there yet is computed. Threads are
those of OMP_NUM_THREADS.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import network_parcels, network_pixels, network_speed
from benchmarks.network_results import Found, Results, pooled
from benchmarks.network_rows import FOREST, PARCEL_ROWS, PIXEL_ROWS, ParcelRow, PixelRow
from cropmap_core.learning.scores import Scores
from scripts.bundle_plans.flanders_2018 import FOREST_SEEDS
from scripts.bundle_plans.flanders_site import CLASSES, read_site
from scripts.train_bundles import ROOT

EPOCHS = 15
RATES = (0.001, 0.002, 0.005)
NAMES = tuple(dict.fromkeys((FOREST, *(row.name for row in (*PIXEL_ROWS, *PARCEL_ROWS)))))


def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    shared = os.environ.get("CROPMAP_DATA", str(ROOT.parent / "shared" / "data"))
    options.add_argument("what", choices=["pixels", "parcels", "speed", "rates", "table"])
    options.add_argument("--data", type=Path, default=Path(shared), help="folder of the real data")
    options.add_argument("--results", type=Path, default=ROOT / "build" / "networks", help="where results are kept")
    options.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, help="rows instead of all")
    options.add_argument("--epochs", type=int, default=EPOCHS, help="of the rows by pixel")
    options.add_argument("--processes", type=int, default=2, help="of the rows that look around")
    chosen = options.parse_args()
    results = Results(chosen.results.resolve())
    us, flanders = chosen.data / "pixels" / "us_2021", chosen.data / "flanders_2018"
    by_pixel = [row for row in PIXEL_ROWS if row.name in chosen.only]
    around = [row for row in PARCEL_ROWS if row.name in chosen.only]
    if chosen.what == "pixels":
        for row in by_pixel:
            started = time.monotonic()
            scores = _pooled_folds(network_pixels.judge_row(row, us, results, chosen.epochs))
            _say(row.name, scores, started)
    elif chosen.what == "parcels":
        if FOREST in chosen.only:
            network_parcels.judge_forests(flanders, results)
        for looking in around:
            started = time.monotonic()
            pieces = network_parcels.judge_row(looking, flanders, results, chosen.processes)
            _say(looking.name, Scores(network_parcels.confusion_of(pieces)), started)
    elif chosen.what == "rates":
        for row in by_pixel:
            for rate in RATES:
                steered = network_pixels.try_rate(row, rate, us, results, chosen.epochs)
                print(f"{row.name}, learning rate {rate:g}: macro F1 {steered:.3f} on fold 2", flush=True)
    elif chosen.what == "speed":
        for row in by_pixel:
            print(row.name, network_speed.time_pixel_row(row, us, results), flush=True)
        for looking in around:
            print(looking.name, network_speed.time_parcel_row(looking, flanders, results), flush=True)
    else:
        print("\n".join((*pixel_table(by_pixel, results), "", *parcel_table(around, results, flanders))))
    return 0


def pixel_table(rows: Sequence[PixelRow], results: Results) -> Iterator[str]:
    """Rows by pixel, best first."""
    yield "| us_2021 | parameters | processor s per epoch | macro F1 | fold 0 | fold 1 | OA | pixels/s |"
    yield "|---|---|---|---|---|---|---|---|"
    found = network_pixels.found_rows(rows, results)
    for name in sorted(found, key=lambda each: -_pooled_folds(found[each]).macro_f1):
        scores = _pooled_folds(found[name])
        folds = [f"{pooled([each['confusion']]).macro_f1:.3f}" for each in found[name].values()]
        size, seconds, rate = _speed(results.take(network_speed.PART, name, "pixels"))
        yield _line(name, size, seconds, f"{scores.macro_f1:.3f}", *folds, f"{scores.overall_accuracy:.3f}", rate)


def parcel_table(rows: Sequence[ParcelRow], results: Results, data: Path) -> Iterator[str]:
    """Rows that look around, best first."""
    site = read_site(data)
    parcels = network_parcels.judged_parcels(site)
    classes = sorted({site.truth(parcel) for parcel in parcels})
    names = [crop.name for position, crop in enumerate(CLASSES.values()) if position in classes]
    yield f"Held out in turn: the {len(parcels)} parcels of {', '.join(names)}."
    yield ""
    yield (
        "| flanders_2018 | parameters | processor s per 100 steps | steps x landscapes | macro F1, one parcel out | "
        "OA, one parcel out | parcels right | OA on training pixels | pixels/s |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    forests = [network_parcels.forest_row(seed) for seed in FOREST_SEEDS]
    found = network_parcels.found_rows([*forests, *(row.name for row in rows)], parcels, results)
    scores = {name: Scores(network_parcels.confusion_of(pieces)) for name, pieces in found.items()}
    for name in sorted(found, key=lambda each: -scores[each].macro_f1):
        size, seconds, rate = _speed(results.take(network_speed.PART, name, "parcels"))
        right = sum(piece["right"] for piece in found[name])
        learnt = sum(piece["training_accuracy"] for piece in found[name]) / len(found[name])
        measured = f"{scores[name].macro_f1:.3f}", f"{scores[name].overall_accuracy:.3f}"
        yield _line(name, size, seconds, _steps(found[name]), *measured, str(right), f"{learnt:.3f}", rate)


def _speed(timed: Found | None) -> tuple[str, str, str]:
    if timed is None:
        return "-", "-", "-"
    return f"{timed['parameters']:,}", f"{timed['seconds']:.1f}", f"{timed['pixels_per_s']:,.0f}"


def _steps(pieces: Sequence[Found]) -> str:
    """How long the networks of a row were trained, as their results say."""
    settings = [each["settings"] for each in pieces]
    told = {f"{each['steps']} x {each['landscapes']}" for each in settings if "steps" in each}
    return ", ".join(sorted(told)) or "-"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _pooled_folds(found: dict[int, Found]) -> Scores:
    return pooled([each["confusion"] for each in found.values()])


def _say(name: str, scores: Scores, started: float) -> None:
    told: Any = f"macro F1 {scores.macro_f1:.3f}, OA {scores.overall_accuracy:.3f}, {time.monotonic() - started:.0f} s"
    print(f"{name}: {told}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
