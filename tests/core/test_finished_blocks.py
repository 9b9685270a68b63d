"""Blocks that were finished are there again, those of another run or cut short are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np

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


def test_a_block_cut_short_is_made_again(tmp_path: Path) -> None:
    begin(tmp_path / "map.tif.unfinished")
    path = next((tmp_path / "map.tif.unfinished").glob("block-4-*.npz"))
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
