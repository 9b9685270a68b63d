"""What a model's card says of its architecture, and of those of its members."""

from __future__ import annotations

from collections.abc import Iterator

import models
from cropmap_core.learning.made import Made
from cropmap_core.learning.recipes import FEATURES_FROM
from models.descriptions import DESCRIPTIONS

_HYBRID = "hybrid"


def architectures_of(made: Made) -> tuple[str, ...]:
    """Names of all that a model is made of, the whole before its parts, each once."""
    return tuple(dict.fromkeys(_named(made)))


def _named(made: Made) -> Iterator[str]:
    if len(made.members) > 1:
        yield "ensemble"
    for member in made.members:
        recipe = member.recipe
        if recipe.level_weights:
            yield "hierarchical"
        if FEATURES_FROM in recipe.hyper_parameters:
            yield "feature_trees"
        yield recipe.architecture
        if FEATURES_FROM in recipe.hyper_parameters:
            yield str(recipe.hyper_parameters[FEATURES_FROM])
        if recipe.architecture == _HYBRID:
            default = models.ARCHITECTURES[_HYBRID][0].members
            for part in recipe.hyper_parameters.get("members", default):
                yield part if isinstance(part, str) else part["architecture"]


def describe_architectures(made: Made) -> str:
    """A paragraph of Markdown for each of them."""
    return "\n\n".join(map(describe_architecture, architectures_of(made)))


def describe_architecture(name: str) -> str:
    """What an architecture is, what it is good at and what to mind, with its papers, as Markdown."""
    told = DESCRIPTIONS[name]
    points = (told.good_at, *told.mind, *(f"Paper: {reference}." for reference in told.references))
    return "\n".join((f"`{name}`: {told.summary}", *(f"- {point}" for point in points)))
