"""Keeps the files at an output's target until the new ones are complete.

A QGIS sink overwrites its target as soon as it is created, so where it can it writes beside it (`PartFile`). An
algorithm with several outputs writes one after the other: when a later one fails, the earlier ones go back to what they
were (`KeptFiles`).
"""

from __future__ import annotations

import os
import shutil
import tempfile
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
_STAGED = (".gpkg", ".shp", ".geojson", ".json", ".fgb")
_METADATA = ".qmd"
_STYLE = ".qml"
_OF_A_RUN = (".run.json", ".stac.json")


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
        self._waiting: dict[str, str | None] = {}

    def __enter__(self) -> KeptFiles:
        suffix = f".{uuid.uuid4().hex[:8]}.kept"
        for file in self._files:
            if os.path.isfile(file):
                aside = _beside(file, suffix)
                try:
                    self._keep(file, aside)
                except OSError as error:
                    self._put_back()
                    raise _cannot_replace(file, error) from error
                self._aside[file] = aside
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            for aside in self._aside.values():
                os.remove(aside)
            return
        for part in self._waiting.values():
            if part and os.path.isfile(part):
                os.remove(part)
        for file in self._files:
            if os.path.isfile(file) and file not in self._aside:
                os.remove(file)
        self._put_back()

    def step_back(self) -> None:
        """Let what was there before stand, the new files waiting beside it: QGIS may end before all outputs are whole.

        Raises:
            JobFailed: A file cannot be renamed (OutputError).
        """
        suffix = f".{uuid.uuid4().hex[:8]}.part"
        for file in self._files:
            try:
                if os.path.isfile(file):
                    part = _beside(file, suffix + os.path.splitext(file)[1])
                    os.replace(file, part)
                    self._waiting[file] = part
                if file in self._aside:
                    self._waiting.setdefault(file, None)
                    link_or_copy(self._aside[file], file)
            except OSError as error:
                raise _cannot_replace(file, error) from error

    def come_forward(self) -> None:
        """Let the new files that stepped back take their places.

        Raises:
            JobFailed: A file cannot be replaced (OutputError).
        """
        for file, part in self._waiting.items():
            try:
                if part:
                    os.replace(part, file)
                else:
                    os.remove(file)
            except OSError as error:
                raise _cannot_replace(file, error) from error
        self._waiting.clear()

    def _put_back(self) -> None:
        for file, aside in self._aside.items():
            put_back(aside, file)


class PartFile:
    """A vector file that is written beside its target and takes its place when it is whole.

    Leaving the block removes what was not put in place.

    Args:
        target: The file that it is to become.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self.path = _beside(target, f".{uuid.uuid4().hex[:8]}.part{os.path.splitext(target)[1]}")

    def __enter__(self) -> PartFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for part in (*_family(self.path), style_file(self.path)):
            if os.path.isfile(part):
                os.remove(part)

    def put_in_place(self, with_style: bool) -> None:
        """Let the closed file, and those that go with it by name, take the target's place.

        Args:
            with_style: Whether the QML beside it is part of it.

        Raises:
            JobFailed: The target cannot be replaced (OutputError); it is as it was.
        """
        parts, files = _family(self.path), _family(self._target)
        if with_style:
            parts, files = [*parts, style_file(self.path)], [*files, style_file(self._target)]
        with KeptFiles(files, link_or_copy):
            # The file itself is last: the new one must never meet the journal of the old one.
            for part, file in reversed(list(zip(parts, files))):
                try:
                    if os.path.isfile(part):
                        os.replace(part, file)
                    elif os.path.isfile(file):
                        os.remove(file)
                except OSError as error:
                    raise _cannot_replace(file, error) from error


def can_be_staged(target: str) -> bool:
    """Tell whether a format is one of files that can be renamed with those that go with them."""
    return os.path.splitext(target)[1].lower() in _STAGED


def probe_folder_of(target: str) -> None:
    """Make a target's folder, and see that a file can be written there.

    Raises:
        JobFailed: It cannot (OutputError).
    """
    folder = os.path.dirname(target)
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise JobFailed(
            "OutputError",
            f"{target} cannot be written: its folder cannot be made or takes no file ({error.strerror}).",
            "Check the folder, or write elsewhere.",
        ) from error


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
    """Keep rasters with their styles and what tells of their run, in place, while the worker puts new ones there."""
    files = []
    for path in targets:
        stem = os.path.splitext(path)[0]
        files += [*_family(path), style_file(path), *(stem + end for end in _OF_A_RUN)]
    return KeptFiles(files, link_or_copy)


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


def _beside(file: str, suffix: str) -> str:
    """A hidden name in the same folder."""
    folder, name = os.path.split(file)
    return os.path.join(folder, f".{name}{suffix}")


def _family(path: str) -> list[str]:
    """A file and those that go with it by name, its style aside."""
    stem, extension = os.path.splitext(path)
    companions = _COMPANIONS.get(extension.lower(), ())
    return [path + end for end in _BEHIND_NAME] + [stem + end for end in (*companions, _METADATA)]


def _cannot_replace(file: str, error: OSError) -> JobFailed:
    return JobFailed(
        "OutputError",
        f"{file} cannot be replaced: {error.strerror}.",
        "Close the programs that have it open, or give another file name.",
    )
