"""Figures of an evaluation, as images that stand in the page itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from cropmap_core.evaluation.partitions import Partition
from cropmap_core.evaluation.results import Evaluation, Level, ModelResult
from cropmap_core.evaluation.tallies import Tally, macro_f1, overall_accuracy
from cropmap_core.learning.scores import Reliability
from cropmap_core.reports.drawing import WIDTH_IN, as_image, date_axis, new_figure, short, styled

_LINES = (("o", "-"), ("s", "--"), ("D", "-."), ("^", ":"), ("v", (0, (5, 1, 1, 1, 1, 1))))
_COLOURS = ("#1f6f8b", "#b3501b", "#4b7d2f", "#7a4fa0", "#444444")
_CELL_IN = 0.3
_BAR_IN = 1.2
_SMALLEST_WRITTEN = 0.005
_MOST_WRITTEN = 20
MOST_PARTS = 30
"""Parts that are shown, those with most pixels."""


@styled
def f1_of_classes(level: Level, evaluation: Evaluation) -> str:
    """F1 of each labelled class with its interval, the best first."""
    there = np.flatnonzero(level.scores.support)
    order = there[np.argsort(-level.scores.f1[there], kind="stable")]
    figure = new_figure(0.3 * len(order) + 0.9)
    axes = figure.add_subplot()
    rows, values = np.arange(len(order)), level.scores.f1[order]
    axes.barh(rows, values, color=[evaluation.colours[at] for at in order], alpha=0.6, edgecolor="#555", linewidth=0.5)
    for row, at in zip(rows, order, strict=True):
        limits = level.f1[at]
        if limits is not None:
            axes.plot(limits, [row, row], color="#222222", linewidth=1.2, marker="|", markersize=7)
    labels = [short(evaluation.names[at]) + (" *" if evaluation.unsure[at] else "") for at in order]
    axes.set(yticks=rows, yticklabels=labels, xlim=(0, 1), xlabel="F1, line: 95 % interval")
    axes.grid(visible=False, axis="y")
    axes.set_ylim(len(order) - 0.5, -0.5)
    return as_image(figure)


@styled
def confusion(level: Level, evaluation: Evaluation) -> str:
    """Confusion matrix, each row as shares of the true class."""
    scores = level.scores
    there = np.flatnonzero(scores.support + scores.predicted)
    counts = scores.confusion[np.ix_(there, there)]
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [short(evaluation.names[at]) for at in there]
    width = matrix_width_in(len(there))
    figure = new_figure(width if len(there) <= _MOST_WRITTEN else width - _BAR_IN, width)
    axes = figure.add_subplot()
    image = axes.imshow(share, vmin=0, vmax=1, cmap="Blues")
    axes.set_xticks(range(len(there)), names, rotation=90)
    axes.set_yticks(range(len(there)), names)
    axes.set(xlabel="predicted", ylabel="truth")
    axes.grid(visible=False)
    if len(there) <= _MOST_WRITTEN:
        for row, column in np.argwhere(share >= _SMALLEST_WRITTEN):
            value = share[row, column]
            axes.text(
                column,
                row,
                f"{100 * value:.0f}",
                ha="center",
                va="center",
                fontsize=7,
                color="w" if value > 0.55 else "k",
            )
    else:
        figure.colorbar(image, ax=axes, shrink=0.6, label="share of the true class")
    return as_image(figure)


@styled
def reliability_diagram(found: Reliability) -> str:
    """Share that is right by confidence, and how many predictions are how confident."""
    figure = new_figure(4.2)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    edges = np.linspace(0, 1, len(found.count) + 1)
    above.plot([0, 1], [0, 1], color="#777777", linestyle="--", linewidth=1, label="as sure as right")
    above.plot(found.mean_confidence, found.accuracy, "o-", color=_COLOURS[0], markersize=4, label="the model")
    above.set(ylabel="share that is right", xlim=(0, 1), ylim=(0, 1.02))
    above.legend(loc="upper left")
    below.bar(edges[:-1], found.count, width=np.diff(edges), align="edge", color=_COLOURS[0], alpha=0.6)
    below.set(xlabel="confidence", ylabel="pixels")
    _few_counts(below)
    return as_image(figure)


@styled
def learning_curves(training: Mapping[str, Any]) -> str:
    """Losses and validation scores by epoch."""
    history = training["history"]
    epochs = [entry["epoch"] for entry in history]
    figure = new_figure(4.4)
    above, below = figure.subplots(2, 1, sharex=True)
    _curve(above, epochs, history, "train_loss", "training", 0)
    _curve(above, epochs, history, "validation_loss", "validation", 1)
    _curve(below, epochs, history, "validation_macro_f1", "macro F1", 0)
    _curve(below, epochs, history, "validation_oa", "overall accuracy", 1)
    best = training.get("best_epoch")
    for axes in (above, below):
        if best is not None:
            axes.axvline(best, color="#777777", linewidth=1, linestyle=":", label=f"best epoch, {best}")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 0.98), ncols=3, fontsize=8)
    above.set(ylabel="loss")
    below.set(xlabel="epoch", ylabel="validation")
    below.xaxis.get_major_locator().set_params(integer=True)
    return as_image(figure)


@styled
def by_dates(evaluation: Evaluation) -> str:
    """Macro F1 and overall accuracy against the last date that is known, of each model."""
    figure = new_figure(4.6 + 0.2 * len(evaluation.models))
    panels = figure.subplots(2, 1, sharex=True)
    days = np.array([evaluation.dates[known - 1] for known in evaluation.budgets.dates], dtype="datetime64[D]")
    for axes, score, label in zip(panels, (macro_f1, overall_accuracy), ("macro F1", "overall accuracy"), strict=True):
        for at, model in enumerate(evaluation.models):
            marker, line = _LINES[at % len(_LINES)]
            colour = _COLOURS[at % len(_COLOURS)]
            axes.plot(
                days,
                score(model.budgets.counts),
                marker=marker,
                linestyle=line,
                color=colour,
                markersize=4,
                label=model.bundle.id,
            )
        axes.set(ylabel=label, ylim=(0, 1.02))
        date_axis(axes)
    panels[1].set(xlabel="composites known up to the one that begins on")
    if len(evaluation.models) > 1:
        panels[1].legend(loc="upper center", bbox_to_anchor=(0.5, -0.3), fontsize=8)
    return as_image(figure)


@styled
def by_part(part: Partition, models: Sequence[ModelResult]) -> str:
    """Overall accuracy in each part, in the parts' order, of each model."""
    tallies: list[Tally] = [model.parts[part.name] for model in models]
    there = np.sort(np.argsort(-tallies[0].size, kind="stable")[:MOST_PARTS])
    there = there[tallies[0].size[there] > 0]
    figure = new_figure(0.3 * len(there) + 1.1 + 0.2 * (len(models) > 1) * len(models))
    axes = figure.add_subplot()
    rows = np.arange(len(there))
    for at, (model, tally) in enumerate(zip(models, tallies, strict=True)):
        marker, _ = _LINES[at % len(_LINES)]
        axes.plot(
            overall_accuracy(tally.counts)[there],
            rows,
            marker,
            color=_COLOURS[at % len(_COLOURS)],
            markersize=6,
            alpha=0.8,
            label=model.bundle.id,
        )
    axes.set(xlim=(0, 1.02), xlabel="overall accuracy", ylabel=part.name, yticks=rows)
    axes.set_yticklabels([short(part.names[at]) for at in there])
    axes.set_ylim(len(there) - 0.5, -0.5)
    if len(models) > 1:
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=8)
    return as_image(figure)


def matrix_width_in(classes: int) -> float:
    """Width of a confusion matrix whose cells can still be read."""
    return max(WIDTH_IN, _CELL_IN * classes + 1.2)


def _curve(
    axes: Axes, epochs: Sequence[int], history: Sequence[Mapping[str, Any]], name: str, label: str, look: int
) -> None:
    values = [np.nan if entry.get(name) is None else float(entry[name]) for entry in history]
    marker, line = _LINES[look]
    axes.plot(epochs, values, marker=marker, linestyle=line, color=_COLOURS[look], markersize=3, label=label)


def _few_counts(axes: Axes) -> None:
    axes.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(3, integer=True))
