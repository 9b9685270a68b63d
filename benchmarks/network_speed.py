"""How fast each row trains and predicts, on one thread.

Times are those of the processor, not of the clock, so that other work on the machine counts little.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import models
from benchmarks.network_parcels import recipe_of
from benchmarks.network_pixels import STEERED_BY, make_training_set, model_folder
from benchmarks.network_results import Found, Results
from benchmarks.network_rows import ParcelRow, PixelRow
from cropmap_core.inference.bundles import Bundle, load_bundle, save_bundle
from cropmap_core.inference.predictor import Predictor
from cropmap_core.learning.fitting import Watch
from cropmap_core.learning.making import Maker
from cropmap_core.learning.recipes import Recipe, check_architecture, read_settings
from cropmap_core.learning.training import train
from cropmap_core.samples.files import SampleFile
from cropmap_core.scenes.inventory import DEFAULT_BANDS
from models.tree_ensemble import TreeEnsemble
from scripts.bundle_plans.flanders_site import CHANNELS, CLASSES, SEED, read_site

PART = "speed"
THREADS = 1
EDGE = 128
"""Of the block that is predicted, in pixels."""
_BATCH, _BATCHES = 256, 12
_FEW_STEPS, _MORE_STEPS = 2, 8
_ROUNDS, _LONG_S = 3, 5.0


def time_pixel_row(row: PixelRow, data: Path, results: Results) -> Found:
    """Parameters, seconds per epoch of 12,212 series, or to grow trees on them, pixels per second."""

    def work() -> Found:
        torch.set_num_threads(THREADS)
        samples = make_training_set(data, results, [0], STEERED_BY[0])
        seconds = sum(_epoch_seconds(row, architecture, samples) for architecture in row.architectures)
        return {"seconds": seconds, **_inference(load_bundle(model_folder(results, row, 0)))}

    settings = {"architectures": row.architectures, "hyper_parameters": row.hyper_parameters, "combine": row.combine}
    return results.find(PART, row.name, "pixels", settings, work)


def _epoch_seconds(row: PixelRow, architecture: str, samples: Path) -> float:
    """Of the second epoch of a part of the samples, scaled to all; of trees, to grow all of them."""
    settings = check_architecture(architecture, read_settings([row.hyper_parameters]))
    recipe = Recipe(architecture, settings, epochs=2, batch_size=_BATCH, patience=0)
    ends = [time.process_time()]
    with SampleFile(samples) as file:
        training, steering = file.indices("train"), file.indices("validation")
        part = training if recipe.grows_trees else training[:: len(training) // (_BATCHES * _BATCH)]
        watch = Watch(epoch=lambda entry: ends.append(time.process_time()))
        Maker(file, [recipe], (), torch.device("cpu")).make(part, steering[:_BATCH], None, watch)
        return (ends[-1] - ends[-2]) * len(training) / len(part)


def time_parcel_row(row: ParcelRow, data: Path, results: Results) -> Found:
    """Parameters, seconds per 100 steps, pixels per second."""

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

        few, more = _least_seconds(lambda: fit(_FEW_STEPS)), _least_seconds(lambda: fit(_MORE_STEPS))
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
    seconds = _least_seconds(lambda: predictor.of_window(values, valid, days))
    return {"parameters": _parameters(bundle), "pixels_per_s": EDGE**2 / seconds}


def _parameters(bundle: Bundle) -> int:
    """Weights of networks, and all numbers of trees, which are buffers."""
    network = bundle.network()
    trees = [module for module in network.modules() if isinstance(module, TreeEnsemble)]
    return sum(each.numel() for each in network.parameters()) + sum(
        buffer.numel() for tree in trees for buffer in tree.buffers()
    )


def _least_seconds(work: Callable[[], object]) -> float:
    """The shortest of some runs, of long ones the first: what else the machine does only ever adds."""
    taken: list[float] = []
    while len(taken) < _ROUNDS and sum(taken) < _LONG_S:
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return min(taken)
