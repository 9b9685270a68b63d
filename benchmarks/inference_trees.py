"""A made season of 12 dates and 10 bands classified by boosted trees, file to file, against xgboost's own prediction.

xgboost is given what it likes best: normalised float32 rows that are in memory already. What of our time goes where
follows, step by step, each by itself.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
import xgboost
from affine import Affine
from numpy.typing import NDArray

from benchmarks.paired import compare, run_process
from cropmap_core.classes import CropClass
from cropmap_core.inference.bundles import Bundle, save_bundle
from cropmap_core.inference.classification import write_class_map
from cropmap_core.inference.guards import InputWatch
from cropmap_core.inference.map_layers import MapPaths
from cropmap_core.inference.predictor import Predictor
from cropmap_core.io.grid import Grid, Window
from cropmap_core.learning.signatures import make_signatures
from cropmap_core.learning.trees import assemble, of_xgboost
from cropmap_core.timeseries.files import open_time_series, write_time_series
from cropmap_core.timeseries.indices import as_channels
from cropmap_core.timeseries.series import REFLECTANCE_SCALE, Block

SIZE, PRELOADED, BLOCK = 2048, 512, 512
CLASSES, ROUNDS = 6, 50
BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
DATES = tuple(date(2021, month, 1) for month in range(1, 13))
_FIELD = 24  # pixels
_SAMPLES = 20_000


@dataclass(frozen=True)
class MadeSeason:
    """Fields of several crops that differ from each other, with noise in every pixel; the same for the same window."""

    size: int
    bands: tuple[str, ...] = BANDS
    dates: tuple[date, ...] = DATES
    period: str | None = "month"

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.int16)

    @property
    def grid(self) -> Grid:
        return Grid(rasterio.CRS.from_epsg(32631), Affine(10, 0, 500000, 0, -10, 5600000), self.size, self.size)

    @property
    def span(self) -> tuple[date, date]:
        return date(2021, 1, 1), date(2021, 12, 31)

    def crops(self, window: Window) -> NDArray[np.int64]:
        """Class of each pixel, shape (H, W)."""
        return self.fields(window)[1]

    def read(self, window: Window) -> Block:
        fields, crops = self.fields(window)
        shape = len(self.dates), len(self.bands)
        curves = np.random.default_rng(0).uniform(300, 4500, (*shape, CLASSES)).astype(np.float32)
        own = np.random.default_rng(1).normal(0, 450, (*shape, 1 + fields.max())).astype(np.float32)
        rng = np.random.default_rng([window.row, window.col])
        data = np.empty((*shape, window.height, window.width), np.int16)
        for time_, band in np.ndindex(shape):
            noise = rng.normal(0, 300, fields.shape).astype(np.float32)
            value = 1125 + 0.25 * curves[time_, band][crops] + own[time_, band][fields] + noise
            data[time_, band] = value.clip(1, 12000)
        return Block(data, np.ones((len(self.dates), window.height, window.width), bool))

    def fields(self, window: Window) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Number of the field of each pixel, of a thousand that repeat, and its crop."""
        row, col = np.ogrid[window.row : window.row + window.height, window.col : window.col + window.width]
        fields = (row // _FIELD * 131 + col // _FIELD * 17) % 1009
        return fields, np.random.default_rng(2).integers(CLASSES, size=1009)[fields]


def make_bundle(season: MadeSeason, folder: Path) -> tuple[Bundle, Any]:
    """Boosted trees that know the season but for a tenth of their labels, and the booster that grew them."""
    window = Window(0, 0, PRELOADED, PRELOADED)
    data, crops = season.read(window).data, season.crops(window)
    mean, std = (getattr(data, each)(axis=(0, 2, 3)) / 1e4 for each in ("mean", "std"))
    bundle = Bundle(
        id="made-trees",
        title="Made trees",
        folder=folder,
        architecture="tree_ensemble",
        hyper_parameters={},
        channels=BANDS,
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        classes=tuple(CropClass(value + 1, f"Crop {value}", "#336633") for value in range(CLASSES)),
        first_days=tuple(f"{day:%m-%d}" for day in DATES),
        bbox=(2.9, 50.0, 3.3, 50.8),
    )
    rng = np.random.default_rng(3)
    some = rng.choice(PRELOADED**2, _SAMPLES, replace=False)
    labels = crops.reshape(-1)[some]
    labels = np.where(rng.random(_SAMPLES) < 0.1, rng.integers(CLASSES, size=_SAMPLES), labels)
    settings = {"objective": "multi:softprob", "num_class": CLASSES, "max_depth": 6, "eta": 0.1, "subsample": 0.8}
    settings |= {"colsample_bytree": 0.8, "tree_method": "hist", "nthread": os.cpu_count()}
    booster = xgboost.train(settings, xgboost.DMatrix(_rows(bundle, data)[some], labels), ROUNDS)
    trees, tree_classes, base = of_xgboost(booster)
    network = assemble(trees, CLASSES, len(BANDS), len(DATES), tree_classes, base)
    bundle = Bundle(**{**vars(bundle), "hyper_parameters": asdict(network.sizes)})
    signatures = make_signatures(data * np.float32(1e-4), crops, season.fields(window)[0], bundle)
    return save_bundle(bundle, network, signatures, "# Made trees\n"), booster


def _rows(bundle: Bundle, data: NDArray[np.int16]) -> NDArray[np.float32]:
    reflectance = data * np.float32(REFLECTANCE_SCALE)
    return np.ascontiguousarray(bundle.normalise(reflectance).reshape(len(DATES) * len(BANDS), -1).T)


def main() -> None:
    torch.set_num_threads(os.cpu_count() or 1)
    season = MadeSeason(SIZE)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        bundle, booster = make_bundle(season, folder / "bundle")
        series, classes = folder / "series.tif", folder / "classes.tif"
        write_time_series(season, series, {"command": "fillgaps"})
        preloaded = open_time_series(series).read(Window(0, 0, PRELOADED, PRELOADED)).data
        rows = _rows(bundle, preloaded)
        times = (SIZE // PRELOADED) ** 2
        compare(
            f"Classes of {SIZE} x {SIZE} pixels, {len(DATES)} dates x {len(BANDS)} bands, {ROUNDS * CLASSES} boosted "
            f"trees of {bundle.hyper_parameters['nodes'] / ROUNDS / CLASSES:.0f} questions",
            {
                "write_class_map, file to file": lambda: write_class_map(
                    open_time_series(series),
                    bundle,
                    [torch.device("cpu")],
                    MapPaths(classes, folder / "confidence.tif"),
                    {},
                ),
                "inplace_predict, preloaded": lambda: [booster.inplace_predict(rows) for _ in range(times)],
            },
            SIZE**2 / 1e6,
            "Mpx",
            rounds=3,
        )
        with rasterio.open(classes) as dataset:
            found = dataset.read(1, window=((0, PRELOADED), (0, PRELOADED))).reshape(-1)
        print(f"  same class: {(booster.inplace_predict(rows).argmax(axis=1) + 1 == found).mean():.4%}")
        command = [sys.executable, "-m", "cropmap_core", "classify", "--series", series, "--model", bundle.folder]
        run = run_process([*map(str, command), "--output-classes", str(folder / "process.tif"), "--device", "cpu"])
        print(
            f"  as a process: {run.seconds:.1f} s, {run.processor_seconds:.1f} s of processor, {run.peak_mib:.0f} MiB"
        )
        for name, milliseconds in _steps(series, bundle):
            print(f"  {name:50s} {milliseconds:7.0f} ms/Mpx of processor")


def _steps(path: Path, bundle: Bundle) -> Iterator[tuple[str, float]]:
    """What each step of a map takes by itself, of all cores together."""
    source, predictor, watch = open_time_series(path), Predictor(bundle), InputWatch(bundle)
    watch.expect(source.dates, source.period, BANDS)
    windows = list(source.grid.blocks(BLOCK))[:8]
    megapixels = len(windows) * BLOCK**2 / 1e6
    days = predictor.days(source.dates)

    def timed(work: Callable[[Window], object]) -> float:
        work(windows[0])
        start = time.process_time()
        for window in windows:
            work(window)
        return (time.process_time() - start) * 1e3 / megapixels

    yield "read int16", timed(source.read)
    whole = source.read(windows[0])
    yield "read as float32 channels (as_channels)", timed(as_channels(source, BANDS).read)
    block = as_channels(source, BANDS).read(windows[0])
    for values in (whole.data, block.data):
        yield f"probabilities, {values.dtype}", timed(lambda _, v=values: predictor.of_window(v, block.valid, days))
    probability = predictor.of_window(block.data, block.valid, days)
    yield "largest of them", timed(lambda _: probability.max(dim=0))
    places = probability.argmax(dim=0).numpy().astype(np.int32).reshape(-1)
    here = np.arange(0, len(places), 17)
    values, valid = (each.reshape(*each.shape[:-2], -1) for each in (block.data, block.valid))
    see = partial(watch.see, np.take(values, here, axis=2), np.take(valid, here, axis=1), places[here])
    yield "the test for ood, of every 17th pixel", timed(lambda _: see())


if __name__ == "__main__":
    main()
