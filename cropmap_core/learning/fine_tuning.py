"""Going on from a trained model: its network, channels and scaling, with classes that may be others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

import models
from cropmap_core.classes import CropClass
from cropmap_core.errors import JobError
from cropmap_core.inference.bundles import Bundle
from cropmap_core.learning.recipes import HIERARCHICAL, NOT_TRAINED_BY_STEPS, Recipe
from models.hierarchical import Hierarchical
from models.network import Network


def take_over(network: Network, classes: Sequence[CropClass], base: Bundle) -> None:
    """Starts a network from a trained one; outputs of classes that are new stay as they are.

    Args:
        network: Of the base's architecture, with other classes.
        classes: Its classes; those with the name of one of the base take over its output.
        base: The trained model.
    """
    own, theirs = network.state_dict(), base.network().state_dict()
    names = [each.name for each in base.classes]
    pairs = [(row, names.index(each.name)) for row, each in enumerate(classes) if each.name in names]
    outputs = _outputs(base)
    if isinstance(network, Hierarchical):  # in another tree outputs stand for other nodes: its heads begin anew
        same = (
            list(map(tuple, base.hyper_parameters["levels"])) == list(map(tuple, network.sizes.levels))
            and [each.name for each in classes] == names
        )
        outputs, pairs = set() if same else outputs, []
    with torch.no_grad():
        for name, tensor in own.items():
            if name not in outputs:
                tensor.copy_(theirs[name])
                continue
            for row, old in pairs:
                tensor[row] = theirs[name][old]


def _outputs(base: Bundle) -> set[str]:
    """Names of the weights that have a row for each class."""
    if base.architecture == HIERARCHICAL:
        return {name for name in base.network().state_dict() if name.startswith("heads.")}
    shapes = []
    with torch.device("meta"):
        for more in (0, 1):
            settings = {**base.hyper_parameters, "classes": len(base.classes) + more}
            shapes.append({n: t.shape for n, t in models.build(base.architecture, **settings).state_dict().items()})
    return {name for name, shape in shapes[0].items() if shape != shapes[1][name]}


def like_base(base: Bundle, recipe: Recipe) -> Recipe:
    """The recipe with the base's network.

    Raises:
        JobError: The base is no single network, or the recipe has hyper-parameters of its own.
    """
    if base.architecture in NOT_TRAINED_BY_STEPS and base.architecture != HIERARCHICAL:
        raise JobError(f"FROM_MODEL {base.id} cannot be trained further.", "Choose a model that is a single network.")
    if recipe.hyper_parameters:
        raise JobError(
            f"FROM_MODEL {base.id} is a {base.architecture} with its own hyper-parameters.",
            "Leave HYPER_PARAMETERS out.",
        )
    if base.architecture == HIERARCHICAL:  # the tree is that of the classes, which may be others
        inner, levels = base.hyper_parameters, len(base.hyper_parameters["levels"]) + 1
        weights = recipe.level_weights or (1.0,) * levels
        recipe = replace(recipe, level_weights=weights)
        return replace(recipe, architecture=inner["architecture"], hyper_parameters=inner["hyper_parameters"])
    if recipe.level_weights:
        raise JobError(
            f"FROM_MODEL {base.id} has one head, of the crops.", "Leave LEVEL_WEIGHTS out, or begin a model anew."
        )
    settings: Mapping[str, Any] = {k: v for k, v in base.hyper_parameters.items() if k not in ("channels", "classes")}
    return replace(recipe, architecture=base.architecture, hyper_parameters=settings)
