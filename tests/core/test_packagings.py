"""Every packaging of the same season is the same time series."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from cropmap_core.scenes.inventory import find_scenes
from cropmap_core.scenes.stack import SceneStack, stack_scenes
from tests.core.repackaged import OFFSET, PACKAGINGS
from tests.core.seam import REPOSITORY
from tests.core.series_in_memory import whole
from tests.factories import BANDS, write_season

DAYS = ("20180504T105029", "20180613T105031", "20180708T105029")


@pytest.fixture(scope="module")
def with_offset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_season(tmp_path_factory.mktemp("with_offset"), seed=3, times=DAYS, offset=OFFSET)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[int, SceneStack]:
    """The series without offset, at 10 and 20 m, from per-band files."""
    scenes = find_scenes([write_season(tmp_path_factory.mktemp("reference"), seed=3, times=DAYS)]).scenes
    return {resolution_m: stack_scenes(scenes, BANDS, resolution_m, "0") for resolution_m in (10, 20)}


@pytest.mark.parametrize("packaging", PACKAGINGS)
def test_the_same_season_is_the_same_time_series(
    packaging: str, with_offset: Path, reference: dict[int, SceneStack], tmp_path: Path
) -> None:
    repackage, evidence = PACKAGINGS[packaging]
    inventory = find_scenes([repackage(with_offset, tmp_path / "season")])
    assert inventory.skipped == ()
    for resolution_m, expected in reference.items():
        stack = stack_scenes(inventory.scenes, BANDS, resolution_m, "auto")
        assert (stack.dates, stack.bands) == (expected.dates, expected.bands)
        assert stack.grid.transform == expected.grid.transform
        assert f"3 scenes by {evidence}" in stack.offsets.evidence
        for made, wanted in zip(whole(stack), whole(expected), strict=True):
            np.testing.assert_array_equal(made, wanted)


def test_the_table_of_packagings_names_these_tests_and_no_others() -> None:
    table = (REPOSITORY / "docs" / "ingestion.md").read_text(encoding="utf-8")
    assert set(re.findall(r'`test_packagings.py` "([^"]+)"', table)) == set(PACKAGINGS)


def test_the_tables_name_tests_that_there_are() -> None:
    table = (REPOSITORY / "docs" / "ingestion.md").read_text(encoding="utf-8")
    tests = REPOSITORY / "tests" / "core"
    files = set(re.findall(r"`(test_\w+\.py)`", table))
    assert {name for name in files if not (tests / name).exists()} == set()
    written = "".join(path.read_text(encoding="utf-8") for path in tests.glob("test_*.py"))
    classes = set(re.findall(r"`(Test\w+)`", table))
    assert {name for name in classes if f"class {name}:" not in written} == set()
    assert len(files) >= 7
    assert len(classes) >= 5
