"""What has to be known of an evaluation before its numbers are believed."""

from __future__ import annotations

from cropmap_core.evaluation.legends import in_words
from cropmap_core.evaluation.results import Evaluation, ModelResult
from cropmap_core.samples.leakage import NEAR_M

WHAT_LABELS_ARE = (
    "Labels are declarations, surveys or a classified map. Accuracy is agreement with them: their errors count as the "
    "model's, or hide the model's."
)


def warnings_of(evaluation: Evaluation) -> list[str]:
    """What should be said first, the gravest first."""
    said = [text for model in evaluation.models for text in _of_exposure(model)]
    if evaluation.split.get("random"):
        said.append(
            "The split is random: neighbouring samples stand in training and test. What is measured on it is too good "
            "for places that were not sampled."
        )
    unknown = any(model.exposure.seen or not model.exposure.recorded for model in evaluation.models)
    if evaluation.which in ("train", "all") and unknown:
        said.append(
            f"The set {evaluation.which} was judged, which holds the training samples of {evaluation.path.name}."
        )
    if evaluation.which == "validation" and unknown:
        said.append("The validation samples choose the epoch in training: their figures are a little too good.")
    for model in evaluation.models:
        if model.unknown:
            said.append(
                f"{model.bundle.id} does not know {in_words(model.unknown)}: samples of it always count as errors."
            )
        if model.unasked:
            said.append(f"{model.bundle.id} also knows {in_words(model.unasked)}, of which there is no sample.")
    unsure = [name for name, few in zip(evaluation.names, evaluation.unsure, strict=True) if few]
    if unsure:
        said.append(f"In fewer than three {evaluation.groups_in_words}, hence not judged reliably: {in_words(unsure)}.")
    if evaluation.few_groups:
        said.append(
            f"There are only {evaluation.drawn_groups} {evaluation.groups_in_words} to draw from: the confidence "
            "intervals are a rough guess, usually too narrow."
        )
    if evaluation.unobserved:
        said.append(
            f"{evaluation.unobserved} labelled pixels were never observed in the season: they have no class, and are "
            "left out."
        )
    return said


def _of_exposure(model: ModelResult) -> list[str]:
    exposure, name = model.exposure, model.bundle.id
    if not exposure.recorded:
        return [
            f"The bundle of {name} does not say what the model has seen: nobody can tell whether these samples are "
            "among it."
        ]
    said = []
    if model.folds and not exposure.recognised:
        said.append(
            f"All samples are judged by {next(iter(model.folds))}: none of the fold models of {name} recognises any of "
            "them."
        )
    if exposure.seen:
        said.append(
            f"{name} has seen {exposure.seen} of the {exposure.asked} samples (learnt from {exposure.trained}, steered "
            f"by {exposure.steered}): its figures are too good."
        )
    if exposure.nearest_m is not None and exposure.nearest_m < NEAR_M:
        said.append(
            f"The nearest sample that {name} has learnt from is {exposure.nearest_m:.0f} m away: fields of one farm, "
            "one soil and one cloud are hardly independent."
        )
    return said
