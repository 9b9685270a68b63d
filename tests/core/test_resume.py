"""A run that was ended goes on from its finished blocks to the same map, and what is done is not done again."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from cropmap_core.errors import Cancelled
from cropmap_core.inference import classification, disk_room
from cropmap_core.inference.bundles import Bundle
from cropmap_core.inference.classification import OOD_TAG, RUN_TAG, WARNINGS_TAG
from cropmap_core.inference.finished_blocks import FinishedBlocks
from cropmap_core.inference.stages import Stages
from cropmap_core.io import outputs
from cropmap_core.io.grid import Window
from cropmap_core.io.locks import alone_in
from cropmap_core.timeseries.files import write_time_series
from cropmap_core.timeseries.indices import as_channels
from tests.core.disks import small_disk_at
from tests.core.engine_cases import bundle_named, map_of, season
from tests.core.seam import Outcome, job_document, run_here, unfinished_files, worker
from tests.core.series_in_memory import SeriesInMemory, whole
from tests.core.tiny_models import with_thresholds

LARGE, SMALL = (520, 530), (110, 150)
"""Rows and columns: of a map whose blocks are kept as it is, and of one for which that must be asked."""
EDGE = {LARGE: 128, SMALL: 40}
LAYERS = ("classes", "confidence", "ood", "entropy", "margin", "probabilities")
HANGS = """
import sys, time
from cropmap_core.inference import classification
from cropmap_core.inference.finished_blocks import FinishedBlocks

put = FinishedBlocks.put

def put_some(self, window, arrays):
    if len(self) == 4:
        (self.folder / "block-0-0-9-9.part").write_bytes(b"half a block")
        time.sleep(600)
    put(self, window, arrays)

FinishedBlocks.put = put_some
classification.edge_of_parts = lambda *given: 128
from cropmap_core.__main__ import main
sys.exit(main())
"""
"""A worker that stops in the middle of its fifth block."""


class Usage(NamedTuple):
    """Of a disk, in bytes."""

    total: int
    used: int
    free: int


class Case:
    """A series, a model that knows what is like its classes, and a folder for the map."""

    def __init__(self, folder: Path, shape: tuple[int, int], series: Path, model: Bundle) -> None:
        self.folder, self.edge, self.series, self.model = folder, EDGE[shape], series, model

    def parameters(self, **changes: Any) -> dict[str, Any]:
        layers = {f"output_{name}": self.folder / f"{name}.tif" for name in LAYERS}
        return {"series": self.series, "model": self.model.folder, **layers, **changes}

    def run(self, **changes: Any) -> Outcome:
        return run_here("classify", **self.parameters(**changes))

    @property
    def unfinished(self) -> Path:
        return self.folder / "classes.tif.unfinished"

    def blocks(self) -> dict[str, int]:
        """The finished blocks and when they were written."""
        return {path.name: path.stat().st_mtime_ns for path in self.unfinished.glob("*.npz")}


def read(folder: Path) -> dict[str, NDArray[Any]]:
    found = {}
    for name in LAYERS:
        with rasterio.open(folder / f"{name}.tif") as dataset:
            found[name] = dataset.read()
    return found


def tags(folder: Path) -> dict[str, Any]:
    with rasterio.open(folder / "classes.tif") as dataset:
        return dict(dataset.tags())


def assert_same_map(one: Path, other: Path) -> None:
    for name, values in read(one).items():
        np.testing.assert_array_equal(values, read(other)[name], name)
    one_tags, other_tags = tags(one), tags(other)
    for name in (OOD_TAG, WARNINGS_TAG, "CROPMAP_CLASSES", "CROPMAP_MODEL", "CROPMAP_PROVENANCE"):
        assert one_tags[name] == other_tags[name], name


@pytest.fixture(scope="module")
def knowing_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bundle]:
    def made(kind: str) -> Bundle:
        bundle = bundle_named(kind, tmp_path_factory.mktemp("models") / kind)
        few = season(40, 44, seed=3)
        labels = map_of(few, bundle, 1000).probabilities
        classes = np.where(np.isnan(labels).any(axis=0), -1, np.nan_to_num(labels).argmax(axis=0))
        return with_thresholds(bundle, whole(as_channels(few, bundle.channels))[0], classes)

    kept: dict[str, Bundle] = {}
    return lambda kind: kept.setdefault(kind, made(kind)) if kind not in kept else kept[kind]


def write(path: Path, series: SeriesInMemory) -> Path:
    write_time_series(series, path, {"command": "fillgaps"})
    return path


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, knowing_model: Callable[[str], Bundle]) -> Case:
    """A map of 2**18 pixels and more, and what an undisturbed run makes of it in `folder`."""
    folder = tmp_path_factory.mktemp("large")
    case = Case(folder, LARGE, write(folder / "season.tif", season(*LARGE)), knowing_model("hybrid_cnn"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classification, "edge_of_parts", lambda *given: 128)
        assert case.run().outputs
    return case


@pytest.fixture
def small(tmp_path: Path, knowing_model: Callable[[str], Bundle], monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.setattr(classification, "_KEPT_FROM", 1)
    monkeypatch.setattr(classification, "edge_of_parts", lambda *given: EDGE[SMALL])
    series = write(tmp_path / "season.tif", season(*SMALL))
    (tmp_path / "map").mkdir()
    return Case(tmp_path / "map", SMALL, series, knowing_model("hybrid_cnn"))


@contextmanager
def ending_after(blocks: int, how: Callable[[], BaseException] = Cancelled) -> Iterator[None]:
    """A run ends when so many of its blocks are there."""
    put = FinishedBlocks.put

    def put_some(self: FinishedBlocks, *block: Any) -> None:
        if len(self) == blocks:
            raise how()
        put(self, *block)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FinishedBlocks, "put", put_some)
        yield


@contextmanager
def counting_windows() -> Iterator[list[int]]:
    """Tells how many windows a network has worked on."""
    around, seen = Stages.around, [0]

    def counted(self: Stages, *given: Any) -> Any:
        seen[0] += 1
        return around(self, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stages, "around", counted)
        yield seen


class TestKilled:
    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_a_worker_goes_on_to_the_same_map(self, number: int, large: Case, tmp_path: Path) -> None:
        case = Case(tmp_path, LARGE, large.series, large.model)
        with worker(code=HANGS) as running:
            running.send(json.dumps(job_document("classify", **case.parameters())))
            running.stdin.close()
            limit = time.monotonic() + 120
            while not (case.unfinished / "block-0-0-9-9.part").exists():
                assert running.process.poll() is None, running.process.stderr and running.process.stderr.read()
                assert time.monotonic() < limit
                time.sleep(0.05)
            running.process.send_signal(number)
            status = running.process.wait(timeout=60)
        assert status == (-signal.SIGKILL if number == signal.SIGKILL else 130)
        before = case.blocks()
        assert len(before) == 4
        assert not (tmp_path / "classes.tif").exists()
        if number == signal.SIGTERM:
            assert unfinished_files(tmp_path) == ["block-0-0-9-9.part"]

        written: dict[str, int] = {}
        remove = FinishedBlocks.remove

        def look_and_remove(self: FinishedBlocks) -> None:
            written.update(case.blocks())
            remove(self)

        with pytest.MonkeyPatch.context() as patch, counting_windows() as windows:
            patch.setattr(FinishedBlocks, "remove", look_and_remove)
            outcome = case.run()
        assert outcome.outputs
        assert "4 of 25 blocks were finished before." in outcome.texts("log")
        assert windows == [21]
        assert len(written) == 25
        assert {name: written[name] for name in before} == before
        assert not case.unfinished.exists()
        assert_same_map(tmp_path, large.folder)
        assert 0 < float(tags(tmp_path)[OOD_TAG]) < 1
        told = json.loads(tags(tmp_path)[RUN_TAG])
        assert (told["block_pixels"], told["blocks"], told["blocks_finished_before"]) == (128, 25, 4)
        if number == signal.SIGTERM:
            assert unfinished_files(tmp_path) == []


class TestCancelled:
    @pytest.mark.parametrize("changes", [{}, {"smoothing": 1.0, "minimum_area_ha": 0.1}])
    def test_goes_on_to_the_same_map(self, changes: dict[str, Any], small: Case, tmp_path: Path) -> None:
        other = Case(tmp_path / "undisturbed", SMALL, small.series, small.model)
        assert other.run(**changes).outputs
        for blocks in (3, 7):
            with ending_after(blocks):
                ended = small.run(**changes)
            assert ended.code == "Cancelled"
            assert f"{blocks} finished blocks are kept in {small.unfinished}" in ended.texts("log")
            assert len(small.blocks()) == blocks
            assert not (small.folder / "classes.tif").exists()
        assert "7 of 12 blocks were finished before." in small.run(**changes).texts("log")
        assert_same_map(small.folder, other.folder)
        assert not small.unfinished.exists()

    def test_to_what_it_would_be_of_smaller_parts_too(self, small: Case, monkeypatch: pytest.MonkeyPatch) -> None:
        """The parts that were begun with stay, whatever memory there is now."""
        with ending_after(3):
            small.run()
        monkeypatch.setattr(classification, "edge_of_parts", lambda *given: 64)
        outcome = small.run()
        assert "3 of 12 blocks were finished before." in outcome.texts("log")
        assert "in parts of 40 pixels" in outcome.texts("log")

    def test_a_block_that_was_damaged_since_is_made_again(self, small: Case, tmp_path: Path) -> None:
        other = Case(tmp_path / "undisturbed", SMALL, small.series, small.model)
        assert other.run().outputs
        with ending_after(4):
            small.run()
        block = small.unfinished / sorted(small.blocks())[0]
        content = bytearray(block.read_bytes())
        content[len(content) // 2] ^= 0xFF
        block.write_bytes(content)
        assert "3 of 12 blocks were finished before." in small.run().texts("log")
        assert_same_map(small.folder, other.folder)


def test_what_ran_before_is_told_too(small: Case) -> None:
    """The first three blocks are as if made by a card that was lost then."""
    step = "cuda:0 does not answer any more: on with cpu."
    with ending_after(3):
        small.run()
    made_of = small.unfinished / "made-of.json"
    told = json.loads(made_of.read_text())
    assert (told["devices"], told["precisions"], told["steps"]) == (["cpu"], ["float32"], [])
    made_of.write_text(json.dumps({**told, "devices": ["cuda:0"], "steps": [step]}))
    small.run()
    computed = json.loads((small.folder / "classes.run.json").read_text())["computed"]
    assert computed == json.loads(tags(small.folder)[RUN_TAG])
    assert (computed["device"], computed["precision"], computed["steps_down"]) == ("cpu, cuda", "float32", [step])


def test_a_second_run_to_the_same_files_is_refused_while_the_first_is_alive(small: Case) -> None:
    with ending_after(3):
        small.run()
    before = small.blocks()
    with alone_in(small.unfinished):
        refused = small.run(sure_from=0.5)
    assert refused.code == "OutputError"
    assert f"Another run is making the same map, and keeps its finished blocks in {small.unfinished}" in str(
        refused.last
    )
    assert small.blocks() == before
    assert small.run(sure_from=0.5).outputs
    assert sorted(path.name for path in small.folder.glob("*.unfinished")) == []


class TestOthersBlocks:
    """What was begun by another model, of other parameters or of another series is not used."""

    @pytest.fixture
    def begun(self, small: Case) -> Case:
        with ending_after(5):
            assert small.run().code == "Cancelled"
        assert len(small.blocks()) == 5
        return small

    def assert_begins_anew(self, case: Case, **changes: Any) -> None:
        with counting_windows() as windows:
            outcome = case.run(**changes)
        assert outcome.outputs
        assert "finished before" not in outcome.texts("log")
        assert windows == [12]
        assert not case.unfinished.exists()

    @pytest.mark.parametrize("changes", [{"smoothing": 0.5}, {"sure_from": 0.6}, {"precision": "bfloat16"}])
    def test_of_other_parameters(self, changes: dict[str, Any], begun: Case) -> None:
        self.assert_begins_anew(begun, **changes)

    def test_of_another_model(self, begun: Case, tmp_path: Path) -> None:
        other = bundle_named("hybrid_cnn", tmp_path / "other", seed=5)
        self.assert_begins_anew(begun, model=other.folder)

    def test_of_a_changed_series(self, begun: Case) -> None:
        series = season(*SMALL)
        series.values[2, 1, 60, 70] += 1
        write(begun.series, series)
        self.assert_begins_anew(begun)

    def test_of_other_layers(self, small: Case, tmp_path: Path) -> None:
        """Blocks hold what was asked for: of a map without confidence there is none."""
        with ending_after(5):
            small.run(**dict.fromkeys([f"output_{name}" for name in LAYERS[1:]]))
        assert len(small.blocks()) == 5
        self.assert_begins_anew(small)
        other = Case(tmp_path / "undisturbed", SMALL, small.series, small.model)
        assert other.run().outputs
        assert_same_map(small.folder, other.folder)

    def test_whose_folder_holds_something_else_is_left_as_it_is(self, small: Case) -> None:
        small.unfinished.mkdir()
        (small.unfinished / "mine.txt").write_text("kept")
        assert small.run().outputs
        assert [path.name for path in small.unfinished.iterdir()] == ["mine.txt"]


class TestDone:
    def assert_not_computed(self, case: Case, **changes: Any) -> Outcome:
        before = {path: path.stat().st_mtime_ns for path in case.folder.iterdir()}
        with counting_windows() as windows:
            outcome = case.run(**changes)
        assert outcome.outputs
        assert windows == [0]
        assert "is not computed again" in outcome.texts("log")
        assert {path: path.stat().st_mtime_ns for path in case.folder.iterdir()} == before
        return outcome

    def assert_computed(self, case: Case, **changes: Any) -> None:
        with counting_windows() as windows:
            assert case.run(**changes).outputs
        assert windows[0] > 0

    @pytest.fixture
    def done(self, small: Case) -> Case:
        assert small.run().outputs
        return small

    def test_is_not_done_again(self, small: Case) -> None:
        first = small.run().outputs
        assert self.assert_not_computed(small).outputs == first

    def test_is_told_with_the_warnings_of_then_and_what_a_kill_left_is_removed(self, done: Case) -> None:
        manifest = done.folder / "classes.run.json"
        told = json.loads(manifest.read_text())
        manifest.write_text(json.dumps({**told, "warnings": ["Far away.", "Another year."]}))
        left = FinishedBlocks(done.unfinished, "of then")
        left.use_edge(40)
        left.put(Window(0, 0, 2, 2), {"classes": np.zeros((2, 2), np.uint8)})
        outcome = done.run()
        assert "is not computed again" in outcome.texts("log")
        assert outcome.texts("warning") == "Far away.\nAnother year."
        assert not done.unfinished.exists()

    def test_what_another_run_is_making_stays(self, done: Case) -> None:
        with alone_in(done.unfinished):
            FinishedBlocks(done.unfinished, "of another").use_edge(40)
            assert "is not computed again" in done.run().texts("log")
            assert (done.unfinished / "made-of.json").exists()

    def test_by_another_model_or_of_other_parameters_is(self, done: Case, tmp_path: Path) -> None:
        self.assert_computed(done, smoothing=0.5)
        self.assert_computed(done)
        self.assert_not_computed(done)
        self.assert_computed(done, model=bundle_named("hybrid_cnn", tmp_path / "other", seed=5).folder)

    def test_of_a_changed_series_is(self, done: Case) -> None:
        series = season(*SMALL)
        series.values[2, 1, 60, 70] += 1
        write(done.series, series)
        self.assert_computed(done)

    @pytest.mark.parametrize("name", ["classes.tif", "probabilities.tif", "classes.run.json"])
    def test_is_if_an_output_is_gone(self, name: str, done: Case) -> None:
        (done.folder / name).unlink()
        self.assert_computed(done)
        self.assert_not_computed(done)

    def test_is_if_an_output_was_changed(self, done: Case) -> None:
        path = done.folder / "confidence.tif"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        self.assert_computed(done)


class TestDamagedSeries:
    def test_what_could_not_be_read_before_is_told_by_the_run_that_ends(
        self, small: Case, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(outputs, "BLOCK_SIZE", 16)
        write(small.series, season(*SMALL))
        with rasterio.open(small.series) as dataset:
            at, size = (int(dataset.get_tag_item(f"BLOCK_{what}_0_0", "TIFF", bidx=3)) for what in ("OFFSET", "SIZE"))
        with small.series.open("r+b") as file:
            file.seek(at)
            file.write(b"\x55" * size)
        with ending_after(6):
            small.run(skip_damaged=True)
        outcome = small.run(skip_damaged=True)
        assert "6 of 12 blocks were finished before." in outcome.texts("log")
        assert outcome.texts("warning").count("Not mapped, for it cannot be read: rows 0 to 16, columns 0 to 16") == 1
        assert len(json.loads(tags(small.folder)[RUN_TAG])["damaged"]) == 1
        manifest = json.loads((small.folder / "classes.run.json").read_text())
        for warnings in (json.loads(tags(small.folder)[WARNINGS_TAG]), manifest["warnings"]):
            assert sum("Not mapped, for it cannot be read: rows 0 to 16" in text for text in warnings) == 1
        with counting_windows() as windows:
            assert "not computed again" not in small.run(skip_damaged=True).texts("log")
        assert windows[0] > 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    with small_disk_at(tmp_path / "disk", 1) as disk:
        yield disk


def test_a_disk_with_too_little_room_is_told_before_anything_is_computed(
    small: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pixel takes 2 + 3 bytes in blocks, and one more for each of three classes."""
    pixels = SMALL[0] * SMALL[1]
    assert small.run().outputs
    classes = rasterio.open(small.folder / "probabilities.tif").count
    monkeypatch.setattr(disk_room.shutil, "disk_usage", lambda path: Usage(0, 0, pixels * (5 + classes) - 1))
    with counting_windows() as windows:
        refused = small.run(smoothing=0.5)
    assert windows == [0]
    assert refused.code == "OutputError"
    assert "finished blocks of the map need 0.1 MiB" in refused.last["message"]
    monkeypatch.setattr(disk_room.shutil, "disk_usage", lambda path: Usage(0, 0, pixels * (5 + classes)))
    warned = small.run(smoothing=0.5)
    assert warned.outputs
    assert "The disk may get full: it can take up to 0.3 MiB" in warned.texts("warning")


def test_a_disk_that_is_full_ends_a_run_that_goes_on_when_there_is_room(
    small: Case, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should it get full on the way: here nobody looks before."""
    monkeypatch.setattr(classification, "check_room", lambda *given: "")
    assert small.run().outputs
    undisturbed = small.folder
    small.folder = small_disk
    ballast = small_disk / "ballast"
    for free_kb in (0, 40, 200):
        ballast.write_bytes(b"x" * (2**20 - free_kb * 1024))
        outcome = small.run()
        assert outcome.code == "OutputError", free_kb
        assert "make room" in outcome.last["remedy"]
        assert list(small_disk.rglob("*.part*")) == []
    kept = len(small.blocks())
    assert 2 <= kept < 12
    ballast.unlink()
    outcome = small.run()
    assert outcome.outputs
    assert f"{kept} of 12 blocks were finished before." in outcome.texts("log")
    assert not small.unfinished.exists()
    assert_same_map(small_disk, undisturbed)
