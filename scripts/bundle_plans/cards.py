"""Model cards of bundles: prose that was written, and tables that `evaluatemodel` and the trainings have made.

No figure of a card is typed by hand. What is not measured is not in it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cropmap_core.inference.bundle_types import CARD, ITEM, WEIGHTS
from cropmap_core.inference.bundle_types import SIGNATURES as SIGNATURES_JSON
from cropmap_core.inference.bundles import Bundle, load_bundle, read_json
from cropmap_core.io.outputs import write_text
from cropmap_core.learning.bundling import TRAINING
from cropmap_core.learning.describing import describe_architecture
from scripts.bundle_plans.card_pictures import draw_early, draw_reliability, draw_signatures
from scripts.bundle_plans.card_tables import (
    DASH,
    Document,
    accuracy_table,
    class_table,
    classes_table,
    confusion_table,
    cost_table,
    early_table,
    landscape_table,
    part_table,
    real_table,
    robustness_table,
    series_table,
    task_table,
)
from scripts.bundle_plans.costs import WATTS_PER_CORE, Cost
from scripts.bundle_plans.stories import Story

RELIABILITY, EARLY, SIGNATURES = "reliability.png", "season.png", "signatures.png"
_OF_PERIOD = {"dekad": "ten days", "half_month": "half month", "month": "month"}


@dataclass(frozen=True)
class Evidence:
    """What was measured of a bundle."""

    commands: tuple[str, ...]
    """That made what is here."""
    evaluation: Document | None = None
    """The JSON of `evaluatemodel`: the bundle's fold models, and the yardstick's behind them."""
    scores: Document | None = None
    """What a plan tells, `scores.json`: of its tasks, or of landscapes, single series and a real patch."""
    robustness: Document | None = None
    """What `robustness` made."""
    costs: Sequence[Cost] = field(default=())


def finish(folder: Path, story: Story, evidence: Evidence) -> Bundle:
    """Gives a bundle its card, its pictures, and its sources and accuracy in item.json.

    Args:
        folder: The bundle.
        story: The prose.
        evidence: The figures.
    """
    item = read_json(folder / ITEM)
    item["properties"].update(_properties(item["properties"], story, evidence))
    write_text(folder / ITEM, json.dumps(item, indent=2, ensure_ascii=False) + "\n")
    bundle = load_bundle(folder)
    if evidence.evaluation is not None:
        draw_reliability(evidence.evaluation["models"], folder / RELIABILITY)
        draw_early(evidence.evaluation["models"], folder / EARLY)
    draw_signatures(bundle, folder / SIGNATURES)
    write_text(folder / CARD, card(bundle, story, evidence))
    return bundle


def _properties(before: Document, story: Story, evidence: Evidence) -> dict[str, Any]:
    return {
        "description": story.summary,
        "license": "GPL-2.0-or-later",
        "cropmap:training_data": [{"name": each.name, "license": each.license} for each in story.sources],
        "cropmap:accuracy": {**before["cropmap:accuracy"], **_accuracy(evidence)},
    }


def _accuracy(evidence: Evidence) -> dict[str, Any]:
    """What item.json says of it, so that another edition can be compared."""
    if evidence.evaluation is None:
        levels = next(iter((evidence.scores or {}).get("landscapes", {}).values()), {}).get("all")
        if not levels:
            return {}
        pixels = levels["pixels"]
        return {
            "method": "held-out landscapes, by a network that has not seen their folds",
            "task": f"{pixels['count']} pixels of made landscapes{_held_out(evidence.scores or {})}",
            "macro_f1": round(pixels["macro_f1"], 4),
            "overall_accuracy": round(pixels["oa"], 4),
        }
    judged, *others = evidence.evaluation["models"]
    samples = evidence.evaluation["samples"]["samples"]
    return {
        "method": "fold models: each sample by one that has not seen it",
        "task": f"{samples} samples of {len(evidence.evaluation['classes'])} classes",
        **_figures(judged),
        "beside": {each["id"]: _figures(each) for each in others},
    }


def _figures(model: Document) -> dict[str, float]:
    pixels = model["pixels"]
    return {
        "macro_f1": round(pixels["macro"]["f1"], 4),
        "overall_accuracy": round(pixels["overall_accuracy"], 4),
        "expected_calibration_error": round(model["calibration"]["expected_calibration_error"], 4),
    }


def card(bundle: Bundle, story: Story, evidence: Evidence) -> str:
    """The model card, Markdown."""
    commands = "```\n" + "\n".join(evidence.commands) + "\n```"
    parts = [
        f"# {bundle.title}",
        story.summary,
        f"Id `{bundle.id}`; {_network(bundle)}. Made by `make train-bundles`.",
        *_section("What it is for", story.use),
        *_section("What it does not know", _list(story.unknown)),
        *_section("Input", _input(bundle)),
        *_section("Classes and samples", _classes(bundle, evidence.evaluation), story.labels),
        *(
            _of_landscapes(evidence.scores or {}, story, commands)
            if evidence.evaluation is None
            else _of_evaluation(bundle, story, evidence, evidence.evaluation, commands)
        ),
        *_section("Training", _training(bundle), *_costs(evidence.costs)),
        *_section(
            "Signatures",
            "How the training samples of each class run through the season; quartiles of every band stand in "
            "`signatures.json`.",
            f"![NDVI and reflectance of each class through the season]({SIGNATURES})",
        ),
        *(_section("Notes", _list(story.notes)) if story.notes else []),
        *_section(
            "Data and licences",
            _list([f"{each.name}. Licence: {each.license}." for each in story.sources]),
            "These weights: GPL-2.0-or-later, as CropMap.",
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _of_evaluation(bundle: Bundle, story: Story, evidence: Evidence, evaluation: Document, commands: str) -> list[str]:
    """What `evaluatemodel` says of fold models."""
    models = evaluation["models"]
    return [
        *_section(
            "Accuracy",
            "The weights here have seen all samples, so no figure is theirs: they are those of "
            f"{len(models[0]['fold_models'] or [0])} fold models of the same recipe, each judged on the fold that it "
            f"has not seen, all pooled. {story.folds} Temperatures were found on the other folds. {evaluation['note']}",
            accuracy_table(models),
            _intervals(evaluation["intervals"]),
            *_comparisons(evaluation["comparisons"]),
            *([_list(evaluation["warnings"])] if evaluation["warnings"] else []),
            commands,
        ),
        *_tasks(evidence.scores),
        "### By class",
        class_table(evaluation),
        *(["### By source", part_table("source", models)] if "source" in models[0]["by"] else []),
        "### Confusion",
        "Percent of the label; rows are labels, columns what was predicted.",
        confusion_table(models[0]),
        *_section(
            "Confidence",
            "A confidence of 0.9 should be right nine times in ten. " + _errors(models),
            f"![Share that is right by confidence]({RELIABILITY})",
        ),
        *_section(
            "How early in the season", _early_words(bundle), early_table(models), f"![Macro F1 by date]({EARLY})"
        ),
        *_robustness(evidence.robustness, models),
    ]


def _of_landscapes(scores: Document, story: Story, commands: str) -> list[str]:
    """What a plan of landscapes says of networks that have not seen them."""
    parts = [
        "The weights here have seen all landscapes, so no figure is theirs: they are those of networks of the same "
        f"recipe that have not seen the folds that they are judged on{_held_out(scores)}. {story.folds} Beside them "
        "stand models by pixel that have not seen them either, as they are, and smoothed as far as the network can see "
        "by the filter that is best on other landscapes."
    ]
    if scores.get("landscapes"):
        parts += ["### Made landscapes", landscape_table(scores["landscapes"])]
    if scores.get("real"):
        parts += ["### The real patch", real_table(scores["real"])]
    if scores.get("series"):
        parts += ["### Single series", "Each fills a patch alone.", series_table(scores["series"])]
    return _section("Accuracy", *parts, commands)


def _held_out(scores: Document) -> str:
    groups = scores.get("held_out")
    if not groups:
        return ""
    told = "; ".join(", ".join(map(str, group)) for group in groups)
    return f" (folds {told}, each by a network of all others)"


def _classes(bundle: Bundle, evaluation: Document | None) -> str:
    if evaluation is not None:
        support = {entry["name"]: entry["support"] for entry in evaluation["classes"]}
        return classes_table(bundle, support, "samples")
    told = read_json(bundle.folder / SIGNATURES_JSON)
    return classes_table(bundle, {entry["name"]: entry["pixels"] for entry in told["classes"]}, "pixels of signatures")


def _section(title: str, *parts: str) -> list[str]:
    return [f"## {title}", *parts]


def _list(entries: Sequence[str]) -> str:
    return "\n".join(f"- {each}" for each in entries)


def _network(bundle: Bundle) -> str:
    first = bundle.hyper_parameters.get("first")
    of_first = first["hyper_parameters"] if isinstance(first, dict) else {}
    members = bundle.hyper_parameters.get("members", of_first.get("members", ()))
    counted: dict[str, int] = {}
    for each in members:
        counted[each["architecture"]] = counted.get(each["architecture"], 0) + 1
    what = " and ".join(f"{number} x `{name}`" for name, number in counted.items())
    size = (bundle.folder / WEIGHTS).stat().st_size / 1e6
    parameters = (bundle.properties or {})["mlm:total_parameters"]
    of_what = f"{' on' if first else ' of'} {what}" if what else ""
    return f"`{bundle.architecture}`{of_what}, {parameters:,} parameters, {size:.1f} MB"


def _input(bundle: Bundle) -> str:
    accepts = bundle.accepts
    every = _OF_PERIOD.get(bundle.period, bundle.period)
    lines = [
        f"One composite per {every} (`{bundle.period}`) of Sentinel-2 L2A surface reflectance, "
        f"{len(bundle.first_days)} from {bundle.first_days[0]} on, of any year; gaps filled by the reference rule.",
        f"Channels: {', '.join(bundle.channels)}.",
    ]
    if accepts.periods:
        lines.append(f"Longer composites too: {', '.join(f'`{name}`' for name in accepts.periods)}.")
    if accepts.share < 1:
        lines.append(f"A part of the season, if it is {100 * accepts.share:.0f} % or more of it.")
    lines += [f"It can do without {', '.join(some)}." for some in accepts.optional]
    lines.append("Anything else is refused, with what is missing or too much.")
    return _list(lines)


def _intervals(told: Document) -> str:
    group = "cells of 1 km" if told["group"] == "cell" else f"{told['group']}s"
    return f"Intervals are of {told['draws']} draws of {told['groups']} {group}, each with all its samples."


def _comparisons(comparisons: Sequence[Document]) -> list[str]:
    said = []
    for each in comparisons:
        found, limits = each["macro_f1"], each["macro_f1"]["second_minus_first_95"]
        between = f" (95 %: {-limits[1]:+.3f} to {-limits[0]:+.3f})" if limits else ""
        said.append(
            f"`{each['first']}` minus `{each['second']}`: macro F1 {-found['second_minus_first']:+.3f}{between}, "
            f"overall accuracy {-each['overall_accuracy']['second_minus_first']:+.3f}."
        )
    return said


def _tasks(scores: Document | None) -> list[str]:
    if not scores:
        return []
    return [
        "### By task",
        "What is judged together, by members that have not seen the fold: those of one seed (the mean of the seeds' "
        "scores), those that this bundle has, and single networks. Classes that a task does not have count as its "
        "others where it has such. XGBoost is one model of all tasks' samples, as the networks are.",
        task_table(scores),
    ]


def _robustness(robustness: Document | None, models: Sequence[Document]) -> list[str]:
    if not robustness:
        return []
    return _section(
        "Altered input",
        f"The same {robustness['samples']} samples, drawn at random, altered; macro F1 / overall accuracy. "
        f"{DASH} is what a model refuses.",
        robustness_table(robustness, models),
    )


def _costs(costs: Sequence[Cost]) -> list[str]:
    if not costs:
        return []
    return [
        f"Time and energy, of the core-hours that trainings took and an assumed {WATTS_PER_CORE:g} W per busy core "
        "(not measured):",
        cost_table(costs),
    ]


def _errors(models: Sequence[Document]) -> str:
    return (
        "; ".join(
            f"`{model['id']}` is off by {model['calibration']['expected_calibration_error']:.3f} on average (ECE)"
            for model in models
        )
        + "."
    )


def _early_words(bundle: Bundle) -> str:
    if bundle.accepts.share < 1:
        return (
            "Only composites up to a date were given, as for a map made then. It learnt from seasons of which "
            f"{100 * bundle.accepts.share:.0f} % or more were left; with less it has to guess."
        )
    return (
        "Composites after a date were taken away, and the rest of the season filled from what was known, as for a map "
        "made then. It has not learnt from cut seasons."
    )


def _training(bundle: Bundle) -> str:
    told = read_json(bundle.folder / TRAINING) if (bundle.folder / TRAINING).is_file() else {}
    members = told.get("members") or ([told] if "recipe" in told else [])
    recipes: dict[str, dict[str, Any]] = {}
    for each in members:
        recipe = dict(each["recipe"])
        seeds = recipes.setdefault(recipe["architecture"], {**recipe, "seeds": []})["seeds"]
        seeds.append(recipe["seed"])
    lines = [
        f"`{name}`: {told['epochs']} epochs, learning rate {told['learning_rate']:g}, seeds "
        f"{', '.join(map(str, sorted(told['seeds'])))}; all else in `{TRAINING}`."
        for name, told in recipes.items()
    ]
    described = [describe_architecture(name) for name in recipes]
    return "\n\n".join([*described, _list(lines)] if lines else [f"`{bundle.architecture}`."])
