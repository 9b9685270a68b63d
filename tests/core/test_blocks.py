"""Blocks: each pixel of each date is computed once, in the memory that was stated, while the one before is written."""

from __future__ import annotations

import threading
import tracemalloc
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cropmap_core.errors import Cancelled, SceneError
from cropmap_core.io.grid import Grid, Window
from cropmap_core.io.outputs import BLOCK_SIZE as TILE_SIZE
from cropmap_core.timeseries.blocks import MEMORY, plan_blocks, read_ahead
from cropmap_core.timeseries.compositing import composite
from cropmap_core.timeseries.files import open_time_series, write_time_series
from cropmap_core.timeseries.indices import with_indices
from cropmap_core.timeseries.masks import ClearSky
from cropmap_core.timeseries.series import Block, Derived
from tests.core.seam import run_here
from tests.core.series_in_memory import SeriesInMemory, grid, whole
from tests.factories import write_scene

MIB = 2**20


@dataclass(frozen=True)
class Unread:
    """As much of a series as a plan looks at."""

    grid: Grid
    dates: tuple[date, ...]
    bands: tuple[str, ...]
    dtype: np.dtype[np.int16] = field(default_factory=lambda: np.dtype(np.int16))
    period: None = None
    span: tuple[date, date] = (date(2018, 1, 1), date(2018, 12, 31))

    def read(self, window: Window) -> Block:
        raise NotImplementedError


class UnreadByDate(Unread):
    """Its dates can be read apart."""

    def of_dates(self, chosen: slice) -> Unread:
        return replace(self, dates=self.dates[chosen])


def unread(height: int, width: int, dates: int, bands: int, kind: type[Unread] = Unread) -> Unread:
    days = tuple(date(2018, 1, 1) + timedelta(days=number) for number in range(dates))
    return kind(grid(height, width), days, tuple(f"B{number:02d}" for number in range(bands)))


sizes = st.integers(1, 12_000)


class TestPlan:
    @settings(max_examples=60)
    @given(
        height=sizes,
        width=sizes,
        dates=st.integers(1, 80),
        bands=st.integers(1, 12),
        kind=st.sampled_from([Unread, UnreadByDate]),
        memory=st.sampled_from([8 * MIB, 256 * MIB, 1024 * MIB]),
    )
    def test_it_covers_every_date_of_every_pixel_once(
        self, height: int, width: int, dates: int, bands: int, kind: type[Unread], memory: int
    ) -> None:
        plan = plan_blocks(unread(height, width, dates, bands, kind), 2048, memory)
        tiles = -(-height // TILE_SIZE), -(-width // TILE_SIZE)
        times_covered = np.zeros((dates, *tiles), np.int64)  # one pixel of each tile of the file, its first
        pixels = 0
        for part in plan.parts():
            window = part.window
            assert window.row % TILE_SIZE == window.col % TILE_SIZE == 0
            assert window == window.clipped(height, width)
            rows = slice(window.row // TILE_SIZE, -(-(window.row + window.height) // TILE_SIZE))
            cols = slice(window.col // TILE_SIZE, -(-(window.col + window.width) // TILE_SIZE))
            times_covered[part.dates, rows, cols] += 1
            pixels += window.height * window.width * len(range(dates)[part.dates])
        assert (times_covered == 1).all()
        assert pixels == dates * height * width

    @settings(max_examples=60)
    @given(height=sizes, width=sizes, dates=st.integers(1, 400), bands=st.integers(1, 12), budget=st.integers(1, 4096))
    def test_it_keeps_to_the_memory_unless_a_single_tile_takes_more(
        self, height: int, width: int, dates: int, bands: int, budget: int
    ) -> None:
        plan = plan_blocks(unread(height, width, dates, bands), 2048, budget * MIB)
        assert plan.memory <= budget * MIB or max(plan.height, plan.width) <= TILE_SIZE

    def test_memory_is_that_of_the_parts_in_the_making(self) -> None:
        """12 dates of 5 int16 bands and their mask are 132 bytes a pixel: one block is written, another one read."""
        plan = plan_blocks(unread(10980, 10980, 12, 5), 1024, MEMORY)
        assert (plan.height, plan.width, plan.dates, plan.memory) == (1024, 1024, 12, 1024 * 1024 * 2 * 132)
        assert plan.describe() == "Blocks of 1024 x 1024 pixels and 12 dates, 1 ahead: 0.26 GiB at most."

    def test_what_a_step_is_computed_from_counts_too(self) -> None:
        plan = plan_blocks(Derived(unread(1024, 1024, 12, 5)), 1024, MEMORY)  # type: ignore[arg-type]  # a plan reads nothing
        assert plan.bytes_per_pixel == 2 * 132 + 12 * (2 * 5 + 2)  # of the source: bands, valid and clear

    def test_care_for_the_edges_of_clouds_counts_too(self) -> None:
        source = unread(1024, 1024, 12, 4)
        source = replace(source, bands=(*source.bands, "SCL"))
        plain, careful = (
            plan_blocks(composite(source, "month", None, None, ClearSky(("vegetation",), metres)), 1024, MEMORY)
            for metres in (0, 1000)
        )
        halo = (1 + 2 * 100 / TILE_SIZE) ** 2  # both sides of a block of one tile
        assert careful.bytes_per_pixel - plain.bytes_per_pixel == ceil((2 + 3) * halo) * 12  # SCL and its masks

    def test_fewer_dates_at_once_go_before_smaller_blocks(self) -> None:
        whole_season, by_date = (
            plan_blocks(unread(10980, 10980, 73, 5, kind), 2048, MEMORY) for kind in (Unread, UnreadByDate)
        )
        assert (whole_season.height, whole_season.width, whole_season.dates) == (512, 1024, 73)
        assert (by_date.height, by_date.width, by_date.dates) == (2048, 2048, 7)

    def test_a_small_series_is_one_block(self) -> None:
        assert [part.window for part in plan_blocks(unread(24, 32, 3, 2), 2048, MEMORY).parts()] == [
            Window(0, 0, 24, 32)
        ]


def test_a_file_is_read_into_its_block_without_a_copy(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-1000, 9999, (2, 6, 256, 256)).astype(np.int16)
    days = (date(2018, 5, 1), date(2018, 6, 1))
    series = SeriesInMemory(values, ("B02", "B03", "B04", "B05", "B06", "B08"), days, "month")
    write_time_series(series, tmp_path / "series.tif", {})
    file, window = open_time_series(tmp_path / "series.tif"), Window(-8, 8, 256, 240)
    file.read(window)  # opens it
    tracemalloc.start()
    block = file.read(window)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(block.data[:, :, 8:], values[:, :, :248, 8:248])
    one_date = block.data[0].nbytes
    assert peak < block.data.nbytes + block.valid.nbytes + one_date / 2


@dataclass(frozen=True)
class Watched(Derived):
    """Counts what is read, and stops with an error where it is told to."""

    fails_at: int | None = None
    windows: list[Window] = field(default_factory=list)
    read_twice: threading.Event = field(default_factory=threading.Event)

    def read(self, window: Window) -> Block:
        self.windows.append(window)
        if len(self.windows) == 2:
            self.read_twice.set()
        if len(self.windows) == self.fails_at:
            raise SceneError("B04.jp2 cannot be read: cut short.", "Get it again.")
        return self.source.read(window)


def numbers(size: int = 8) -> SeriesInMemory:
    values = np.arange(2 * size * size, dtype=np.int16).reshape(2, 1, size, size)
    return SeriesInMemory(values, ("B04",), (date(2018, 5, 1), date(2018, 6, 1)), "month")


def reading_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("next block")]


class TestReadingAhead:
    def test_the_next_block_is_read_while_one_is_in_use_but_no_more(self) -> None:
        series = Watched(numbers())
        blocks = read_ahead(series, plan_blocks(series, 2, MEMORY).parts(), 1)
        first = next(blocks)
        assert series.read_twice.wait(timeout=60)
        np.testing.assert_array_equal(first.data, numbers().values[:, :, :2, :2])
        assert series.windows == [Window(0, 0, 2, 2), Window(0, 2, 2, 2)]
        blocks.close()

    def test_an_error_comes_when_its_block_is_due_and_ends_the_reading(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cropmap_core.timeseries.files.BLOCK_SIZE", 2)
        series, heard = Watched(numbers(), fails_at=3), list[float]()
        with pytest.raises(SceneError, match="B04.jp2 cannot be read"):
            write_time_series(series, tmp_path / "series.tif", {}, heard.append)
        assert heard == [0, 1 / 16, 2 / 16]
        assert len(series.windows) <= 4
        assert reading_threads() == []

    def test_cancelling_ends_the_reading(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cropmap_core.timeseries.files.BLOCK_SIZE", 2)
        series = Watched(numbers())

        def cancel_in_the_middle(fraction: float) -> None:
            if fraction == 0.5:
                raise Cancelled

        with pytest.raises(Cancelled):
            write_time_series(series, tmp_path / "series.tif", {}, cancel_in_the_middle)
        assert len(series.windows) <= 9
        assert reading_threads() == []

    @pytest.mark.parametrize("memory", [1, 2**30])
    def test_dates_read_apart_are_the_dates_read_together(
        self, season: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int
    ) -> None:
        """A byte of memory is a date at a time."""
        together, apart = tmp_path / "together.tif", tmp_path / "apart.tif"
        job = {"scenes": [season], "bands": ["B04", "B11"]}
        assert run_here("stackscenes", **job, output=together).status == 0
        monkeypatch.setattr("cropmap_core.timeseries.files.MEMORY", memory)
        outcome = run_here("stackscenes", **job, output=apart)
        assert f"{1 if memory == 1 else 24} dates, 2 ahead" in outcome.texts("log")
        np.testing.assert_array_equal(whole(open_time_series(apart))[0], whole(open_time_series(together))[0])


def test_a_scene_that_is_cut_short_is_found_midway_and_leaves_no_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(1, 9999, (128, 128))
    scene = write_scene(tmp_path / "scenes", values={"B04": 500, "B08": noise}, width=128, height=128)
    damaged = next(scene.glob("*_B08_*"))
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size * 2 // 3])
    output = tmp_path / "maps" / "stack.tif"
    monkeypatch.setattr("cropmap_core.timeseries.files.BLOCK_SIZE", 32)
    outcome = run_here("stackscenes", scenes=[scene], bands=["B04", "B08"], output=output, offset="0")
    assert outcome.code == "SceneError"
    assert damaged.name in outcome.last["message"]
    assert outcome.events[-2]["fraction"] > 0.3
    assert list(output.parent.iterdir()) == []


def test_indices_in_many_blocks_are_those_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).integers(1, 9999, (2, 2, 17, 19)).astype(np.int16)
    series = with_indices(SeriesInMemory(values, ("B04", "B08"), numbers().dates, "month"), ["NDVI"])
    monkeypatch.setattr("cropmap_core.timeseries.files.BLOCK_SIZE", 5)
    write_time_series(series, tmp_path / "series.tif", {})
    np.testing.assert_array_equal(whole(open_time_series(tmp_path / "series.tif"))[0], whole(series)[0])
