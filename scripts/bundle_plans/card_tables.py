"""The tables of a model card, Markdown, of the JSON of `evaluatemodel` and of what else was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cropmap_core.inference.bundles import Bundle
from scripts.bundle_plans.costs import FINAL, Cost

DASH = "–"
Document = Mapping[str, Any]


def accuracy_table(models: Sequence[Document]) -> str:
    """All models side by side, with 95 % intervals."""
    rows = []
    for model in models:
        pixels = model["pixels"]
        rows.append(
            [
                f"`{model['id']}`",
                _with_range(pixels["macro"]["f1"], pixels["macro"]["f1_95"]),
                _with_range(pixels["overall_accuracy"], pixels["overall_accuracy_95"]),
                number(pixels["kappa"]),
                number(model["calibration"]["expected_calibration_error"]),
            ]
        )
    return table(["fold models of", "macro F1 (95 %)", "overall accuracy (95 %)", "kappa", "ECE"], rows)


def class_table(evaluation: Document) -> str:
    """Precision, recall and F1 of each class, and the other models' F1."""
    first, *others = evaluation["models"]
    rows = []
    for entry in evaluation["classes"]:
        if not entry["support"]:
            continue
        own = first["pixels"]["classes"][entry["name"]]
        rows.append(
            [
                entry["name"] + ("" if entry["reliable"] else " *"),
                str(own["support"]),
                *(number(own[name]) for name in ("precision", "recall", "f1")),
                *(number(each["pixels"]["classes"][entry["name"]]["f1"]) for each in others),
            ]
        )
    head = ["class", "samples", "precision", "recall", "F1", *(f"F1 `{each['id']}`" for each in others)]
    few = "\n\n\\* in fewer than three groups: not judged reliably."
    return table(head, rows) + (few if any(row[0].endswith(" *") for row in rows) else "")


def classes_table(bundle: Bundle, support: Mapping[str, int], what: str) -> str:
    """Values, names and groups, and how many samples there are.

    Args:
        bundle: The model.
        support: Samples of each class, by name.
        what: They are.
    """
    grouped = any(each.parents for each in bundle.classes)
    rows = [
        [str(each.value), each.name, *([", ".join(each.parents) or DASH] * grouped), str(support.get(each.name, 0))]
        for each in bundle.classes
    ]
    return table(["value", "class", *["group"] * grouped, what], rows)


def confusion_table(model: Document) -> str:
    """Percent of each label."""
    confusion = model["pixels"]["confusion"]
    names, counts = confusion["rows_truth_columns_predicted"], confusion["counts"]
    rows = []
    for name, row in zip(names, counts, strict=True):
        total = sum(row)
        if total:
            rows.append([name, *(f"{100 * each / total:.1f}" if each else "" for each in row)])
    return table(["", *names], rows)


def early_table(models: Sequence[Document]) -> str:
    """Macro F1 and overall accuracy by the last composite that is known."""
    rows = [
        [
            first["last"][5:],
            *(_scores(model["by_dates"][at]) for model in models),
        ]
        for at, first in enumerate(models[0]["by_dates"])
    ]
    return table(["known up to", *(f"`{model['id']}`, macro F1 / OA" for model in models)], rows)


def task_table(scores: Document) -> str:
    """Scores of a plan's own tasks."""
    rows = [
        [name, row, number(found["macro_f1"]), number(found["oa"]), number(found["ece"]), str(int(found["samples"]))]
        for name, by_row in scores["tasks"].items()
        for row, found in by_row.items()
        if isinstance(found, Mapping)
    ]
    return table(["task", "model", "macro F1", "overall accuracy", "ECE", "samples"], rows)


def landscape_table(told: Document) -> str:
    """Scores on held-out landscapes, by pixel and by parcel."""
    rows = [
        [name, place, *(f"{number(found['macro_f1'])} / {number(found['oa'])}" for found in levels.values())]
        for name, places in told.items()
        for place, levels in places.items()
    ]
    levels = next(iter(next(iter(told.values())).values()))
    return table(["model", "landscapes", *(f"{level}, macro F1 / OA" for level in levels)], rows)


def series_table(told: Document) -> str:
    """Scores on held-out single series, by task."""
    rows = [
        [task, name, number(found["macro_f1"]), number(found["oa"]), number(found["ece"]), str(int(found["samples"]))]
        for name, tasks in told.items()
        for task, found in tasks.items()
    ]
    return table(
        ["task", "model", "macro F1", "overall accuracy", "ECE", "samples"], sorted(rows, key=lambda row: row[0])
    )


def real_table(told: Document) -> str:
    """Scores on a real patch."""
    rows = [
        [name, *(f"{found['right']} of {found['count']} ({number(found['macro_f1'])})" for found in levels.values())]
        for name, levels in told.items()
    ]
    levels = next(iter(told.values()))
    return table(["model", *(f"{level} right (macro F1)" for level in levels)], rows)


def part_table(name: str, models: Sequence[Document]) -> str:
    """Scores by source, season, ..."""
    rows = [
        [part, str(row["pixels"]), *(_scores(model["by"][name][part]) for model in models)]
        for part, row in models[0]["by"][name].items()
    ]
    return table([name, "samples", *(f"`{model['id']}`, macro F1 / OA" for model in models)], rows)


def robustness_table(robustness: Document, models: Sequence[Document]) -> str:
    """Scores on altered input; a dash is what a model refuses."""
    ids = [model["id"] for model in models if any(model["id"] in row for row in robustness["rows"])]
    rows = [[row["name"], *(_scores(row.get(name)) for name in ids)] for row in robustness["rows"]]
    return table(["input", *(f"`{name}`" for name in ids)], rows)


def cost_table(costs: Sequence[Cost]) -> str:
    """Core-hours and energy of the bundle and of what it is judged by."""
    final = [each for each in costs if each.what.endswith(FINAL)]
    trees = [each for each in costs if each.what.startswith("xgboost")]
    told = [each for each in costs if each.what.startswith("landscapes told")]
    nested = [each for each in costs if " without " in each.what and each not in told]
    folds = [each for each in costs if each not in (*final, *trees, *told, *nested)]
    rows = []
    for what, some in (
        ("this bundle", final),
        ("its fold models", folds),
        ("models without two folds, for the bundle that looks around", nested),
        ("landscapes told by the models by pixel", told),
        ("fold models of XGBoost", trees),
    ):
        hours = sum(each.core_seconds for each in some) / 3600
        if some:
            rows.append([what, str(len(some)), f"{hours:.2f}", f"{sum(each.watt_hours for each in some):.0f}"])
    return table(["trained", "trainings", "core-hours", "Wh"], rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, Markdown."""
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def number(value: float | None) -> str:
    """Three decimals, or a dash."""
    return DASH if value is None else f"{value:.3f}"


def _with_range(value: float | None, limits: Sequence[float] | None) -> str:
    return number(value) + (f" ({limits[0]:.3f}-{limits[1]:.3f})" if limits else "")


def _scores(found: Document | None) -> str:
    return DASH if not found else f"{number(found['macro_f1'])} / {number(found['overall_accuracy'])}"
