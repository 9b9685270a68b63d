"""Windows with what is around them are those of the whole raster, whatever the parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import pad

from cropmap_core.inference.surroundings import Surroundings, divide, needed_for


@pytest.mark.parametrize(("height", "width", "edge"), [(40, 37, 8), (8, 8, 8), (17, 5, 6), (3, 50, 12), (41, 41, 40)])
@pytest.mark.parametrize("pixels", [0, 1, 3])
def test_windows_come_with_what_lies_around_them(height: int, width: int, edge: int, pixels: int) -> None:
    image = torch.randn(2, height, width, 3)
    whole = pad(image, (0, 0, pixels, pixels, pixels, pixels))
    parts = divide(height, width, edge)
    windows, keeper = parts.lagging(pixels), Surroundings(parts, pixels)
    covered = np.zeros((height, width), int)
    for row in range(parts.shape[0]):
        for col in range(parts.shape[1]):
            part, window = parts.window(row, col), windows.window(row, col)
            rows, cols = slice(part.row, part.row + part.height), slice(part.col, part.col + part.width)
            (found,) = keeper.add(row, col, [image[:, rows, cols]])
            here = whole[
                :,
                window.row : window.row + window.height + 2 * pixels,
                window.col : window.col + window.width + 2 * pixels,
            ]
            torch.testing.assert_close(found, here, rtol=0, atol=0)
            covered[window.row : window.row + window.height, window.col : window.col + window.width] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize("seed", range(5))
def test_parts_that_no_window_needs_may_be_left_out(seed: int) -> None:
    random = np.random.default_rng(seed)
    image = torch.randn(33, 29, 2)
    parts, pixels = divide(33, 29, 6), 3
    wanted = random.random(parts.shape) < 0.3
    needed = needed_for(wanted, pixels)
    windows, keeper = parts.lagging(pixels), Surroundings(parts, pixels)
    whole = pad(image, (0, 0, pixels, pixels, pixels, pixels))
    for row, col in np.argwhere(needed):
        part, window = parts.window(row, col), windows.window(row, col)
        rows, cols = slice(part.row, part.row + part.height), slice(part.col, part.col + part.width)
        (found,) = keeper.add(row, col, [image[rows, cols]])
        if wanted[row, col]:
            here = whole[
                window.row : window.row + window.height + 2 * pixels,
                window.col : window.col + window.width + 2 * pixels,
            ]
            torch.testing.assert_close(found, here, rtol=0, atol=0)
    assert not needed_for(wanted, 0)[~wanted].any()
