"""Cross-validation of an ensemble of networks by pixel, fold by fold and member by member, and its final training.

A member that is to be judged on a fold learns from all other folds for a fixed number of epochs, so that the fold has
no part in it. The temperature that it is calibrated by there is found on the other folds, each told by a member that
had not seen it. What was trained is kept in a folder and not trained again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scipy.special import softmax

import models
from cropmap_core.io.outputs import write_text
from cropmap_core.learning.calibration import find_temperature
from cropmap_core.learning.feeding import Feed, Indices
from cropmap_core.learning.fitting import Entry, Fitting, Watch
from cropmap_core.learning.made import CrossValidation, Made, Member
from cropmap_core.learning.recipes import Recipe
from cropmap_core.learning.scores import Scores, confusion_matrix, expected_calibration_error
from cropmap_core.learning.trees import fit_trees
from cropmap_core.samples.files import SampleFile
from models.ensemble import LEAST_PROBABILITY
from models.network import Network
from models.tree_ensemble import TreeEnsemble, TreeEnsembleParameters
from scripts.bundle_plans.costs import FINAL, measured

Floats = NDArray[np.float32]
XGBOOST_TREES = 300
XGBOOST: Final = "xgboost"
_NOBODY = Watch()
_NOT_JUDGED = {"validation_loss": np.nan, "validation_macro_f1": np.nan, "validation_oa": np.nan}
_CPU = torch.device("cpu")
_AT_ONCE = 2**12  # pixel series


@dataclass(frozen=True)
class Task:
    """Samples that are judged together, and the classes that there are."""

    name: str
    samples: Indices
    """Those that are judged."""
    classes: tuple[int, ...]
    """Positions of the classes that there are, over which the scores are."""
    others: int | None = None
    """Position of the class that any other counts as; None: samples of others are left out, and to be taken for one of
    them is wrong."""


@dataclass(frozen=True)
class Plan:
    """A bundle to be trained."""

    id: str
    title: str
    recipes: tuple[Recipe, ...]
    """Of one seed's members, whose seed is added to that."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Those that are judged."""
    others: float = 0.0
    """Added to the logarithm of the probability of the last class, that of all others, which samples have less of than
    maps do."""
    bundled: tuple[int, ...] = (0, 1)
    """Those whose members the bundle holds: a third seed would win little and take half as long again to map."""

    def members(self, seeds: Sequence[int]) -> list[Recipe]:
        """Those of some seeds, one seed after the other."""
        return [seeded(recipe, seed) for seed in seeds for recipe in self.recipes]

    def adjustment(self, classes: int) -> dict[str, list[float]]:
        """The hyper-parameter of the ensemble that makes others likelier; none if nothing does."""
        return {"adjustment": [0.0] * (classes - 1) + [self.others]} if self.others else {}


class CrossValidated:
    """The members of a plan on every fold.

    Args:
        file: The training set, whose column `fold` says which sample is held out with which.
        plan: The bundle.
        folder: Where logits and weights are kept.
    """

    def __init__(self, file: SampleFile, plan: Plan, folder: Path) -> None:
        self._file, self._plan, self._folder = file, plan, folder
        self._fold = file.column("fold").astype(np.int64)
        self.folds = tuple(int(number) for number in np.unique(self._fold))
        place = {each.value: position for position, each in enumerate(file.classes)}
        self.truth = np.array([place[int(value)] for value in file.column("label").reshape(-1)])

    @property
    def folder(self) -> Path:
        """Where logits, weights and what they cost are kept."""
        return self._folder

    def train(self, seeds: Sequence[int]) -> None:
        """Trains what has not been trained yet, seed by seed."""
        for seed in seeds:
            for fold in self.folds:
                for recipe in self._plan.recipes:
                    self.member(seeded(recipe, seed), fold)
            for fold in self.folds:
                self._trees(fold)

    def there(self) -> tuple[int, ...]:
        """Seeds all of whose members are trained."""
        return tuple(
            seed
            for seed in self._plan.seeds
            if all(self._path(seeded(each, seed), fold).exists() for each in self._plan.recipes for fold in self.folds)
        )

    def logits(self, recipe: Recipe, without: Sequence[int] = ()) -> Floats:
        """Of all samples, each by a member that has not seen its fold nor some others, shape (N, K).

        Samples of the folds that are left out altogether have NaN.
        """
        found = np.full((len(self._file), len(self._file.classes)), np.nan, np.float32)
        for fold in (each for each in self.folds if each not in without):
            with np.load(self._path(recipe, fold, without)) as kept:
                found[kept["index"]] = kept["logits"]
        return found

    def of_trees(self) -> Floats:
        """The same of XGBoost."""
        found = np.empty((len(self._file), len(self._file.classes)), np.float32)
        for fold in self.folds:
            with np.load(self._path_of_trees(fold)) as kept:
                found[kept["index"]] = kept["logits"]
        return found

    def calibrated(self, logits: Floats) -> Floats:
        """Logits of every fold divided by the temperature that is best for the other folds."""
        found = np.empty_like(logits)
        for fold in self.folds:
            here = self._fold == fold
            found[here] = logits[here] / find_temperature(logits[~here], self.truth[~here])
        return found

    def ensemble(self, members: Sequence[Recipe]) -> Floats:
        """Log-probabilities of the calibrated mean of calibrated members, shape (N, K)."""
        return self.calibrated(self.together([softmax(self.calibrated(self.logits(each)), axis=1) for each in members]))

    def together(self, probabilities: Sequence[Floats]) -> Floats:
        """Logits of the ensemble of members that say so, classes along the second axis of each."""
        logits = log_mean(probabilities)
        logits[:, -1] += self._plan.others
        return logits

    def temperatures(self, members: Sequence[Recipe], without: int | None = None) -> tuple[tuple[float, ...], float]:
        """Those of members and of their ensemble, found on all folds, or on all but the one that is judged."""
        known = self._fold != without
        told = [self.logits(member)[known] for member in members]
        each = tuple(find_temperature(logits, self.truth[known]) for logits in told)
        parts = [softmax(logits / temperature, axis=1) for logits, temperature in zip(told, each, strict=True)]
        return each, find_temperature(self.together(parts), self.truth[known])

    def temperature_of_trees(self, without: int) -> float:
        """That of XGBoost, found on all folds but one."""
        known = self._fold != without
        return find_temperature(self.of_trees()[known], self.truth[known])

    def kept(self, recipe: Recipe, fold: int, without: Sequence[int] = ()) -> tuple[Network, Floats, Floats]:
        """A member that has not seen a fold, nor some others, and mean and standard deviation of its channels."""
        weights, mean, std = _scaled(self._path(recipe, fold, without).with_suffix(".safetensors"))
        network = self.build(recipe)
        network.load_state_dict(weights)
        return network.eval(), mean, std

    def kept_trees(self, fold: int) -> tuple[TreeEnsemble, Floats, Floats]:
        """The same of XGBoost, as a network."""
        path = self._path_of_trees(fold).with_suffix(".safetensors")
        with safe_open(path, framework="pt") as told:
            sizes = json.loads(told.metadata()["sizes"])
        weights, mean, std = _scaled(path)
        network = TreeEnsemble(TreeEnsembleParameters(**sizes))
        network.load_state_dict(weights)
        return network, mean, std

    def final(self, recipe: Recipe) -> tuple[Network, tuple[Entry, ...], str]:
        """A member that has learnt from all folds, its history, and why its training ended; trained only once."""
        path = self._folder / f"{self._stem(recipe)}-all.safetensors"
        if not path.exists():
            everything = np.ones(len(self._file), bool)
            started = time.perf_counter()
            with measured(self._folder, f"{recipe.architecture}, seed {recipe.seed}, {FINAL}"):
                _, trained = fit_member(self._file, recipe, everything, self._fold == self.folds[0])
            # It has seen all that there is: what it says of a fold is no judgement.
            told = {"history": [_without_judgement(entry) for entry in trained.history], "ended": trained.ended}
            part = path.with_suffix(".part")
            save_file(trained.network.state_dict(), part, {"training": json.dumps(told)})
            part.rename(path)
            print(f"{self._plan.id}: final {recipe.architecture} {time.perf_counter() - started:.0f} s", flush=True)
        with safe_open(path, framework="pt") as kept:
            told = json.loads(kept.metadata()["training"])
        network = self.build(recipe)
        network.load_state_dict(load_file(path))
        history = tuple({**_NOT_JUDGED, **entry} for entry in told["history"])
        return network.eval(), history, str(told["ended"])

    def teacher(self, members: Sequence[Recipe], lacking: Sequence[int]) -> tuple[Network, Floats, Floats]:
        """The ensemble of members that have not seen some folds, if any, and mean and deviation of its channels.

        Its members are not calibrated: samples of folds that are held out would have a part in that. Of all folds it is
        taken for granted that the members were trained on the samples that the file holds.
        """
        if lacking:
            for recipe in members:
                self.member(recipe, lacking[0], lacking[1:])
            kept = [self.kept(recipe, lacking[0], lacking[1:]) for recipe in members]
            networks, (_, mean, std) = [network for network, _, _ in kept], kept[0]
        else:
            networks = [self.final(recipe)[0] for recipe in members]
            feed = Feed(self._file, self._file.layout.bands, self._file.classes, by_pixel=True)
            feed.normalise_by(np.arange(len(self._file)))
            mean, std = feed.mean, feed.std
        made_of = [
            {"architecture": each.architecture, "hyper_parameters": each.hyper_parameters, "temperature": 1.0}
            for each in members
        ]
        sizes = {"channels": len(self._file.layout.bands), "classes": len(self._file.classes)}
        settings = {"members": made_of, **sizes, **self._plan.adjustment(len(self._file.classes))}
        return put_together(networks, settings), mean, std

    def build(self, recipe: Recipe) -> Network:
        """The untrained network of a member."""
        sizes = {"channels": len(self._file.layout.bands), "classes": len(self._file.classes)}
        return models.build(recipe.architecture, **{**recipe.hyper_parameters, **sizes})

    def has_trees(self) -> bool:
        """Whether XGBoost is trained on every fold."""
        return all(self._path_of_trees(fold).exists() for fold in self.folds)

    def held_out(self, fold: int) -> NDArray[np.bool_]:
        """Which samples are of a fold, shape (N,)."""
        here: NDArray[np.bool_] = self._fold == fold
        return here

    def judge(self, logits: Floats, task: Task, folds: Sequence[int] | None = None) -> dict[str, float]:
        """Macro F1, overall accuracy and calibration error of a task, pooled over folds."""
        chosen = task.samples
        if folds is not None:
            chosen = chosen[np.isin(self._fold[chosen], folds)]
        if task.others is None:
            chosen = chosen[np.isin(self.truth[chosen], task.classes)]
        probabilities = softmax(logits[chosen].astype(np.float64), axis=1)
        number = len(task.classes) + (task.others is None)
        elsewhere = number - 1 if task.others is None else task.classes.index(task.others)
        places = np.array([task.classes.index(k) if k in task.classes else elsewhere for k in range(len(logits[0]))])
        # The class of a map is the likeliest one, before those that count as others are added up.
        predicted, truth = places[probabilities.argmax(axis=1)], places[self.truth[chosen]]
        told = np.zeros((len(chosen), number))
        for position, place in enumerate(places):
            told[:, place] += probabilities[:, position]
        scores = Scores(confusion_matrix(truth, predicted, number))
        confidence = told[np.arange(len(told)), predicted]
        return {
            "macro_f1": float(scores.macro_f1),
            "oa": float(scores.overall_accuracy),
            "ece": expected_calibration_error(confidence, predicted == truth),
            "samples": len(chosen),
        }

    def _path(self, recipe: Recipe, fold: int, without: Sequence[int] = ()) -> Path:
        lacking = f"-without{''.join(map(str, without))}" if without else ""
        return self._folder / f"{self._stem(recipe)}-fold{fold}{lacking}.npz"

    def _stem(self, recipe: Recipe) -> str:
        # A setting that recipes get later on, and that this one does not use, makes it no other recipe.
        told = json.dumps(unusual(recipe.as_json()), sort_keys=True, default=str)
        mark = hashlib.sha256(told.encode()).hexdigest()[:8]
        return f"{recipe.architecture}-{mark}-seed{recipe.seed}"

    def _path_of_trees(self, fold: int) -> Path:
        return self._folder / f"{XGBOOST}-fold{fold}.npz"

    def member(self, recipe: Recipe, fold: int, without: Sequence[int] = ()) -> None:
        """Trains a member that has not seen a fold, nor some others, unless that has been done."""
        path = self._path(recipe, fold, without)
        if path.exists():
            return
        started = time.perf_counter()
        lacking = f" without {', '.join(map(str, without))}" if without else ""
        with measured(self._folder, f"{recipe.architecture}, seed {recipe.seed}, fold {fold}{lacking}"):
            learns = ~np.isin(self._fold, (fold, *without))
            feed, member = fit_member(self._file, recipe, learns, self._fold == fold)
        index = np.flatnonzero(self._fold == fold)
        path.parent.mkdir(parents=True, exist_ok=True)
        scaling = {"mean": torch.from_numpy(feed.mean), "std": torch.from_numpy(feed.std)}
        save_file({**member.network.state_dict(), **scaling}, path.with_suffix(".safetensors"))
        part = path.with_suffix(".part.npz")
        np.savez(part, index=index, logits=member.logits)
        part.rename(path)
        print(
            f"{self._plan.id}: {recipe.architecture}, seed {recipe.seed}, fold {fold}{lacking}: macro F1 "
            f"{member.validation.macro_f1:.4f}, {time.perf_counter() - started:.0f} s",
            flush=True,
        )

    def _trees(self, fold: int) -> None:
        path = self._path_of_trees(fold)
        if path.exists() and path.with_suffix(".safetensors").exists():
            return
        feed = Feed(self._file, self._file.layout.bands, self._file.classes, by_pixel=True)
        training, held_out = np.flatnonzero(self._fold != fold), np.flatnonzero(self._fold == fold)
        feed.normalise_by(training)
        features, target = _series(feed, training)
        with measured(self._folder, f"{XGBOOST}, fold {fold}"):
            network = fit_trees(
                XGBOOST, features, target, len(feed.classes), len(feed.channels), trees=XGBOOST_TREES, seed=0
            )
        logits = _logits_of_trees(network, _series(feed, held_out)[0], len(feed.channels))
        scaling = {"mean": torch.from_numpy(feed.mean), "std": torch.from_numpy(feed.std)}
        told = {"sizes": json.dumps(asdict(network.sizes))}
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({**network.state_dict(), **scaling}, path.with_suffix(".safetensors"), told)
        part = path.with_suffix(".part.npz")
        np.savez(part, index=held_out, logits=logits)
        part.rename(path)
        print(f"{self._plan.id}: XGBoost, fold {fold}", flush=True)


@dataclass(frozen=True)
class Trained:
    """A member, and what it says of the samples that it was not taught."""

    network: Network
    history: tuple[Entry, ...]
    ended: str
    validation: Scores
    logits: Floats
    training: Indices
    counts: NDArray[np.int64]


def identity(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What tells a recipe, as JSON has it, from all others, also of a version that knew fewer settings.

    Defaults must stay what they are, or what was trained by the old ones is taken for the new.
    """
    return {"architecture": recipe["architecture"], **unusual(recipe)}


def identities(recipes: Sequence[Recipe]) -> list[dict[str, Any]]:
    """The identity of each."""
    return [identity(recipe.as_json()) for recipe in recipes]


def unusual(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What a recipe, as JSON has it, does not leave as it usually is."""
    return _unlike(recipe, Recipe(recipe["architecture"]).as_json())


def _unlike(settings: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that are not the usual ones, those within settings included."""
    return {
        name: _unlike(value, usual[name]) if isinstance(value, Mapping) and usual.get(name) else value
        for name, value in settings.items()
        if value != usual.get(name)
    }


def _without_judgement(entry: Entry) -> dict[str, float]:
    return {name: value for name, value in entry.items() if name not in _NOT_JUDGED}


def seeded(recipe: Recipe, seed: int) -> Recipe:
    """The recipe of a member of another seed."""
    return replace(recipe, seed=recipe.seed + seed)


def fit_member(
    file: SampleFile, recipe: Recipe, learns: NDArray[np.bool_], looks_at: NDArray[np.bool_], watch: Watch = _NOBODY
) -> tuple[Feed, Trained]:
    """Trains one network on some samples of a file and asks it for others.

    Args:
        file: The training set.
        recipe: How; it keeps the last epoch.
        learns: Which samples it learns from, shape (N,).
        looks_at: Which ones it is asked for, shape (N,).
        watch: Who looks on.
    """
    feed = Feed(file, file.layout.bands, file.classes, by_pixel=True)
    training = feed.labelled(np.flatnonzero(learns))
    feed.normalise_by(training[0])
    torch.manual_seed(recipe.seed)
    network = models.build(
        recipe.architecture,
        **{**recipe.hyper_parameters, "channels": len(feed.channels), "classes": len(feed.classes)},
    )
    held_out = np.flatnonzero(looks_at)
    fitted = Fitting(network, feed, training, held_out, recipe, _CPU, None, watch).run()
    if len(fitted.logits) != len(held_out):
        raise ValueError(f"{len(held_out) - len(fitted.logits)} samples were never observed or have no label")
    scores = Scores(confusion_matrix(fitted.target, fitted.logits.argmax(axis=1), len(feed.classes)))
    trained = Trained(
        fitted.network, fitted.history, fitted.ended, scores, fitted.logits, training[0], training[1].sum(axis=0)
    )
    return feed, trained


def make_final(
    file: SampleFile, plan: Plan, found: CrossValidated, seeds: Sequence[int]
) -> tuple[Made, CrossValidation]:
    """Trains the members of some seeds on all folds; calibrated, and judged, by cross-validation."""
    recipes = plan.members(seeds)
    temperatures, of_all = found.temperatures(recipes)
    logits = found.ensemble(recipes)
    fold = file.column("fold")
    number = len(file.classes)
    by_fold = tuple(
        Scores(confusion_matrix(found.truth[fold == each], logits[fold == each].argmax(axis=1), number))
        for each in found.folds
    )
    judged = CrossValidation(found.folds, by_fold, Scores(np.sum([each.confusion for each in by_fold], axis=0)))
    members = []
    for recipe, temperature in zip(recipes, temperatures, strict=True):
        network, history, ended = found.final(recipe)
        alone = found.logits(recipe)
        scores = Scores(confusion_matrix(found.truth, alone.argmax(axis=1), number))
        members.append(Member(recipe, network, temperature, history, recipe.epochs, ended, scores, 0.0))
    feed = Feed(file, file.layout.bands, file.classes, by_pixel=True)
    training, counts = feed.labelled(np.arange(len(file)))
    feed.normalise_by(training)
    network, settings = averaged(members, len(feed.channels), number, plan)
    made = Made(
        tuple(members),
        network,
        "ensemble",
        settings,
        of_all,
        judged.pooled,
        feed.channels,
        feed.classes,
        tuple(map(float, feed.mean)),
        tuple(map(float, feed.std)),
        training,
        np.empty(0, np.int64),
        counts.sum(axis=0),
    )
    return made, judged


def averaged(members: Sequence[Member], channels: int, classes: int, plan: Plan) -> tuple[Network, dict[str, Any]]:
    """The ensemble of a plan's trained members, and its hyper-parameters."""
    settings: dict[str, Any] = {
        "members": [
            {
                "architecture": each.architecture,
                "hyper_parameters": each.hyper_parameters,
                "temperature": each.temperature,
            }
            for each in members
        ],
        "channels": channels,
        "classes": classes,
        **plan.adjustment(classes),
    }
    return put_together([each.network for each in members], settings), settings


def put_together(networks: Sequence[Network], settings: Mapping[str, Any]) -> Network:
    """The ensemble of those hyper-parameters, whose members are some trained networks."""
    network = models.build("ensemble", **settings)
    states = [each.state_dict().items() for each in networks]
    network.load_state_dict(
        {f"members.{place}.{name}": each for place, state in enumerate(states) for name, each in state}
    )
    return network.eval()


def tell(found: CrossValidated, plan: Plan, tasks: Mapping[str, tuple[Task, Sequence[int] | None]], path: Path) -> None:
    """Prints and writes the scores of XGBoost, of each seed's ensemble and their mean, and of what is bundled."""
    seeds = found.there()
    bundled = [seed for seed in seeds if seed in plan.bundled]
    of_trees = found.calibrated(found.of_trees())
    each = {seed: found.ensemble(plan.members([seed])) for seed in seeds}
    members = plan.members(bundled)
    together = found.ensemble(members) if members else None
    told: dict[str, Any] = {"seeds": seeds, "tasks": {}}
    for name, (task, folds) in tasks.items():
        by_seed = [found.judge(logits, task, folds) for logits in each.values()]
        rows = {"xgboost": found.judge(of_trees, task, folds)}
        if together is not None:
            if len(seeds) > 1:
                mean = {key: float(np.mean([row[key] for row in by_seed])) for key in by_seed[0]}
                rows[f"mean of {len(seeds)} seeds"] = mean
            rows["as bundled"] = found.judge(together, task, folds)
        for place, recipe in enumerate(plan.recipes):
            alone = [found.judge(found.calibrated(found.logits(seeded(recipe, seed))), task, folds) for seed in seeds]
            before = sum(each.architecture == recipe.architecture for each in plan.recipes[:place])
            row = f"{recipe.architecture} {before + 1}" if before else recipe.architecture
            if alone:
                rows[row] = {key: float(np.mean([each[key] for each in alone])) for key in alone[0]}
        told["tasks"][name] = {**rows, "by_seed": by_seed}
        for row, scores in rows.items():
            print(f"{name:28} {row:16} {scores['macro_f1']:.4f} / {scores['oa']:.4f}, ECE {scores['ece']:.4f}")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(told, indent=2) + "\n")


def log_mean(probabilities: Sequence[Floats]) -> Floats:
    """Logarithms of the mean of several models' probabilities, all of one shape."""
    logarithms: Floats = np.log(np.clip(np.mean(probabilities, axis=0), LEAST_PROBABILITY, None)).astype(np.float32)
    return logarithms


def _scaled(path: Path) -> tuple[dict[str, torch.Tensor], Floats, Floats]:
    weights = load_file(path)
    mean, std = (weights.pop(name).numpy() for name in ("mean", "std"))
    return weights, mean, std


def _series(feed: Feed, index: Indices) -> tuple[Floats, NDArray[np.int64]]:
    batches = list(feed.batches(index, _AT_ONCE))
    features = np.concatenate([batch.x.flatten(1).numpy() for batch in batches])
    return features, np.concatenate([batch.target.flatten().numpy() for batch in batches])


def _logits_of_trees(network: Network, features: Floats, channels: int) -> Floats:
    x = torch.from_numpy(features).reshape(len(features), -1, channels, 1, 1)
    with torch.inference_mode():
        valid = torch.ones(x.shape[0], x.shape[1], 1, 1, dtype=torch.bool)
        logits: Floats = network(x, torch.zeros(len(x), x.shape[1]), valid)[:, :, 0, 0].numpy()
    return logits
