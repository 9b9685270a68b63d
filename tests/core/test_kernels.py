"""What compiled loops share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numba.core.caching
import numpy as np
import pytest

from cropmap_core.timeseries.kernels import CHUNK, compiled, nearest_even, over_pixels
from tests.core.seam import REPOSITORY


@pytest.mark.parametrize("value", [0.5, 1.5, 2.5, -0.5, -1.5, 0.49999999999999994, 32766.5, -32766.5, 7.0, -3.2])
def test_halves_go_to_the_even_number(value: float) -> None:
    assert nearest_even(value) == np.rint(value)


@pytest.mark.parametrize("pixels", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 3])
def test_every_pixel_is_worked_on_once(pixels: int) -> None:
    visits = np.zeros(pixels, dtype=int)

    def visit(out: np.ndarray, begin: int, end: int) -> None:
        out[begin:end] += 1

    over_pixels(visit, pixels, visits)
    assert (visits == 1).all()


def test_an_error_in_a_part_is_raised() -> None:
    def fail(begin: int, end: int) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        over_pixels(fail, 10 * CHUNK)


def test_where_no_machine_code_can_be_kept_functions_are_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.core.caching.CacheImpl, "_locator_classes", [])

    @compiled
    def twice(value: int) -> int:
        return 2 * value

    assert twice(21) == 42


def test_machine_code_is_kept_where_one_says(tmp_path: Path) -> None:
    code = "from cropmap_core.timeseries.kernels import nearest_even; nearest_even(1.5)"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY, env=environment)
    assert [path.suffix for path in sorted(tmp_path.rglob("kernels.nearest_even*"))] == [".nbc", ".nbi"]
