"""Class probabilities of several runs become one map."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray

from cropmap_core.classes import CLASSES_TAG
from cropmap_core.inference.combining import METHODS, Ensemble, open_ensemble, sureness
from cropmap_core.io.grid import Grid
from tests.core.seam import SCHEMA, Outcome, run_here, unfinished_files

GRID = Grid("EPSG:32631", Affine(10, 0, 500_000, 0, -10, 5_600_000), 2, 1)
VALUES = {"Maize": 1, "Grass": 2, "Potatoes": 7}
COLOURS = {"Maize": "#f4c430", "Grass": "#4caf50", "Potatoes": "#8d5524"}
UNSEEN = None


def run_of(
    path: Path,
    pixels: Sequence[Mapping[str, float] | None],
    grid: Grid = GRID,
    values: Mapping[str, int] = VALUES,
    dtype: str = "uint8",
    **changes: Any,
) -> Path:
    """A raster of probabilities, pixel by pixel from the upper left; its bands stand as in the first of them."""
    names = list(next(pixel for pixel in pixels if pixel is not None))
    scale, nodata = (0.004, 255) if dtype == "uint8" else (1.0, np.nan)
    stored = np.array(
        [[nodata if pixel is None else round(pixel[name] / scale, 6) for pixel in pixels] for name in names], dtype
    )
    tags = {CLASSES_TAG: json.dumps([{"value": values[n], "name": n, "color": COLOURS[n]} for n in names])}
    with rasterio.open(
        path, "w", driver="GTiff", dtype=dtype, count=len(names), nodata=changes.get("nodata", nodata),
        width=grid.width, height=grid.height, crs=grid.crs or None, transform=grid.transform,
    ) as dataset:  # fmt: skip
        dataset.write(stored.reshape(len(names), grid.height, grid.width))
        dataset.scales = (changes.get("scale", scale),) * len(names)
        dataset.update_tags(**changes.get("tags", {**tags, "CROPMAP_MODEL": path.stem}))
        for band, name in enumerate(changes.get("bands", names), 1):
            dataset.set_band_description(band, name)
    return path


@pytest.fixture
def sure(tmp_path: Path) -> Path:
    """Sure of maize; the second pixel it never saw."""
    return run_of(tmp_path / "sure.tif", [{"Maize": 0.92, "Grass": 0.08, "Potatoes": 0.0}, UNSEEN])


@pytest.fixture
def unsure(tmp_path: Path) -> Path:
    """Rather grass, in another order of bands."""
    pixels = [{"Potatoes": 0.2, "Grass": 0.8, "Maize": 0.0}, {"Potatoes": 0.6, "Grass": 0.2, "Maize": 0.2}]
    return run_of(tmp_path / "unsure.tif", pixels)


def combined(ensemble: Ensemble) -> NDArray[np.float32]:
    ((_, probabilities, observed),) = ensemble.blocks()
    return np.where(observed, probabilities, np.nan)


def test_the_mean_is_by_name_and_of_those_that_saw_the_pixel(sure: Path, unsure: Path) -> None:
    ensemble = open_ensemble([sure, unsure])
    assert [crop.name for crop in ensemble.classes] == ["Maize", "Grass", "Potatoes"]
    expected = [[[0.46, 0.2]], [[0.44, 0.2]], [[0.1, 0.6]]]
    np.testing.assert_allclose(combined(ensemble), expected, atol=1e-6)


def test_weights_count_by_their_ratio(sure: Path, unsure: Path) -> None:
    expected = [[[0.23, 0.2]], [[0.62, 0.2]], [[0.15, 0.6]]]
    for weights in ([1, 3], [10, 30]):
        np.testing.assert_allclose(combined(open_ensemble([sure, unsure], "weighted", weights)), expected, atol=1e-6)


def test_entropy_lets_a_run_count_by_how_sure_it_is_of_the_pixel(sure: Path, unsure: Path) -> None:
    probabilities = np.array([[0.92, 0.08, 0.0], [0.0, 0.8, 0.2]])
    entropy = -(probabilities * np.log(np.maximum(probabilities, 1e-300))).sum(axis=1) / np.log(3)
    weights = 1 - entropy
    expected = weights @ probabilities / weights.sum()
    np.testing.assert_allclose(
        combined(open_ensemble([sure, unsure], "entropy_weighted"))[:, 0, 0], expected, atol=1e-5
    )
    assert expected[0] > 0.46  # the surer one is for maize


def test_runs_that_know_nothing_of_a_pixel_have_their_mean(tmp_path: Path) -> None:
    even = {"Maize": 0.5, "Grass": 0.5}
    paths = [run_of(tmp_path / f"{name}.tif", [even, even]) for name in "ab"]
    np.testing.assert_allclose(combined(open_ensemble(paths, "entropy_weighted")), 0.5, atol=1e-6)
    assert (sureness(np.full((2, 1, 1), 0.5, np.float32)) > 0).all()
    assert (sureness(np.ones((1, 2, 2), np.float32)) == 1).all()


def test_a_class_that_a_run_does_not_know_counts_0_there(sure: Path, tmp_path: Path) -> None:
    other = run_of(tmp_path / "other.tif", [{"Grass": 1.0}, {"Grass": 1.0}])
    np.testing.assert_allclose(combined(open_ensemble([other, sure])), [[[0.54, 1]], [[0.46, 0]], [[0, 0]]], atol=1e-6)
    outcome = run_here("combinepredictions", predictions=[other, sure], output_classes=tmp_path / "map.tif")
    assert outcome.status == 0
    assert outcome.texts("warning") == "other.tif does not know Maize, Potatoes: these count 0 there."


def test_floats_from_0_to_1_are_taken_too(sure: Path, tmp_path: Path) -> None:
    floats = run_of(tmp_path / "floats.tif", [{"Maize": 0.12, "Grass": 0.88, "Potatoes": 0.0}, UNSEEN], dtype="float32")
    result = combined(open_ensemble([sure, floats]))
    np.testing.assert_allclose(result[:, 0, 0], [0.52, 0.48, 0], atol=1e-6)
    assert np.isnan(result[:, 0, 1]).all()


def read(path: Path) -> NDArray[Any]:
    with rasterio.open(path) as dataset:
        return dataset.read()


def test_the_command_writes_classes_confidence_and_probabilities(sure: Path, unsure: Path, tmp_path: Path) -> None:
    files = {name: tmp_path / f"map_{name}.tif" for name in ("classes", "confidence", "probabilities")}
    outcome = run_here(
        "combinepredictions", predictions=[sure, unsure], **{f"output_{name}": path for name, path in files.items()}
    )
    assert outcome.outputs["pixels"] == {"Maize": 1, "Grass": 0, "Potatoes": 1}
    assert read(files["classes"]).tolist() == [[[1, 7]]]
    assert read(files["confidence"]).tolist() == [[[46, 60]]]
    assert read(files["probabilities"]).tolist() == [[[115, 50]], [[110, 50]], [[25, 150]]]
    with rasterio.open(files["classes"]) as dataset:
        assert dataset.nodata == 0
        assert dataset.colormap(1)[7] == (0x8D, 0x55, 0x24, 255)
        assert [crop["name"] for crop in json.loads(dataset.tags()[CLASSES_TAG])] == ["Maize", "Grass", "Potatoes"]
        assert dataset.tags()["CROPMAP_MODEL"] == "sure + unsure"
        made = json.loads(dataset.tags()["CROPMAP_PROVENANCE"])
        assert (made["command"], made["method"], made["weights"]) == ("combinepredictions", "mean", [1, 1])
    assert {path.suffix for path in tmp_path.glob("map_*.qml")} == {".qml"}
    assert "Potatoes" in files["classes"].with_suffix(".qml").read_text()


def test_what_was_written_can_be_combined_again(sure: Path, unsure: Path, tmp_path: Path) -> None:
    first = tmp_path / "first.tif"
    run_here(
        "combinepredictions", predictions=[sure, unsure], output_classes=tmp_path / "a.tif", output_probabilities=first
    )
    np.testing.assert_allclose(combined(open_ensemble([first, unsure]))[:, 0, 0], [0.23, 0.62, 0.15], atol=1e-6)


def test_what_told_of_an_earlier_map_goes_with_it(sure: Path, unsure: Path, tmp_path: Path) -> None:
    told = [tmp_path / f"map.{kind}.json" for kind in ("run", "stac")]
    for path in told:
        path.write_text("{}")
    bad = run_here("combinepredictions", predictions=[sure, sure], output_classes=tmp_path / "map.tif")
    assert (bad.code, [path.exists() for path in told]) == ("JobError", [True, True])
    assert run_here("combinepredictions", predictions=[sure, unsure], output_classes=tmp_path / "map.tif").status == 0
    assert not any(path.exists() for path in told)
    assert unfinished_files(tmp_path) == []


def test_many_blocks_are_what_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    grid = Grid(GRID.crs, GRID.transform, 37, 29)
    shares = random.integers(0, 251, (2, 37 * 29)) / 250
    paths = [
        run_of(tmp_path / f"{number}.tif", [{"Maize": s, "Grass": 1 - s} for s in part], grid)
        for number, part in enumerate(shares)
    ]
    whole = combined(open_ensemble(paths, "entropy_weighted"))
    monkeypatch.setattr("cropmap_core.inference.combining.BLOCK_SIZE", 16)
    blocks = list(open_ensemble(paths, "entropy_weighted").blocks())
    assert len(blocks) == 6
    for window, probabilities, _ in blocks:
        assert (probabilities == whole[(slice(None), *window.slices_within(grid.window()))]).all()


def test_the_methods_are_those_of_the_schema() -> None:
    assert tuple(SCHEMA["$defs"]["combinepredictions"]["properties"]["method"]["enum"]) == METHODS


THERE = {"Maize": 0.5, "Grass": 0.5}


def on_another_grid(folder: Path) -> dict[str, Any]:
    grid = Grid(GRID.crs, Affine(10, 0, 500_010, 0, -10, 5_600_000), 2, 1)
    return {"predictions": [run_of(folder / "a.tif", [THERE] * 2), run_of(folder / "b.tif", [THERE] * 2, grid)]}


def another_value(folder: Path) -> dict[str, Any]:
    other = run_of(folder / "b.tif", [THERE] * 2, values={"Maize": 1, "Grass": 3})
    return {"predictions": [run_of(folder / "a.tif", [THERE] * 2), other]}


def another_name(folder: Path) -> dict[str, Any]:
    other = run_of(folder / "b.tif", [{"Maize": 0.5, "Potatoes": 0.5}] * 2, values={"Maize": 1, "Potatoes": 2})
    return {"predictions": [run_of(folder / "a.tif", [THERE] * 2), other]}


def sums_of_more(folder: Path) -> dict[str, Any]:
    other = run_of(folder / "b.tif", [THERE, {"Maize": 0.6, "Grass": 0.6}])
    return {"predictions": [run_of(folder / "a.tif", [THERE] * 2), other]}


def without_scale(folder: Path) -> dict[str, Any]:
    other = run_of(folder / "b.tif", [THERE] * 2, scale=1.0)
    return {"predictions": [run_of(folder / "a.tif", [THERE] * 2), other]}


def without_classes(folder: Path) -> dict[str, Any]:
    other = run_of(folder / "b.tif", [THERE] * 2, tags={})
    return {"predictions": [run_of(folder / "a.tif", [THERE] * 2), other]}


def bands_of_no_class(folder: Path) -> dict[str, Any]:
    other = run_of(folder / "b.tif", [THERE] * 2, bands=["Maize", "B04"])
    return {"predictions": [run_of(folder / "a.tif", [THERE] * 2), other]}


def one_alone(folder: Path) -> dict[str, Any]:
    path = run_of(folder / "a.tif", [THERE] * 2)
    return {"predictions": [path, path]}


def too_few_weights(folder: Path) -> dict[str, Any]:
    paths = [run_of(folder / f"{name}.tif", [THERE] * 2) for name in "ab"]
    return {"predictions": paths, "method": "weighted", "weights": [1]}


def weights_without_their_method(folder: Path) -> dict[str, Any]:
    return {"predictions": [run_of(folder / f"{name}.tif", [THERE] * 2) for name in "ab"], "weights": [1, 2]}


def never_observed(folder: Path) -> dict[str, Any]:
    everywhere = {"nodata": 125}  # which is what both classes have
    return {"predictions": [run_of(folder / f"{name}.tif", [THERE] * 2, **everywhere) for name in "ab"]}


def with_legend(folder: Path, **changes: Any) -> dict[str, Any]:
    told = [{"value": VALUES[name], "name": name, "color": COLOURS[name]} for name in THERE]
    other = run_of(folder / "b.tif", [THERE] * 2, tags={CLASSES_TAG: json.dumps([told[0], {**told[1], **changes}])})
    return {"predictions": [run_of(folder / "a.tif", [THERE] * 2), other]}


def an_output_that_is_an_input(folder: Path) -> dict[str, Any]:
    paths = [run_of(folder / f"{name}.tif", [THERE] * 2) for name in "ab"]
    return {"predictions": paths, "output_probabilities": paths[0]}


@pytest.mark.parametrize(
    ("make", "code", "told"),
    [
        (on_another_grid, "GridMismatchError", "b.tif has another grid"),
        (another_value, "SeriesError", "Grass is 2 in"),
        (another_name, "SeriesError", "2 is Grass in"),
        (sums_of_more, "SeriesError", "add up to 1.2 in row 0, column 1"),
        (without_scale, "SeriesError", "holds uint8 of scale 1"),
        (without_classes, "SeriesError", "names no classes"),
        (bands_of_no_class, "SeriesError", "has the bands Maize, B04"),
        (partial(with_legend, value=0), "SeriesError", "b.tif has 0 as the value of Grass"),
        (partial(with_legend, value=65536), "SeriesError", "b.tif has 65536 as the value of Grass"),
        (partial(with_legend, value=2.0), "SeriesError", "b.tif has 2.0 as the value of Grass"),
        (partial(with_legend, value=True), "SeriesError", "b.tif has True as the value of Grass"),
        (partial(with_legend, color="green"), "SeriesError", "b.tif has 'green' as the colour of Grass"),
        (partial(with_legend, color=None), "SeriesError", "b.tif has None as the colour of Grass"),
        (partial(with_legend, name=["Grass"]), "SeriesError", "b.tif has a class that is named ['Grass']"),
        (one_alone, "JobError", "given twice"),
        (too_few_weights, "JobError", "WEIGHTS are 1, but there are 2 rasters"),
        (weights_without_their_method, "JobError", "There are WEIGHTS, but METHOD is mean"),
        (never_observed, "NoValidObservationError", "No raster has any probability"),
        (an_output_that_is_an_input, "OutputError", "is an input of the job"),
    ],
)
def test_bad_input_is_said_clearly_and_leaves_what_was_there(make: Any, code: str, told: str, tmp_path: Path) -> None:
    target = tmp_path / "map.tif"
    target.write_text("earlier")
    outcome: Outcome = run_here("combinepredictions", **{"output_classes": target, **make(tmp_path)})
    assert (outcome.code, told in outcome.last["message"]) == (code, True), outcome.last
    assert target.read_text() == "earlier"
    assert unfinished_files(tmp_path) == []
