"""`flanders-2018-hybrid-cnn` and `flanders-2018-convlstm`: the first edition, judged by leaving one parcel out.

Run as `python -m scripts.bundle_plans.flanders_2018 DATA WORK [--bundle FOLDER]`; DATA is the folder `flanders_2018`.
Of the folder of the bundle the last part says which of the two it is.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from pyproj import Transformer
from sklearn.ensemble import RandomForestClassifier

from cropmap_core.inference.bundles import Bundle, save_bundle
from cropmap_core.inference.classification import write_class_map
from cropmap_core.inference.map_layers import MapPaths
from cropmap_core.learning.augmentation import Augmentation, Labelled
from cropmap_core.learning.signatures import make_signatures
from cropmap_core.learning.training import Recipe, Trained, make_channels, train
from cropmap_core.scenes.inventory import DEFAULT_BANDS
from scripts.bundle_plans.flanders_site import (
    CHANNELS,
    CLASSES,
    END,
    SEASONS,
    SEED,
    START,
    Site,
    check_legend,
    read_site,
)

TREES, FOREST_SEEDS = 300, (0, 1, 2)
PARCELS_TO_JUDGE = 4
"""Parcels that a class must have for its accuracy to say anything, and even then little."""

SMALL_FIELDS = Augmentation(size=24)


@dataclass(frozen=True)
class Plan:
    """A bundle to train."""

    id: str
    title: str
    recipe: Recipe
    stride_pixels: int
    summary: str
    tried: str
    """What else was tried, for the card."""


PLANS = (
    Plan(
        "flanders-2018-hybrid-cnn",
        "Flanders 2018 hybrid CNN",
        Recipe("hybrid_cnn", {"dropout": 0.2}, steps=200, augmentation=SMALL_FIELDS),
        1,
        "A 1-D CNN over the months, shared by all pixels, and a compact U-Net over its embedding: a class per pixel.",
        "- Classes weighted by the inverse square root of their size: 11 of 18 parcels and 85 % of the pixels right\n"
        "  (12 with other resampled seasons). Left out because the mosaics already hold all classes alike.",
    ),
    Plan(
        "flanders-2018-convlstm",
        "Flanders 2018 ConvLSTM",
        Recipe(
            "convlstm",
            {"patch_size": 3, "hidden": (16, 32), "date_harmonics": 2, "dropout": 0.2},
            steps=250,
            learning_rate=1e-2,
            augmentation=SMALL_FIELDS,
        ),
        1,
        "Stacked ConvLSTM cells over patches of 3 x 3 pixels: a class for the pixel in their middle.",
        "- A learning rate of 0.003 for 150 steps had not even learned the training pixels: 2 of 18 parcels right.\n"
        "- Classes weighted by the inverse square root of their size: 9 of 18 parcels and 69 % of the pixels right;\n"
        "  with patches of 5 x 5 pixels 8 and 68 %. Left out because the mosaics already hold all classes alike; then\n"
        "  dropout was added.",
    ),
)


def train_on(site: Site, labelled: Labelled, plan: Plan) -> Trained:
    """Trains a plan's network on labelled pixels of the site."""
    days = [float((day - START).days) for day in site.season.dates]
    return train(labelled, DEFAULT_BANDS, CHANNELS, days, len(CLASSES), plan.recipe, SEED)


def describe(site: Site, plan: Plan, trained: Trained, folder: Path, properties: Mapping[str, Any]) -> Bundle:
    """What a bundle says of a trained network."""
    left, bottom, right, top = site.stack.grid.bounds
    degrees = Transformer.from_crs(site.stack.grid.crs, "EPSG:4326", always_xy=True)
    west, south, east, north = degrees.transform_bounds(left, bottom, right, top)
    return Bundle(
        id=plan.id,
        title=plan.title,
        folder=folder,
        architecture=plan.recipe.architecture,
        hyper_parameters={"channels": len(CHANNELS), "classes": len(CLASSES), **plan.recipe.hyper_parameters},
        channels=trained.channels,
        mean=trained.mean,
        std=trained.std,
        classes=tuple(CLASSES.values()),
        first_days=tuple(f"{day:%m-%d}" for day in site.season.dates),
        bbox=(round(west, 5), round(south, 5), round(east, 5), round(north, 5)),
        stride_pixels=plan.stride_pixels,
        properties=properties,
    )


@dataclass(frozen=True)
class Judged:
    """What was found in a parcel that training did not see."""

    parcel: int
    truth: int
    """Position of its class."""
    predicted: int
    """Position of the class of most of its pixels; of two that share the first place the wrong one."""
    pixels: int
    pixels_right: int


def judge(site: Site, parcel: int, classes: NDArray[np.int64]) -> Judged:
    """Compares a map of class positions with a parcel's truth."""
    found = classes[site.labelled.parcels == parcel]
    truth = site.truth(parcel)
    counts = np.bincount(found)
    predicted = max(range(counts.size), key=lambda position: (counts[position], position != truth))
    return Judged(parcel, truth, predicted, found.size, int((found == truth).sum()))


def map_without(site: Site, plan: Plan, parcel: int) -> NDArray[np.int64]:
    """Trains without a parcel, then maps the whole raster as `mapcrops` does: positions of classes, shape (H, W)."""
    trained = train_on(site, site.labelled.without(parcel), plan)
    with tempfile.TemporaryDirectory() as scratch:
        bundle = describe(site, plan, trained, Path(scratch) / plan.id, {})
        bundle = save_bundle(bundle, trained.network, {}, "")
        path = Path(scratch) / "classes.tif"
        write_class_map(site.season, bundle, [torch.device("cpu")], MapPaths(path), {})
        with rasterio.open(path) as raster:
            values = raster.read(1)
    position = {crop.value: index for index, crop in enumerate(bundle.classes)}
    return np.vectorize(position.__getitem__)(values).astype(np.int64)


def map_held_out(data: Path, plan: Plan, parcel: int) -> Judged:
    """Judges a parcel by a network that has not seen it."""
    site = read_site(data)
    return judge(site, parcel, map_without(site, plan, parcel))


def forest_without(site: Site, parcel: int, seed: int) -> NDArray[np.int64]:
    """As `map_without`, by a random forest on the very same pixel series."""
    series = make_channels(site.labelled.seasons[0], DEFAULT_BANDS, CHANNELS)
    features = series.reshape(-1, site.labelled.classes.size).T
    labels = site.labelled.without(parcel).classes.ravel()
    forest = RandomForestClassifier(TREES, random_state=seed, n_jobs=-1).fit(features[labels >= 0], labels[labels >= 0])
    return forest.predict(features).reshape(site.labelled.classes.shape).astype(np.int64)


def forest_held_out(site: Site, parcel: int, seed: int) -> Judged:
    """As `map_held_out`, by a random forest."""
    return judge(site, parcel, forest_without(site, parcel, seed))


def one_thread() -> None:
    """For processes that work side by side."""
    torch.set_num_threads(1)


def in_processes(count: int, work: Callable[[int], Judged], parcels: Iterable[int]) -> list[Judged]:
    """Works through the parcels in several processes of one thread each: far faster than threads that share a step."""
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"
    with ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=one_thread) as pool:
        return list(pool.map(work, parcels))


def score(judged: Sequence[Judged]) -> dict[str, Any]:
    """Counts by class, as item.json states them."""
    classes = []
    for position, crop in enumerate(CLASSES.values()):
        own = [each for each in judged if each.truth == position]
        classes.append(
            {
                "value": crop.value,
                "name": crop.name,
                "parcels": len(own),
                "parcels_right": sum(each.predicted == position for each in own),
                "pixels": sum(each.pixels for each in own),
                "pixels_right": sum(each.pixels_right for each in own),
                "enough_parcels_to_judge": len(own) >= PARCELS_TO_JUDGE,
            }
        )
    totals = {
        key: sum(entry[key] for entry in classes) for key in ("parcels", "parcels_right", "pixels", "pixels_right")
    }
    return {**totals, "classes": classes}


def properties_of(plan: Plan, accuracy: Mapping[str, Any], forests: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What item.json says beyond the network."""
    return {
        "description": f"{plan.summary} First edition, trained on 18 parcels of 640 m by 640 m: it shows the whole "
        "path from scenes to parcels, and maps no other landscape reliably.",
        "datetime": None,
        "start_datetime": f"{START}T00:00:00Z",
        "end_datetime": f"{END}T23:59:59Z",
        "license": "GPL-2.0-or-later",
        "cropmap:training_data": [
            {
                "name": "flanders_2018: Sentinel-2 L2A scenes and crop types, from the test resources of the GitHub "
                "repository WorldCereal/worldcereal-classification",
                "license": "MIT",
            },
            {"name": "Modified Copernicus Sentinel data 2018", "license": "Copernicus Sentinel data terms"},
            {"name": "Flemish LPIS 2018 (parcel declarations)", "license": "Flemish open data, attribution"},
        ],
        "cropmap:accuracy": {
            "method": "leave one parcel out",
            "note": "Agreement with the declarations of each parcel by a network trained on the other 17; the weights "
            "here are trained on all 18. Only maize and grass have enough parcels to be judged.",
            "seed": SEED,
            **accuracy,
            "random_forest": [
                {"seed": seed, "parcels_right": forest["parcels_right"], "pixels_right": forest["pixels_right"]}
                for seed, forest in zip(FOREST_SEEDS, forests, strict=True)
            ],
        },
    }


def table(accuracy: Mapping[str, Any], forest: Mapping[str, Any]) -> str:
    """Both results by class, Markdown."""
    lines = [
        "| class | parcels | right | pixels | right | forest: parcels right | forest: pixels right |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = zip((*accuracy["classes"], accuracy), (*forest["classes"], forest), strict=True)
    for own, other in rows:
        lines.append(
            f"| {own.get('name', '**all**')} | {own['parcels']} | {own['parcels_right']} | {own['pixels']} | "
            f"{own['pixels_right'] / own['pixels']:.0%} | {other['parcels_right']} | "
            f"{other['pixels_right'] / other['pixels']:.0%} |"
        )
    return "\n".join(lines)


CARD = """# {title}

{summary}

Id `{id}`, {parameters} parameters. Made by `make train-bundles` (`scripts/bundle_plans/flanders_2018.py`, seed {seed}).

## What it is for
To make the whole path from scenes to parcels real, and as a first guess in a landscape much like its own. It was
trained on 640 m by 640 m of Flanders, in one year, on 18 parcels. It knows five classes and no others: forest,
roofs, water and every other crop are given one of the five. Do not take its map for a crop map of anywhere else.

## Input
Medians per calendar month, January to December, of clear Sentinel-2 L2A surface reflectance (SCL 4-7) at 10 m, gaps
filled by the reference rule. Channels: {channels}. `mapcrops` makes just that. Another year fits; other months are
refused.

## Classes
{classes}

## Accuracy: leave one parcel out
{folds} networks of this recipe, each trained without one parcel, mapped the whole raster as `mapcrops` does; the
parcel's class is that of most of its pixels, and a tie counts as wrong. The weights in this bundle are trained on
all parcels, so no number here is theirs. A random forest ({trees} trees) had the same pixel series and the same
split.

{table}

The random forest is shown with seed {forest_seed}; with seeds {forest_seeds} it had {forest_parcels} parcels right,
and {forest_pixels} of the pixels.

- Only maize ({maize} parcels) and permanent grass ({grass} parcels) have enough parcels to be judged, and even
  there another seed may move a parcel.
- Potatoes and cabbages have one parcel each: held out, nothing is left to learn them from, so they can never be
  right.
- Of the three legume parcels two are neighbours and the third has 6 pixels: read nothing into their number.
- Labels are declarations, rasterised to 10 m: this is agreement with them, not with the ground.

## Training
- Only pixels of training parcels are ever seen: all else, unlabelled land and held-out parcels alike, is masked, so
  no patch or receptive field reaches into a held-out parcel. Means and standard deviations are those of the
  training pixels.
- Half of the landscapes are cuts of the raster, half are mosaics: random fields filled with blends of two pixels of
  one training parcel, some with blurred borders, so that the network meets full and foreign context. A quarter
  shows one field alone.
- The seasons are those of all scenes and {resampled} made of 40-90 % of them, drawn at random. Fields vary in
  brightness and calendar, values in noise, dates go missing, and all is turned and mirrored.
- {steps} steps of AdamW, highest learning rate {rate:g}, cross-entropy with label smoothing. Classes are not
  weighted: the mosaics hold all alike.

## What was tried
{tried}
- These few choices were made in sight of the held-out parcels, so the accuracy above flatters a little.

## Signatures
`signatures.json` holds the quartiles of the training pixels: `months`, `channels`, and per class `value`, `name`,
`pixels`, `parcels` and `quartiles[channel][q25|q50|q75]`, a value per month; reflectance is 0-1. They describe
{pixels} pixels of one small place.

## Data and licences
- Scenes and crop types: test resources of the GitHub repository WorldCereal/worldcereal-classification (MIT).
- Underlying: modified Copernicus Sentinel data 2018; Flemish parcel declarations (LPIS) 2018.
- These weights: GPL-2.0-or-later, as CropMap.
"""


def write_card(plan: Plan, trained: Trained, accuracy: Mapping[str, Any], forests: Sequence[Mapping[str, Any]]) -> str:
    """The model card."""
    by_name = {entry["name"]: entry for entry in accuracy["classes"]}
    return CARD.format(
        title=plan.title,
        summary=plan.summary,
        id=plan.id,
        parameters=f"{sum(weight.numel() for weight in trained.network.parameters()):,}",
        seed=SEED,
        channels=", ".join(CHANNELS),
        classes="\n".join(f"- {crop.value} {crop.name}: {crop.description}." for crop in CLASSES.values()),
        folds=accuracy["parcels"],
        trees=TREES,
        table=table(accuracy, forests[0]),
        forest_seed=FOREST_SEEDS[0],
        forest_seeds=", ".join(map(str, FOREST_SEEDS)),
        forest_parcels=", ".join(str(forest["parcels_right"]) for forest in forests),
        forest_pixels=", ".join(f"{forest['pixels_right'] / forest['pixels']:.0%}" for forest in forests),
        maize=by_name["Maize"]["parcels"],
        grass=by_name["Permanent grass crops"]["parcels"],
        resampled=SEASONS - 1,
        steps=plan.recipe.steps,
        rate=plan.recipe.learning_rate,
        tried=plan.tried,
        pixels=accuracy["pixels"],
    )


def make_bundle(
    site: Site, plan: Plan, folder: Path, accuracy: Mapping[str, Any], forests: Sequence[Mapping[str, Any]]
) -> Bundle:
    """Trains on all parcels and writes the bundle."""
    trained = train_on(site, site.labelled, plan)
    bundle = describe(site, plan, trained, folder / plan.id, properties_of(plan, accuracy, forests))
    channels = make_channels(site.labelled.seasons[0], DEFAULT_BANDS, CHANNELS)
    signatures = make_signatures(channels, site.labelled.classes, site.labelled.parcels, bundle)
    return save_bundle(bundle, trained.network, signatures, write_card(plan, trained, accuracy, forests))


def main() -> None:
    """Judges and trains one plan."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("data", type=Path, help="the data's folder")
    options.add_argument("work", type=Path, help="not needed: nothing is trained on the way that is worth keeping")
    options.add_argument("--bundle", type=Path, required=True, help="folder of the bundle; its name is one of the ids")
    options.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    chosen = options.parse_args()
    plan = next(plan for plan in PLANS if plan.id == chosen.bundle.name)
    one_thread()
    check_legend(chosen.data)
    site = read_site(chosen.data)
    forests = [score([forest_held_out(site, parcel, seed) for parcel in site.parcels]) for seed in FOREST_SEEDS]
    started = time.monotonic()
    judged = in_processes(chosen.processes, partial(map_held_out, chosen.data, plan), site.parcels)
    accuracy = score(judged)
    bundle = make_bundle(site, plan, chosen.bundle.parent, accuracy, forests)
    print(f"\n{bundle.folder}  ({time.monotonic() - started:.0f} s)\n{table(accuracy, forests[0])}")
    for each in judged:
        names = [list(CLASSES.values())[position].name for position in (each.truth, each.predicted)]
        print(
            f"  parcel {each.parcel}: {names[0]}, mapped as {names[1]}; "
            f"{each.pixels_right} of {each.pixels} pixels right",
            flush=True,
        )


if __name__ == "__main__":
    main()
