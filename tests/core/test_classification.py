"""From a series and a model to a class raster: the network's answer at every pixel, and none where nothing was seen."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray

from cropmap_core.errors import IncompatibleModelError, JobError, NoValidObservationError
from cropmap_core.inference.bundles import Bundle
from cropmap_core.inference.classification import ClassMap, HowToMap, write_class_map
from cropmap_core.inference.devices import choose_device, full_float32
from cropmap_core.inference.map_layers import MapPaths
from cropmap_core.timeseries.indices import as_channels
from cropmap_core.timeseries.series import NODATA
from models.faster.fused import FusedConvolution
from tests.core.series_in_memory import SeriesInMemory, whole
from tests.core.tiny_models import CLASSES, MONTHS, save_tiny_bundle

CPU = torch.device("cpu")
BANDS = ("B04", "B08", "B11")
DATES = tuple(date(2018, month, 1) for month in MONTHS)
VALUES = {crop.value for crop in CLASSES}

Maps = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def composites(height: int = 13, width: int = 11, seed: int = 0) -> SeriesInMemory:
    """Months of reflectance as bundles of `tiny_models` expect it, with gaps and a corner that was never observed."""
    random = np.random.default_rng(seed)
    middle = np.array([800, 2500, 2000])[:, None, None]
    values = (middle * random.normal(1, 0.3, (len(MONTHS), 3, height, width))).clip(50).astype(np.int16)
    gaps = random.random((len(MONTHS), 1, height, width)) < 0.2
    gaps[..., :2, :4] = True
    return SeriesInMemory(np.where(gaps, np.int16(NODATA), values), BANDS, DATES, "month")


def write(series: SeriesInMemory, bundle: Bundle, folder: Path, how: HowToMap | None = None) -> ClassMap:
    return write_class_map(series, bundle, [CPU], paths_in(folder), {"made": "here"}, how)


def paths_in(folder: Path) -> MapPaths:
    return MapPaths(folder / "classes.tif", folder / "confidence.tif")


def read(folder: Path) -> Maps:
    with rasterio.open(folder / "classes.tif") as classes, rasterio.open(folder / "confidence.tif") as confidence:
        return classes.read(1), confidence.read(1)


def mapped(series: SeriesInMemory, bundle: Bundle, folder: Path, how: HowToMap | None = None) -> Maps:
    write(series, bundle, folder, how)
    return read(folder)


def networks_answer(
    bundle: Bundle, series: SeriesInMemory
) -> Callable[..., tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """The bundle's network on rows and columns of a series, which may lie beyond it: class values and percent."""
    data, valid = whole(as_channels(series, bundle.channels))
    mean, std = (np.array(each, dtype=np.float32)[:, None, None] for each in (bundle.mean, bundle.std))
    edge = 20
    around = ((0, 0), (edge, edge), (edge, edge))
    x = np.pad((data - mean) / std, ((0, 0), *around), constant_values=np.nan)
    mask = np.pad(valid, around)
    days = torch.tensor([[(day - DATES[0]).days for day in DATES]], dtype=torch.float32)
    network = bundle.network()

    def answer(rows: slice, cols: slice) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        there = (..., slice(rows.start + edge, rows.stop + edge), slice(cols.start + edge, cols.stop + edge))
        with torch.no_grad():
            logits = network(torch.from_numpy(x[there])[None], days, torch.from_numpy(mask[there])[None])[0]
        probability, best = logits.softmax(dim=0).max(dim=0)
        values = np.array([crop.value for crop in bundle.classes])
        return values[best.numpy()], (100 * probability).numpy()

    return answer


@pytest.mark.parametrize("architecture", ["hybrid_cnn", "tempcnn", "ltae"])
def test_a_dense_network_classifies_every_pixel(architecture: str, tmp_path: Path) -> None:
    series, bundle = composites(), save_tiny_bundle(tmp_path / "model", architecture)
    classes, confidence = mapped(series, bundle, tmp_path)
    expected, percent = networks_answer(bundle, series)(slice(0, 13), slice(0, 11))
    observed = whole(series)[1].any(axis=0)
    np.testing.assert_array_equal(classes[observed], expected[observed])
    np.testing.assert_allclose(confidence[observed], percent[observed], atol=0.51)
    assert set(np.unique(classes)) == {0, *VALUES}


def test_a_patch_network_classifies_cells_by_the_patch_around_their_middle(
    convlstm_bundle: Bundle, tmp_path: Path
) -> None:
    """Cells of 3 x 3 pixels on 13 x 11: the last ones are cut, and patches of 5 x 5 reach beyond the raster."""
    series = composites()
    classes, confidence = mapped(series, convlstm_bundle, tmp_path)
    answer = networks_answer(convlstm_bundle, series)
    observed = whole(series)[1].any(axis=0)
    for row in range(0, 13, 3):
        for col in range(0, 11, 3):
            middle_row, middle_col = row + 1, col + 1
            value, percent = answer(slice(middle_row - 2, middle_row + 3), slice(middle_col - 2, middle_col + 3))
            cell = slice(row, row + 3), slice(col, col + 3)
            assert set(classes[cell][observed[cell]]) <= {int(value)}
            np.testing.assert_allclose(confidence[cell][observed[cell]], percent, atol=0.51)
    assert set(np.unique(classes)) == {0, *VALUES}


def test_what_was_never_observed_has_no_class_and_no_confidence(tiny_bundle: Bundle, tmp_path: Path) -> None:
    series = composites()
    never = ~whole(series)[1].any(axis=0)
    assert never.sum() == 8
    classes, confidence = mapped(series, tiny_bundle, tmp_path)
    assert (classes[never] == 0).all()
    assert (confidence[never] == 255).all()
    assert (classes[~never] > 0).all()
    assert (confidence[~never] <= 100).all()


def test_a_date_without_all_bands_is_no_date(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """Where one band is missing the others' values do not matter."""
    series = composites()
    spoilt = series.values.copy()
    gaps = (series.values == NODATA).all(axis=1)
    spoilt[:, 1][gaps] = 30000
    before = mapped(series, tiny_bundle, tmp_path)
    after = mapped(replace(series, values=spoilt), tiny_bundle, tmp_path)
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("edge", [6, 8, 12, 30])
def test_a_map_in_blocks_is_the_map_as_a_whole(tiny_bundle: Bundle, edge: int, tmp_path: Path) -> None:
    series = composites(height=45, width=38, seed=2)
    classes, confidence = mapped(series, tiny_bundle, tmp_path)
    blockwise, confidence_blockwise = mapped(series, tiny_bundle, tmp_path, HowToMap(edge=edge))
    np.testing.assert_array_equal(blockwise, classes)
    # Sums of floats depend on the shape of the block in their last digit, and so may the rounding to percent.
    np.testing.assert_allclose(confidence_blockwise.astype(int), confidence.astype(int), atol=1)


def test_patches_in_batches_are_the_patches_at_once(
    convlstm_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = mapped(composites(), convlstm_bundle, tmp_path)
    monkeypatch.setattr("cropmap_core.inference.predictor.PATCH_PIXELS_AT_ONCE", 3 * 5 * 5)
    np.testing.assert_array_equal(mapped(composites(), convlstm_bundle, tmp_path)[0], at_once[0])


def test_the_files_carry_their_legend_colours_and_provenance(hybrid_bundle: Bundle, tmp_path: Path) -> None:
    series = composites()
    made = write(series, hybrid_bundle, tmp_path)
    with rasterio.open(tmp_path / "classes.tif") as dataset:
        assert (dataset.dtypes, dataset.nodata, dataset.crs.to_string()) == (("uint8",), 0, series.grid.crs)
        assert dataset.transform == series.grid.transform
        assert dataset.colormap(1)[3] == (0xF4, 0xC4, 0x30, 255)
        tags = dataset.tags()
        counted = {crop.name: int((dataset.read(1) == crop.value).sum()) for crop in CLASSES}
    assert json.loads(tags["CROPMAP_CLASSES"])[0] == {"value": 3, "name": "Maize", "color": "#f4c430"}
    assert json.loads(tags["CROPMAP_PROVENANCE"]) == {"made": "here"}
    assert tags["CROPMAP_MODEL"] == hybrid_bundle.id
    assert (dict(made.pixels), made.device) == (counted, "cpu")
    with rasterio.open(tmp_path / "confidence.tif") as dataset:
        assert (dataset.dtypes, dataset.nodata) == (("uint8",), 255)


def test_a_map_without_confidence(hybrid_bundle: Bundle, tmp_path: Path) -> None:
    write_class_map(composites(), hybrid_bundle, [CPU], MapPaths(tmp_path / "classes.tif"), {})
    assert [path.name for path in tmp_path.iterdir()] == ["classes.tif"]


def test_classes_take_their_values_in_the_order_of_the_networks_outputs(tmp_path: Path) -> None:
    bundles = [
        save_tiny_bundle(tmp_path / name, "hybrid_cnn", classes=classes)
        for name, classes in (("one", CLASSES), ("other", CLASSES[::-1]))
    ]
    one, other = (mapped(composites(), bundle, tmp_path)[0] for bundle in bundles)
    swapped = np.where(one == 3, 7, np.where(one == 7, 3, one))
    np.testing.assert_array_equal(other, swapped)


def test_progress_runs_from_0_to_1(hybrid_bundle: Bundle, tmp_path: Path) -> None:
    heard: list[float] = []
    how, paths = HowToMap(edge=8), MapPaths(tmp_path / "classes.tif")
    write_class_map(composites(40, 50), hybrid_bundle, [CPU], paths, {}, how, heard.append)
    assert heard == sorted(heard)
    assert (heard[0], heard[-1]) == (0, 1)
    assert len(set(heard)) > 10


def test_nothing_observed_at_all_is_no_map(tiny_bundle: Bundle, tmp_path: Path) -> None:
    series = composites()
    with pytest.raises(NoValidObservationError, match=r"No pixel has a clear observation.*KEEP_CLASSES"):
        write(replace(series, values=np.full_like(series.values, NODATA)), tiny_bundle, tmp_path)


class TestWhatDoesNotFit:
    """The difference is said exactly, with the way out."""

    def refusal(self, series: SeriesInMemory, bundle: Bundle, folder: Path) -> str:
        with pytest.raises(IncompatibleModelError) as refused:
            write(series, bundle, folder)
        return str(refused.value)

    def test_a_band_is_missing(self, hybrid_bundle: Bundle, tmp_path: Path) -> None:
        series = composites()
        told = self.refusal(replace(series, values=series.values[:, :2], bands=("B04", "B08")), hybrid_bundle, tmp_path)
        assert "needs B11" in told
        assert "Stack the scenes with B11" in told

    def test_the_band_of_an_index_is_missing(self, hybrid_bundle: Bundle, tmp_path: Path) -> None:
        series = composites()
        told = self.refusal(
            replace(series, values=series.values[:, [0, 2]], bands=("B04", "B11")), hybrid_bundle, tmp_path
        )
        assert "needs NDVI, B08" in told

    def test_a_month_is_missing(self, hybrid_bundle: Bundle, tmp_path: Path) -> None:
        series = composites()
        told = self.refusal(replace(series, values=series.values[:-1], dates=DATES[:-1]), hybrid_bundle, tmp_path)
        assert "lacks 2018-08" in told
        assert "START_DATE=2018-04-01 and END_DATE=2018-08-31" in told

    def test_a_month_is_too_much(self, hybrid_bundle: Bundle, tmp_path: Path) -> None:
        series = composites()
        longer = np.concatenate([series.values, series.values[:1]])
        told = self.refusal(replace(series, values=longer, dates=(*DATES, date(2018, 9, 1))), hybrid_bundle, tmp_path)
        assert "2018-09" in told

    def test_acquisitions_are_no_composites(self, hybrid_bundle: Bundle, tmp_path: Path) -> None:
        told = self.refusal(replace(composites(), period=None), hybrid_bundle, tmp_path)
        assert "single acquisitions" in told
        assert "PERIOD=month" in told


class TestDevices:
    def test_auto_takes_what_there_is(self) -> None:
        assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
        assert choose_device("cpu").type == "cpu"

    def test_a_device_that_is_not_there_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        with pytest.raises(JobError, match="torch sees no CUDA device.*auto or cpu"):
            choose_device("cuda")

    def test_another_device_is_refused(self) -> None:
        with pytest.raises(JobError, match="DEVICE is 'npu'. Choose auto, cpu, cuda or mps"):
            choose_device("npu")

    def test_float32_is_not_rounded_before_it_is_convolved(
        self, hybrid_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rounded, convolve = set(), FusedConvolution.forward

        def watched(layer: FusedConvolution, image: torch.Tensor) -> torch.Tensor:
            rounded.add(torch.backends.cudnn.allow_tf32)
            return convolve(layer, image)

        monkeypatch.setattr(FusedConvolution, "forward", watched)
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
        mapped(composites(), hybrid_bundle, tmp_path)
        assert rounded == {False}
        assert torch.backends.cudnn.allow_tf32

    def test_nor_after_one_of_two_threads_is_through(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
        with ExitStack() as one, ExitStack() as other:
            one.enter_context(full_float32())
            other.enter_context(full_float32())
            one.close()
            assert not torch.backends.cudnn.allow_tf32
            other.close()
            assert torch.backends.cudnn.allow_tf32

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    def test_a_map_made_on_cuda_is_that_of_the_cpu(self, tiny_bundle: Bundle, tmp_path: Path) -> None:
        classes, confidence = mapped(composites(), tiny_bundle, tmp_path)
        write_class_map(composites(), tiny_bundle, [torch.device("cuda")], paths_in(tmp_path), {})
        on_cuda, confidence_on_cuda = read(tmp_path)
        np.testing.assert_array_equal(on_cuda, classes)
        np.testing.assert_allclose(confidence_on_cuda.astype(int), confidence.astype(int), atol=1)
