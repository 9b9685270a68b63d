"""The engine against its parts: a map from file to files, against the network alone and reading alone.

Each runs as a process of its own, round by round. Run as `python -m benchmarks.inference_engine`, with `--full` for a
whole tile instead of a strip of one, which takes 17 GB of disk.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
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
        seconds = {"map": _map, "network": _network, "read": _read}[part](name, int(height))
        print(json.dumps({"seconds": seconds, "mib": peak_memory_mib()}))
        return
    height = FULL_TILE if "--full" in sys.argv else STRIP
    tile_file(FULL_TILE, height)
    for name, settings in NETWORKS.items():
        random_bundle(name, "hybrid_cnn", settings)
        _compare(name, height)


def _compare(name: str, height: int) -> None:
    rounds = [{part: _run(part, name, height) for part in ("map", "network", "read")} for _ in range(_ROUNDS)]
    pixels = FULL_TILE * height / 1e6

    def middle(ratio: str) -> float:
        return statistics.median(_RATIOS[ratio](*(each[part]["seconds"] for part in each)) for each in rounds)

    print(f"\n{name} hybrid CNN in {PRECISION}, {FULL_TILE} x {height} pixels of 12 months x {len(BANDS)} bands")
    for part in ("map", "network", "read"):
        seconds = statistics.median(each[part]["seconds"] for each in rounds)
        print(f"  {part:10s} {seconds:7.1f} s  {pixels / seconds:6.2f} Mpx/s")
    for ratio in _RATIOS:
        print(f"  {ratio}: {middle(ratio):.2f}")
    print(f"  the map's process: {max(each['map']['mib'] for each in rounds):.0f} MiB at most", flush=True)


_RATIOS = {
    "map / (network + read)": lambda whole, network, read: whole / (network + read),
    "share of the map's time that is not the network's": lambda whole, network, read: 1 - network / whole,
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


def _map(name: str, height: int) -> float:
    bundle, output = load_bundle(folder() / "models" / name), folder() / "map"
    output.mkdir(exist_ok=True)
    series, paths = _series(height), MapPaths(output / "classes.tif", output / "confidence.tif")
    started = time.perf_counter()
    how = HowToMap(precision=PRECISION, unfinished=Path(output / "classes.tif.unfinished"))
    write_class_map(series, bundle, [_CPU], paths, {}, how).finished.remove()
    return time.perf_counter() - started


def _network(name: str, height: int) -> float:
    """Both stages of every part, of one block that is there, with what lies around paid for."""
    series = _series(height)
    stages = _stages(name, series)
    edge = edge_of_parts(series, stages, stages.lag)
    parts = divide(height, FULL_TILE, edge)
    around, block = Surroundings(parts, stages.lag), series.read(Window(0, 0, edge, edge))
    seconds = 0.0
    for row in range(parts.shape[0]):
        for col in range(parts.shape[1]):
            window = parts.window(row, col)
            cut = type(block)(
                block.data[..., : window.height, : window.width], block.valid[:, : window.height, : window.width]
            )
            started = time.perf_counter()
            images = stages.alone(cut)
            seconds += time.perf_counter() - started
            images = around.add(row, col, images)
            started = time.perf_counter()
            stages.around(images)
            seconds += time.perf_counter() - started
    return seconds


def _read(name: str, height: int) -> float:
    """Every part once."""
    series = _series(height)
    stages = _stages(name, series)
    parts = divide(height, FULL_TILE, edge_of_parts(series, stages, stages.lag))
    started = time.perf_counter()
    for row in range(parts.shape[0]):
        for col in range(parts.shape[1]):
            series.read(parts.window(row, col))
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
