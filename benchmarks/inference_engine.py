"""The engine against its parts: a map from file to files, against the network alone and reading alone.

Each runs as a process of its own, in another order each round, so that the page cache favours none. "Network" are both
stages as the engine calls them; what of that is preparing (normalised channels, and where anything was observed) is
done once more apart, for it can be counted either way. Run as `python -m benchmarks.inference_engine`, with `--full`
for a whole tile instead of a strip of one, which takes 17 GB of disk.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.full_tile import FULL_TILE, folder
from benchmarks.made_tile import BANDS, random_bundle, tile_file
from benchmarks.paired import peak_memory_mib
from cropmap_core.inference.bundles import load_bundle
from cropmap_core.inference.classification import HowToMap, write_class_map
from cropmap_core.inference.map_layers import MapPaths
from cropmap_core.inference.part_size import edge_of_parts
from cropmap_core.inference.predictor import Predictor
from cropmap_core.inference.preparing import prepare
from cropmap_core.inference.stages import Stages
from cropmap_core.inference.surroundings import Surroundings, divide
from cropmap_core.io.grid import Window
from cropmap_core.timeseries.files import TimeSeriesFile, open_time_series
from models.hybrid_cnn import PUBLISHED

STRIP = 2048
"""Rows of the part of a tile that is mapped."""
NETWORKS = {"compact": {}, "published": dict(PUBLISHED)}
PRECISION = "bfloat16"
_ROUNDS = 3
_CPU = torch.device("cpu")


def main() -> None:
    """Runs all, or one part in a process of its own."""
    if "--part" in sys.argv:
        part, name, height = sys.argv[sys.argv.index("--part") + 1 :][:3]
        told = {"map": _map, "network": _network, "read": _read}[part](name, int(height))
        print(json.dumps({**told, "mib": peak_memory_mib()}))
        return
    height = FULL_TILE if "--full" in sys.argv else STRIP
    tile_file(FULL_TILE, height)
    for name, settings in NETWORKS.items():
        random_bundle(name, "hybrid_cnn", settings)
        _compare(name, height)


def _compare(name: str, height: int) -> None:
    rounds = []
    for number in range(_ROUNDS):
        first = number % len(_PARTS)
        rounds.append({part: _run(part, name, height) for part in (*_PARTS[first:], *_PARTS[:first])})
    pixels = FULL_TILE * height / 1e6

    def middle(of: Callable[[dict[str, dict[str, float]]], float]) -> float:
        return statistics.median(of(each) for each in rounds)

    print(f"\n{name} hybrid CNN in {PRECISION}, {FULL_TILE} x {height} pixels of 12 months x {len(BANDS)} bands")
    for part in _PARTS:
        seconds = middle(lambda each, part=part: each[part]["seconds"])
        print(f"  {part:10s} {seconds:7.1f} s  {pixels / seconds:6.2f} Mpx/s")
    print(f"  of the network {middle(lambda each: each['network']['preparing']):.1f} s are preparing")
    for ratio, of in _RATIOS.items():
        print(f"  {ratio}: {middle(of):.2f}")
    print(f"  the map's process: {max(each['map']['mib'] for each in rounds):.0f} MiB at most", flush=True)


_PARTS = ("map", "network", "read")
_RATIOS: dict[str, Callable[[dict[str, dict[str, float]]], float]] = {
    "map / (network + read)": lambda each: (
        each["map"]["seconds"] / (each["network"]["seconds"] + each["read"]["seconds"])
    ),
    "share of the engine, preparing being the network's": lambda each: (
        1 - each["network"]["seconds"] / each["map"]["seconds"]
    ),
    "share of the engine, preparing being the engine's": lambda each: (
        1 - (each["network"]["seconds"] - each["network"]["preparing"]) / each["map"]["seconds"]
    ),
}


def _run(part: str, name: str, height: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.inference_engine", "--part", part, name, str(height)]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}  # as the worker has it
    told: dict[str, float] = json.loads(
        subprocess.run(command, check=True, capture_output=True, env=environment).stdout
    )
    return told


def _series(height: int) -> TimeSeriesFile:
    return open_time_series(tile_file(FULL_TILE, height))


def _stages(name: str, series: TimeSeriesFile) -> Stages:
    predictor = Predictor(load_bundle(folder() / "models" / name), precision=torch.bfloat16)
    return Stages(predictor, predictor.days(series.dates), BANDS)


def _map(name: str, height: int) -> dict[str, float]:
    bundle, output = load_bundle(folder() / "models" / name), folder() / "map"
    output.mkdir(exist_ok=True)
    series, paths = _series(height), MapPaths(output / "classes.tif", output / "confidence.tif")
    started = time.perf_counter()
    how = HowToMap(precision=PRECISION, unfinished=Path(output / "classes.tif.unfinished"))
    write_class_map(series, bundle, [_CPU], paths, {}, how).finished.remove()
    return {"seconds": time.perf_counter() - started}


def _network(name: str, height: int) -> dict[str, float]:
    """Both stages of every part, of one block that is there, with what lies around paid for; and preparing, apart."""
    series = _series(height)
    stages = _stages(name, series)
    edge = edge_of_parts(series, stages, stages.lag)
    parts = divide(height, FULL_TILE, edge)
    around, block = Surroundings(parts, stages.lag), series.read(Window(0, 0, edge, edge))
    seconds = preparing = 0.0
    for row in range(parts.shape[0]):
        for col in range(parts.shape[1]):
            window = parts.window(row, col)
            cut = type(block)(
                block.data[..., : window.height, : window.width], block.valid[:, : window.height, : window.width]
            )
            started = time.perf_counter()
            prepare(stages.predictor.bundle, cut.data, cut.valid, BANDS, stages.predictor.precision)
            cut.valid.any(axis=0)
            preparing += time.perf_counter() - started
            started = time.perf_counter()
            images = stages.alone(cut)
            seconds += time.perf_counter() - started
            images = around.add(row, col, images)
            started = time.perf_counter()
            stages.around(images)
            seconds += time.perf_counter() - started
    return {"seconds": seconds, "preparing": preparing}


def _read(name: str, height: int) -> dict[str, float]:
    """Every part once."""
    series = _series(height)
    stages = _stages(name, series)
    parts = divide(height, FULL_TILE, edge_of_parts(series, stages, stages.lag))
    started = time.perf_counter()
    for row in range(parts.shape[0]):
        for col in range(parts.shape[1]):
            series.read(parts.window(row, col))
    return {"seconds": time.perf_counter() - started}


if __name__ == "__main__":
    main()
