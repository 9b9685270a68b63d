"""How early in the season a model is right: seasons cut off after some dates, as they are for a map made then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cropmap_core.evaluation.judging import Panel
from cropmap_core.evaluation.selection import Selection
from cropmap_core.evaluation.tallies import Tally

MOST = 12
"""Dates at which a season is cut off."""
_PIXELS = 200_000
_SAMPLES = 10_000

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Budgets:
    """What models know after so many dates."""

    dates: tuple[int, ...]
    """How many dates are known, ascending; the last are all."""
    tallies: tuple[Tally, ...]
    """Of each model, by `dates`."""
    samples: int
    """That it is told from."""


def judge_budgets(selection: Selection, panel: Panel, dates: Sequence[int], seed: int, progress: Progress) -> Budgets:
    """Predicts from the first dates of the season alone: later ones count as not observed.

    A pixel that was not observed by then has no class yet, which is an error.

    Args:
        selection: The samples, of which some are drawn where they are many.
        panel: The models.
        dates: How many dates are known, ascending.
        seed: Of what is drawn.
        progress: Called with the share that is done; may raise to stop.
    """
    most = min(_SAMPLES, max(1, _PIXELS // selection.file.layout.size**2))
    drawn = np.sort(np.random.default_rng(seed).permutation(len(selection))[:most])
    tallies = tuple(Tally.empty(len(dates), len(panel.legend.classes)) for _ in panel.predictors)
    done = 0
    for batch, labelled in selection.batches(drawn):
        sample, row, column = labelled.place
        pixels = labelled.some(np.asarray(batch.valid[sample, :, row, column].any(axis=1)))
        for position, known in enumerate(dates):
            progress((done + len(batch) * position / len(dates)) / len(drawn))
            valid = batch.valid.copy()
            valid[:, known:] = False
            part = np.full(len(pixels.truth), position)
            for tally, found in zip(tallies, panel.predict(replace(batch, valid=valid), pixels, known), strict=True):
                predicted = np.where(np.isfinite(found).all(axis=1), found.argmax(axis=1), -1)
                tally.add(part, pixels.truth, predicted)
        done += len(batch)
    return Budgets(tuple(dates), tallies, len(drawn))


def budget_dates(dates: int) -> list[int]:
    """After how many dates a season is cut off: each, or a dozen of them spread evenly, the last one included."""
    return sorted({round(float(each)) for each in np.linspace(1, dates, min(dates, MOST))})
