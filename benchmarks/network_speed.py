"""How fast each row trains and predicts: one run for all of them, at a quiet moment."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import models
from benchmarks.network_parcels import recipe_of
from benchmarks.network_pixels import STEERED_BY, cropmap, make_training_set, training_command
from benchmarks.network_results import Found, Results
from benchmarks.network_rows import ParcelRow, PixelRow
from cropmap_core.inference.bundles import Bundle, load_bundle, save_bundle
from cropmap_core.inference.predictor import Predictor
from cropmap_core.learning.training import train
from cropmap_core.scenes.inventory import DEFAULT_BANDS
from scripts.train_bundles import CHANNELS, CLASSES, SEED, read_site

PART = "speed"
THREADS = 2
EDGE = 128
"""Of the block that is predicted, in pixels."""
_EPOCHS = 3  # the first warms up
_FEW_STEPS, _MORE_STEPS = 2, 12
_ROUNDS = 3


def time_pixel_row(row: PixelRow, data: Path, results: Results) -> Found:
    """Parameters, seconds per epoch on 12,212 series, pixels per second."""

    def work() -> Found:
        samples = make_training_set(data, results, [0], STEERED_BY[0])
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model"
            cropmap(*training_command(row, samples, folder, _EPOCHS))
            told = json.loads((folder / "training.json").read_text(encoding="utf-8"))
            histories = [each["history"] for each in told["members"] or [told]]
            bundle = load_bundle(folder)
            seconds = [min(entry["seconds"] for entry in history[1:] or history) for history in histories]
            return {"seconds": sum(seconds), **_inference(bundle)}

    settings = {"architectures": row.architectures, "hyper_parameters": row.hyper_parameters, "combine": row.combine}
    return results.find(PART, row.name, "pixels", settings, work)


def time_parcel_row(row: ParcelRow, data: Path, results: Results) -> Found:
    """Parameters, seconds per 100 steps of four landscapes, pixels per second."""

    def work() -> Found:
        torch.set_num_threads(THREADS)
        site = read_site(data)
        days = [30.4 * month for month in range(len(site.season.dates))]

        def fit(steps: int) -> None:
            train(
                site.labelled,
                DEFAULT_BANDS,
                CHANNELS,
                days,
                len(CLASSES),
                replace(recipe_of(row), steps=steps),
                SEED,
            )

        few, more = _least_seconds(lambda: fit(_FEW_STEPS), 2), _least_seconds(lambda: fit(_MORE_STEPS), 2)
        sizes = {"channels": len(DEFAULT_BANDS), "classes": len(CLASSES)}
        settings = {**row.hyper_parameters, **sizes}
        with tempfile.TemporaryDirectory() as scratch:
            bundle = Bundle(
                id="speed",
                title="Speed",
                folder=Path(scratch) / "speed",
                architecture=row.architecture,
                hyper_parameters=settings,
                channels=DEFAULT_BANDS,
                mean=(0.2,) * len(DEFAULT_BANDS),
                std=(0.1,) * len(DEFAULT_BANDS),
                classes=tuple(CLASSES.values()),
                first_days=tuple(f"{month:02}-01" for month in range(1, 13)),
                bbox=(3.0, 50.7, 3.1, 50.8),
                stride_pixels=row.stride_pixels,
            )
            bundle = save_bundle(bundle, models.build(row.architecture, **settings), {}, "")
            return {"seconds": (more - few) * 100 / (_MORE_STEPS - _FEW_STEPS), **_inference(bundle)}

    settings = {
        "architecture": row.architecture,
        "hyper_parameters": row.hyper_parameters,
        "stride_pixels": row.stride_pixels,
    }
    return results.find(PART, row.name, "parcels", settings, work)


def _inference(bundle: Bundle) -> Found:
    """Of a block in memory whose every value is there, in float32."""
    torch.set_num_threads(THREADS)
    predictor = Predictor(bundle)
    edge = EDGE + 2 * predictor.halo
    shape = (len(bundle.first_days), len(bundle.channels), edge, edge)
    values = np.random.default_rng(0).uniform(0, 0.5, shape).astype(np.float32)
    valid = np.ones((shape[0], edge, edge), bool)
    days = np.linspace(0, 335, shape[0], dtype=np.float32)
    seconds = _least_seconds(lambda: predictor.of_window(values, valid, days), _ROUNDS)
    network = bundle.network()
    parameters = sum(each.numel() for each in network.parameters())
    kept = sum(each.numel() for each in network.state_dict().values())  # trees are all buffers
    return {"parameters": parameters or kept, "pixels_per_s": EDGE**2 / seconds}


def _least_seconds(work: Callable[[], object], rounds: int) -> float:
    """The shortest of some runs: what else the machine does only ever adds."""
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return min(taken)
