"""Smoothing, the smallest area and a mask, through the engine: the same whatever the blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray

from cropmap_core.errors import JobError, NoValidObservationError
from cropmap_core.hierarchy import hierarchy_of
from cropmap_core.inference.bundles import Bundle
from cropmap_core.inference.classification import HowToMap, write_class_map
from cropmap_core.inference.map_care import Care, probability_of, smooth
from cropmap_core.inference.map_layers import MapPaths
from cropmap_core.inference.predictor import Predictor
from cropmap_core.inference.sieving import sieve
from cropmap_core.io.grid import Window
from cropmap_core.timeseries.indices import as_channels
from cropmap_core.timeseries.series import NODATA, Block
from tests.core.series_in_memory import SeriesInMemory, whole
from tests.core.tiny_models import CLASSES, MONTHS, save_tiny_bundle

CPU = torch.device("cpu")
HEIGHT, WIDTH = 45, 38
LAYERS = ("classes", "confidence", "entropy", "margin", "probabilities", "ood")

Maps = Mapping[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class Watched(SeriesInMemory):
    """A series that remembers which windows were read."""

    windows: list[Window] = field(default_factory=list)

    def read(self, window: Window) -> Block:
        self.windows.append(window)
        return super().read(window)


@pytest.fixture(scope="module")
def series() -> Watched:
    """Noise, in which a network finds many small regions; a corner and single pixels were never observed."""
    random = np.random.default_rng(3)
    middle = np.array([800, 2500, 2000])[:, None, None]
    values = (middle * random.normal(1, 0.3, (len(MONTHS), 3, HEIGHT, WIDTH))).clip(50).astype(np.int16)
    never = random.random((HEIGHT, WIDTH)) < 0.05
    never[:6, :9] = True
    values[..., never] = NODATA
    days = tuple(date(2018, month, 1) for month in MONTHS)
    return Watched(values, ("B04", "B08", "B11"), days, "month")


@pytest.fixture(scope="module", params=["tempcnn", "hybrid_cnn", "convlstm"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A network that sees a pixel, one that sees what is around it, and one that sees patches."""
    return save_tiny_bundle(tmp_path_factory.mktemp("models") / request.param, request.param)


def mapped(series: SeriesInMemory, bundle: Bundle, folder: Path, how: HowToMap | None = None, **care: Any) -> Maps:
    paths = MapPaths(*(folder / f"{name}.tif" for name in LAYERS))
    write_class_map(series, bundle, [CPU], paths, {}, replace(how or HowToMap(), care=Care(**care)))
    maps = {}
    for name in LAYERS:
        with rasterio.open(folder / f"{name}.tif") as dataset:
            maps[name] = dataset.read() if name == "probabilities" else dataset.read(1)
    return maps


def same(one: Maps, other: Maps) -> bool:
    return all((one[name] == other[name]).all() for name in LAYERS)


def test_a_smoothed_map_is_that_of_smoothed_probabilities(series: Watched, bundle: Bundle, tmp_path: Path) -> None:
    maps = mapped(series, bundle, tmp_path, smoothing=1.2)
    predictor = Predictor(bundle, CPU)
    around = Window(0, 0, HEIGHT, WIDTH).expanded(predictor.halo)
    block = as_channels(series, bundle.channels).read(around)
    days = predictor.days(series.dates, *series.grid.centre_degrees)
    observed = whole(series)[1].any(axis=0)
    expected = smooth(predictor.of_window(block.data, block.valid, days).numpy(), observed, 1.2)
    stored = np.where(observed, 250 * expected, 255)
    np.testing.assert_allclose(maps["probabilities"], stored, atol=0.51)
    assert ((maps["classes"] == 0) == ~observed).all()
    assert not same(maps, mapped(series, bundle, tmp_path))


@pytest.mark.parametrize("edge", [8, 20])
def test_blocks_leave_no_trace(series: Watched, bundle: Bundle, edge: int, tmp_path: Path) -> None:
    care = {"smoothing": 1.0, "minimum_area_ha": 0.06}
    whole_map = mapped(series, bundle, tmp_path, **care)
    assert same(whole_map, mapped(series, bundle, tmp_path, HowToMap(edge=edge), **care))


def test_small_regions_are_gone_and_confidence_is_that_of_the_new_class(
    series: Watched, bundle: Bundle, tmp_path: Path
) -> None:
    plain = mapped(series, bundle, tmp_path)
    maps = mapped(series, bundle, tmp_path, minimum_area_ha=0.12)
    classes = sieve(plain["classes"], 12)
    changed = classes != plain["classes"]
    assert 0.02 < changed.mean() < 0.9
    assert (maps["classes"] == classes).all()
    meanings = hierarchy_of(bundle.classes).meanings()
    expected = np.rint(100 * probability_of(classes, plain["probabilities"], meanings) / 250)
    assert (maps["confidence"][changed] == expected[changed]).all()
    assert (maps["confidence"][~changed] == plain["confidence"][~changed]).all()
    for name in ("entropy", "margin", "probabilities", "ood"):
        assert (maps[name] == plain[name]).all()


@pytest.mark.parametrize(
    ("last", "parents"),
    [(65535, ()), (7, ("Cereals", "Garden"))],
    ids=["no value is left for groups", "a family is in two groups"],
)
def test_small_regions_need_no_hierarchy(last: int, parents: tuple[str, ...], series: Watched, tmp_path: Path) -> None:
    """What stands in no legend of the map decides nothing of it, and where it does it is told before all computing."""
    first = replace(CLASSES[0], parents=("Cereals", "Arable"))
    classes = (first, CLASSES[1], replace(CLASSES[2], value=last, parents=parents))
    bundle = save_tiny_bundle(tmp_path / "model", "tempcnn", classes=classes)
    maps = mapped(series, bundle, tmp_path, minimum_area_ha=0.12)
    plain = mapped(series, bundle, tmp_path)
    assert (maps["classes"] == sieve(plain["classes"], 12)).all()
    assert (maps["classes"] != plain["classes"]).any()
    series.windows.clear()
    with pytest.raises(JobError, match="SURE_FROM|belongs to two groups"):
        mapped(series, bundle, tmp_path, HowToMap(sure_from=0.5), minimum_area_ha=0.12)
    assert not series.windows


def test_small_regions_are_gone_where_classes_alone_are_asked_for(series: Watched, tmp_path: Path) -> None:
    bundle = save_tiny_bundle(tmp_path / "model", "tempcnn")
    expected = mapped(series, bundle, tmp_path, minimum_area_ha=0.12)["classes"]
    path = tmp_path / "alone.tif"
    write_class_map(series, bundle, [CPU], MapPaths(path), {}, HowToMap(care=Care(minimum_area_ha=0.12)))
    with rasterio.open(path) as dataset:
        assert (dataset.read(1) == expected).all()


def test_groups_are_regions_too(series: Watched, bundle: Bundle, tmp_path: Path) -> None:
    unsure = HowToMap(sure_from=0.45)
    plain = mapped(series, bundle, tmp_path, unsure)
    maps = mapped(series, bundle, tmp_path, unsure, minimum_area_ha=0.04)
    assert plain["classes"].max() > max(crop.value for crop in bundle.classes)
    assert (maps["classes"] == sieve(plain["classes"], 4)).all()
    assert ((maps["confidence"] == 255) == (maps["classes"] == 0)).all()


@pytest.fixture
def mask(series: Watched, tmp_path: Path) -> Path:
    """Two spots of the map."""
    wanted = np.zeros((HEIGHT, WIDTH), np.uint8)
    wanted[30:38, 3:9] = wanted[35:45, 20:21] = 1
    grid, path = series.grid, tmp_path / "mask.tif"
    with rasterio.open(
        path, "w", driver="GTiff", dtype="uint8", count=1, width=WIDTH, height=HEIGHT, crs=grid.crs,
        transform=grid.transform,
    ) as dataset:  # fmt: skip
        dataset.write(wanted, 1)
    return path


@pytest.mark.parametrize("smoothing", [0.0, 1.0])
def test_a_mask_changes_nothing_within(
    series: Watched, bundle: Bundle, mask: Path, smoothing: float, tmp_path: Path
) -> None:
    in_blocks = HowToMap(edge=8)
    plain = mapped(series, bundle, tmp_path, in_blocks, smoothing=smoothing)
    maps = mapped(series, bundle, tmp_path, in_blocks, smoothing=smoothing, mask=mask)
    with rasterio.open(mask) as dataset:
        wanted = dataset.read(1) == 1
    for name in LAYERS:
        nodata = 0 if name == "classes" else 255
        assert (maps[name] == np.where(wanted, plain[name], nodata)).all(), name


def test_what_no_part_of_a_mask_needs_is_not_read(series: Watched, mask: Path, tmp_path: Path) -> None:
    bundle = save_tiny_bundle(tmp_path / "model", "tempcnn")
    series.windows.clear()
    mapped(series, bundle, tmp_path, HowToMap(edge=8), mask=mask)
    assert {(window.row, window.col) for window in series.windows} == {
        (24, 0),
        (32, 0),
        (24, 8),
        (32, 8),
        (32, 16),
        (40, 16),
    }


def test_a_mask_over_what_was_never_observed_is_no_map(series: Watched, bundle: Bundle, mask: Path) -> None:
    with rasterio.open(mask, "r+") as dataset:
        corner = np.zeros((HEIGHT, WIDTH), np.uint8)
        corner[2:4, 2:4] = 1
        dataset.write(corner, 1)
    with pytest.raises(NoValidObservationError):
        mapped(series, bundle, mask.parent, mask=mask)


def test_a_small_area_within_a_mask_is_not_smaller_than_asked_for(
    series: Watched, bundle: Bundle, mask: Path, tmp_path: Path
) -> None:
    """Regions end at the mask: what is left of them inside must be large enough by itself."""
    maps = mapped(series, bundle, tmp_path, mask=mask, minimum_area_ha=0.2)
    inside = maps["classes"][30:38, 3:9]
    assert min(np.unique(inside[inside > 0], return_counts=True)[1]) >= 20


def test_care_that_cannot_be_meant_is_refused() -> None:
    with pytest.raises(JobError, match="SMOOTHING is 50 pixels"):
        Care(smoothing=50)
