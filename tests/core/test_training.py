"""Training: landscapes show labelled pixels only, seeds decide everything, and two clear crops are learned."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch

from cropmap_core.errors import ModelBundleError
from cropmap_core.inference.bundles import CropClass, load_bundle, save_bundle
from cropmap_core.learning.augmentation import Augmentation, Labelled, LandscapeMaker, resampled_seasons
from cropmap_core.learning.patches import cut_patches
from cropmap_core.learning.signatures import make_signatures, read_quartiles
from cropmap_core.learning.training import Recipe, Trained, make_channels, train
from cropmap_core.timeseries.compositing import composite
from cropmap_core.timeseries.filling import Filled
from cropmap_core.timeseries.indices import with_indices
from cropmap_core.timeseries.periods import make_periods
from tests.core.series_in_memory import SeriesInMemory, whole
from tests.core.tiny_models import bundle_of, save_tiny_bundle

BANDS = ("B04", "B08")
MONTHS = 4
SIZE = 16
HELD_OUT = 3
PLAIN = Augmentation(size=8, mosaics=0, isolated=0, dropped_dates=0, gain=0, shift_months=0, noise=0)
"""Cuts of the real raster as they are."""


def two_crops() -> Labelled:
    """Two strips of each of two crops, parcels 1 to 4, with bare land of another kind between them.

    Crop 0 turns green in the second month, crop 1 in the third; unlabelled land is far brighter than either.
    """
    season = np.full((MONTHS, 2, SIZE, SIZE), 0.9, dtype=np.float32)
    classes = np.full((SIZE, SIZE), -1, dtype=np.int64)
    parcels = np.zeros((SIZE, SIZE), dtype=np.int64)
    texture = np.random.default_rng(0).normal(0, 0.005, season.shape).astype(np.float32)
    for parcel, first in enumerate((0, 4, 8, 12), start=1):
        rows, crop = np.s_[first : first + 3], parcel % 2
        classes[rows], parcels[rows] = crop, parcel
        season[:, 0, rows], season[:, 1, rows] = 0.1, 0.2
        season[crop + 1, :, rows] += np.array([-0.05, 0.25], dtype=np.float32)[:, None, None]
    return Labelled((season + texture)[None], classes, parcels)


def test_only_labelled_pixels_are_shown_or_asked_for() -> None:
    labelled = two_crops().without(HELD_OUT)
    for augmentation in (PLAIN, Augmentation(size=8)):
        maker = LandscapeMaker(labelled, augmentation, seed=1)
        for _ in range(30):
            landscape = maker.make()
            shown = landscape.reflectance.transpose(0, 2, 3, 1)[landscape.valid]
            assert shown.max() < 0.7  # bare land is 0.9
            assert not landscape.valid[:, landscape.classes < 0].any()


def test_held_out_parcel_is_neither_labelled_nor_part_of_a_field() -> None:
    labelled = two_crops()
    without = labelled.without(HELD_OUT)
    held_out = labelled.parcels == HELD_OUT
    assert (without.classes[held_out] == -1).all()
    assert (without.parcels[held_out] == 0).all()
    assert np.array_equal(without.classes[~held_out], labelled.classes[~held_out])
    maker = LandscapeMaker(without, PLAIN, seed=0)
    assert not any((maker.make().fields == HELD_OUT).any() for _ in range(30))


def test_values_of_a_held_out_parcel_never_matter() -> None:
    labelled = two_crops()
    spoilt = labelled.seasons.copy()
    spoilt[..., labelled.parcels == HELD_OUT] = 12.0
    networks = [
        train_on(Labelled(seasons, labelled.classes, labelled.parcels).without(HELD_OUT), QUICK["hybrid_cnn"])
        for seasons in (labelled.seasons, spoilt)
    ]
    for name, weight in networks[0].network.state_dict().items():
        assert torch.equal(weight, networks[1].network.state_dict()[name]), name
    assert networks[0].mean == networks[1].mean


def test_mosaic_pixels_blend_pixels_of_one_parcel() -> None:
    """With two pixels 0.1 and 0.3 in one parcel and 0.8 in another, no pixel lies between 0.3 and 0.8."""
    values = np.array([0.1, 0.3, 0.8, 0.8], dtype=np.float32).reshape(1, 1, 1, 2, 2)
    labelled = Labelled(values, np.array([[0, 0], [0, 1]]), np.array([[1, 1], [2, 3]]))
    blended = Augmentation(size=12, mosaics=1, isolated=0, dropped_dates=0, gain=0, shift_months=0, noise=0)
    maker = LandscapeMaker(labelled, blended, seed=4)
    sharp = 0
    for _ in range(20):
        landscape = maker.make()
        between = (landscape.reflectance > 0.301) & (landscape.reflectance < 0.799)
        sharp += not between.any()
        assert (landscape.classes >= 0).all()
    assert 0 < sharp < 20  # some have blurred borders


def test_fields_keep_their_labels_however_they_are_turned() -> None:
    labelled = two_crops()
    maker = LandscapeMaker(labelled, PLAIN, seed=2)
    for _ in range(20):
        landscape = maker.make()
        for crop in (0, 1):
            greenest = landscape.reflectance[:, 1, landscape.classes == crop].argmax(axis=0)
            assert (greenest == crop + 1).all()


def test_seed_decides_the_landscapes() -> None:
    labelled = two_crops()
    one, again, other = (LandscapeMaker(labelled, Augmentation(size=8), seed).make() for seed in (3, 3, 4))
    assert np.array_equal(one.reflectance, again.reflectance)
    assert not np.array_equal(one.reflectance, other.reflectance)


QUICK = {
    "hybrid_cnn": Recipe(
        "hybrid_cnn",
        {"embedding": 16, "widths": (8, 8), "date_harmonics": 1},
        steps=30,
        landscapes=2,
        learning_rate=1e-2,
        augmentation=Augmentation(size=8),
    ),
    "convlstm": Recipe(
        "convlstm",
        {"hidden": (16,), "patch_size": 3},
        steps=40,
        landscapes=4,
        patches=16,
        learning_rate=2e-2,
        augmentation=Augmentation(size=8),
    ),
}


def train_on(labelled: Labelled, recipe: Recipe, seed: int = 0) -> Trained:
    return train(labelled, BANDS, (*BANDS, "NDVI"), [0.0, 31.0, 59.0, 90.0], 2, recipe, seed)


def predict(trained: Trained, labelled: Labelled) -> np.ndarray:
    """Position of the class of every pixel, each seen in all its surroundings."""
    x = trained.tensor(labelled.seasons)
    valid = torch.ones(1, MONTHS, SIZE, SIZE, dtype=torch.bool)
    days = torch.tensor(trained.days)
    with torch.no_grad():
        if trained.network.kind == "dense":
            return trained.network(x, days[None], valid)[0].argmax(dim=0).numpy()
        pixel = torch.arange(SIZE * SIZE)
        x, valid = cut_patches(x, valid, torch.zeros_like(pixel), pixel, trained.network.patch_size)
        return trained.network(x, days.expand(len(x), -1), valid).argmax(dim=1).view(SIZE, SIZE).numpy()


@pytest.mark.parametrize("architecture", QUICK)
def test_parcel_that_was_held_out_is_recognised(architecture: str) -> None:
    labelled = two_crops()
    trained = train_on(labelled.without(HELD_OUT), QUICK[architecture])
    assert not trained.network.training
    middle = predict(trained, labelled)[9]  # a patch around the parcel's edge would show bare land too
    assert (labelled.parcels[9] == HELD_OUT).all()
    assert (middle == labelled.classes[9]).mean() > 0.9


@pytest.mark.parametrize("architecture", QUICK)
def test_seed_decides_the_trained_weights(architecture: str) -> None:
    labelled, recipe = two_crops(), QUICK[architecture]
    torch.manual_seed(99)  # what was drawn before must not matter
    one = train_on(labelled, recipe).network.state_dict()
    again = train_on(labelled, recipe).network.state_dict()
    other = train_on(labelled, recipe, seed=1).network.state_dict()
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_training_leaves_the_random_numbers_of_others_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    train_on(two_crops(), QUICK["convlstm"])
    assert torch.equal(torch.rand(3), expected)


def test_patches_around_pixels() -> None:
    """A 3 x 3 image of the numbers 0 to 8: around its corner, five of nine pixels are outside."""
    x = torch.arange(9.0).view(1, 1, 1, 3, 3)
    patches, valid = cut_patches(x, x[:, :, 0] >= 0, torch.tensor([0, 0]), torch.tensor([4, 0]), size=3)
    assert patches[0, 0, 0].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert patches[1, 0, 0].tolist() == [[0, 0, 0], [0, 0, 1], [0, 3, 4]]
    assert valid[1, 0].tolist() == [[False, False, False], [False, True, True], [False, True, True]]


def acquisitions() -> SeriesInMemory:
    """Six dates of two bands and SCL over three months; one pixel is cloudy in all of February, one always."""
    random = np.random.default_rng(7)
    values = random.integers(100, 5000, (6, 3, 4, 5)).astype(np.int16)
    values[:, 2] = 4
    values[2:4, 2, 1, 1] = 9
    values[:, 2, 3, 4] = 8
    days = (
        date(2018, 1, 3),
        date(2018, 1, 20),
        date(2018, 2, 2),
        date(2018, 2, 12),
        date(2018, 3, 1),
        date(2018, 3, 9),
    )
    return SeriesInMemory(values, ("B04", "B08", "SCL"), days)


KEEP = ("vegetation", "bare_soil")


def test_first_season_is_that_of_the_chain() -> None:
    stack = acquisitions()
    start, end = date(2018, 1, 1), date(2018, 3, 31)
    seasons = resampled_seasons(stack, make_periods("month", start, end), KEEP, count=1, seed=0)
    chain, _ = whole(with_indices(Filled(composite(stack, "month", start, end, KEEP)), ("NDVI",)))
    np.testing.assert_array_equal(make_channels(seasons[0], ("B04", "B08"), ("B04", "B08", "NDVI")), chain)
    assert np.isnan(seasons[0, :, :, 3, 4]).all()


def test_resampled_seasons_use_fewer_scenes_and_lose_no_pixel() -> None:
    periods = make_periods("month", date(2018, 1, 1), date(2018, 3, 31))
    seasons = resampled_seasons(acquisitions(), periods, KEEP, count=20, seed=0)
    observed = np.ones((4, 5), dtype=bool)
    observed[3, 4] = False
    assert np.isfinite(seasons[..., observed]).all()
    assert len({season[..., observed].tobytes() for season in seasons}) > 5


CLASSES = (CropClass(3, "Maize", "#f4c430"), CropClass(4, "Grass", "#4caf50"))


def signatures_of(season: np.ndarray) -> dict[str, object]:
    """Five pixels: three of Maize in two parcels, two of Grass in one."""
    labels, parcels = np.array([[0, 0, 0, 1, 1]]), np.array([[1, 1, 2, 3, 3]])
    return make_signatures(season, labels, parcels, bundle_of(CLASSES, ("B04", "NDVI"), ("05-01",)))


def test_signatures_are_quartiles_by_class_channel_and_month() -> None:
    season = np.array([[[0.1, 0.2, 0.4, 0.5, 0.7]], [[-0.1, 0.3, 0.5, 0.8, 0.8]]], dtype=np.float32)[None]
    maize, grass = signatures_of(season)["classes"]  # type: ignore[misc]
    assert (maize["value"], maize["name"], maize["pixels"], maize["parcels"]) == (3, "Maize", 3, 2)
    assert maize["quartiles"]["B04"] == {"q25": [0.15], "q50": [0.2], "q75": [0.3]}
    assert maize["quartiles"]["NDVI"] == {"q25": [0.1], "q50": [0.3], "q75": [0.4]}
    assert (grass["pixels"], grass["parcels"]) == (2, 1)
    assert grass["quartiles"]["B04"]["q50"] == [0.6]


def test_signatures_are_of_pixels_with_all_values() -> None:
    """Quartiles and thresholds are of the same ones."""
    season = np.array([[[0.1, 0.2, 0.4, 0.5, 0.7]], [[np.nan, 0.3, 0.5, 0.8, np.nan]]], dtype=np.float32)
    maize, grass = signatures_of(season.reshape(1, 2, 1, 5))["classes"]  # type: ignore[misc]
    assert (maize["pixels"], maize["parcels"], grass["pixels"]) == (2, 2, 1)
    assert maize["quartiles"]["B04"]["q50"] == [0.3]
    assert grass["quartiles"]["B04"]["q50"] == [0.5]


def test_signatures_of_a_bundle_read_back(tmp_path: Path) -> None:
    bundle = save_tiny_bundle(tmp_path / "tiny", "convlstm")
    season = np.full((1, 2, 1, 5), 0.25, dtype=np.float32)
    saved = save_bundle(bundle, bundle.network(), signatures_of(season), "# Tiny\n")
    quartiles = read_quartiles(load_bundle(saved.folder))
    assert list(quartiles) == ["Maize", "Grass"]
    np.testing.assert_array_equal(quartiles["Grass"]["B04"], [[0.25, 0.25, 0.25]])


@pytest.mark.parametrize("document", [{}, {"classes": [{"name": "Maize"}]}, {"classes": 3}])
def test_signatures_of_another_layout_are_refused(tmp_path: Path, document: dict[str, object]) -> None:
    bundle = save_tiny_bundle(tmp_path / "tiny", "convlstm")
    (bundle.folder / "signatures.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ModelBundleError, match=r"signatures\.json is not of the documented layout"):
        read_quartiles(bundle)
