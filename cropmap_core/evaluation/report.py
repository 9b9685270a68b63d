"""The report of an evaluation: one HTML page that needs nothing but itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cropmap_core.evaluation import figures
from cropmap_core.evaluation.bootstrap import DRAWS, Interval
from cropmap_core.evaluation.caveats import WHAT_LABELS_ARE, warnings_of
from cropmap_core.evaluation.document import document
from cropmap_core.evaluation.partitions import Partition
from cropmap_core.evaluation.results import Evaluation, Level, ModelResult
from cropmap_core.reports.pages import render_page

TEMPLATE = Path(__file__).with_name("evaluation.html")
_PROVENANCE = 4000
_WORST_PAIRS = 8
_READABLE_PX_IN = 72
_NEARLY = 0.05
"""So little below the whole season's macro F1 counts as there."""


@dataclass(frozen=True)
class _Pair:
    """Two classes that are taken for each other."""

    truth: str
    predicted: str
    count: int
    share: float
    """Of the true class."""


def render(evaluation: Evaluation) -> str:
    """The report as one HTML page."""
    several, told = len(evaluation.models) > 1, document(evaluation)
    return render_page(
        TEMPLATE,
        title=f"Accuracy of {', '.join(model.bundle.id for model in evaluation.models)}",
        evaluation=evaluation,
        told=told,
        warnings=warnings_of(evaluation),
        what_labels_are=WHAT_LABELS_ARE,
        draws=DRAWS,
        several=several,
        models=[_of_model(model, evaluation) for model in evaluation.models],
        parts=[_of_part(part, evaluation) for part in evaluation.parts],
        by_dates=figures.by_dates(evaluation) if len(evaluation.budgets.dates) > 1 else None,
        early=[(model["id"], _early_enough(model["by_dates"])) for model in told["models"]],
        nearly=_NEARLY,
        range=_range,
        percent=_percent,
        provenance=json.dumps(evaluation.provenance, indent=1, ensure_ascii=False)[:_PROVENANCE],
    )


def _of_model(model: ModelResult, evaluation: Evaluation) -> dict[str, Any]:
    curves = model.training if model.training and len(model.training.get("history") or ()) > 1 else None
    there = np.flatnonzero(model.pixels.scores.support + model.pixels.scores.predicted)
    remarks = {int(at): _remark(int(at), model, evaluation) for at in there}
    return {
        "result": model,
        "classes": there,
        "remarks": remarks if any(remarks.values()) else None,
        "least_width": int(_READABLE_PX_IN * figures.matrix_width_in(len(there))),
        "worst": _worst_pairs(model.pixels, evaluation),
        "f1": figures.f1_of_classes(model.pixels, evaluation),
        "confusion": figures.confusion(model.pixels, evaluation),
        "parcel_confusion": None if model.parcels is None else figures.confusion(model.parcels, evaluation),
        "reliability": figures.reliability_diagram(model.calibration),
        "curves": None if curves is None else figures.learning_curves(curves),
    }


def _of_part(part: Partition, evaluation: Evaluation) -> tuple[str, str, set[str], int]:
    """Its name, its figure, the names of the parts that are shown, and how many are not."""
    size = evaluation.models[0].parts[part.name].size
    shown = {part.names[at] for at in np.argsort(-size, kind="stable")[: figures.MOST_PARTS] if size[at]}
    return part.name, figures.by_part(part, evaluation.models), shown, int((size > 0).sum()) - len(shown)


def _remark(at: int, model: ModelResult, evaluation: Evaluation) -> str:
    if evaluation.names[at] in model.unknown:
        return "not known to the model"
    if not model.pixels.scores.support[at]:
        return "predicted, no such label"
    return "too few groups to judge" if evaluation.unsure[at] else ""


def _worst_pairs(level: Level, evaluation: Evaluation) -> list[_Pair]:
    counts = level.scores.confusion - np.diag(level.scores.right)
    order = np.argsort(-counts, axis=None, kind="stable")[:_WORST_PAIRS]
    rows, columns = np.unravel_index(order, counts.shape)
    return [
        _Pair(
            evaluation.names[row],
            evaluation.names[column],
            int(counts[row, column]),
            float(counts[row, column] / level.scores.support[row]),
        )
        for row, column in zip(rows, columns, strict=True)
        if counts[row, column]
    ]


def _early_enough(rows: Sequence[Mapping[str, Any]]) -> str:
    """The first date from which on macro F1 stays near that of the whole season."""
    f1 = np.array([row["macro_f1"] for row in rows])
    late = np.flatnonzero(f1 < f1[-1] - _NEARLY)
    return str(rows[late[-1] + 1 if len(late) else 0]["last"])


def _range(limits: Interval | None) -> str:
    return "" if limits is None else f"{limits[0]:.3f} to {limits[1]:.3f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
