"""Plans of spatial networks: what they are taught and judged on, beside which yardstick, and that they go on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax

from cropmap_core.inference.bundles import load_bundle
from cropmap_core.learning.recipes import LAST, Recipe
from cropmap_core.learning.variation import NO_VARIATION
from cropmap_core.samples.classes import name_classes
from cropmap_core.samples.files import PATCH, Layout, SampleFile
from cropmap_core.samples.writer import Samples, create_sample_file
from scripts.bundle_plans import spatial
from scripts.bundle_plans.cloud_shapes import CloudShapes
from scripts.bundle_plans.context import ContextTraining
from scripts.bundle_plans.cross_validation import Plan, Task
from scripts.bundle_plans.landscape_scores import PARCELS, PIXELS, PixelModels, tell_logits, tell_series
from scripts.bundle_plans.landscapes import LandscapeSettings
from scripts.bundle_plans.parcel_mosaics import MosaicSettings
from scripts.bundle_plans.series import Source, write_sources
from scripts.bundle_plans.spatial import SpatialPlan, SpatialTraining

CROPS = ("maize", "wheat", "other")
COUNT, TIMES = 240, 5
NETWORK = {"embedding": 16, "widths": (16, 16), "date_harmonics": 1}
_ALIKE = {"learning_rate": 0.02, "keep": LAST, "variation": NO_VARIATION}
BY_PIXEL = Plan(
    "tiny-pixel", "Tiny", (Recipe("tempcnn", {"hidden": (8, 8), "dense": 16}, epochs=3, **_ALIKE),), seeds=(0, 1)
)
_SERIES = Recipe("hybrid_cnn", NETWORK, epochs=4, batch_size=32, **_ALIKE)
PLAN = SpatialPlan(
    "tiny-spatial",
    "Tiny, in its surroundings",
    series=_SERIES,
    recipe=Recipe("hybrid_cnn", NETWORK, epochs=3, batch_size=4, **_ALIKE),
    landscapes=LandscapeSettings(
        edge=16, background="other", mosaic=MosaicSettings(smallest_ha=0.3, largest_ha=0.6, voronoi=1.0)
    ),
    held_out=((0,),),
    by_pixel=BY_PIXEL,
    tasks=lambda file: {"all": (Task("all", np.arange(len(file)), (0, 1, 2), 2), None)},
    landscapes_a_fold=12,
    judged_a_fold=8,
    smoothed_by=4,
)


def _prepare(data: Path, path: Path) -> None:
    """Three crops that are green at other times, hard to tell by one pixel, in three folds."""
    random = np.random.default_rng(0)
    kind = np.arange(COUNT) % 3
    green = np.exp(-((np.arange(TIMES) - 1.5 * kind[:, None]) ** 2)) + random.normal(0, 0.5, (COUNT, TIMES))
    arrays = {
        "X": np.stack([1500 - 500 * green, 2500 + 800 * green], axis=2).clip(1, 10000).astype(np.uint16),
        "valid": random.random((COUNT, TIMES)) < 0.9,
        "lonlat": random.uniform(0, 0.1, (COUNT, 2)),
        "fold": np.arange(COUNT) // 3 % 3,
        "dates": np.array([f"2021-{month:02}-01" for month in range(3, 3 + TIMES)]),
    }
    names = np.array(CROPS)[kind]
    write_sources([Source("here", arrays, names, names)], ("B04", "B08"), name_classes(CROPS), "month", path)


@pytest.fixture(autouse=True)
def _clouds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spatial, "read_cloud_shapes", lambda data: CloudShapes([np.eye(20, dtype=bool)]))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models by pixel of one seed."""
    folder = tmp_path_factory.mktemp("work")
    path = folder / "tiny-pixel" / "samples.h5"
    _prepare(folder, path)
    with SampleFile(path) as file:
        PixelModels(file, BY_PIXEL, path.parent).train([0])
    return folder


def test_plan_judges_held_out_landscapes_beside_the_yardstick_and_makes_a_bundle(work: Path, tmp_path: Path) -> None:
    training = SpatialTraining(PLAN, work, work, _prepare)
    temperature, pooled, by_fold = training.judge()
    scores = json.loads((work / PLAN.id / "scores.json").read_text())
    told = scores["landscapes"]
    assert list(told)[:2] == [PLAN.id, "tiny-pixel, 1 seed"]
    assert [name.split(", ")[-1] for name in list(told)[2:]] == ["best for pixels", "best for parcels"]
    of_network, of_pixels = (told[name]["all"][PIXELS] for name in list(told)[:2])
    assert of_network["macro_f1"] == pytest.approx(pooled.macro_f1)
    assert of_network["count"] == of_pixels["count"] == pooled.support.sum()
    assert of_network["macro_f1"] > 0.5 > 1 / 3
    smoothed = told[next(name for name in told if name.endswith("best for pixels"))]
    assert smoothed["all"][PIXELS]["macro_f1"] > of_pixels["macro_f1"]  # the series are noisy
    assert told[PLAN.id]["all"][PARCELS]["count"] < told[PLAN.id]["all"][PIXELS]["count"]
    assert len(by_fold) == 1
    of_series = {name: tasks["all"] for name, tasks in scores["series"].items()}
    alone, as_patch = f"{PLAN.id}, series as 1 x 1 pixels", f"{PLAN.id}, series as 9 x 9 pixels"
    assert set(of_series) == {alone, as_patch, "xgboost", "tiny-pixel, 1 seed"}
    assert {each["samples"] for each in of_series.values()} == {(np.arange(COUNT) // 3 % 3 == 0).sum()}
    assert of_series[alone]["macro_f1"] > 0.5

    training.make_bundle(tmp_path / "tiny-spatial", temperature, pooled, by_fold)
    bundle = load_bundle(tmp_path / "tiny-spatial")
    assert bundle.architecture == "hybrid_cnn"
    assert bundle.temperature == temperature
    assert bundle.properties["cropmap:accuracy"]["macro_f1"] == pytest.approx(pooled.macro_f1, abs=1e-4)


def test_network_of_some_folds_is_kept_and_has_not_seen_the_others(work: Path) -> None:
    training = SpatialTraining(PLAN, work, work, _prepare)
    _, first, taught, _ = training.fit((1, 2), training.of_folds((0,)))
    assert set(training.landscapes.column("fold")[taught]) == {1, 2}
    checkpoints = {path: path.stat().st_mtime_ns for path in work.rglob("checkpoint.safetensors")}
    assert checkpoints
    _, again, _, _ = SpatialTraining(PLAN, work, work, _prepare).fit((1, 2), training.of_folds((0,)))
    assert {path: path.stat().st_mtime_ns for path in checkpoints} == checkpoints
    assert np.array_equal(first.logits, again.logits)
    other = replace(PLAN, recipe=replace(PLAN.recipe, epochs=1))
    _, less, _, _ = SpatialTraining(other, work, work, _prepare).fit((1, 2), training.of_folds((0,)))
    assert not np.array_equal(first.logits, less.logits)


def test_landscapes_of_samples_that_came_later_are_not_taken(work: Path, tmp_path: Path) -> None:
    shutil.copytree(work / "tiny-pixel", tmp_path / "tiny-pixel")
    SpatialTraining(PLAN, tmp_path, tmp_path, _prepare)
    (landscapes,) = (tmp_path / PLAN.id).glob("*-landscapes.h5")
    os.utime(landscapes, (0, 0))
    with pytest.raises(ValueError, match=f"remove the folder {tmp_path / PLAN.id}"):
        SpatialTraining(PLAN, tmp_path, tmp_path, _prepare)


def test_network_is_taught_by_models_by_pixel_of_the_same_folds(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_pixel = replace(BY_PIXEL, bundled=(0,))
    recipe, first = replace(PLAN.recipe, teaching=0.9), replace(_SERIES, teaching=0.9)
    training = SpatialTraining(replace(PLAN, recipe=recipe, series=first, by_pixel=by_pixel), work, work, _prepare)
    asked: list[tuple[int, ...]] = []
    kept, final = PixelModels.kept, PixelModels.final

    def of_folds(self: PixelModels, recipe: Recipe, fold: int, without: Sequence[int] = ()) -> Any:
        asked.append((fold, *without))
        return kept(self, recipe, fold, without)

    def of_all(self: PixelModels, recipe: Recipe) -> Any:
        asked.append(())
        return final(self, recipe)

    monkeypatch.setattr(PixelModels, "kept", of_folds)
    monkeypatch.setattr(PixelModels, "final", of_all)
    _, taught, _, _ = training.fit((1, 2), training.of_folds((0,)))
    training.fit((2,), training.of_folds((0,)))
    training.fit((0, 1, 2), training.of_folds((0,)))
    assert asked == [(0,), (0, 1), ()]
    _, alone, _, _ = SpatialTraining(PLAN, work, work, _prepare).fit((1, 2), training.of_folds((0,)))
    assert not np.array_equal(taught.logits, alone.logits)


def test_landscapes_are_told_by_models_by_pixel_that_have_not_seen_their_fold(work: Path) -> None:
    training = SpatialTraining(PLAN, work, work, _prepare)
    pixel_models = PixelModels(training.series, BY_PIXEL, work / "tiny-pixel")
    index = training.of_folds((0, 1), 2)
    told = pixel_models.tell(training.landscapes, index, (0,))
    assert np.allclose(told.sum(axis=1), 1, atol=1e-5)
    kept = next((work / "tiny-pixel").glob("tempcnn-*-fold1.safetensors"))
    weights = kept.read_bytes()
    kept.write_bytes(next((work / "tiny-pixel").glob("tempcnn-*-fold2.safetensors")).read_bytes())
    try:
        others = pixel_models.tell(training.landscapes, index, (0,))
    finally:
        kept.write_bytes(weights)
    changed = (told != others).any(axis=(1, 2, 3))
    assert list(changed) == list(training.landscapes.column("fold")[index] == 1)


def test_series_alone_is_told_as_a_patch_of_itself(work: Path) -> None:
    training = SpatialTraining(PLAN, work, work, _prepare)
    _, fitted, _, _ = training.fit((1, 2), training.of_folds((0,)))
    feed = spatial.Feed(training.series, ("B04", "B08"), training.series.classes, by_pixel=False)
    feed.normalise_by(np.arange(COUNT))
    alone = tell_series(fitted.network, feed, np.arange(30))
    spread = tell_series(fitted.network, feed, np.arange(30), edge=9)
    assert alone.shape == spread.shape == (30, 3)
    assert not np.allclose(alone, spread)
    told = softmax(spread, axis=1).argmax(axis=1)
    assert (told == np.arange(30) % 3).mean() > 0.5


def test_work_without_models_by_pixel_is_judged_without_them(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = replace(PLAN, by_pixel=replace(BY_PIXEL, recipes=(Recipe("ltae", epochs=1),)))
    SpatialTraining(plan, work, work, _prepare).judge()
    assert "no seed of tiny-pixel is trained" in capsys.readouterr().out
    assert list(json.loads((work / PLAN.id / "scores.json").read_text())["landscapes"]) == [PLAN.id]


def test_every_fold_may_be_held_out_in_turn(work: Path) -> None:
    plan = replace(PLAN, held_out=((0,), (1,), (2,)), judged_a_fold=8, smoothed_by=2)
    training = SpatialTraining(plan, work, work, _prepare)
    _, pooled, by_fold = training.judge()
    assert len(by_fold) == 3
    assert pooled.support.sum() == sum(each.support.sum() for each in by_fold)
    scores = json.loads((work / PLAN.id / "scores.json").read_text())
    assert {tasks["all"]["samples"] for tasks in scores["series"].values()} == {COUNT}
    assert len(scores["landscapes"]) == 4


def _prepare_real(data: Path, path: Path) -> None:
    """A patch of 20 x 20 pixels in fold 0: maize in the north, wheat in the south, a parcel each."""
    kind = np.repeat([0, 1], 10)[:, None] + np.zeros(20, np.int64)
    green = np.exp(-((np.arange(TIMES)[:, None, None] - 1.5 * kind) ** 2))
    value = {each.name: each.value for each in name_classes(CROPS)}
    layout = Layout(PATCH, ("B04", "B08"), "month", tuple(range(0, 30 * TIMES, 30)), 20)
    one = Samples(
        data=np.stack([1500 - 500 * green, 2500 + 800 * green], axis=1).astype(np.int16)[None],
        valid=np.ones((1, TIMES, 20, 20), bool),
        label=np.where(kind == 0, value["maize"], value["wheat"]).astype(np.int16)[None],
        season=np.zeros(1, np.int32),
        parcel=kind[None] + 1,
        lon=np.zeros(1),
        lat=np.zeros(1),
        **{name: np.array(["real"]) for name in ("sample_id", "zone", "tile", "source")},
        columns={},
    )
    with create_sample_file(path, 1, layout, name_classes(CROPS), {}) as writer:
        writer.append(one.arrays())
        writer.put_split(np.zeros(1, np.int8), {"method": "none", "random": False, "roles": {}})


def test_real_patch_is_mapped_by_what_has_not_seen_its_fold(work: Path) -> None:
    plan = replace(PLAN, held_out=((1,), (0,)), prepare_real=_prepare_real)
    SpatialTraining(plan, work, work, _prepare).judge()
    scores = json.loads((work / PLAN.id / "scores.json").read_text())
    real = scores["real"]
    assert real[PLAN.id][PARCELS] == {"macro_f1": 1, "oa": 1, "right": 2, "count": 2}
    assert real[PLAN.id][PIXELS]["count"] == 400
    assert real[PLAN.id][PIXELS]["right"] > 350
    chosen = {name.rpartition(",")[0] for name in scores["landscapes"] if "best for" in name}
    assert set(real) == {PLAN.id, "tiny-pixel, 1 seed", *chosen}  # not the filter that happens to be best here
    with np.load(work / PLAN.id / "real-maps.npz") as maps:
        told = maps[PLAN.id]
    assert told.shape == (3, 20, 20)
    place = [each.name for each in name_classes(CROPS)].index("maize")
    assert (told.argmax(axis=0)[:10] == place).mean() > 0.8


CONTEXT = replace(
    PLAN,
    id="tiny-context",
    series=None,
    recipe=Recipe("auto_context", {"widths": (16, 16)}, epochs=10, batch_size=4, learning_rate=0.005),
    landscapes_a_fold=60,
)


def test_auto_context_is_taught_by_what_has_not_seen_the_landscapes(work: Path, tmp_path: Path) -> None:
    training = ContextTraining(CONTEXT, work, work, _prepare)
    temperature, pooled, by_fold = training.judge()
    told = json.loads((work / CONTEXT.id / "scores.json").read_text())["landscapes"]
    of_network, of_pixels = (told[name]["all"][PIXELS]["macro_f1"] for name in (CONTEXT.id, "tiny-pixel, 1 seed"))
    assert of_network > of_pixels + 0.02  # the series are noisy, and fields are of one crop
    told_images = [np.load(path) for path in (work / CONTEXT.id).glob("images-*.npz")]
    of_all = [each for each in told_images if each["observed"][training.of_folds((0,))].any()]
    assert (len(of_all), len(told_images)) == (1, 2)  # the other is without the fold that is held out
    images = of_all[0]
    asked = training.of_folds((1,), 3)
    by_others = PixelModels(training.series, BY_PIXEL, work / "tiny-pixel").tell(training.landscapes, asked, (0,))
    np.testing.assert_allclose(np.exp(images["said"][asked]), by_others, atol=1e-3)

    training.make_bundle(tmp_path / CONTEXT.id, temperature, pooled, by_fold)
    bundle = load_bundle(tmp_path / CONTEXT.id)
    assert bundle.architecture == "auto_context"
    told_of = json.loads((bundle.folder / "training.json").read_text())["members"]
    assert [each["recipe"]["architecture"] for each in told_of] == ["auto_context", "tempcnn"]
    network = bundle.network(torch.device("cpu"))
    feed = spatial.Feed(training.landscapes, bundle.channels, bundle.classes, by_pixel=False)
    feed.mean, feed.std = np.array(bundle.mean, np.float32), np.array(bundle.std, np.float32)
    logits = tell_logits(network, feed, training.of_folds((0,)))
    truth = training._target(training.of_folds((0,)))
    assert (logits.argmax(axis=1) == truth)[truth >= 0].mean() > 0.7


def test_auto_context_maps_the_real_patch(work: Path) -> None:
    plan = replace(CONTEXT, held_out=((1,), (0,)), prepare_real=_prepare_real)
    ContextTraining(plan, work, work, _prepare).judge()
    real = json.loads((work / CONTEXT.id / "scores.json").read_text())["real"]
    assert real[CONTEXT.id][PARCELS]["right"] == 2


def test_auto_context_wants_models_by_pixel_first(work: Path) -> None:
    plan = replace(CONTEXT, by_pixel=replace(BY_PIXEL, recipes=(Recipe("ltae", epochs=1),)))
    with pytest.raises(ValueError, match="no seed of tiny-pixel is trained; run its plan first"):
        ContextTraining(plan, work, work, _prepare).judge()
