"""Keeps the files at an output's target until the new ones are complete.

A QGIS sink overwrites its target as soon as it is created, and an algorithm with several outputs writes one after the
other: when a later one fails, the earlier ones go back to what they were.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterable
from types import TracebackType

from .errors import JobFailed

_COMPANIONS = {
    ".shp": (".dbf", ".shx", ".prj", ".cpg", ".qix", ".sbn", ".sbx", ".qpj", ".shp.xml"),
    ".tab": (".dat", ".map", ".id", ".ind"),
    ".mif": (".mid",),
    ".csv": (".csvt", ".prj"),
    ".gml": (".xsd", ".gfs"),
}
_BEHIND_NAME = ("", "-wal", "-shm", "-journal", ".aux.xml", ".ovr", ".msk")  # SQLite's, and GDAL's for rasters
_METADATA = ".qmd"
_STYLE = ".qml"


class KeptFiles:
    """Keeps files aside within a block; puts them back unless the block ends well.

    Args:
        files: The files; those that do not exist are removed when the block fails.
        keep: How a file gets aside: `os.replace`, `shutil.copy2` or `link_or_copy`.

    Raises:
        JobFailed: A file cannot be kept (OutputError).
    """

    def __init__(self, files: Iterable[str], keep: Callable[[str, str], object]) -> None:
        self._files = list(files)
        self._keep = keep
        self._aside: dict[str, str] = {}

    def __enter__(self) -> KeptFiles:
        suffix = f".{uuid.uuid4().hex[:8]}.kept"
        for file in self._files:
            if os.path.isfile(file):
                folder, name = os.path.split(file)
                aside = os.path.join(folder, f".{name}{suffix}")
                try:
                    self._keep(file, aside)
                except OSError as error:
                    self._put_back()
                    raise JobFailed(
                        "OutputError",
                        f"{file} cannot be replaced: {error.strerror}.",
                        "Close the programs that have it open, or give another file name.",
                    ) from error
                self._aside[file] = aside
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            for aside in self._aside.values():
                os.remove(aside)
            return
        for file in self._files:
            if os.path.isfile(file) and file not in self._aside:
                os.remove(file)
        self._put_back()

    def _put_back(self) -> None:
        for file, aside in self._aside.items():
            put_back(aside, file)


def keep_vector(target: str | None, with_style: bool) -> KeptFiles:
    """Keep what a sink will overwrite.

    Args:
        target: The file, ``|layername=`` behind it where it gets a layer among others; None where there is no file.
        with_style: Whether the QML beside it is part of it.
    """
    path, _, layer = (target or "").partition("|layername=")
    files = [*_family(path), *([style_file(path)] if with_style else [])] if path else []
    return KeptFiles(files, shutil.copy2 if layer else os.replace)


def keep_rasters(targets: Iterable[str]) -> KeptFiles:
    """Keep rasters with their styles, in place, while the worker puts new ones there."""
    return KeptFiles([file for path in targets for file in (*_family(path), style_file(path))], link_or_copy)


def put_back(aside: str, file: str) -> None:
    """Let a file that was kept aside stand at its own name again."""
    os.replace(aside, file)
    if os.path.exists(aside):  # renaming a link over its own file does nothing
        os.remove(aside)


def link_or_copy(file: str, aside: str) -> None:
    """Make a second name for a file, or a copy on disks that know one name only."""
    try:
        os.link(file, aside)
    except OSError:
        shutil.copy2(file, aside)


def style_file(path: str) -> str:
    """Where QGIS looks for the style of a file."""
    return os.path.splitext(path)[0] + _STYLE


def _family(path: str) -> list[str]:
    """A file and those that go with it by name, its style aside."""
    stem, extension = os.path.splitext(path)
    companions = _COMPANIONS.get(extension.lower(), ())
    return [path + end for end in _BEHIND_NAME] + [stem + end for end in (*companions, _METADATA)]
