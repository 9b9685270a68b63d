"""Overlapping blocks, blended: weights by hand, and what the sum of blocks is."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import pytest
import torch
from affine import Affine
from torch import Tensor

from cropmap_core.io.grid import Grid, Window
from scripts.blending import Blend, Sides, ramp


def blocks_of(height: int, width: int, size: int) -> list[Window]:
    return list(Grid("EPSG:32631", Affine(10, 0, 0, 0, -10, 0), width, height).blocks(size))


def blended(
    blocks: Sequence[Window], size: int, overlap: int, of_block: Callable[[Window], Tensor], shape: tuple[int, int]
) -> Tensor:
    """The raster, NaN where there is no block."""
    blend = Blend(blocks, size, overlap)
    result = torch.full((1, *shape), torch.nan)
    for block in blocks:
        for finished, probabilities in blend.add(block, of_block(blend.window(block))):
            place = (slice(None), *(slice(*bounds) for bounds in finished.bounds_rc))
            assert result[place].isnan().all()  # each pixel is given back once
            result[place] = probabilities
    return result


def same_of_all(raster: Tensor) -> Callable[[Window], Tensor]:
    return lambda window: raster[:, *(slice(*bounds) for bounds in window.bounds_rc)]


def test_weights_fall_towards_the_outer_edge() -> None:
    weights = ramp(Window(0, 0, 1, 6), Sides(0, 0, 0, 4))
    torch.testing.assert_close(weights, torch.tensor([[1.0, 1.0, 0.875, 0.625, 0.375, 0.125]]))
    corner = ramp(Window(0, 0, 6, 6), Sides(4, 0, 4, 0))
    assert float(corner[0, 0]) == 0.125**2
    assert float(corner[5, 5]) == 1


def test_two_blocks_by_hand() -> None:
    """One says 0, the other 1: a ramp over the four pixels that both compute, and nothing else changes."""
    found = blended(
        blocks_of(1, 12, 6), 6, 2, lambda window: torch.full((1, 1, window.width), float(window.col > 0)), (1, 12)
    )
    torch.testing.assert_close(found[0, 0], torch.tensor([0, 0, 0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1, 1, 1]))


@pytest.mark.parametrize("overlap", [0, 1, 4, 8])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (40, 35), (50, 17), (3, 60)])
def test_blocks_that_agree_are_left_as_they_are(overlap: int, height: int, width: int) -> None:
    raster = torch.rand(1, height, width)
    blocks = blocks_of(height, width, 16)
    result = blended(blocks, 16, overlap, same_of_all(raster), (height, width))
    torch.testing.assert_close(result, raster, rtol=0, atol=1e-6)
    assert torch.equal(blended(blocks[::-1], 16, overlap, same_of_all(raster), (height, width)), result)


def test_where_one_block_reaches_nothing_changes_at_all() -> None:
    """Not by a bit: the middle of blocks, the raster's edge away from seams, and thin last blocks."""
    raster = torch.rand(1, 34, 50)
    result = blended(blocks_of(34, 50, 16), 16, 3, same_of_all(raster), (34, 50))
    apart = torch.ones(34, 50, dtype=torch.bool)
    for seam in (16, 32):
        apart[seam - 3 : seam + 3] = apart[:, seam - 3 : seam + 3] = False
    apart[:, 45:] = False
    assert apart.sum() == (13 + 10) * (13 + 10 + 10)
    assert torch.equal(result[0][apart], raster[0][apart])


def test_no_step_is_larger_than_the_ramps() -> None:
    """Blocks that say nothing but their own number, 0 to 1, at corners too."""
    generator = torch.Generator().manual_seed(0)
    said = {
        (row, col): float(torch.rand((), generator=generator)) for row, col in itertools.product(range(-1, 4), repeat=2)
    }

    def say(window: Window) -> Tensor:
        middle = (window.row + window.height // 2) // 16, (window.col + window.width // 2) // 16
        return torch.full((1, window.height, window.width), said[middle])

    for overlap in (2, 8):
        result = blended(blocks_of(48, 48, 16), 16, overlap, say, (48, 48))[0]
        steps = max(float(result.diff(dim=axis).abs().max()) for axis in (0, 1))
        assert 0 < steps <= 1 / (2 * overlap) + 1e-6


def test_missing_blocks_leave_their_neighbours_whole() -> None:
    """A block without a neighbour is neither computed beyond its edge nor faded out there."""
    blocks = [block for block in blocks_of(32, 48, 16) if (block.row, block.col) not in ((0, 16), (16, 32))]
    blend = Blend(blocks, 16, 4)
    assert blend.window(Window(0, 0, 16, 16)) == Window(0, 0, 20, 16)
    assert blend.window(Window(0, 32, 16, 16)) == Window(0, 32, 16, 16)
    raster = torch.rand(1, 32, 48)
    result = blended(blocks, 16, 4, same_of_all(raster), (32, 48))
    assert result[0, :16, 16:32].isnan().all()
    there = ~result.isnan()
    assert there.sum() == 4 * 256
    torch.testing.assert_close(result[there], raster[there], rtol=0, atol=1e-6)


def test_about_one_row_of_blocks_is_held() -> None:
    blocks = blocks_of(160, 160, 16)
    blend = Blend(blocks, 16, 1)
    held = []
    for block in blocks:
        window = blend.window(block)
        blend.add(block, torch.zeros(1, window.height, window.width))
        held.append(sum(part.weights.numel() for parts in blend._parts.values() for part in parts.values()) / 256)
    assert max(held) < (10 + 2) * (18 / 16) ** 2  # a row and the two blocks that finish its first
    assert held[-1] == 0


def test_an_overlap_of_more_than_half_a_block_is_refused() -> None:
    with pytest.raises(ValueError, match="overlap is 9"):
        Blend(blocks_of(32, 32, 16), 16, 9)
