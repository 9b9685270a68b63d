"""An evaluation as JSON: every number of the report (docs/evaluation.md)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cropmap_core import __version__
from cropmap_core.evaluation.bootstrap import DRAWS, Interval
from cropmap_core.evaluation.caveats import WHAT_LABELS_ARE, warnings_of
from cropmap_core.evaluation.comparing import Comparison, Difference, McNemar
from cropmap_core.evaluation.results import Evaluation, Level, ModelResult
from cropmap_core.evaluation.tallies import Tally, f1_by_class, macro_f1, overall_accuracy
from cropmap_core.learning.scores import Reliability

FORMAT, VERSION = "cropmap-evaluation", 1
_DIGITS = 6

Document = dict[str, Any]


def as_json(evaluation: Evaluation) -> str:
    """All numbers, as text."""
    return json.dumps(_plain(document(evaluation)), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def document(evaluation: Evaluation) -> Document:
    """All numbers; those that are not known are NaN or None."""
    names = evaluation.names
    return {
        "format": FORMAT,
        "version": VERSION,
        "cropmap": __version__,
        "note": WHAT_LABELS_ARE,
        "warnings": warnings_of(evaluation),
        "samples": {
            "file": evaluation.path.name,
            "set": evaluation.which,
            "kind": evaluation.kind,
            "samples": evaluation.samples,
            "pixels": int(evaluation.support.sum()),
            "never_observed_pixels": evaluation.unobserved,
            "period": evaluation.period,
            "dates": [day.isoformat() for day in evaluation.dates],
            "seasons": [day.isoformat() for day in evaluation.seasons],
            "split": evaluation.split,
        },
        "classes": [
            {"name": name, "support": support, "groups": groups, "reliable": not few}
            for name, support, groups, few in zip(
                names, evaluation.support, evaluation.class_groups, evaluation.unsure, strict=True
            )
        ],
        "intervals": {
            "group": evaluation.groups.name,
            "groups": evaluation.drawn_groups,
            "draws": DRAWS,
            "percent": 95,
        },
        "models": [_model(model, evaluation) for model in evaluation.models],
        "comparisons": [_comparison(each, evaluation) for each in evaluation.comparisons],
    }


def _model(model: ModelResult, evaluation: Evaluation) -> Document:
    exposure, training = model.exposure, model.training or {}
    return {
        "id": model.bundle.id,
        "title": model.bundle.title,
        "architecture": model.bundle.architecture,
        "seen": {
            "recorded": exposure.recorded,
            "allowed": evaluation.allow_seen,
            "asked": exposure.asked,
            "trained": exposure.trained,
            "validated": exposure.steered,
            "nearest_training_sample_m": exposure.nearest_m,
        },
        "fold_models": model.folds or None,
        "classes_not_known": model.unknown,
        "classes_without_samples": model.unasked,
        "pixels": _level(model.pixels, evaluation.names),
        "parcels": None if model.parcels is None else _level(model.parcels, evaluation.names),
        "calibration": _calibration(model.calibration),
        "by": {part.name: _parts(model.parts[part.name], part.names) for part in evaluation.parts},
        "by_dates": [
            {"dates": dates, "last": evaluation.dates[dates - 1].isoformat(), **row}
            for dates, row in zip(evaluation.budgets.dates, _rows(model.budgets), strict=True)
        ],
        "by_dates_samples": evaluation.budgets.samples,
        "learning": {name: training.get(name) for name in ("history", "best_epoch", "cross_validation")},
    }


def _level(level: Level, names: Sequence[str]) -> Document:
    scores = level.scores
    return {
        "count": level.count,
        "overall_accuracy": scores.overall_accuracy,
        "overall_accuracy_95": level.overall_accuracy,
        "kappa": scores.kappa,
        "macro": {
            "precision": scores.macro_precision,
            "recall": scores.macro_recall,
            "f1": scores.macro_f1,
            "f1_95": level.macro_f1,
            "iou": scores.mean_iou,
        },
        "weighted": {
            "precision": scores.weighted_precision,
            "recall": scores.weighted_recall,
            "f1": scores.weighted_f1,
        },
        "classes": {
            name: {
                "support": scores.support[at],
                "predicted": scores.predicted[at],
                "precision": scores.precision[at],
                "recall": scores.recall[at],
                "f1": scores.f1[at],
                "f1_95": level.f1[at],
                "iou": scores.iou[at],
            }
            for at, name in enumerate(names)
        },
        "confusion": {"rows_truth_columns_predicted": names, "counts": scores.confusion.tolist()},
    }


def _calibration(found: Reliability) -> Document:
    edges = np.linspace(0, 1, len(found.count) + 1)
    return {
        "expected_calibration_error": found.expected_calibration_error,
        "bins": [
            {"from": low, "to": high, "count": count, "confidence": confidence, "accuracy": accuracy}
            for low, high, count, confidence, accuracy in zip(
                edges[:-1], edges[1:], found.count, found.mean_confidence, found.accuracy, strict=True
            )
        ],
    }


def _parts(tally: Tally, names: Sequence[str]) -> dict[str, Document]:
    return {name: row for name, row in zip(names, _rows(tally), strict=True) if row["pixels"]}


def _rows(tally: Tally) -> list[Document]:
    return [
        {"pixels": pixels, "overall_accuracy": accuracy, "macro_f1": macro, "classes": int(np.isfinite(f1).sum())}
        for pixels, accuracy, macro, f1 in zip(
            tally.size,
            overall_accuracy(tally.counts),
            macro_f1(tally.counts),
            f1_by_class(tally.counts),
            strict=True,
        )
    ]


def _comparison(comparison: Comparison, evaluation: Evaluation) -> Document:
    return {
        "first": evaluation.models[comparison.first].bundle.id,
        "second": evaluation.models[comparison.second].bundle.id,
        "macro_f1": _difference(comparison.macro_f1),
        "overall_accuracy": _difference(comparison.overall_accuracy),
        "mcnemar_pixels": _test(comparison.pixels),
        "mcnemar_parcels": None if comparison.parcels is None else _test(comparison.parcels),
    }


def _difference(found: Difference) -> Document:
    interval: Interval | None = found.interval
    return {"second_minus_first": found.value, "second_minus_first_95": interval, "second_better": found.better}


def _test(test: McNemar) -> Document:
    return {
        "only_first_right": test.only_first,
        "only_second_right": test.only_second,
        "p_value": test.p_value,
        "method": "exact binomial" if test.exact else "chi-squared with continuity correction",
    }


def _plain(value: Any) -> Any:
    """Of JSON's own types, rounded, null for what is no number."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return _rounded(float(value))
    return value


def _rounded(value: float) -> float | None:
    """p-values are small: so many digits that count, not decimals."""
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
