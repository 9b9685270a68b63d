"""The engine: no block edge shows, no memory is too little, and a device that is lost loses no map."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray

from cropmap_core.errors import JobError, NoValidObservationError, OutOfMemoryError, OutputError, SceneError
from cropmap_core.inference import classification, damage, engine, precision
from cropmap_core.inference.bundle_types import REACH
from cropmap_core.inference.bundles import Bundle, list_bundles, load_bundle
from cropmap_core.inference.classification import RUN_TAG, HowToMap, write_class_map
from cropmap_core.inference.devices import is_lost, is_out_of_memory
from cropmap_core.inference.engine import Asked, Seen
from cropmap_core.inference.finished_blocks import Arrays, FinishedBlocks
from cropmap_core.inference.map_care import Care
from cropmap_core.inference.map_layers import MapPaths
from cropmap_core.inference.precision import AGREEMENT, PROPERTY, agreement_of, choose_precision
from cropmap_core.inference.predictor import Predictor
from cropmap_core.io import outputs
from cropmap_core.io.grid import Window
from cropmap_core.timeseries.files import open_time_series, write_time_series
from cropmap_core.timeseries.indices import as_channels
from cropmap_core.timeseries.series import NODATA, Block, Series
from tests.core.engine_cases import (
    CPU,
    GPU,
    KINDS,
    SECOND_GPU,
    Map,
    Obedient,
    Read,
    bundle_named,
    difference_of,
    map_of,
    no_fault,
    season,
)
from tests.core.seam import run_here
from tests.core.series_in_memory import SeriesInMemory
from tests.core.tiny_models import with_thresholds

HEIGHT, WIDTH = 125, 90
SAME_CLASS, SAME_PROBABILITY = 0.9999, 1e-3
LEAST_EDGES = {"convlstm shared patches": 66}
STEPS = {"convlstm patches": 3, "convlstm shared patches": 11, "tempcnn": 1, "trees": 1, "convlstm dense": 1}
BundleOf = Callable[[str], Bundle]
NO_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
LOST = RuntimeError("CUDA error: unspecified launch failure\nCompile with TORCH_USE_CUDA_DSA.")


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(damage, "_PAUSE_S", 0.0)


@pytest.fixture(scope="module")
def bundle_of(tmp_path_factory: pytest.TempPathFactory) -> BundleOf:
    folder = tmp_path_factory.mktemp("models")
    return cache(lambda kind: bundle_named(kind, folder / kind.replace(" ", "_")))


@pytest.fixture(scope="module")
def landscape() -> SeriesInMemory:
    return season(HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def whole_of(bundle_of: BundleOf, landscape: SeriesInMemory) -> Callable[[str], Map]:
    """The landscape in one part."""
    return cache(lambda kind: map_of(landscape, bundle_of(kind), edge_of(kind, 1000)))


def edge_of(kind: str, wanted: int) -> int:
    """The next edge that the network's step divides, and at least the smallest that is possible."""
    step = STEPS.get(kind, 4)
    return -(-max(wanted, LEAST_EDGES.get(kind, 32)) // step) * step


def assert_same(one: Map, other: Map) -> None:
    np.testing.assert_array_equal(one.times, 1)
    assert one.difference(other) <= SAME_PROBABILITY
    assert one.agreement(other) >= SAME_CLASS


class TestSeams:
    @pytest.mark.parametrize("wanted", [32, 45, 70])
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_map_in_parts_is_the_map_in_one(
        self, kind: str, wanted: int, bundle_of: BundleOf, landscape: SeriesInMemory, whole_of: Callable[[str], Map]
    ) -> None:
        edge = edge_of(kind, wanted)
        parts, whole = map_of(landscape, bundle_of(kind), edge), whole_of(kind)
        assert parts.report.blocks == -(-HEIGHT // edge) * -(-WIDTH // edge) > whole.report.blocks == 1
        assert_same(parts, whole)
        classes = whole.probabilities[:, whole.observed].argmax(axis=0)
        assert (np.bincount(classes, minlength=3) > 0).sum() >= 2  # a map of one class would show no seam

    @pytest.mark.parametrize("edge", [48, 60])
    @pytest.mark.parametrize("kind", ["hybrid_cnn", "trees", "convlstm patches"])
    def test_neither_where_it_is_smoothed(
        self, kind: str, edge: int, bundle_of: BundleOf, landscape: SeriesInMemory, whole_of: Callable[[str], Map]
    ) -> None:
        smoothed = map_of(landscape, bundle_of(kind), edge_of(kind, 1000), sigma=1.3)
        assert smoothed.difference(whole_of(kind)) > 0.05
        assert_same(map_of(landscape, bundle_of(kind), edge_of(kind, edge), sigma=1.3), smoothed)

    @pytest.mark.parametrize(("kind", "halo"), [("convlstm dense", 0), ("auto_context", 4)])
    def test_what_lies_around_a_part_is_what_makes_it_so(
        self,
        kind: str,
        halo: int,
        bundle_of: BundleOf,
        landscape: SeriesInMemory,
        whole_of: Callable[[str], Map],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Else these tests would see nothing."""
        whole = whole_of(kind)
        monkeypatch.setattr(Predictor, "halo", halo)
        without = map_of(landscape, bundle_of(kind), edge_of(kind, 45))
        assert without.difference(whole) > 100 * SAME_PROBABILITY
        assert without.agreement(whole) < SAME_CLASS

    def test_no_more_is_read_around_than_a_bundle_says_matters(
        self, bundle_of: BundleOf, landscape: SeriesInMemory, whole_of: Callable[[str], Map]
    ) -> None:
        """Here it says less than does; each pixel by itself, and 8 pixels around it."""
        told = [replace(bundle_of("hybrid_cnn"), properties={REACH: reach}) for reach in (0, 8)]
        none, some = (map_of(landscape, bundle, 44).difference(whole_of("hybrid_cnn")) for bundle in told)
        assert none > some > 0

    @pytest.mark.parametrize("around", [0, 3])
    @pytest.mark.parametrize("wanted", [32, 45, 70])
    @pytest.mark.parametrize("kind", ["trees", "hybrid_cnn", "convlstm patches", "convlstm shared patches"])
    def test_one_in_four_series_is_the_same_one_in_four(
        self, kind: str, wanted: int, around: int, bundle_of: BundleOf, landscape: SeriesInMemory
    ) -> None:
        """Rows and columns are counted from the raster's corner, whatever parts there are and how far windows lag."""
        bundle, every = bundle_of(kind), 4
        channels = as_channels(landscape, bundle.channels)
        expected = channels.read(landscape.grid.window())
        found = Block(np.zeros_like(expected.data), np.zeros_like(expected.valid))
        times = np.zeros((HEIGHT, WIDTH), int)

        def finish(seen: Seen) -> Arrays:
            inside = seen.window.slices_within(landscape.grid.window())
            times[inside][seen.looked_at] += 1
            found.data[..., *inside][..., *seen.looked_at] = seen.block.data
            found.valid[:, *inside][:, *seen.looked_at] = seen.block.valid
            return {"observed": seen.observed}

        days = bundle.season_days(landscape.dates)
        asked = Asked(channels, days, bundle.channels, finish, around=around, every=every)
        edge = edge_of(kind, max(wanted, 2 * around + LEAST_EDGES.get(kind, 32) + 8))
        engine.run(asked, partial(Obedient, no_fault, bundle), [CPU], FinishedBlocks(), lambda *_: edge)
        counted = np.zeros_like(times)
        counted[::every, ::every] = 1
        np.testing.assert_array_equal(times, counted)
        np.testing.assert_array_equal(found.valid[:, counted > 0], expected.valid[:, counted > 0])
        np.testing.assert_array_equal(found.data[..., counted > 0], expected.data[..., counted > 0])

    def test_the_share_of_ood_is_the_same(
        self, landscape: SeriesInMemory, whole_of: Callable[[str], Map], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(classification, "_FEW_PIXELS", 10)
        bundle, whole = bundle_named("tempcnn", tmp_path / "model"), whole_of("tempcnn")
        learnt = as_channels(landscape, bundle.channels).read(landscape.grid.window()).data[..., :30]
        labels = np.where(whole.observed, np.nan_to_num(whole.probabilities).argmax(axis=0), -1)[:, :30]
        told = with_thresholds(bundle, learnt.astype(np.float32), labels)
        paths = MapPaths(tmp_path / "classes.tif")
        shares = {
            write_class_map(landscape, told, [CPU], paths, {}, HowToMap(edge=edge)).watch.share
            for edge in (33, 50, 1000)
        }
        assert len(shares) == 1
        assert 0 < (shares.pop() or 0) < 1

    def test_the_files_of_a_map_show_none(self, bundle_of: BundleOf, landscape: SeriesInMemory, tmp_path: Path) -> None:
        care = Care(smoothing=1.0, minimum_area_ha=0.05)
        whole = files_of(landscape, bundle_of("hybrid_cnn"), tmp_path / "whole", HowToMap(care=care))
        parts = files_of(landscape, bundle_of("hybrid_cnn"), tmp_path / "parts", HowToMap(care=care, edge=44))
        seen = whole["classes"] > 0
        np.testing.assert_array_equal(parts["classes"] > 0, seen)
        assert np.mean(parts["classes"][seen] == whole["classes"][seen]) >= SAME_CLASS
        for name in ("confidence", "entropy", "margin", "probabilities"):
            assert difference_of(parts[name], whole[name]) <= 1  # of 100 or 250 steps: a rounding


def files_of(
    series: Any, bundle: Bundle, folder: Path, how: HowToMap | None = None, **more: Any
) -> Mapping[str, NDArray[Any]]:
    """Maps into files, all layers of them."""
    folder.mkdir(exist_ok=True)
    names = ("classes", "confidence", "entropy", "margin", "probabilities")
    paths = MapPaths(**{name: folder / f"{name}.tif" for name in names})
    write_class_map(series, bundle, more.pop("devices", [CPU]), paths, {}, how, **more)
    return {name: read(path) for name, path in paths.there.items()}


def read(path: Path) -> NDArray[Any]:
    with rasterio.open(path) as dataset:
        values: NDArray[Any] = dataset.read()
    return values


def run_tag(path: Path) -> dict[str, Any]:
    with rasterio.open(path) as dataset:
        return dict(json.loads(dataset.tags()[RUN_TAG]))


class TestTooLittleMemory:
    def test_fewer_rows_at_a_time_come_first(
        self, bundle_of: BundleOf, landscape: SeriesInMemory, whole_of: Callable[[str], Map]
    ) -> None:
        def fault(device: torch.device, stage: str, pixels: int) -> None:
            if stage == "first" and pixels > 700:
                raise NO_MEMORY

        made = map_of(landscape, bundle_of("hybrid_cnn"), 64, fault=fault)
        assert_same(made, whole_of("hybrid_cnn"))
        assert made.report.steps == made.said
        assert made.said == [f"cpu has too little memory: on with {rows} rows at a time." for rows in (32, 16, 8)]
        assert (made.report.devices, made.report.edge) == (["cpu"], 64)

    def test_then_smaller_windows(
        self, bundle_of: BundleOf, landscape: SeriesInMemory, whole_of: Callable[[str], Map]
    ) -> None:
        def fault(device: torch.device, stage: str, pixels: int) -> None:
            if stage == "second" and pixels > 100**2:
                raise NO_MEMORY

        made = map_of(landscape, bundle_of("hybrid_cnn"), 1000, fault=fault)
        assert_same(made, whole_of("hybrid_cnn"))
        assert made.said == ["cpu has too little memory: on with windows of 64 x 64 pixels."]

    @pytest.mark.parametrize("stage", ["weights", "first", "second"])
    def test_then_another_device(
        self, stage: str, bundle_of: BundleOf, landscape: SeriesInMemory, whole_of: Callable[[str], Map]
    ) -> None:
        def fault(device: torch.device, at: str, pixels: int) -> None:
            if device == GPU and at == stage:
                raise NO_MEMORY

        made = map_of(landscape, bundle_of("hybrid_cnn"), 64, [GPU], fault)
        assert_same(made, whole_of("hybrid_cnn"))
        assert made.report.devices == ["cpu"]
        assert made.said[-1].startswith("cuda:0 ")
        assert made.said[-1].endswith(": on with cpu.")

    @pytest.mark.parametrize("stage", ["first", "second"])
    def test_then_it_is_said(self, stage: str, bundle_of: BundleOf, landscape: SeriesInMemory) -> None:
        def fault(device: torch.device, at: str, pixels: int) -> None:
            if at == stage:
                raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 8 GB")

        with pytest.raises(OutOfMemoryError, match=r"too little memory for tiny-hybrid-cnn.*smaller model"):
            map_of(landscape, bundle_of("hybrid_cnn"), 64, [GPU], fault)

    def test_parts_that_cannot_be_read_are_halved(
        self,
        bundle_of: BundleOf,
        landscape: SeriesInMemory,
        whole_of: Callable[[str], Map],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The first parts fit, one later on does not: what is finished is kept, the rest is made of smaller parts."""
        monkeypatch.setattr(engine, "LEAST_EDGE", 36)

        def fault(window: Window) -> None:
            if window.row > 0 and window.height > 40:
                raise MemoryError

        made = map_of(Read(landscape, fault), bundle_of("convlstm dense"), 72)
        assert_same(made, whole_of("convlstm dense"))
        assert made.report.edge == made.store.edge == 36
        assert made.said == made.report.steps == ["Too little memory for parts of 72 x 72 pixels: on with 36 x 36."]
        assert Window(0, 0, 60, 60) in [window for window, _ in made.store]
        assert made.report.taken_over == 0

    def test_parts_that_can_be_no_smaller_are_the_end(self, bundle_of: BundleOf, landscape: SeriesInMemory) -> None:
        def fault(window: Window) -> None:
            raise MemoryError("Unable to allocate 3 GiB")

        with pytest.raises(
            OutOfMemoryError, match=r"parts of 64 x 64 pixels: Unable to allocate.*Close other programs"
        ):
            map_of(Read(landscape, fault), bundle_of("tempcnn"), 256)

    def test_the_map_tells(
        self, bundle_of: BundleOf, landscape: SeriesInMemory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected = files_of(landscape, bundle_of("hybrid_cnn"), tmp_path / "one")
        assert run_tag(tmp_path / "one" / "classes.tif")["steps_down"] == []

        def fault(device: torch.device, stage: str, pixels: int) -> None:
            if device == GPU and stage == "second":
                raise NO_MEMORY

        monkeypatch.setattr(classification, "Predictor", partial(Obedient, fault))
        said: list[str] = []
        how = HowToMap(edge=64)
        made = files_of(landscape, bundle_of("hybrid_cnn"), tmp_path / "other", how, devices=[GPU], log=said.append)
        np.testing.assert_array_equal(made["classes"], expected["classes"])
        told = run_tag(tmp_path / "other" / "classes.tif")
        assert told["steps_down"] == said
        assert said[-1] == "cuda:0 has too little memory even for windows of 48 x 48 pixels: on with cpu."
        assert {name: told[name] for name in ("device", "precision", "block_pixels")} == {
            "device": "cpu",
            "precision": "float32",
            "block_pixels": 64,
        }

    @pytest.mark.parametrize(
        "text",
        [
            "CUDA out of memory. Tried to allocate 20 MiB",
            "CUDA error: out of memory",
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
            "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
            "MPS backend out of memory (MPS allocated: 9 GB)",
        ],
    )
    def test_too_little_is_not_lost(self, text: str) -> None:
        error = RuntimeError(text)
        assert is_out_of_memory(error)
        assert not is_lost(error, GPU)

    def test_lost_is_not_too_little(self) -> None:
        assert is_lost(LOST, GPU)
        assert not is_out_of_memory(LOST)
        assert not is_lost(LOST, CPU)


class TestLostDevice:
    def test_the_rest_is_computed_elsewhere(
        self, bundle_of: BundleOf, landscape: SeriesInMemory, whole_of: Callable[[str], Map]
    ) -> None:
        done: list[tuple[str, int]] = []

        def fault(device: torch.device, stage: str, pixels: int) -> None:
            if device == GPU and len(done) >= 5:
                raise LOST
            done.append((device.type, pixels)) if stage == "second" else None

        made = map_of(landscape, bundle_of("hybrid_cnn"), 36, [GPU], fault)
        assert_same(made, whole_of("hybrid_cnn"))
        assert made.report.devices == ["cpu", "cuda:0"]
        assert made.said == ["cuda:0 does not answer any more (CUDA error: unspecified launch failure): on with cpu."]
        on_cpu = sum(device == "cpu" for device, _ in done)
        assert on_cpu == made.report.blocks - 5  # those that were finished are not computed again
        assert made.report.taken_over == 0

    def test_also_if_a_later_operation_tells(
        self,
        bundle_of: BundleOf,
        landscape: SeriesInMemory,
        whole_of: Callable[[str], Map],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """CUDA computes while Python goes on: errors come with whatever waits for the result."""
        calls = iter(range(1000))

        class Told(engine.Surroundings):
            def add(self, *given: Any) -> Any:
                if next(calls) == 9:
                    raise LOST
                return super().add(*given)

        monkeypatch.setattr(engine, "Surroundings", Told)
        made = map_of(landscape, bundle_of("hybrid_cnn"), 36, [GPU])
        assert_same(made, whole_of("hybrid_cnn"))
        assert made.said[0].startswith("cuda:0 does not answer any more")

    def test_another_error_is_no_lost_device(self, bundle_of: BundleOf, landscape: SeriesInMemory) -> None:
        def fault(device: torch.device, stage: str, pixels: int) -> None:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

        with pytest.raises(RuntimeError, match="cannot be multiplied"):
            map_of(landscape, bundle_of("tempcnn"), 64, [GPU], fault)


class TestSeveralDevices:
    @pytest.mark.parametrize("kind", ["hybrid_cnn", "convlstm patches", "tempcnn"])
    @pytest.mark.parametrize("devices", [[GPU, SECOND_GPU], [CPU, CPU]])
    def test_make_the_map_of_one(
        self,
        kind: str,
        devices: list[torch.device],
        bundle_of: BundleOf,
        landscape: SeriesInMemory,
        whole_of: Callable[[str], Map],
    ) -> None:
        made = map_of(landscape, bundle_of(kind), edge_of(kind, 36), devices, sigma=0.0)
        assert_same(made, whole_of(kind))
        assert made.report.devices == sorted({str(device) for device in devices})

    def test_what_one_cannot_the_other_does(
        self, bundle_of: BundleOf, landscape: SeriesInMemory, whole_of: Callable[[str], Map]
    ) -> None:
        def fault(device: torch.device, stage: str, pixels: int) -> None:
            if device == SECOND_GPU and stage == "second":
                raise LOST

        made = map_of(landscape, bundle_of("hybrid_cnn"), 36, [GPU, SECOND_GPU], fault)
        assert_same(made, whole_of("hybrid_cnn"))
        assert made.report.devices == ["cuda:0"]
        assert made.said[-1].endswith("on with cuda:0.")

    def test_an_error_of_one_ends_both(self, bundle_of: BundleOf, landscape: SeriesInMemory) -> None:
        def fault(window: Window) -> None:
            if window.row >= 72:
                raise SceneError("It is damaged.", "Get it again.")

        before = threading.active_count()
        with pytest.raises(SceneError, match="It is damaged"):
            map_of(Read(landscape, fault), bundle_of("hybrid_cnn"), 36, [GPU, SECOND_GPU])
        assert threading.active_count() <= before

    def test_an_error_of_the_second_is_told_before_the_first_is_done(
        self, bundle_of: BundleOf, landscape: SeriesInMemory
    ) -> None:
        """Rows of parts begin at 0, 36, 72 and 108; that at 36 is needed by both."""
        failed = threading.Event()

        def fault(window: Window) -> None:
            if window.row >= 72:
                failed.set()
                raise SceneError("It is damaged.", "Get it again.")
            if window.row == 0:
                assert failed.wait(20)
                time.sleep(0.2)

        series = Read(landscape, fault)
        with pytest.raises(SceneError, match="It is damaged"):
            map_of(series, bundle_of("hybrid_cnn"), 36, [GPU, SECOND_GPU])
        assert sum(window.row == 36 for window in series.windows) < 6, "the first went on to its second row"

    def test_the_map_can_be_stopped(self, bundle_of: BundleOf, landscape: SeriesInMemory) -> None:
        class Stop(Exception):  # noqa: N818
            pass

        def progress(fraction: float) -> None:
            if fraction > 0.4:
                raise Stop

        bundle, store = bundle_of("convlstm patches"), FinishedBlocks()
        asked = Asked(
            as_channels(landscape, bundle.channels),
            bundle.season_days(landscape.dates),
            bundle.channels,
            lambda seen: {"observed": seen.observed},
        )
        for devices in ([CPU], [CPU, CPU]):
            with pytest.raises(Stop):
                engine.run(asked, partial(Obedient, no_fault, bundle), devices, store, lambda *_: 12, progress)
            assert 0 < len(store) < 88
            store = FinishedBlocks()


class TestMask:
    """Parcels in one corner of the landscape, a pixel in another."""

    @pytest.fixture
    def mask(self, landscape: SeriesInMemory, tmp_path: Path) -> Path:
        grid, wanted = landscape.grid, np.zeros((HEIGHT, WIDTH), np.uint8)
        wanted[5:20, 60:85] = 1
        wanted[120, 2] = 1
        path = tmp_path / "mask.tif"
        with rasterio.open(
            path, "w", "GTiff", WIDTH, HEIGHT, 1, crs=grid.crs, transform=grid.transform, dtype="uint8"
        ) as dataset:
            dataset.write(wanted, 1)
        return path

    @pytest.mark.parametrize("sigma", [0.0, 1.0])
    def test_only_what_it_needs_is_read_and_mapped(
        self, sigma: float, mask: Path, bundle_of: BundleOf, landscape: SeriesInMemory, tmp_path: Path
    ) -> None:
        bundle, edge = bundle_of("hybrid_cnn"), 40
        everything = files_of(landscape, bundle, tmp_path / "all", HowToMap(care=Care(sigma), edge=edge))
        watched, how = Read(landscape), HowToMap(care=Care(sigma, mask=mask), edge=edge)
        masked = files_of(watched, bundle, tmp_path / "masked", how)
        wanted = read(mask) > 0
        for name, values in masked.items():
            inside = np.broadcast_to(wanted, values.shape)
            np.testing.assert_array_equal(values[inside], everything[name][inside])
            assert (values[~inside] == (0 if name == "classes" else 255)).all()
        assert len(set(masked["classes"][wanted])) > 1
        least = 2 * (
            16 + -(-int(np.ceil(3 * sigma)) // 4) * 4
        )  # rows and columns of a part that lie in the window after it
        step = max(edge, least)
        read_parts = {(window.row // step, window.col // step) for window in watched.windows}
        assert len(watched.windows) == len(read_parts)  # each once
        rows, cols = -(-HEIGHT // step), -(-WIDTH // step)
        assert len(read_parts) < rows * cols - 2
        assert (rows // 2, cols - 1) not in read_parts  # nothing is wanted around there

    def test_of_nothing_observed_is_no_map(
        self, mask: Path, bundle_of: BundleOf, landscape: SeriesInMemory, tmp_path: Path
    ) -> None:
        values = landscape.values.copy()
        values[..., read(mask)[0] > 0] = NODATA
        how = HowToMap(care=Care(mask=mask), edge=40)
        with pytest.raises(NoValidObservationError):
            files_of(replace(landscape, values=values), bundle_of("hybrid_cnn"), tmp_path, how)


class TestOddRasters:
    @pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 3), (4, 4)])
    @pytest.mark.parametrize("kind", KINDS)
    def test_are_maps_like_others(self, kind: str, shape: tuple[int, int], bundle_of: BundleOf) -> None:
        """As if nothing had been observed around them."""
        height, width = shape
        values = season(100, 61).values[..., 50 : 50 + height, :width]
        values = np.where(values == NODATA, np.int16(1500), values)
        step = STEPS.get(kind, 4)
        pad = -(-40 // step) * step
        around = ((0, 0), (0, 0), (pad, pad), (pad, pad))
        there = season(8, 8)
        small = map_of(replace(there, values=values), bundle_of(kind), edge_of(kind, 1000))
        padded = np.pad(values, around, constant_values=NODATA)
        large = map_of(replace(there, values=padded), bundle_of(kind), edge_of(kind, 1000))
        assert small.observed.all()
        found = large.probabilities[:, pad : pad + height, pad : pad + width]
        np.testing.assert_allclose(small.probabilities, found, atol=SAME_PROBABILITY)
        np.testing.assert_allclose(small.probabilities.sum(axis=0), 1, atol=1e-4)

    @pytest.mark.parametrize("kind", ["hybrid_cnn", "convlstm patches", "trees"])
    def test_of_nothing_observed_are_none(
        self, kind: str, bundle_of: BundleOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(classification, "_KEPT_FROM", 1)
        there = season(70, 50)
        nothing = replace(there, values=np.full_like(there.values, NODATA))
        how = HowToMap(edge=33, unfinished=tmp_path / "classes.tif.unfinished", fingerprint="this")
        with pytest.raises(NoValidObservationError, match="No pixel has a clear observation"):
            files_of(nothing, bundle_of(kind), tmp_path / "maps", how)
        assert not (tmp_path / "classes.tif.unfinished").exists()

    def test_what_was_never_observed_has_no_class(self, bundle_of: BundleOf, landscape: SeriesInMemory) -> None:
        never = (landscape.values == NODATA).any(axis=1).all(axis=0)
        assert never[:2, :4].all()
        assert never.sum() > 800
        for kind in ("hybrid_cnn", "convlstm patches"):
            np.testing.assert_array_equal(~map_of(landscape, bundle_of(kind), 36).observed, never)


class TestDamagedFile:
    """A tile of 64 x 64 pixels in the middle of a time series file is no compressed data any more."""

    @pytest.fixture
    def damaged(self, landscape: SeriesInMemory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(outputs, "BLOCK_SIZE", 64)
        path = tmp_path / "season.tif"
        write_time_series(season(150, 200), path, {"command": "fillgaps"})
        with rasterio.open(path) as dataset:
            assert dataset.block_shapes[0] == (64, 64)
            at, length = (int(dataset.get_tag_item(f"BLOCK_{what}_1_1", "TIFF", bidx=4)) for what in ("OFFSET", "SIZE"))
        with path.open("r+b") as file:
            file.seek(at)
            file.write(b"\x55" * length)
        return path

    def test_is_named_with_the_place(
        self, damaged: Path, bundle_of: BundleOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(classification, "_KEPT_FROM", 1)
        kept = tmp_path / "classes.tif.unfinished"
        how = HowToMap(edge=64, unfinished=kept, fingerprint="this")
        with pytest.raises(
            SceneError,
            match=r"season.tif cannot be read.*\(rows 64 to 128, columns 64 to 128 of the map\).*SKIP_DAMAGED",
        ) as told:
            files_of(open_time_series(damaged), bundle_of("trees"), tmp_path / "maps", how)
        assert "What is finished is kept" in str(told.value)
        assert sorted(path.name.split("-", 2)[2] for path in kept.glob("block-*.npz")) == [
            "0-0-64-64.npz",
            "0-128-64-64.npz",
            "0-192-64-8.npz",
            "0-64-64-64.npz",
            "64-0-64-64.npz",
        ]

    @pytest.mark.parametrize("kind", ["trees", "hybrid_cnn"])
    def test_the_rest_is_mapped_on_request(
        self, kind: str, damaged: Path, bundle_of: BundleOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = files_of(season(150, 200), bundle_of(kind), tmp_path)["classes"][0]
        monkeypatch.setattr(classification, "edge_of_parts", lambda *given: 64)
        bundle = bundle_of(kind)
        given = {"series": damaged, "model": bundle.folder, "output_classes": tmp_path / "map.tif"}
        refused = run_here("classify", **given)
        assert refused.code == "SceneError"
        assert "What is finished is kept" not in refused.last["remedy"]  # of a map so small nothing is
        outcome = run_here("classify", **given, skip_damaged=True)
        assert outcome.status == 0, outcome.last
        assert "Not mapped, for it cannot be read: rows 64 to 128, columns 64 to 128" in outcome.texts("warning")
        found = read(tmp_path / "map.tif")[0]
        assert (found[64:128, 64:128] == 0).all()
        halo = Predictor(bundle).halo
        far = np.ones_like(found, bool)
        far[64 - halo : 128 + halo, 64 - halo : 128 + halo] = False
        np.testing.assert_array_equal(found[far], whole[far])
        assert [place.partition(":")[0] for place in run_tag(tmp_path / "map.tif")["damaged"]] == [
            "rows 64 to 128, columns 64 to 128"
        ]

    @pytest.mark.parametrize("edge", [48, 64, 128, 1000])
    @pytest.mark.parametrize("kind", ["trees", "hybrid_cnn"])
    def test_what_is_left_out_does_not_depend_on_the_parts(
        self, kind: str, edge: int, damaged: Path, bundle_of: BundleOf, tmp_path: Path
    ) -> None:
        how = HowToMap(edge=edge, skip_damaged=True)
        found = files_of(open_time_series(damaged), bundle_of(kind), tmp_path / "parts", how)["classes"][0]
        values = season(150, 200).values.copy()
        values[..., 64:128, 64:128] = NODATA
        without = files_of(replace(season(150, 200), values=values), bundle_of(kind), tmp_path / "without")
        np.testing.assert_array_equal(found, without["classes"][0])
        assert (found[64:128, 64:128] == 0).all()

    def test_what_can_be_read_at_the_second_time_is_not_damaged(
        self, bundle_of: BundleOf, landscape: SeriesInMemory, whole_of: Callable[[str], Map]
    ) -> None:
        """A network drive is away for a moment."""
        tried: list[Window] = []

        def fault(window: Window) -> None:
            tried.append(window)
            if tried.count(window) == 1:
                raise SceneError("It is away.", "Wait.")

        for keep_going in (False, True):
            tried.clear()
            made = map_of(Read(landscape, fault), bundle_of("tempcnn"), 70, keep_going=keep_going)
            assert_same(made, whole_of("tempcnn"))
            assert made.report.unreadable == []

    def test_of_damage_alone_is_no_map(self, bundle_of: BundleOf, landscape: SeriesInMemory, tmp_path: Path) -> None:
        def fault(window: Window) -> None:
            raise SceneError("It is damaged.", "Get it again.")

        with pytest.raises(
            NoValidObservationError, match=r"6 places of the series cannot be read.*rows 0 to .*damaged"
        ):
            files_of(Read(landscape, fault), bundle_of("trees"), tmp_path, HowToMap(edge=45, skip_damaged=True))


def test_blocks_that_cannot_be_kept_end_the_map(bundle_of: BundleOf, landscape: SeriesInMemory) -> None:
    """What goes wrong on the thread that keeps them is raised where the map is made."""

    class Full(FinishedBlocks):
        def put(self, window: Window, arrays: Any) -> None:
            if len(self) == 3:
                raise OutputError("The disk is full.", "Make room.")
            super().put(window, arrays)

    with pytest.raises(OutputError, match="The disk is full"):
        map_of(landscape, bundle_of("hybrid_cnn"), 36, store=Full())


class TestPrecision:
    def told(self, bundle: Bundle, agreement: Any) -> Bundle:
        return replace(bundle, properties={PROPERTY: {"agreement": agreement, "pixels": 4096}})

    @pytest.fixture
    def with_bfloat16(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(precision, "computes_in_bfloat16", lambda device: device != SECOND_GPU)

    def test_is_that_which_was_seen_to_agree(self, bundle_of: BundleOf, with_bfloat16: None) -> None:
        bundle = bundle_of("hybrid_cnn")
        assert choose_precision(self.told(bundle, AGREEMENT), "auto", [CPU, GPU]) == torch.bfloat16
        assert choose_precision(self.told(bundle, AGREEMENT - 1e-6), "auto", [CPU]) == torch.float32

    @pytest.mark.parametrize("agreement", [None, True, "1", [1]])
    def test_nothing_is_assumed(self, agreement: Any, bundle_of: BundleOf, with_bfloat16: None) -> None:
        bundle = bundle_of("hybrid_cnn")
        assert agreement_of(bundle) == 0
        assert choose_precision(bundle, "auto", [CPU]) == torch.float32
        assert choose_precision(self.told(bundle, agreement), "auto", [CPU]) == torch.float32

    def test_all_devices_must_have_it(self, bundle_of: BundleOf, with_bfloat16: None) -> None:
        bundle = self.told(bundle_of("hybrid_cnn"), 1.0)
        assert choose_precision(bundle, "auto", [GPU, SECOND_GPU]) == torch.float32

    def test_what_is_asked_for_is_taken(self, bundle_of: BundleOf) -> None:
        bundle = bundle_of("hybrid_cnn")
        assert choose_precision(bundle, "bfloat16", [CPU]) == torch.bfloat16
        assert choose_precision(self.told(bundle, 1.0), "float32", [CPU]) == torch.float32
        with pytest.raises(JobError, match="PRECISION is 'half'. Choose auto, float32 or bfloat16"):
            choose_precision(bundle, "half", [CPU])

    @pytest.mark.parametrize("kind", KINDS)
    def test_every_network_maps_in_bfloat16(
        self, kind: str, bundle_of: BundleOf, landscape: SeriesInMemory, tmp_path: Path
    ) -> None:
        """Those that know no bfloat16, patch networks and trees, stay in float32."""
        exact = files_of(landscape, bundle_of(kind), tmp_path / "exact")
        half = files_of(landscape, bundle_of(kind), tmp_path / "half", HowToMap(precision="bfloat16"))
        seen = exact["classes"] > 0
        assert np.mean(half["classes"][seen] == exact["classes"][seen]) > 0.97
        knows_one = "patches" in kind or kind in ("trees", "auto_context of neighbours")
        told = run_tag(tmp_path / "half" / "classes.tif")["precision"]
        assert told == ("float32" if knows_one else "bfloat16")


@pytest.fixture(scope="module")
def real_seasons(flanders: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Series]:
    """Composites of the real square, filled, by period."""
    folder = tmp_path_factory.mktemp("flanders")
    year = {"start_date": "2018-01-01", "end_date": "2018-12-31"}
    bands = ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]
    assert run_here(
        "stackscenes", scenes=[flanders / "scenes"], bands=bands, output=folder / "stack.tif", **year
    ).outputs

    def made(period: str) -> Series:
        composites, filled = folder / f"{period}.tif", folder / f"{period}-filled.tif"
        assert run_here("compositetimeseries", series=folder / "stack.tif", output=composites, period=period).outputs
        assert run_here("fillgaps", series=composites, output=filled).outputs
        return open_time_series(filled)

    return cache(made)


def is_of_flanders(bundle: Bundle) -> bool:
    """Whether a bundle knows the region: elsewhere it is unsure, and a pixel that is unsure takes either class."""
    west, south, east, north = bundle.bbox
    return west <= 3.024 <= east and south <= 50.816 <= north


@pytest.mark.parametrize("name", [each.id for each in list_bundles() if agreement_of(each) and is_of_flanders(each)])
def test_bundled_models_agree_in_bfloat16_as_they_say(
    name: str, real_seasons: Callable[[str], Series], tmp_path: Path
) -> None:
    """On 64 x 64 real pixels, 1 of which is 0.02 %: what a bundle says was measured on more."""
    bundle = load_bundle(name)
    series = real_seasons(bundle.period)
    exact, half = (
        files_of(series, bundle, tmp_path / each, HowToMap(precision=each))["classes"] for each in precision.PRECISIONS
    )
    seen = exact > 0
    agreement = float(np.mean(exact[seen] == half[seen]))
    assert agreement > 0.98
    if agreement_of(bundle) >= AGREEMENT:
        assert agreement >= AGREEMENT - 0.001
    else:
        assert choose_precision(bundle, "auto", [CPU]) == torch.float32
