"""The quick scan behind the dialog's preview: what there is, before anything runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.core.seam import REPOSITORY, job_document, run_here
from tests.factories import ORIGIN, write_safe, write_scene, write_season


def scan(folder: Path, **parameters: Any) -> dict[str, Any]:
    return run_here("scanscenes", scenes=[folder], **parameters).outputs


def test_safe_folders_tell_their_offsets(tmp_path: Path) -> None:
    write_safe(tmp_path, "2018-05-04", baseline="02.12", offset=None, bands=["B02", "B04", "B11"])
    write_safe(tmp_path, "2023-05-04", bands=["B04", "B11"])
    east = (ORIGIN[0] + 80, ORIGIN[1])
    write_safe(tmp_path, "2023-05-04", bands=["B04", "B11"], tile="31UES", origin=east)
    found = scan(tmp_path)
    assert (found["scenes"], found["dates"]) == (3, ["2018-05-04", "2023-05-04"])
    assert found["mgrs_tiles"] == ["31UDS", "31UES"]
    assert sorted(found["offsets"], key=lambda one: int(one["value"])) == [
        {"value": -1000, "evidence": "their product XML", "scenes": 2},
        {"value": 0, "evidence": "their product XML", "scenes": 1},
    ]
    assert [band for band in found["bands"] if band != "SCL"] == ["B04", "B11"]
    assert (found["skipped"], found["skipped_examples"]) == (0, [])
    assert "product XML" in found["offset_evidence"]


@pytest.mark.parametrize("offset", [0, 1000])
def test_band_files_tell_their_offset_by_their_pixels(tmp_path: Path, offset: int) -> None:
    days = ["2018-05-04", "2018-06-13", "2018-07-08"]
    write_season(tmp_path, times=days, cloud_share=0.1, offset=offset)
    found = scan(tmp_path)
    assert (found["scenes"], found["dates"], found["mgrs_tiles"]) == (3, days, ["31UDS"])
    (decided,) = found["offsets"]
    assert (decided["value"], decided["scenes"]) == (-offset, 3)
    assert "pixels" in decided["evidence"]
    assert len([band for band in found["bands"] if band != "SCL"]) == 10
    assert found["warnings"] == []


def test_only_the_chosen_days_are_counted(season: Path) -> None:
    found = scan(season, start_date="2018-05-01", end_date="2018-08-31", months=[5, 7], offset="0")
    assert found["dates"] == ["2018-05-06", "2018-05-21", "2018-07-06", "2018-07-21"]
    assert (found["scenes"], [one["value"] for one in found["offsets"]]) == (4, [0])


def test_what_is_skipped_is_told_with_three_examples(tmp_path: Path) -> None:
    write_scene(tmp_path)
    for number in range(5):
        (tmp_path / f"LC08_L2SP_199025_2018050{number}_B4.TIF").write_text("landsat")
    found = scan(tmp_path, offset="0")
    assert (found["scenes"], found["skipped"], len(found["skipped_examples"])) == (1, 5, 3)
    path, reason = found["skipped_examples"][0].split(": ", 1)
    assert Path(path).name.startswith("LC08")
    assert reason


def test_without_scenes_it_is_an_error(tmp_path: Path) -> None:
    outcome = run_here("scanscenes", scenes=[tmp_path])
    assert outcome.code == "SceneError"
    assert str(tmp_path) in outcome.last["message"]


def test_does_not_wait_for_torch(tmp_path: Path) -> None:
    write_scene(tmp_path)
    job = json.dumps(job_document("scanscenes", scenes=[tmp_path], offset="0"))
    command = [sys.executable, "-X", "importtime", "-m", "cropmap_core", "run"]
    done = subprocess.run(command, cwd=REPOSITORY, input=job, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1])["outputs"]["scenes"] == 1
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "cropmap_core" in imported
    assert "torch" not in imported


def test_a_look_at_scenes_does_without_the_slow_libraries() -> None:
    """The dialogs wait for it."""
    program = "import sys, cropmap_core.commands.scan; sys.exit(bool({'numba', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=False).returncode == 0
