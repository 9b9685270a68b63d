"""Windows and grids: which pixels are meant, and where they lie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cropmap_core.io.grid import Window
from tests.core.series_in_memory import grid


def test_a_window_grows_on_all_sides() -> None:
    assert Window(row=10, col=20, height=4, width=6).expanded(3) == Window(row=7, col=17, height=10, width=12)


@pytest.mark.parametrize(
    ("window", "inside"),
    [
        (Window(1, 1, 2, 2), Window(1, 1, 2, 2)),
        (Window(-2, -1, 4, 3), Window(0, 0, 2, 2)),
        (Window(3, 4, 9, 9), Window(3, 4, 2, 2)),
        (Window(-9, 0, 4, 4), Window(0, 0, 0, 4)),
        (Window(7, 8, 2, 2), Window(5, 6, 0, 0)),
    ],
)
def test_clipping_keeps_what_lies_on_a_raster_of_5_rows_and_6_columns(window: Window, inside: Window) -> None:
    assert window.clipped(height=5, width=6) == inside


def test_slices_find_a_window_in_an_array_of_a_larger_one() -> None:
    outer = Window(row=-1, col=2, height=5, width=4)
    rows, cols = Window(row=1, col=3, height=2, width=2).slices_within(outer)
    assert (rows, cols) == (slice(2, 4), slice(1, 3))


@given(height=st.integers(1, 40), width=st.integers(1, 40), size=st.integers(1, 17))
def test_blocks_cover_every_pixel_once(height: int, width: int, size: int) -> None:
    times_covered = np.zeros((height, width), dtype=int)
    for block in grid(height, width).blocks(size):
        assert max(block.height, block.width) <= size
        times_covered[block.slices_within(Window(0, 0, height, width))] += 1
    assert (times_covered == 1).all()


def test_blocks_run_row_by_row() -> None:
    corners = [(block.row, block.col) for block in grid(height=3, width=5).blocks(2)]
    assert corners == [(0, 0), (0, 2), (0, 4), (2, 0), (2, 2), (2, 4)]


def test_the_grid_of_a_window_may_reach_beyond() -> None:
    cut = grid(height=12, width=6).cut(Window(row=-2, col=3, height=5, width=4))
    assert (cut.height, cut.width, cut.resolution_m) == (5, 4, 10)
    assert cut.bounds == (501390.0, 5629650.0, 501430.0, 5629700.0)


def test_bounds_are_left_bottom_right_top() -> None:
    assert grid(height=2, width=3).bounds == (501360.0, 5629660.0, 501390.0, 5629680.0)


def test_a_description_names_all_that_two_grids_can_differ_in() -> None:
    assert grid(2, 3).describe() == "EPSG:32631, origin 501360.0 5629680.0, 10 m, 3 x 2 pixels"
