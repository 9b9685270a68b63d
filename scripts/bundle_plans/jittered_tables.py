"""Whether `classifysamples` holds when a table's rows are shuffled and their dates are a few days off.

Run as `python -m scripts.bundle_plans.jittered_tables SAMPLES FOLDER MODELS [--days 5]`; SAMPLES is a training set of
pixels, MODELS the folder of its fold models. In FOLDER two long tables are written for each fold, with a row per sample
and observed composite: one with the dates as they are, in order, and a copy whose dates are up to some days earlier or
later, and whose rows are shuffled. Each is classified by the model that has not seen the fold. Composites have no date
of observation; `--anchor` says where in its period one is taken to lie: on its `first` day, as such tables often say,
where half of the moved dates come to lie in the period before, or in the `middle`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pandas
from numpy.typing import NDArray

from cropmap_core.commands.tables import classifysamples
from cropmap_core.evaluation.exposure import find_exposure
from cropmap_core.evaluation.fold_models import load_models
from cropmap_core.evaluation.legends import common_legend
from cropmap_core.evaluation.selection import select
from cropmap_core.jobs import Job
from cropmap_core.learning.scores import Scores, confusion_matrix
from cropmap_core.samples.files import SampleFile

ANCHORS = ("first", "middle")
MOST_LOST = 0.02
"""Of macro F1."""
_EPOCH = date(1970, 1, 1)


def long_table(file: SampleFile, index: NDArray[np.int64], anchor: str) -> pandas.DataFrame:
    """A row per sample and observed composite, in order.

    Args:
        file: The training set, of pixels.
        index: Which samples.
        anchor: Where in its period a composite lies.

    Returns:
        Columns `sample_id`, `date` and the bands, reflectance x 10000.
    """
    batch = file.read(index)
    days = np.array(file.layout.days)
    within = np.diff(days, append=days[-1] + int(np.median(np.diff(days)))) // 2 if anchor == "middle" else 0
    sample, time = np.nonzero(batch.valid[:, :, 0, 0])
    day = batch.season[sample].astype(np.int64) + (days + within)[time]
    columns = {
        "sample_id": file.column("sample_id")[index][sample],
        "date": day.astype("datetime64[D]").astype("datetime64[s]"),
    }
    values = batch.data[sample, time, :, 0, 0]
    return pandas.DataFrame(columns | {band: values[:, at] for at, band in enumerate(file.layout.bands)})


def jittered(table: pandas.DataFrame, days: int, seed: int) -> pandas.DataFrame:
    """A copy with dates up to so many days earlier or later, and its rows in any order."""
    random = np.random.default_rng(seed)
    moved = table.assign(date=table["date"] + pandas.to_timedelta(random.integers(-days, days + 1, len(table)), "D"))
    return moved.iloc[random.permutation(len(moved))]


def judge(
    file: SampleFile, folder: Path, model: Path, days: int, anchor: str = "middle", seed: int = 0
) -> dict[str, dict[str, float]]:
    """Scores of `classifysamples` on tables as they are and on jittered copies, by models that have not seen them.

    Args:
        file: The training set, of pixels.
        folder: Where the tables go.
        model: The folder of fold models.
        days: By how many days dates are moved at most.
        anchor: Where in its period a composite lies.
        seed: Of dates and order.

    Returns:
        `as_it_is` and `jittered`: `macro_f1`, `overall_accuracy` and the share of `unclassified` samples, which count
        as wrong.
    """
    models = load_models(model)
    legend = common_legend(file.classes, [models.bundle], file.path)
    selection = select(file, "all", legend.of_value, len(legend.classes))
    (exposure,) = find_exposure(selection, [models], lambda fraction: None)
    truth = legend.of_value[file.column("label").reshape(-1)].astype(np.int64)
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for name in ("as_it_is", "jittered"):
        predicted = np.full(len(file), -1)
        for number, bundle in enumerate(models.folds):
            index = selection.index[(exposure.judge == number) & ~exposure.known]
            if not len(index):
                continue
            table = long_table(file, index, anchor)
            if name == "jittered":
                table = jittered(table, days, seed + number)
            path = folder / f"{bundle.id}-{name}.parquet"
            table.to_parquet(path, index=False)
            said = _classified(path, path.with_name(f"{path.stem}-classes.parquet"), bundle.folder)
            position = {each.value: at for each, at in zip(bundle.classes, legend.of_model[0], strict=True)}
            code = said.set_index("sample_id")["pred_code"].reindex(file.column("sample_id")[index])
            predicted[index] = [position.get(int(value), -1) if pandas.notna(value) else -1 for value in code]
        found[name] = _scores(truth[selection.index], predicted[selection.index], len(legend.classes))
    return found


def _classified(table: Path, output: Path, model: Path) -> pandas.DataFrame:
    failed: list[str] = []
    status = Job("0" * 8, lambda event: failed.append(str(event)) if event.get("event") == "error" else None).run(
        lambda job: classifysamples(job, model=str(model), input=table, output=output, device="cpu")
    )
    if status:
        raise RuntimeError(" ".join(failed))
    return pandas.read_parquet(output)


def _scores(truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> dict[str, float]:
    # What has no class is predicted as one more class, which is never true.
    confusion = confusion_matrix(truth, np.where(predicted < 0, classes, predicted), classes + 1)
    scores = Scores(confusion)
    return {
        "macro_f1": float(scores.macro_f1),
        "overall_accuracy": float(scores.overall_accuracy),
        "unclassified": float(np.mean(predicted < 0)),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; fails if more is lost than may be."""
    parser = argparse.ArgumentParser(description="classifysamples on shuffled tables whose dates are off.")
    parser.add_argument("samples", type=Path)
    parser.add_argument("folder", type=Path, help="where the tables go")
    parser.add_argument("models", type=Path, help="folder of fold models")
    parser.add_argument("--days", type=int, default=5)
    parser.add_argument("--anchor", choices=ANCHORS, default="middle")
    asked = parser.parse_args(arguments)
    with SampleFile(asked.samples) as file:
        found = judge(file, asked.folder, asked.models, asked.days, asked.anchor)
    for name, scores in found.items():
        print(f"{name:10} macro F1 {scores['macro_f1']:.4f}, OA {scores['overall_accuracy']:.4f}")
    lost = found["as_it_is"]["macro_f1"] - found["jittered"]["macro_f1"]
    print(f"lost: {100 * lost:.2f} points of macro F1, dates off by up to {asked.days} days from the {asked.anchor}")
    return int(lost >= MOST_LOST)


if __name__ == "__main__":
    raise SystemExit(main())
