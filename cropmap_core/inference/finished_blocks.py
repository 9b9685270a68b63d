"""The finished blocks of a map, kept until it is complete: a run that was ended goes on from them.

They lie in a folder beside the output, `NAME.unfinished`, one file of arrays for each block, together with the
fingerprint of all that decides what is in them. Those of another fingerprint are removed.
"""

from __future__ import annotations

import json
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropmap_core.errors import OutputError
from cropmap_core.io.grid import Window
from cropmap_core.io.outputs import write_text, written_whole

_MADE_OF = "made-of.json"
_BLOCK = "block-{}-{}-{}-{}.npz"

Arrays = Mapping[str, NDArray[Any]]


def folder_beside(output: Path) -> Path:
    """Where the finished blocks of an output are kept."""
    return output.with_name(f"{output.name}.unfinished")


class FinishedBlocks:
    """The blocks of a map; used by several threads.

    Args:
        folder: Where to keep them, made when that is needed; None for in memory.
        fingerprint: Of all that decides what is in them.
        as_good: Blocks of this fingerprint are taken over as well.
    """

    def __init__(self, folder: Path | None = None, fingerprint: str = "", as_good: str | None = None) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._blocks: dict[Window, Arrays | Path] = {}
        self._fingerprint = fingerprint
        self.edge: int | None = None
        """Of the parts that blocks were made of, in pixels; None before there are any."""
        self.unreadable: list[str] = []
        """Parts that could not be read and are in the blocks as never observed, and why."""
        self._before: frozenset[Window] = frozenset()
        if folder is None:
            return
        kept = _read(folder / _MADE_OF)
        if kept.get("fingerprint") in (fingerprint, as_good or fingerprint) and isinstance(kept.get("edge"), int):
            self.edge, self.unreadable = kept["edge"], list(kept.get("unreadable", []))
        else:
            self.remove()
        for path in folder.glob(_BLOCK.format(*"****")):
            if _is_whole(path):
                self._blocks[Window(*map(int, path.stem.split("-")[1:]))] = path
            else:
                path.unlink()
        self._before = frozenset(self._blocks)

    def __len__(self) -> int:
        return len(self._blocks)

    def covers(self, window: Window) -> bool:
        """Whether a window is finished, by itself or as a part of a larger block."""
        return any(_inside(window, block) for block in self._blocks)

    def covered_before(self, window: Window) -> bool:
        """Whether a window was finished when the folder was opened."""
        return any(_inside(window, block) for block in self._before)

    def use_edge(self, edge: int) -> None:
        """Says of what parts the next blocks are made: as large as those before, or a whole fraction of them.

        Raises:
            OutputError: The folder cannot be written.
        """
        self.edge = edge
        self._write_made_of()

    def note_unreadable(self, part: str) -> None:
        """Remembers that a part could not be read, for the run that goes on from here too.

        Raises:
            OutputError: The folder cannot be written.
        """
        with self._lock:
            if part not in self.unreadable:
                self.unreadable.append(part)
                self._write_made_of()

    def _write_made_of(self) -> None:
        if self.folder is not None:
            told = {"fingerprint": self._fingerprint, "edge": self.edge, "unreadable": self.unreadable}
            with written_whole(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / _MADE_OF
            part = path.with_suffix(".part")  # what was told before stays, should the disk be full
            write_text(part, json.dumps(told))
            with written_whole(self.folder):
                part.replace(path)

    def put(self, window: Window, arrays: Arrays) -> None:
        """Keeps a block.

        Raises:
            OutputError: It cannot be written.
        """
        if self.folder is None:
            with self._lock:
                self._blocks[window] = dict(arrays)
            return
        path = self.folder / _BLOCK.format(window.row, window.col, window.height, window.width)
        part = path.with_suffix(".part")
        contents: dict[str, Any] = dict(arrays)
        try:
            with written_whole(self.folder), part.open("wb") as file:
                np.savez(file, **contents)
            with written_whole(self.folder):
                part.replace(path)
        except OutputError:
            with suppress(OSError):
                part.unlink()  # a disk that is full needs the room
            raise
        with self._lock:
            self._blocks[window] = path

    def __iter__(self) -> Iterator[tuple[Window, Arrays]]:
        """The blocks, by row and column; they do not overlap."""
        with self._lock:
            blocks = sorted(self._blocks.items(), key=lambda item: (item[0].row, item[0].col))
        for window, held in blocks:
            if isinstance(held, Path):
                with written_whole(held), np.load(held, allow_pickle=False) as arrays:
                    yield window, dict(arrays)
            else:
                yield window, held

    def remove(self) -> None:
        """Removes the blocks, and their folder unless it holds something else."""
        self._blocks.clear()
        if self.folder is None or not (self.folder / _MADE_OF).is_file():
            return
        with suppress(OSError):
            for pattern in (_BLOCK.format(*"****"), "*.part", _MADE_OF):  # while that is there the rest is ours
                for path in self.folder.glob(pattern):
                    path.unlink()
            self.folder.rmdir()


def _inside(window: Window, other: Window) -> bool:
    return (
        other.row <= window.row
        and other.col <= window.col
        and window.row + window.height <= other.row + other.height
        and window.col + window.width <= other.col + other.width
    )


def _read(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        document = json.loads(path.read_text(encoding="utf-8"))
        return document if isinstance(document, dict) else {}
    return {}


def _is_whole(path: Path) -> bool:
    """Whether a block's file is there to its last byte: what a crash of the machine left may not be."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False
