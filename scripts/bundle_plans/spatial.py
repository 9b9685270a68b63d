"""Spatial networks trained on landscapes: first on the pixel series alone, then on landscapes made of them.

A network of some folds' landscapes is judged on landscapes of the others, beside the models by pixel; the one that goes
into the bundle learns from all. What was made and trained is kept in a folder, and a training that was broken off goes
on with the epoch that it was at. Where the recipes say so, the models by pixel of the same folds teach the network.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax

import models
from cropmap_core.io.outputs import write_text
from cropmap_core.learning.bundling import write_bundle
from cropmap_core.learning.calibration import find_temperature
from cropmap_core.learning.feeding import NO_TARGET, Feed, Indices
from cropmap_core.learning.fitting import Fitted, Fitting, Watch
from cropmap_core.learning.made import CrossValidation, Made, Member
from cropmap_core.learning.recipes import Recipe
from cropmap_core.learning.scores import Scores
from cropmap_core.samples.files import SampleFile
from models.network import Network
from scripts.bundle_plans.cloud_shapes import read_cloud_shapes
from scripts.bundle_plans.cross_validation import Plan, identities
from scripts.bundle_plans.landscape_scores import (
    PARCELS,
    PIXELS,
    Floats,
    PixelModels,
    best_filter,
    filters,
    from_array,
    judge_landscapes,
    tell_logits,
    tell_series,
)
from scripts.bundle_plans.landscape_sets import write_landscapes
from scripts.bundle_plans.landscapes import LandscapeSettings
from scripts.bundle_plans.series import Tasks, prepare_once

_CPU = torch.device("cpu")
_CALIBRATED_BY = 200_000  # pixels
SAMPLES, LANDSCAPES, SCORES = "samples.h5", "landscapes.h5", "scores.json"
REAL, REAL_MAPS = "real.h5", "real-maps.npz"


@dataclass(frozen=True)
class SpatialPlan:
    """A bundle of a spatial network."""

    id: str
    title: str
    recipe: Recipe
    """Of its training on landscapes."""
    landscapes: LandscapeSettings
    held_out: tuple[tuple[int, ...], ...]
    """Folds that are held out together, from a network of all others."""
    by_pixel: Plan
    """The yardstick: what is smoothed as far as the network can see."""
    tasks: Callable[[SampleFile], Tasks]
    """What is judged of single series, each shown alone."""
    landscapes_a_fold: int = 200
    """On average: more of folds with more series, by the square root."""
    judged_a_fold: int = 80
    """Landscapes of each held-out fold that are judged."""
    smoothed_by: int = 40
    """Landscapes of each other fold that the filter is chosen on; where there is no other, of those not judged."""
    alone: int = 9
    """Edge of the patch that a series alone fills."""
    seed: int = 0
    series: Recipe | None = None
    """Of a training on pixel series before that; the same architecture and hyper-parameters."""
    nested: bool = True
    """Of an auto-context network: what teaches it for a held-out fold is told by models by pixel that have not seen
    that fold either, which takes as many trainings again; else by those that have."""
    prepare_real: Callable[[Path, Path], None] | None = None
    """Writes a real patch with the fold that holds it out, of any edge; it is mapped and judged too."""


class SpatialTraining:
    """The landscapes of a plan and the networks trained on them.

    Args:
        plan: The bundle.
        data: The folder of the shared data.
        work: For what is made on the way; the pixel series are those of the plan by pixel.
        prepare: Writes the pixel series, where the plan by pixel has not.

    Raises:
        ValueError: Landscapes that are there may be made of other series.
    """

    def __init__(self, plan: SpatialPlan, data: Path, work: Path, prepare: Callable[[Path, Path], None]) -> None:
        self._plan = plan
        self.folder = work / plan.id
        self._by_pixel = work / plan.by_pixel.id
        prepare_once(prepare, data, self._by_pixel / SAMPLES)
        self.series = SampleFile(self._by_pixel / SAMPLES)
        self.folds = tuple(int(fold) for fold in np.unique(self.series.column("fold")) if fold >= 0)
        path = self.folder / f"{mark(asdict(plan.landscapes), plan.landscapes_a_fold, plan.seed)}-{LANDSCAPES}"
        if not path.exists():
            started = time.perf_counter()
            counts = self._counts()
            write_landscapes(self.series, path, counts, plan.landscapes, read_cloud_shapes(data), plan.seed)
            self.say(f"{sum(counts.values())} landscapes, {time.perf_counter() - started:.0f} s")
        elif path.stat().st_mtime < (self._by_pixel / SAMPLES).stat().st_mtime:
            raise ValueError(f"{path} is older than {self._by_pixel / SAMPLES}: remove the folder {self.folder}.")
        self.landscapes = SampleFile(path)
        self._real = None
        if plan.prepare_real is not None:
            if not (self.folder / REAL).exists():
                plan.prepare_real(data, self.folder / REAL)
            self._real = SampleFile(self.folder / REAL)
        self._fold = self.landscapes.column("fold")

    def say(self, text: str) -> None:
        """Tells how far it has come."""
        print(f"{self._plan.id}: {text}", flush=True)

    @property
    def real(self) -> SampleFile:
        """The real patch.

        Raises:
            ValueError: The plan has none.
        """
        if self._real is None:
            raise ValueError(f"{self._plan.id} has no real patch")
        return self._real

    def of_folds(self, folds: Sequence[int], at_most: int | None = None) -> Indices:
        """Landscapes of some folds, ascending; of each so many at most, from all of its sources."""
        parts = []
        for fold in folds:
            here = np.flatnonzero(self._fold == fold)
            count = len(here) if at_most is None else min(at_most, len(here))
            parts.append(here[np.linspace(0, len(here) - 1, count).astype(np.int64)])
        return np.sort(np.concatenate(parts))

    def fit(self, folds: Sequence[int], asked: Indices) -> tuple[Feed, Fitted, Indices, NDArray[np.int64]]:
        """Trains a network on some folds, or takes the one that is there, and asks it for some landscapes."""
        plan = self._plan
        recipes = [each for each in (plan.series, plan.recipe) if each is not None]
        taught = any(each.teaching for each in recipes)
        if taught:
            recipes += self._teachers
        settings = mark(identities(recipes), plan.by_pixel.others, self.landscapes.path.name)
        folder = self.folder / f"{settings}-folds{''.join(map(str, folds))}"
        by_series = self._by_series()
        shown = by_series.labelled(np.flatnonzero(np.isin(self.series.column("fold"), folds)))
        by_series.normalise_by(shown[0])
        torch.manual_seed(plan.recipe.seed)
        sizes = {"channels": len(by_series.channels), "classes": len(by_series.classes)}
        network = models.build(plan.recipe.architecture, **{**plan.recipe.hyper_parameters, **sizes})
        teacher = self._teacher(folds, by_series) if taught else None
        started = time.perf_counter()
        watch = Watch(
            epoch=lambda entry: self.say(
                f"epoch {entry['epoch']}, loss {entry['train_loss']:.3f}, {entry['seconds']:.0f} s"
            )
        )
        if plan.series is not None:
            Fitting(network, by_series, shown, shown[0][:1], plan.series, _CPU, folder / "series", watch, teacher).run()
        feed = Feed(self.landscapes, by_series.channels, by_series.classes, by_pixel=False)
        feed.mean, feed.std = by_series.mean, by_series.std
        training = feed.labelled(self.of_folds(folds))
        fitted = Fitting(network, feed, training, asked, plan.recipe, _CPU, folder / "landscapes", watch, teacher).run()
        self.say(f"trained on folds {', '.join(map(str, folds))} in {time.perf_counter() - started:.0f} s")
        return feed, fitted, training[0], training[1].sum(axis=0)

    @property
    def _teachers(self) -> list[Recipe]:
        """The members of the bundle by pixel."""
        return self._plan.by_pixel.members(self._plan.by_pixel.bundled)

    def _teacher(self, folds: Sequence[int], taught: Feed) -> Network:
        """The models by pixel that have seen the same folds and no others, and scale channels as who is taught."""
        plan = self._plan
        found = PixelModels(self.series, plan.by_pixel, self._by_pixel)
        network, mean, std = found.teacher(self._teachers, [fold for fold in self.folds if fold not in folds])
        if not (np.allclose(mean, taught.mean) and np.allclose(std, taught.std)):
            raise ValueError(f"models of {plan.by_pixel.id} were trained on other samples than {plan.id} is")
        return network

    def judge(self) -> tuple[float, Scores, tuple[Scores, ...]]:
        """Tells and writes the scores of what is held out, by network and by pixel.

        Returns:
            The temperature that is best for held-out landscapes, the scores of their pixels, and those of each fold.
        """
        plan = self._plan
        folds = tuple(fold for group in plan.held_out for fold in group)
        judged = self.of_folds(folds, plan.judged_a_fold)
        logits, alone, reach = self._held_out(judged)
        told: dict[str, Any] = {"landscapes": {plan.id: self._scores(judged, softmax(logits, axis=1))}, "series": {}}
        told["landscapes"].update(self._told_by_pixel(judged, self._others(folds, judged), reach))
        told["series"] = self._judge_series(folds, alone)
        kept = (plan.id, *(name.rpartition(",")[0] for name in told["landscapes"]), *told["landscapes"])
        told["real"] = {name: each for name, each in self._judge_real(reach).items() if name in kept}
        told["held_out"] = plan.held_out
        write_text(self.folder / SCORES, json.dumps(told, indent=2) + "\n")
        _print(told)
        target = self._target(judged)
        looked_at = np.moveaxis(logits, 1, -1)[target != NO_TARGET]
        few = np.random.default_rng(0).permutation(len(looked_at))[:_CALIBRATED_BY]
        temperature = find_temperature(looked_at[few], target[target != NO_TARGET][few])
        by_fold = tuple(
            judge_landscapes(self.landscapes, judged[self._fold[judged] == fold], from_array(judged, logits))[PIXELS]
            for fold in folds
        )
        return temperature, judge_landscapes(self.landscapes, judged, from_array(judged, logits))[PIXELS], by_fold

    def _held_out(self, judged: Indices) -> tuple[Floats, dict[int, Floats], int]:
        """Logits of landscapes, and of all series by the edge that they are shown with, by who has not seen them.

        The last is how far the networks can see, in pixels.
        """
        plan, series_fold = self._plan, self.series.column("fold")
        size, number = self.landscapes.layout.size, len(self.landscapes.classes)
        logits = np.empty((len(judged), number, size, size), np.float32)
        alone = {edge: np.zeros((len(self.series), number), np.float32) for edge in (1, plan.alone)}
        for group in plan.held_out:
            here = np.isin(self._fold[judged], group)
            feed, fitted, _, _ = self.fit([fold for fold in self.folds if fold not in group], judged[here][:1])
            logits[here] = tell_logits(fitted.network, feed, judged[here])
            by_series = self._by_series()
            by_series.mean, by_series.std = feed.mean, feed.std
            index = np.flatnonzero(np.isin(series_fold, group))
            for edge, found in alone.items():
                found[index] = tell_series(fitted.network, by_series, index, edge)
        return logits, alone, int(fitted.network.receptive_radius)

    def _judge_series(self, folds: Sequence[int], alone: Mapping[int, Floats]) -> dict[str, dict[str, Any]]:
        """Scores of the tasks on series of held-out folds, beside those of the models by pixel that are there."""
        plan = self._plan
        found = PixelModels(self.series, plan.by_pixel, self._by_pixel)
        rows = {f"{plan.id}, series as {edge} x {edge} pixels": logits for edge, logits in alone.items()}
        if found.has_trees():
            rows["xgboost"] = found.calibrated(found.of_trees())
        if seeds := found.there():
            rows[_name(plan.by_pixel, seeds)] = found.ensemble(plan.by_pixel.members(seeds))
        of_folds = np.isin(self.series.column("fold"), folds)
        everywhere = {name: task for name, (task, some) in plan.tasks(self.series).items() if some is None}
        tasks = {name: task for name, task in everywhere.items() if of_folds[task.samples].any()}
        return {
            name: {task_name: found.judge(logits, task, folds) for task_name, task in tasks.items()}
            for name, logits in rows.items()
        }

    def _judge_real(self, reach: int) -> dict[str, dict[str, dict[str, float]]]:
        """Scores of the real patch, mapped by what has not seen it; the probabilities are kept, shape (K, H, W)."""
        if self._real is None:
            return {}
        plan, index = self._plan, np.zeros(1, np.int64)
        group = next(each for each in plan.held_out if int(self._real.column("fold")[0]) in each)
        maps = {plan.id: self._map_real(group)}
        by_pixel = PixelModels(self.series, plan.by_pixel, self._by_pixel)
        if seeds := by_pixel.there():
            maps[_name(plan.by_pixel, seeds)] = by_pixel.tell(self._real, index, seeds)
            for each in filters(reach):
                maps[f"{_name(plan.by_pixel, seeds)}, {each.name}"] = each(maps[_name(plan.by_pixel, seeds)])
        with (self.folder / REAL_MAPS).open("wb") as file:
            np.savez_compressed(file, **{name: said[0].astype(np.float16) for name, said in maps.items()})
        scores = {name: judge_landscapes(self._real, index, from_array(index, said)) for name, said in maps.items()}
        return {
            name: {
                level: {
                    "macro_f1": each.macro_f1,
                    "oa": each.overall_accuracy,
                    "right": int(each.right.sum()),
                    "count": int(each.support.sum()),
                }
                for level, each in levels.items()
            }
            for name, levels in scores.items()
        }

    def _map_real(self, group: Sequence[int]) -> Floats:
        """Probabilities of the real patch, by the network of all folds but some, shape (1, K, H, W)."""
        folds = [fold for fold in self.folds if fold not in group]
        trained_on, fitted, _, _ = self.fit(folds, self.of_folds(group, 1))
        feed = Feed(self.real, trained_on.channels, trained_on.classes, by_pixel=False)
        feed.mean, feed.std = trained_on.mean, trained_on.std
        probabilities: Floats = softmax(tell_logits(fitted.network, feed, np.zeros(1, np.int64)), axis=1)
        return probabilities

    def _others(self, folds: Sequence[int], judged: Indices) -> Indices:
        """Landscapes that are not judged."""
        taught = [fold for fold in self.folds if fold not in folds]
        if taught:
            return self.of_folds(taught, self._plan.smoothed_by)
        return np.setdiff1d(self.of_folds(folds), judged)[: self._plan.smoothed_by * len(folds)]

    def _counts(self) -> dict[int, int]:
        """Landscapes of each fold."""
        fold = self.series.column("fold")
        shares = np.sqrt([(fold == each).sum() for each in self.folds])
        counts = np.rint(shares / shares.mean() * self._plan.landscapes_a_fold).astype(int)
        return {each: int(count) for each, count in zip(self.folds, counts, strict=True)}

    def _by_series(self) -> Feed:
        return Feed(self.series, self.series.layout.bands, self.series.classes, by_pixel=False)

    def make_bundle(self, folder: Path, temperature: float, pooled: Scores, by_fold: tuple[Scores, ...]) -> None:
        """Trains on all folds and writes the bundle."""
        plan = self._plan
        folds = tuple(fold for group in plan.held_out for fold in group)
        feed, fitted, training, counts = self.fit(self.folds, self.of_folds(self.folds[:1], 1))
        not_judged = {"validation_loss": np.nan, "validation_macro_f1": np.nan, "validation_oa": np.nan}
        history = tuple({**entry, **not_judged} for entry in fitted.history)  # it has seen all that there is
        member = Member(
            plan.recipe, fitted.network, temperature, history, plan.recipe.epochs, fitted.ended, pooled, 0.0
        )
        sizes = {"channels": len(feed.channels), "classes": len(feed.classes)}
        made = Made(
            (member,),
            fitted.network.eval(),
            plan.recipe.architecture,
            {**plan.recipe.hyper_parameters, **sizes},
            temperature,
            pooled,
            feed.channels,
            feed.classes,
            tuple(map(float, feed.mean)),
            tuple(map(float, feed.std)),
            training,
            np.empty(0, np.int64),
            counts,
        )
        write_bundle(self.landscapes, made, CrossValidation(folds, by_fold, pooled), folder, plan.title)
        self.say(f"{folder} is written")

    def _told_by_pixel(self, judged: Indices, others: Indices, reach: int) -> dict[str, dict[str, Any]]:
        """Scores of the models by pixel: as they are, and smoothed by what does best on other landscapes."""
        plan = self._plan
        pixel_models = PixelModels(self.series, plan.by_pixel, self._by_pixel)
        seeds = pixel_models.there()
        if not seeds:
            self.say(f"no seed of {plan.by_pixel.id} is trained: judged without it; run its plan, and this one again")
            return {}
        both = np.sort(np.concatenate([judged, others]))
        members = identities(plan.by_pixel.members(seeds))
        told_of = mark(self.landscapes.path.name, both.tolist(), members, plan.by_pixel.others)
        path = self.folder / f"by-pixel-{told_of}.npy"
        if not path.exists():
            started = time.perf_counter()
            part = path.with_suffix(".part.npy")
            np.save(part, pixel_models.tell(self.landscapes, both, seeds))
            part.rename(path)
            self.say(f"{len(both)} landscapes by pixel, {time.perf_counter() - started:.0f} s")
        of_both = from_array(both, np.load(path))
        name = _name(plan.by_pixel, seeds)
        told = {name: self._scores(judged, of_both(judged))}
        for level in (PIXELS, PARCELS):
            found, _ = best_filter(self.landscapes, others, of_both(others), reach, level)
            smooth = found(of_both(judged))
            told[f"{name}, {found.name}, best for {level}"] = self._scores(judged, smooth)
        return told

    def _scores(self, index: Indices, probabilities: Floats) -> dict[str, dict[str, dict[str, float]]]:
        """Of all landscapes and those of each source."""
        source = self.landscapes.column("source")[index]
        found = {}
        for where in ("all", *np.unique(source)):
            here = index if where == "all" else index[source == where]
            scores = judge_landscapes(self.landscapes, here, from_array(index, probabilities))
            found[str(where)] = {
                level: {"macro_f1": each.macro_f1, "oa": each.overall_accuracy, "count": int(each.support.sum())}
                for level, each in scores.items()
            }
        return found

    def _target(self, index: Indices) -> Indices:
        place = np.full(2**15, NO_TARGET)
        place[[each.value for each in self.landscapes.classes]] = np.arange(len(self.landscapes.classes))
        found: Indices = place[self.landscapes.read_labels(index)]
        return found


def run(plan: SpatialPlan, prepare: Callable[[Path, Path], None], how: type[SpatialTraining] = SpatialTraining) -> None:
    """The command line of a plan: makes landscapes, trains, judges, and makes the bundle.

    Args:
        plan: The bundle.
        prepare: Writes the pixel series of the data folder.
        how: What kind of network it is.
    """
    parser = argparse.ArgumentParser(description=plan.title)
    parser.add_argument("data", type=Path, help="folder of the shared data")
    parser.add_argument("work", type=Path, help="folder for what is made on the way")
    parser.add_argument("--bundle", type=Path, help="folder of the bundle, trained on all folds")
    asked = parser.parse_args()
    training = how(plan, asked.data, asked.work, prepare)
    temperature, pooled, by_fold = training.judge()
    if asked.bundle:
        training.make_bundle(asked.bundle, temperature, pooled, by_fold)


def _name(plan: Plan, seeds: Sequence[int]) -> str:
    return f"{plan.id}, {len(seeds)} seed{'s' * (len(seeds) > 1)}"


def _print(told: Mapping[str, Mapping[str, Any]]) -> None:
    for name, places in told["landscapes"].items():
        for place, levels in places.items():
            row = ", ".join(f"{level} {s['macro_f1']:.4f} / {s['oa']:.4f}" for level, s in levels.items())
            print(f"{name:50} {place:12} {row}", flush=True)
    for name, levels in told["real"].items():
        row = ", ".join(f"{level} {s['right']} of {s['count']} ({s['macro_f1']:.4f})" for level, s in levels.items())
        print(f"{name:50} real patch   {row}", flush=True)
    for name, tasks in told["series"].items():
        for task, s in tasks.items():
            print(f"{name:50} {task:12} series {s['macro_f1']:.4f} / {s['oa']:.4f}", flush=True)


def mark(*told: Any) -> str:
    """Eight characters that tell settings apart."""
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:8]
