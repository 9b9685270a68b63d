"""The hierarchy of crop classes: groups of families of crops, and how sure one is of each.

The probability of a group is the sum of those of its crops, so that what is said at one level never contradicts what
is said at another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cropmap_core.classes import LARGEST_MAPPED, CropClass, value_type
from cropmap_core.errors import JobError

UNDECIDED = "Undecided"
"""What stands where no level is sure."""
_UNDECIDED_COLOR = "#9a9a9a"

Floats = NDArray[np.floating[Any]]
_Number = TypeVar("_Number", bound=np.number[Any])


@dataclass(frozen=True)
class Hierarchy:
    """Crop classes and what they belong to.

    A class with fewer parents than others stands for itself at the levels that it lacks.
    """

    classes: tuple[CropClass, ...]
    levels: tuple[tuple[int, ...], ...]
    """For each level, coarsest first, the number of the node that each class belongs to. The last level is that of the
    classes themselves."""
    names: tuple[tuple[str, ...], ...]
    """For each level its nodes."""

    def at(self, of_classes: NDArray[_Number], level: int) -> NDArray[_Number]:
        """Sums over a level's nodes, shape (N, ...), of what the classes have, shape (K, ...)."""
        nodes = np.zeros((len(self.names[level]), *of_classes.shape[1:]), of_classes.dtype)
        for node, own in zip(self.levels[level], of_classes, strict=True):
            nodes[node] += own
        return nodes

    def stops(self) -> tuple[CropClass, ...]:
        """What stands for a crop that is not sure: groups and families of several classes, and `UNDECIDED` last.

        Their values are the next ones after those of the classes, always in the same order.

        Raises:
            JobError: There are no values left.
        """
        groups = self._groups()
        name = _unlike(UNDECIDED, [each.name for each in (*self.classes, *groups.values())])
        undecided = CropClass(self._free_value(len(groups)), name, _UNDECIDED_COLOR, "No level is sure enough")
        return (*groups.values(), undecided)

    def decide(self, probability: Floats, sure_from: float) -> tuple[NDArray[np.integer[Any]], Floats]:
        """The finest class or group that is sure enough.

        Args:
            probability: Of the classes, calibrated, shape (K, ...).
            sure_from: The least probability that counts as sure; 0 always gives the most probable crop.

        Returns:
            Values of `classes` and `stops`, of `value_type`, and their probability, each of shape (...). Where no level
            is sure it is `UNDECIDED`, with the probability of the most probable node of the coarsest level.

        Raises:
            JobError: There are no values left for groups.
        """
        best = probability.argmax(axis=0)
        last = self.stops()[-1].value if sure_from else max(each.value for each in self.classes)
        kind = np.dtype(value_type(last))
        chosen = np.array([each.value for each in self.classes], kind)[best]
        sure = np.take_along_axis(probability, best[None], axis=0)[0]
        if not sure_from:
            return chosen, sure
        groups = self._groups()
        for level in range(len(self.levels) - 2, -1, -1):
            unsure = sure < sure_from
            nodes = self.at(probability, level)
            best = nodes.argmax(axis=0)
            values = [self._value(groups, self._members(level, node)) for node in range(len(nodes))]
            chosen = np.where(unsure, np.array(values, kind)[best], chosen)
            sure = np.where(unsure, np.take_along_axis(nodes, best[None], axis=0)[0], sure)
        return np.where(sure < sure_from, kind.type(last), chosen), sure

    def meanings(self) -> dict[int, tuple[tuple[int, ...], ...]]:
        """What the values of `classes` and `stops` stand for: the places of their classes.

        `UNDECIDED` may be any node of the coarsest level; all others are one thing only.
        """
        groups = {group.value: (members,) for members, group in self._groups().items()}
        coarsest = tuple(self._members(0, node) for node in range(len(self.names[0])))
        return {**own_meanings(self.classes), **groups, self.stops()[-1].value: coarsest}

    def _groups(self) -> dict[tuple[int, ...], CropClass]:
        """Nodes of several classes, coarsest first, by the positions of these."""
        found: dict[tuple[int, ...], CropClass] = {}
        for level in range(len(self.levels) - 1):
            for node, name in enumerate(self.names[level]):
                members = self._members(level, node)
                if len(members) > 1 and members not in found:  # a family may be all of its group
                    color = _mean_color([self.classes[each].color for each in members])
                    above = tuple(self.names[up][self.levels[up][members[0]]] for up in reversed(range(level)))
                    own = _unlike(name, [each.name for each in (*self.classes, *found.values())])
                    found[members] = CropClass(self._free_value(len(found)), own, color, parents=above)
        return found

    def _free_value(self, number: int) -> int:
        value = max(each.value for each in self.classes) + 1 + number
        if value > LARGEST_MAPPED:
            raise JobError(
                f"{len(self.classes)} classes and their groups have more values than a class raster holds.",
                "Leave SURE_FROM out, or give the classes smaller values.",
            )
        return value

    def _value(self, groups: dict[tuple[int, ...], CropClass], members: tuple[int, ...]) -> int:
        return groups[members].value if members in groups else self.classes[members[0]].value

    def _members(self, level: int, node: int) -> tuple[int, ...]:
        return tuple(place for place, own in enumerate(self.levels[level]) if own == node)


def hierarchy_of(classes: Sequence[CropClass]) -> Hierarchy:
    """The hierarchy that classes stand in by their parents.

    Raises:
        JobError: A group or family has two places.
    """
    depth = 1 + max(len(each.parents) for each in classes)
    levels, names = [], []
    for level in range(depth):
        paths = [_path(each)[: level + 1] for each in classes]
        nodes = list(dict.fromkeys(paths))
        levels.append(tuple(nodes.index(path) for path in paths))
        names.append(tuple(node[-1] for node in nodes))
        twice = sorted({name for name in names[-1] if names[-1].count(name) > 1})
        if twice:
            raise JobError(
                f"{twice[0]} belongs to two groups: {' and '.join(node[0] for node in nodes if node[-1] == twice[0])}.",
                "Give it one, or two names, in the legend.",
            )
    return Hierarchy(tuple(classes), tuple(levels), tuple(names))


def own_meanings(classes: Sequence[CropClass]) -> dict[int, tuple[tuple[int, ...], ...]]:
    """`Hierarchy.meanings` where crops alone are mapped, whatever they belong to."""
    return {each.value: ((place,),) for place, each in enumerate(classes)}


def flat_hierarchy(classes: Sequence[CropClass]) -> Hierarchy:
    """The classes alone, whatever they belong to."""
    return hierarchy_of([replace(each, parents=()) for each in classes])


def _unlike(name: str, taken: Sequence[str]) -> str:
    """A name that no other class has: maps, tables and styles know classes by name too."""
    while name in taken:
        name += " (group)"
    return name


def _path(crop: CropClass) -> tuple[str, ...]:
    """From the group down to the class."""
    return (*crop.parents[::-1], crop.name)


def _mean_color(colors: Sequence[str]) -> str:
    channels = np.array([[int(color[start : start + 2], 16) for start in (1, 3, 5)] for color in colors])
    return "#" + "".join(f"{round(value):02x}" for value in channels.mean(axis=0))
