"""The rows that work by pixel: trained and judged on `pixels/us_2021` by the commands that users run.

The data's folds are whole cells of 0.25 degrees. A model learns from three of them, is steered by a fourth (epoch and
temperature), and is judged once on the fifth.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.network_results import Found, Results
from benchmarks.network_rows import PixelRow
from cropmap_core.inference.bundles import load_bundle
from cropmap_core.inference.predictor import Predictor
from cropmap_core.learning.scores import confusion_matrix
from cropmap_core.samples.files import SampleFile
from cropmap_core.samples.npz import write_long_table

PART = "us_2021"
STEERED_BY = {0: 1, 1: 2}
"""Held-out fold to the fold after it."""
RATES_STEERED_BY = 2
"""Fold by which learning rates are chosen."""


def cropmap(*arguments: str | Path) -> None:
    """Runs a command of CropMap in a process of its own.

    Raises:
        CalledProcessError: It failed.
    """
    command = [sys.executable, "-m", "cropmap_core", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        done.check_returncode()


def make_training_set(data: Path, results: Results, held_out: Sequence[int], steering: int) -> Path:
    """The training set of a split, made of both states together if it is not there yet."""
    folder, named = results.folder / PART, [str(fold) for fold in held_out]
    table, samples = folder / "series.parquet", folder / f"without-{'-'.join(named)}.h5"
    if not samples.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_long_table([data / "california.npz", data / "arkansas.npz"], table)
        split = ["--split", "column", "--split-column", "fold", "--test-folds", *named]
        cropmap("buildtrainingset", "--table", table, *split, "--validation-folds", str(steering), "--output", samples)
    return samples


def try_rate(row: PixelRow, rate: float, data: Path, results: Results, epochs: int) -> float:
    """Macro F1 on fold 2 of a row trained on folds 3 and 4 alone: nothing that is ever held out has a say."""
    samples = make_training_set(data, results, list(STEERED_BY), RATES_STEERED_BY)
    output = results.folder / "rates" / f"{row.name}-{rate:g}"
    cropmap(*training_command(replace(row, learning_rate=rate), samples, output, epochs))
    told = json.loads((output / "training.json").read_text(encoding="utf-8"))
    return float(told["validation_macro_f1"])


def training_command(row: PixelRow, samples: Path, output: Path, epochs: int) -> list[str | Path]:
    """`trainmodel` with the defaults of the architecture, for all of the epochs."""
    settings = ["--hyper-parameters", row.hyper_parameters] if row.hyper_parameters else []
    return [
        *("trainmodel", "--samples", samples, "--output", output, "--architecture", *row.architectures, *settings),
        *("--combine", row.combine),
        *("--learning-rate", str(row.learning_rate), "--epochs", str(epochs), "--patience", "0", "--device", "cpu"),
    ]


def judge_row(row: PixelRow, data: Path, results: Results, epochs: int) -> dict[int, Found]:
    """What a row's models find in each held-out fold."""
    return {fold: _judge_fold(row, data, results, epochs, fold) for fold in STEERED_BY}


def _judge_fold(row: PixelRow, data: Path, results: Results, epochs: int, fold: int) -> Found:
    model = model_folder(results, row, fold)

    def work() -> Found:
        samples = make_training_set(data, results, [fold], STEERED_BY[fold])
        cropmap(*training_command(row, samples, model, epochs))
        told = json.loads((model / "training.json").read_text(encoding="utf-8"))
        return {
            "confusion": confuse(model, samples).tolist(),
            "steering_macro_f1": told["validation_macro_f1"],
            "best_epochs": [each["best_epoch"] for each in told["members"] or [told]],
            "seconds": [sum(entry["seconds"] for entry in each["history"]) for each in told["members"] or [told]],
        }

    settings = {
        "architectures": row.architectures,
        "hyper_parameters": row.hyper_parameters,
        "learning_rate": row.learning_rate,
        "combine": row.combine,
        "epochs": epochs,
    }
    return results.find(PART, row.name, f"fold-{fold}", settings, work)


def confuse(model: Path, samples: Path) -> NDArray[np.int64]:
    """Rows of the true, columns of the predicted classes, of the test samples of a training set."""
    with SampleFile(samples) as file:
        batch = file.read(file.indices("test"))
        bundle = load_bundle(model)
        likely = Predictor(bundle).probabilities(batch.data, batch.valid, file.layout.bands)[:, :, 0, 0]
        values = np.array([each.value for each in file.classes])
        known = np.array([each.value for each in bundle.classes])
        observed = np.isfinite(likely).all(axis=1)
        predicted = known[np.nan_to_num(likely).argmax(axis=1)]
        truth = np.searchsorted(values, batch.label[:, 0, 0])
        return confusion_matrix(truth, np.where(observed, np.searchsorted(values, predicted), -1), len(values))


def model_folder(results: Results, row: PixelRow, fold: int) -> Path:
    """Where the model is kept that has not seen a fold."""
    return results.folder / PART / row.name / f"model-{fold}"


def found_rows(rows: Sequence[PixelRow], results: Results) -> dict[str, dict[int, Found]]:
    """What is known of the rows that are done."""
    found = {row.name: {fold: results.take(PART, row.name, f"fold-{fold}") for fold in STEERED_BY} for row in rows}
    return {
        name: {fold: each for fold, each in folds.items() if each is not None}
        for name, folds in found.items()
        if all(folds.values())
    }
