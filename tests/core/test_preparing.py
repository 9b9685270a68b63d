"""The compiled pass gives what `Bundle.normalise` says, channels last."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cropmap_core.inference.preparing import prepare, prepare_on
from cropmap_core.timeseries.series import NODATA, REFLECTANCE_SCALE
from tests.core.tiny_models import save_tiny_bundle

CUDA = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"))


@pytest.mark.parametrize("device", ["compiled", "cpu", CUDA])
@pytest.mark.parametrize("kind", ["int16", "float32"])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("missing", [0, 1])
def test_numbers_are_those_of_the_bundle(
    device: str, kind: str, precision: torch.dtype, missing: int, tmp_path: Path
) -> None:
    """By the compiled pass, and by torch as on accelerators."""
    random = np.random.default_rng(0)
    bundle = save_tiny_bundle(tmp_path / "model", "tempcnn")
    there = bundle.channels[missing:]
    values = random.integers(-500, 16000, (4, len(there), 71, 67)).astype(np.int16)
    valid = random.random((4, 71, 67)) < 0.8
    values[np.broadcast_to(~valid[:, None], values.shape)] = NODATA
    if kind == "float32":
        values = values * np.float32(REFLECTANCE_SCALE)
        values[np.broadcast_to(~valid[:, None], values.shape)] = np.nan
    expected = np.where(valid[:, None], bundle.normalise(values, there), 0)
    if device == "compiled":
        found = prepare(bundle, values, valid, there, precision)
    else:
        found = prepare_on(torch.device(device), bundle, values, valid, there, precision)
        assert found.device.type == device
    assert found.dtype == precision
    assert found.is_contiguous()
    exact = torch.from_numpy(expected).permute(0, 2, 3, 1)
    torch.testing.assert_close(found.cpu(), exact.to(precision), rtol=0, atol=0)


def test_whole_numbers_and_reflectance_give_the_same(tmp_path: Path) -> None:
    bundle = save_tiny_bundle(tmp_path / "model", "tempcnn")
    count = len(bundle.channels) * 64 * 64
    values = np.arange(count).reshape(1, -1, 64, 64).astype(np.int16)
    valid = np.ones((1, 64, 64), bool)
    reflectance = values.astype(np.float32) * np.float32(REFLECTANCE_SCALE)
    torch.testing.assert_close(prepare(bundle, values, valid), prepare(bundle, reflectance, valid), rtol=0, atol=0)
