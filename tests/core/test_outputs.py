"""Outputs appear whole or not at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio

from cropmap_core.errors import Cancelled, OutputError
from cropmap_core.io.outputs import Outputs, create_raster, write_text
from tests.core.disks import small_disk_at
from tests.core.seam import run_here, unfinished_files
from tests.core.series_in_memory import grid

JOB = "0123456789ab"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_at_the_commit_and_not_before(tmp_path: Path) -> None:
    target = tmp_path / "map.tif"
    with Outputs(JOB) as outputs:
        outputs.stage(target).write_text("new")
        assert names(tmp_path) == [".map.tif.0123456789ab.part.tif"]
        outputs.commit()
        assert names(tmp_path) == ["map.tif"]
    assert target.read_text() == "new"


@pytest.mark.parametrize("stopped_by", [Cancelled(), OutputError("Disk full.", "Make room."), KeyboardInterrupt()])
def test_a_job_that_stops_leaves_what_was_there(tmp_path: Path, stopped_by: BaseException) -> None:
    target = tmp_path / "map.tif"
    target.write_text("old")

    def stopping() -> None:
        with Outputs(JOB) as outputs:
            outputs.stage(target).write_text("half of the n")
            outputs.stage(tmp_path / "other.tif").write_text("new")
            raise stopped_by

    with pytest.raises(type(stopped_by)):
        stopping()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["map.tif"]


def test_files_are_replaced_together(tmp_path: Path) -> None:
    (tmp_path / "map.tif").write_text("old")
    with Outputs(JOB) as outputs:
        for name in ("map.tif", "map.qml"):
            outputs.stage(tmp_path / name).write_text("new")
        outputs.commit()
    assert names(tmp_path) == ["map.qml", "map.tif"]
    assert (tmp_path / "map.tif").read_text() == "new"


def no_links(self: Path, target: Path) -> None:
    raise OSError(95, "this file system has no links")


@pytest.mark.parametrize(("links", "failing_move"), [(True, n) for n in (1, 2, 3)] + [(False, n) for n in range(1, 6)])
def test_when_one_file_cannot_be_replaced_all_are_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool, failing_move: int
) -> None:
    """Another program holds a file open, which Windows answers with PermissionError at any of the moves."""
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", no_links)
    for name in ("a.tif", "c.tif"):
        (tmp_path / name).write_text(f"old {name}")
    moves = []
    replace = Path.replace

    def sometimes_held_open(self: Path, target: Path) -> Path:
        moves.append(target)
        if len(moves) == failing_move:
            raise PermissionError(13, "held open")
        return replace(self, target)

    with Outputs(JOB) as outputs:
        for name in ("a.tif", "b.tif", "c.tif"):
            outputs.stage(tmp_path / name).write_text("new")
        monkeypatch.setattr(Path, "replace", sometimes_held_open)
        with pytest.raises(OutputError, match=r"[abc].tif cannot be replaced: held open.*Close the programs"):
            outputs.commit()
    assert names(tmp_path) == ["a.tif", "c.tif"]
    assert [(tmp_path / name).read_text() for name in ("a.tif", "c.tif")] == ["old a.tif", "old c.tif"]


def test_a_target_stands_at_its_name_until_it_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.tif"
    target.write_text("old")
    replace = Path.replace
    seen = []

    def watched(self: Path, other: Path) -> Path:
        seen.append(target.read_text())
        return replace(self, other)

    with Outputs(JOB) as outputs:
        outputs.stage(target).write_text("new")
        monkeypatch.setattr(Path, "replace", watched)
        outputs.commit()
    assert seen == ["old"]
    assert target.read_text() == "new"


@pytest.mark.parametrize("fails", [False, True])
def test_what_told_of_the_old_file_goes_with_it_or_stays(tmp_path: Path, fails: bool) -> None:
    for name in ("map.tif", "map.run.json"):
        (tmp_path / name).write_text("old")
    with Outputs(JOB) as outputs:
        outputs.stage(tmp_path / "map.tif").write_text("new")
        outputs.remove(tmp_path / "map.run.json")
        outputs.remove(tmp_path / "map.stac.json")  # which is not there
        if fails:
            (tmp_path / f".map.run.json.{JOB}.part.old").mkdir()  # nothing can be moved there
            with pytest.raises(OutputError, match="map.run.json cannot be replaced"):
                outputs.commit()
            (tmp_path / f".map.run.json.{JOB}.part.old").rmdir()
        else:
            outputs.commit()
    assert names(tmp_path) == (["map.run.json", "map.tif"] if fails else ["map.tif"])
    assert (tmp_path / "map.tif").read_text() == ("old" if fails else "new")


def test_what_gdal_kept_about_the_old_file_goes_with_it(tmp_path: Path) -> None:
    for name in ("map.tif", "map.tif.aux.xml", "map.tif.ovr"):
        (tmp_path / name).write_text("old")
    with Outputs(JOB) as outputs:
        outputs.stage(tmp_path / "map.tif").write_text("new")
        outputs.commit()
    assert names(tmp_path) == ["map.tif"]


def test_missing_folders_are_made(tmp_path: Path) -> None:
    with Outputs(JOB) as outputs:
        outputs.stage(tmp_path / "2018" / "maps" / "map.tif").write_text("new")
        outputs.commit()
    assert (tmp_path / "2018" / "maps" / "map.tif").read_text() == "new"


def test_a_file_for_the_jobs_own_use_never_appears(tmp_path: Path) -> None:
    (tmp_path / "map.scratch.tif").write_text("the user's own")
    with Outputs(JOB) as outputs:
        outputs.stage(tmp_path / "map.tif").write_text("new")
        outputs.scratch(tmp_path / "map.tif").write_text("on the way")
        assert len(unfinished_files(tmp_path)) == 2
        outputs.commit()
    assert names(tmp_path) == ["map.scratch.tif", "map.tif"]
    assert (tmp_path / "map.scratch.tif").read_text() == "the user's own"


class TestDiscarding:
    def test_removes_the_unfinished_files_while_the_job_goes_on(self, tmp_path: Path) -> None:
        with Outputs(JOB) as outputs:
            outputs.stage(tmp_path / "map.tif").write_text("new")
            outputs.scratch(tmp_path / "map.tif").write_text("on the way")
            assert outputs.discard()
            assert names(tmp_path) == []
            with pytest.raises(Cancelled):
                outputs.commit()

    def test_comes_too_late_after_the_commit(self, tmp_path: Path) -> None:
        with Outputs(JOB) as outputs:
            outputs.stage(tmp_path / "map.tif").write_text("new")
            outputs.commit()
            assert not outputs.discard()
        assert names(tmp_path) == ["map.tif"]


class TestRefusals:
    def test_a_folder_as_output(self, tmp_path: Path) -> None:
        with Outputs(JOB) as outputs, pytest.raises(OutputError, match="is a folder"):
            outputs.stage(tmp_path)

    def test_two_outputs_in_one_file(self, tmp_path: Path) -> None:
        with Outputs(JOB) as outputs:
            outputs.stage(tmp_path / "map.tif")
            with pytest.raises(OutputError, match="Two outputs"):
                outputs.stage(tmp_path / "map.tif")
        assert names(tmp_path) == []

    def test_a_folder_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "maps").write_text("no folder")
        with Outputs(JOB) as outputs, pytest.raises(OutputError, match="maps/map.tif cannot be written"):
            outputs.stage(tmp_path / "maps" / "map.tif")

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
    def test_a_folder_that_may_not_be_written_to(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        with Outputs(JOB) as outputs, pytest.raises(OutputError, match="map.tif cannot be written"):
            outputs.stage(tmp_path / "map.tif")

    @pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
    def test_a_folder_where_nobody_may_write(self) -> None:
        with Outputs(JOB) as outputs, pytest.raises(OutputError, match="/proc/map.tif cannot be written"):
            outputs.stage(Path("/proc/map.tif"))


class TestRasters:
    def test_a_raster_that_vanishes_while_it_is_written_is_reported(self, tmp_path: Path) -> None:
        """GDAL says nothing when the last blocks are lost at the closing of a file."""
        path = tmp_path / "map.tif"
        with (
            pytest.raises(OutputError, match="map.tif cannot be written"),
            create_raster(path, grid(4, 4), 1, "uint8", 0),
        ):
            path.unlink()

    def test_a_raster_in_a_folder_that_is_not_there_is_reported(self, tmp_path: Path) -> None:
        with (
            pytest.raises(OutputError),
            create_raster(tmp_path / "no" / "map.tif", grid(4, 4), 1, "uint8", 0),
        ):
            pass

    def test_a_small_raster_is_one_tile_of_whole_16_pixels(self, tmp_path: Path) -> None:
        with create_raster(tmp_path / "map.tif", grid(20, 40), 1, "uint8", 0) as dataset:
            dataset.write(np.ones((1, 20, 40), np.uint8))
        with rasterio.open(tmp_path / "map.tif") as dataset:
            assert dataset.block_shapes == [(32, 48)]
            assert (dataset.read() == 1).all()


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    with small_disk_at(tmp_path / "disk", 1) as disk:
        yield disk


class TestFullDisk:
    """What GDAL prints here on standard error is its own complaint about the disk."""

    @pytest.mark.parametrize("free_bytes", [4_000, 200_000, 900_000])
    def test_a_raster_that_does_not_fit_is_no_output(self, full_disk: Path, free_bytes: int) -> None:
        """However much of it fits: the first block, most of it, or all but what is written at the closing."""
        target = full_disk / "map.tif"
        target.write_bytes(b"old" * ((2**20 - free_bytes) // 3))
        before = target.read_bytes()
        noise = np.random.default_rng(0).integers(0, 255, (4, 512, 512)).astype(np.uint8)

        def write() -> None:
            with Outputs(JOB) as outputs:
                with create_raster(outputs.stage(target), grid(512, 512), 4, "uint8", None) as dataset:
                    dataset.write(noise)
                outputs.commit()

        with pytest.raises(OutputError, match=r"map.tif cannot be written.*MB are free on its disk: make room"):
            write()
        assert target.read_bytes() == before
        assert unfinished_files(full_disk) == []

    def test_a_text_that_does_not_fit_is_no_output(self, full_disk: Path) -> None:
        (full_disk / "old.tif").write_bytes(b"x" * (2**20 - 8192))
        with Outputs(JOB) as outputs, pytest.raises(OutputError, match="map.qml cannot be written.*make room"):
            write_text(outputs.stage(full_disk / "map.qml"), "new" * 10_000)
        assert names(full_disk) == ["old.tif"]

    def test_a_job_reports_it(self, full_disk: Path, season: Path) -> None:
        (full_disk / "stack.tif").write_bytes(b"old" * 340_000)
        before = (full_disk / "stack.tif").read_bytes()
        outcome = run_here("stackscenes", scenes=[season], output=full_disk / "stack.tif")
        assert outcome.code == "OutputError"
        assert "make room" in outcome.last["remedy"]
        assert (full_disk / "stack.tif").read_bytes() == before
        assert names(full_disk) == ["stack.tif"]


def test_what_a_killed_worker_left_long_ago_is_removed_by_the_next_one(tmp_path: Path) -> None:
    """But nothing of a job that may live, of QGIS, of another target, or that holds what was there before."""
    stale = tmp_path / ".map.tif.fedcba987654.part.tif"
    others = (
        ".map.tif.fedcba98.part.tif",
        ".map.tif.fedcba987654.part.old",
        ".other.tif.fedcba987654.part.tif",
        ".map.tif.old.part.tif",
    )
    for name in (stale.name, *others):
        (tmp_path / name).write_text("half")
        os.utime(tmp_path / name, (0, 0))
    (tmp_path / ".map.tif.0123456789ff.part.tif").write_text("in the making")
    with Outputs(JOB) as outputs:
        outputs.stage(tmp_path / "map.tif")
    assert names(tmp_path) == sorted([*others, ".map.tif.0123456789ff.part.tif"])
