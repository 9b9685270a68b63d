"""Blocks that were finished are there again, those of another run or cut short are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cropmap_core.errors import OutputError
from cropmap_core.inference.finished_blocks import FinishedBlocks
from cropmap_core.io.grid import Window

FIRST, SECOND = Window(0, 0, 4, 5), Window(4, 0, 2, 5)


def begin(folder: Path) -> FinishedBlocks:
    store = FinishedBlocks(folder, "of this")
    store.use_edge(4)
    store.put(SECOND, {"classes": np.full((2, 5), 2, np.uint8)})
    store.put(FIRST, {"classes": np.full((4, 5), 1, np.uint8), "seen": np.arange(3)})
    return store


def test_they_are_there_again_in_order(tmp_path: Path) -> None:
    begin(tmp_path / "map.tif.unfinished")
    again = FinishedBlocks(tmp_path / "map.tif.unfinished", "of this")
    assert again.edge == 4
    assert [window for window, _ in again] == [FIRST, SECOND]
    (_, arrays), _ = again
    np.testing.assert_array_equal(arrays["seen"], [0, 1, 2])
    assert again.covers(Window(1, 1, 2, 2))
    assert not again.covers(Window(3, 0, 3, 5))


def test_those_of_another_run_are_removed(tmp_path: Path) -> None:
    begin(tmp_path / "map.tif.unfinished")
    other = FinishedBlocks(tmp_path / "map.tif.unfinished", "of that")
    assert (len(other), other.edge) == (0, None)
    assert not list((tmp_path / "map.tif.unfinished").glob("*.npz"))


@pytest.fixture
def stubborn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the blocks the first can be neither removed nor replaced: a program has it open."""
    unlink = Path.unlink

    def unlink_some(path: Path, missing_ok: bool = False) -> None:
        if path.name.endswith("-0-0-4-5.npz"):
            raise PermissionError(13, "in use", str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink_some)


@pytest.mark.parametrize("made_of_is_there", [True, False])
def test_those_of_another_run_that_cannot_be_removed_are_not_read(
    made_of_is_there: bool, tmp_path: Path, stubborn: None
) -> None:
    folder = tmp_path / "map.tif.unfinished"
    begin(folder)
    if not made_of_is_there:
        (folder / "made-of.json").unlink()
    other = FinishedBlocks(folder, "of that")
    assert len(other) == 0
    assert [path.name.split("-", 2)[2] for path in folder.glob("*.npz")] == ["0-0-4-5.npz"]
    other.use_edge(4)
    other.put(FIRST, {"classes": np.full((4, 5), 7, np.uint8)})
    again = FinishedBlocks(folder, "of that")
    ((window, arrays),) = again
    assert (window, arrays["classes"].max()) == (FIRST, 7)


def test_our_own_without_what_they_were_made_of_must_go(tmp_path: Path, stubborn: None) -> None:
    """Their parts may have had another edge, so that new ones overlap them."""
    folder = tmp_path / "map.tif.unfinished"
    begin(folder)
    (folder / "made-of.json").unlink()
    with pytest.raises(OutputError, match=r"0-0-4-5.npz is of no use and cannot be removed.*Remove .*unfinished"):
        FinishedBlocks(folder, "of this")


def test_what_computed_them_is_known_later(tmp_path: Path) -> None:
    store = begin(tmp_path / "map.tif.unfinished")
    store.note_device("cuda:0", "bfloat16")
    store.note_step("cuda:0 does not answer any more: on with cpu.")
    again = FinishedBlocks(tmp_path / "map.tif.unfinished", "of this")
    again.note_device("cpu", "bfloat16")
    assert (again.devices, again.precisions) == (["cuda:0", "cpu"], ["bfloat16"])
    assert again.steps == ["cuda:0 does not answer any more: on with cpu."]


def test_one_array_is_read_alone_and_damage_is_named(tmp_path: Path) -> None:
    store = begin(tmp_path / "map.tif.unfinished")
    store.put(SECOND, {"classes": np.full((2, 5), 3, np.uint8), "seen": np.full(40, 99, np.uint8)})
    path = next((tmp_path / "map.tif.unfinished").glob("block-*-4-0-2-5.npz"))
    content = path.read_bytes()
    path.write_bytes(content.replace(bytes([99] * 40), bytes([98] * 40)))
    assert [values.max() for _, values in store.only("classes")] == [1, 3]
    for damaged in (path.read_bytes(), content[:50], b"", b"text"):
        path.write_bytes(damaged)
        with pytest.raises(OutputError, match=r"finished block .*4-0-2-5.npz cannot be read.*Remove .*unfinished"):
            list(store)


def test_a_block_cut_short_is_made_again(tmp_path: Path) -> None:
    begin(tmp_path / "map.tif.unfinished")
    path = next((tmp_path / "map.tif.unfinished").glob("block-*-4-0-2-5.npz"))
    path.write_bytes(path.read_bytes()[:-30])
    again = FinishedBlocks(tmp_path / "map.tif.unfinished", "of this")
    assert [window for window, _ in again] == [FIRST]


def test_nothing_is_left_and_no_other_folder_is_touched(tmp_path: Path) -> None:
    store = begin(tmp_path / "map.tif.unfinished")
    store.remove()
    assert not list(tmp_path.iterdir())
    other = tmp_path / "mine"
    other.mkdir()
    (other / "file.txt").write_text("kept")
    FinishedBlocks(other, "of this").remove()
    assert (other / "file.txt").read_text() == "kept"


def test_in_memory(tmp_path: Path) -> None:
    store = FinishedBlocks()
    store.put(FIRST, {"classes": np.zeros((4, 5), np.uint8)})
    assert store.covers(FIRST)
    assert len(store) == 1
    store.remove()
    assert len(store) == 0
