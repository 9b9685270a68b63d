"""One legend for a set and the models that are judged by it: classes are the same where their names are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cropmap_core.classes import CropClass
from cropmap_core.errors import IncompatibleModelError
from cropmap_core.inference.bundles import Bundle

_VALUES = 2**15
_SHOWN = 12


@dataclass(frozen=True)
class CommonLegend:
    """The classes of a training set, followed by those that only models know."""

    classes: tuple[CropClass, ...]
    """K of them; their positions are what truth and predictions are told in."""
    of_value: NDArray[np.int16]
    """Position of each label value of the set, -1 for none."""
    of_model: tuple[NDArray[np.int16], ...]
    """For each model the position of each of its outputs."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes."""
        return tuple(each.name for each in self.classes)

    def known_by(self, model: int) -> NDArray[np.bool_]:
        """Which classes a model knows, shape (K,)."""
        known = np.zeros(len(self.classes), bool)
        known[self.of_model[model]] = True
        return known


def common_legend(classes: Sequence[CropClass], bundles: Sequence[Bundle], path: Path) -> CommonLegend:
    """Brings together what a set and models call their classes; capitals and values may differ.

    Args:
        classes: Of the set.
        bundles: The models.
        path: Of the set.

    Raises:
        IncompatibleModelError: A model shares no class with the set.
    """
    together = list(classes)
    place = {_key(each): position for position, each in enumerate(classes)}
    of_model = []
    for bundle in bundles:
        if not any(_key(each) in place for each in bundle.classes):
            raise IncompatibleModelError(
                f"The model {bundle.id} knows no class of {path}: it knows "
                f"{in_words([each.name for each in bundle.classes])}; the set has "
                f"{in_words([each.name for each in classes])}.",
                "Give a model of these classes, or make the training set with a legend that names them as it does.",
            )
        for each in bundle.classes:
            if _key(each) not in place:
                place[_key(each)] = len(together)
                together.append(each)
        of_model.append(np.array([place[_key(each)] for each in bundle.classes], np.int16))
    of_value = np.full(_VALUES, -1, np.int16)
    of_value[[each.value for each in classes]] = [place[_key(each)] for each in classes]
    return CommonLegend(tuple(together), of_value, tuple(of_model))


def in_words(names: Sequence[str]) -> str:
    """Names in a sentence, the first dozen of them."""
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _key(crop: CropClass) -> str:
    return crop.name.strip().casefold()
