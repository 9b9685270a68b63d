"""The finished blocks of a map, kept until it is complete: a run that was ended goes on from them.

They lie in a folder beside the output, `NAME.unfinished`, one file of arrays for each block, together with the
fingerprint of all that decides what is in them. Their names begin with it too: those of another fingerprint are
removed, and where that cannot be done they are not read. One run at a time may work in the folder (`io.locks`).
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
_BLOCK = "block-{}-{}-{}-{}-{}.npz"  # fingerprint, row, column, height, width
_OURS = ("block-*.npz", "block-*.part", "made-of.part", _MADE_OF)
_SHOWN = 12  # digits of a fingerprint in a name

_TOLD = ("unreadable", "devices", "precisions", "steps")

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

    Raises:
        OutputError: A block that is of no use here, but named as ours, cannot be removed.
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
        self.devices: list[str] = []
        """Those that finished blocks; in this run or in those before it, as all below."""
        self.precisions: list[str] = []
        """Those that they were computed in."""
        self.steps: list[str] = []
        """What was done by less, or elsewhere, than was planned."""
        self._before: frozenset[Window] = frozenset()
        if folder is not None:
            self._open(folder, {fingerprint, as_good or fingerprint})
            self._before = frozenset(self._blocks)

    def _open(self, folder: Path, good: set[str]) -> None:
        """Takes over what is of use, and removes the rest."""
        kept = _read(folder / _MADE_OF)
        if kept.get("fingerprint") not in good or not isinstance(kept.get("edge"), int):
            self.remove()
            good = set()
        else:
            self.edge = kept["edge"]
            for name in _TOLD:
                getattr(self, name).extend(kept.get(name, []))
        names = {each[:_SHOWN] for each in good}
        for path in folder.glob(_BLOCK.format(*"*****")):
            _, of, *numbers = path.stem.split("-")
            if of in names and _is_whole(path):
                self._blocks[Window(*map(int, numbers))] = path
                continue
            with suppress(OSError):
                path.unlink()
            if of == self._fingerprint[:_SHOWN] and path.exists():  # the next run would take it for ours
                raise OutputError(f"{path} is of no use and cannot be removed.", f"Remove {folder}, and run again.")

    def __len__(self) -> int:
        return len(self._blocks)

    def covers(self, window: Window) -> bool:
        """Whether a window is finished, by itself or as a part of a larger block."""
        return window in self._blocks or any(_inside(window, block) for block in self._blocks)

    def covered_before(self, window: Window) -> bool:
        """Whether a window was finished when the folder was opened."""
        return window in self._before or any(_inside(window, block) for block in self._before)

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
        self._note(self.unreadable, part)

    def note_device(self, device: str, precision: str) -> None:
        """Remembers that a device has finished a block, and in which precision.

        Raises:
            OutputError: The folder cannot be written.
        """
        self._note(self.devices, device)
        self._note(self.precisions, precision)

    def note_step(self, step: str) -> None:
        """Remembers what was done otherwise than planned.

        Raises:
            OutputError: The folder cannot be written.
        """
        self._note(self.steps, step)

    def _note(self, told: list[str], text: str) -> None:
        with self._lock:
            if text not in told:
                told.append(text)
                self._write_made_of()

    def _write_made_of(self) -> None:
        if self.folder is not None:
            told = {
                "fingerprint": self._fingerprint,
                "edge": self.edge,
                **{name: getattr(self, name) for name in _TOLD},
            }
            with written_whole(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / _MADE_OF
            part = path.with_suffix(".part")  # what was told before stays, should the disk be full
            write_text(part, json.dumps({"fingerprint": self._fingerprint, **told}))
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
        numbers = window.row, window.col, window.height, window.width
        path = self.folder / _BLOCK.format(self._fingerprint[:_SHOWN], *numbers)
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
        """The blocks, by row and column; they do not overlap.

        Raises:
            OutputError: One cannot be read.
        """
        return self._read_each(None)

    def only(self, name: str) -> Iterator[tuple[Window, NDArray[Any]]]:
        """One array of the blocks, by row and column; no other is read.

        Raises:
            OutputError: One cannot be read.
        """
        for window, arrays in self._read_each(name):
            yield window, arrays[name]

    def _read_each(self, name: str | None) -> Iterator[tuple[Window, Arrays]]:
        with self._lock:
            blocks = sorted(self._blocks.items(), key=lambda item: (item[0].row, item[0].col))
        for window, held in blocks:
            yield window, _load(held, name) if isinstance(held, Path) else held

    def remove(self) -> None:
        """Removes the blocks as far as that can be done, and their folder unless it holds something else."""
        self._blocks.clear()
        if self.folder is not None:
            remove_blocks(self.folder)


def remove_blocks(folder: Path) -> None:
    """Removes finished blocks of whatever map as far as that can be done, and their folder if nothing else is in it."""
    for pattern in _OURS:
        for path in folder.glob(pattern):
            with suppress(OSError):  # a program has it open: its name keeps others from reading it
                path.unlink()
    with suppress(OSError):
        folder.rmdir()


def _load(path: Path, name: str | None) -> Arrays:
    """The arrays of a block, or one of them."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays) if name is None else {name: arrays[name]}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(
            f"The finished block {path} cannot be read: {reason}.", f"Remove {path.parent}, and run again."
        ) from error


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
