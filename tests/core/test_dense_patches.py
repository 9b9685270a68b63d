"""Patches that share what they can: what is the same as patch by patch, and by how little the rest differs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cropmap_core.errors import Cancelled, JobError
from cropmap_core.inference.devices import full_float32
from cropmap_core.inference.predictor import Predictor
from models import dense_patches
from models.convlstm import ConvLSTM
from models.dense_patches import Cells, patch_logits, runs_densely
from models.faster.convolutional_recurrence import faster_recurrence
from tests.core.test_networks import assert_same, network, season, with_holes
from tests.core.tiny_models import CHANNELS, CLASSES, MONTHS, save_tiny_bundle

PATCH = 7


def convlstm(alone: bool = False) -> ConvLSTM:
    """One for patches of 7 pixels that minds what it sees; `alone`, each pixel's state is of the pixel itself."""
    made = network("convlstm", patch_size=PATCH)
    assert isinstance(made, ConvLSTM)
    kept = torch.zeros(3, 3) if alone else torch.ones(3, 3)
    kept[1, 1] = 1
    for cell in made.cells:
        cell.gates.weight.data *= 3 * kept
    made.classify.weight.data *= 10
    return made


def one_by_one(made: ConvLSTM, x: Tensor, dates: Tensor, valid: Tensor, cells: Cells) -> Tensor:
    """Logits of each patch, cut out; what of it lies outside was never observed."""
    beyond = 20
    x = torch.nn.functional.pad(x, [beyond] * 4)
    valid = torch.nn.functional.pad(valid, [beyond] * 4)
    logits = []
    for row in range(cells.rows):
        for col in range(cells.cols):
            top, left = (beyond + cells.corner + cells.stride * place for place in (row, col))
            patch = slice(top, top + PATCH), slice(left, left + PATCH)
            logits.append(made(x[..., *patch], dates, valid[..., *patch]))
    return torch.cat(logits).T.view(-1, cells.rows, cells.cols)


@torch.no_grad()
@pytest.mark.parametrize("stride", [1, 3, 7])
@pytest.mark.parametrize("edge", [4, 100])
def test_pixels_that_do_not_see_each_other_make_the_same_patches(
    stride: int, edge: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then only the mean over the observed pixels counts: of all strides, at the edge, with holes, in tiles."""
    monkeypatch.setattr(dense_patches, "_edge", lambda network, device: edge)
    made = convlstm(alone=True)
    given = with_holes(height=17, width=23)
    cells = Cells(stride, rows=-(-17 // stride), cols=-(-23 // stride), corner=stride // 2 - PATCH // 2)
    expected = one_by_one(made, *given, cells)
    for each in (made, faster_recurrence(made)):
        assert isinstance(each, ConvLSTM)
        assert_same(patch_logits(each, *(part[0] for part in given), cells), expected)
    assert (expected - expected[:, :1, :1]).abs().max() > 0.02


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@torch.no_grad()
def test_cells_are_the_same_on_cuda() -> None:
    made, given = convlstm(), [part[0] for part in with_holes(height=17, width=23)]
    cells = Cells(3, rows=6, cols=8, corner=1 - PATCH // 2)
    expected = patch_logits(made, *given, cells)
    for each in (made.to("cuda"), faster_recurrence(made)):
        assert isinstance(each, ConvLSTM)
        with full_float32():
            found = patch_logits(each, *(part.to("cuda") for part in given), cells)
        torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-3)


@torch.no_grad()
def test_a_patch_with_nothing_around_it_is_the_patch_cut_out() -> None:
    made = convlstm()
    x, dates, valid = season(height=21, width=21)
    valid[..., :7, :] = valid[..., 14:, :] = valid[..., :, :7] = valid[..., :, 14:] = False
    found = patch_logits(made, x[0], dates[0], valid[0], Cells(7, 1, 1, corner=7))
    assert_same(found[:, 0, 0], made(x[..., 7:14, 7:14], dates, valid[..., 7:14, 7:14])[0])


@torch.no_grad()
def test_a_patch_that_was_never_observed_is_classified_as_such() -> None:
    made = convlstm()
    x, dates, valid = season(height=7, width=7)
    nothing = torch.zeros_like(valid)
    found = patch_logits(made, x[0], dates[0], nothing[0], Cells(7, 1, 1, corner=0))
    assert_same(found[:, 0, 0], made(x, dates, nothing)[0])


@torch.no_grad()
def test_tiles_are_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    made = convlstm()
    x, dates, valid = (part[0] for part in with_holes(times=12, height=60, width=45))
    cells = Cells(5, 12, 9, corner=-1)
    whole = patch_logits(made, x, dates, valid, cells).softmax(dim=0)
    monkeypatch.setattr(dense_patches, "_edge", lambda network, device: 16)
    shares: list[float] = []
    tiled = patch_logits(made, x, dates, valid, cells, shares.append).softmax(dim=0)
    assert shares == [number / 12 for number in range(12)]
    assert 0 < (tiled - whole).abs().max() < 1e-3


def test_small_patches_and_other_networks_are_cut_out() -> None:
    assert runs_densely(network("convlstm", patch_size=33))
    assert not runs_densely(network("convlstm", patch_size=31))
    assert not runs_densely(network("convlstm dense", patch_size=65))
    assert not runs_densely(network("lrcn", patch_size=65))


def large_patches(folder: Path, stride: int | None = None) -> Predictor:
    bundle = save_tiny_bundle(folder, "convlstm", hyper_parameters={"patch_size": 33}, stride_pixels=11)
    return Predictor(bundle, stride=stride)


def window(predictor: Predictor, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Squares of two kinds of 20 pixels, a corner of which was never observed, with what lies around."""
    edge = size + 2 * predictor.halo
    random = np.random.default_rng(0)
    kinds = random.integers(2, size=(-(-edge // 20),) * 2).repeat(20, axis=0).repeat(20, axis=1)[:edge, :edge]
    values = random.uniform(0.0, 0.4, (len(MONTHS), len(CHANNELS), edge, edge)) + 0.1 * kinds
    valid = random.random((len(MONTHS), edge, edge)) < 0.9
    valid[:, : predictor.halo + 5, : predictor.halo + 40] = False
    return values.astype(np.float32), valid, np.arange(len(MONTHS), dtype=np.float32) * 30.5


def test_a_map_of_large_patches_is_nearly_that_of_patches_cut_out(tmp_path: Path) -> None:
    predictor = large_patches(tmp_path)
    values, valid, days = window(predictor, 60)
    shared = predictor.of_window(values, valid, days).numpy()
    images = predictor.first_stage(values, valid, days)
    with torch.inference_mode():
        given = images[0], images[1][..., 0], torch.from_numpy(days), predictor.halo
        alone = predictor._cells(*given, cut_out=True).numpy()
    assert shared.shape == alone.shape == (len(CLASSES), 60, 60)
    assert 0 < np.abs(shared - alone).max() < 0.05
    assert len(np.unique(alone[0])) == 36  # cells of 11 pixels


def test_samples_are_always_cut_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = large_patches(tmp_path)
    random = np.random.default_rng(0)
    data = random.integers(200, 4000, (1, len(MONTHS), 3, 44, 44)).astype(np.int16)
    given = data, np.ones((1, len(MONTHS), 44, 44), bool), ("B04", "B08", "B11")
    found = predictor.probabilities(*given)
    monkeypatch.setattr(predictor, "_shared", None)
    np.testing.assert_array_equal(found, predictor.probabilities(*given))


def test_the_stride_is_chosen(tmp_path: Path) -> None:
    predictor = large_patches(tmp_path, stride=20)
    assert (predictor.step, predictor.halo) == (20, 33)
    values, valid, days = window(predictor, 60)
    found = predictor.of_window(values, valid, days).numpy()
    assert len(np.unique(found[0])) == 9
    for stride, model in ((0, "convlstm"), (34, "convlstm"), (1, "hybrid_cnn")):
        bundle = save_tiny_bundle(
            tmp_path / f"{model}-{stride}", model, hyper_parameters={"patch_size": 33} if model == "convlstm" else {}
        )
        with pytest.raises(JobError, match=f"stride is {stride}"):
            Predictor(bundle, stride=stride)


def test_a_map_can_be_stopped(tmp_path: Path) -> None:
    predictor = large_patches(tmp_path)

    def stop(fraction: float) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        predictor.of_window(*window(predictor, 33), stop)
