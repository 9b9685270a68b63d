"""The manifest of a run: what a map was made from and by what, and the command that makes it again.

It stands beside the class raster as `NAME.run.json`. Files are known by their SHA-256; of large inputs only parts are
read, and what comes of that is called `sampled_blake2b`, for it is not the hash of the file.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import rasterio

from cropmap_core import __version__
from cropmap_core.errors import SceneError
from cropmap_core.inference.bundle_types import ITEM, SIGNATURES, WEIGHTS, Bundle
from cropmap_core.io.rasters import THREADS

FORM = 1
"""Version of the manifest's form."""
WHOLE_FILE, WHOLE_TOTAL, SMALL_FILE = 64 * 2**20, 2 * 2**30, 2**20
"""Bytes. Inputs up to the first are read whole, unless there is more of them than the second: then up to the third."""
NO_REPLAY = "There is no command: a layer was in the memory of QGIS alone, and has no name to be called by."
_PARTS, _PART = 16, 2**16  # of a file that is sampled
_PACKAGES = ("torch", "numpy", "numba", "rasterio")
_URL = re.compile(r"(?P<scheme>\b(?:https?|s3|ftp)://)(?P<user>[^/\s@?#'\"]+@)?(?P<path>[^?#\s'\"]*)[?#]?[^\s'\"]*")


@dataclass(frozen=True)
class HashedFile:
    """A file and what tells it from others."""

    path: str
    """As it was given, or beneath what was given."""
    bytes: int
    kind: str
    """`sha256` of all of it, or `sampled_blake2b` of its size and parts of it."""
    digest: str
    mtime_ns: int | None = None
    """When it was changed, in nanoseconds since 1970; of sampled files only, whose hash does not see every change."""

    @property
    def known_by(self) -> str:
        """What counts of it."""
        return self.digest if self.mtime_ns is None else f"{self.digest} {self.mtime_ns}"

    def as_json(self) -> dict[str, Any]:
        """As it stands in a manifest."""
        changed = {} if self.mtime_ns is None else {"mtime_ns": self.mtime_ns}
        return {"path": without_secrets(self.path), "bytes": self.bytes, self.kind: self.digest, **changed}


@dataclass(frozen=True)
class Run:
    """What a run was asked for, and with what."""

    command: str
    parameters: Mapping[str, Any]
    """Of the job, by name."""
    inputs: Mapping[str, tuple[HashedFile, ...]]
    """The files behind parameters that name some, by these names."""
    model: tuple[HashedFile, ...]
    """The files of the model that decide what it predicts."""
    model_id: str
    replay: str | None
    """The command that does it again; None where there is none."""
    started: datetime
    read_as: Mapping[str, Any] = field(default_factory=dict)
    """What the inputs were read as: dates, bands, offsets and grid, which stand in names and metadata too."""

    def fingerprint(self, more: Mapping[str, Any] | None = None) -> str:
        """Tells whether two runs give the same pixels: SHA-256 of all that decides them.

        Neither outputs count nor where files lie or in which order they were given.

        Args:
            more: What else decides, such as the device and precision.
        """
        named = {*self.inputs, "model", "replay"}
        deciding = {
            "command": self.command,
            "parameters": {
                name: value
                for name, value in self.parameters.items()
                if name not in named and not name.startswith("output")
            },
            "inputs": {name: sorted(each.known_by for each in files) for name, files in self.inputs.items() if files},
            "read_as": self.read_as,
            "model": [each.known_by for each in self.model],
            "versions": versions(),
            **(more or {}),
        }
        return hashlib.sha256(json.dumps(_plain(deciding), sort_keys=True).encode()).hexdigest()


def describe_run(
    command: str,
    parameters: Mapping[str, Any],
    inputs: Mapping[str, Iterable[Path]],
    bundle: Bundle,
    replay: str | None = None,
) -> Run:
    """Looks at all that a run reads, before it reads it.

    Args:
        command: Name of the job's command.
        parameters: All of its parameters.
        inputs: The files behind those that name some; of folders of scenes the files that were found in them, of
            others, such as a File Geodatabase, all files.
        bundle: The model.
        replay: The command that does it again; None for the command line of the worker, nothing for none.

    Raises:
        SceneError: A file cannot be read.
    """
    files = {name: sorted(each for path in paths for each in _files_of(path)) for name, paths in inputs.items()}
    total = sum(path.stat().st_size for paths in files.values() for path in paths if path.is_file())
    most = WHOLE_FILE if total <= WHOLE_TOTAL else SMALL_FILE
    return Run(
        command,
        {name: value for name, value in parameters.items() if name != "replay"},
        {name: hash_files(paths, most) for name, paths in files.items()},
        hash_files([bundle.folder / name for name in (ITEM, WEIGHTS, SIGNATURES)]),
        bundle.id,
        without_secrets(command_line(command, parameters) if replay is None else replay) or None,
        datetime.now(UTC),
    )


def manifest_of(
    run: Run,
    computed: Mapping[str, Any],
    dates: Sequence[date],
    outputs: Mapping[str, tuple[Path, Path]],
    fingerprint: str,
    warnings: Sequence[str] = (),
    result: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The manifest of a run that has ended well, as a JSON object.

    Args:
        run: What was asked for.
        computed: What computed it: device, precision, blocks and whatever else is to be told.
        dates: Of the series.
        outputs: By the name of their parameter: where each is to stand, and the complete file that will be put there.
        fingerprint: As `Run.fingerprint` has it.
        warnings: What the user was warned of.
        result: What the job answers.
    """
    written = hash_files([part for _, part in outputs.values()], None)
    return {
        "cropmap_manifest": FORM,
        "command": run.command,
        "replay": run.replay,
        **({} if run.replay else {"replay_note": NO_REPLAY}),
        "fingerprint": fingerprint,
        "started": _time(run.started),
        "ended": _time(datetime.now(UTC)),
        "versions": versions(),
        "parameters": _plain(run.parameters),
        "model": {"id": run.model_id, "files": [file.as_json() for file in run.model]},
        "inputs": {name: [file.as_json() for file in files] for name, files in run.inputs.items() if files},
        "computed": _plain(computed),
        "dates": [day.isoformat() for day in dates],
        "outputs": {
            name: {**file.as_json(), "path": str(target)}
            for (name, (target, _)), file in zip(outputs.items(), written, strict=True)
        },
        "warnings": list(warnings),
        "result": _plain(result or {}),
    }


def unchanged(path: Path, fingerprint: str, outputs: Mapping[str, Path]) -> dict[str, Any] | None:
    """The manifest of a run that need not be done again; None where it must.

    Args:
        path: Where the manifest of the run before would be.
        fingerprint: Of the run that is asked for.
        outputs: The files that are asked for, by the name of their parameter.

    Returns:
        The manifest, if it is of the same fingerprint and all that is asked for stands as it was written. A map that
        lacks what could not be read is never done: the file may be whole again.
    """
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["cropmap_manifest"] != FORM or manifest["fingerprint"] != fingerprint:
            return None
        if manifest["computed"].get("damaged"):
            return None
        before = [manifest["outputs"][name] for name in outputs]
        if any(file.stat().st_size != told["bytes"] for file, told in zip(outputs.values(), before, strict=True)):
            return None
        found = [file.digest for file in hash_files(list(outputs.values()), None)]
    except (OSError, SceneError, ValueError, KeyError, TypeError, AttributeError):
        return None  # no manifest of ours, or an output is gone
    return dict(manifest) if found == [told["sha256"] for told in before] else None


def hash_files(paths: Sequence[Path], most: int | None = WHOLE_FILE) -> tuple[HashedFile, ...]:
    """Hashes files, several at once.

    Args:
        paths: The files.
        most: Bytes up to which a file is read whole; None for all.

    Raises:
        SceneError: One cannot be read.
    """
    with ThreadPoolExecutor(THREADS, thread_name_prefix="hash") as pool:
        return tuple(pool.map(lambda path: _hash_file(path, most), paths))


def command_line(command: str, parameters: Mapping[str, Any]) -> str:
    """The worker's command line for a job, as a shell reads it."""
    words = ["python", "-m", "cropmap_core", command]
    for name, value in parameters.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        elif isinstance(value, tuple | list):
            words += [f"--{option}", *map(str, value)] if value else []
        elif value is not None:
            words.append(f"--{option}={value}")
    return shlex.join(words)


def versions() -> dict[str, str]:
    """Of what computes: CropMap, Python, the packages, GDAL."""
    return {
        "cropmap": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
        "gdal": rasterio.__gdal_version__,
    }


def without_secrets(text: str) -> str:
    """A text whose addresses have neither user nor query: these may hold passwords and signatures."""
    return _URL.sub(lambda found: found["scheme"] + found["path"], text)


def _files_of(path: Path) -> list[Path]:
    """A file itself; all files of a folder."""
    return [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]


def _hash_file(path: Path, most: int | None) -> HashedFile:
    try:
        status = path.stat()
        size = status.st_size
        with path.open("rb") as file:
            if most is None or size <= most:
                return HashedFile(str(path), size, "sha256", hashlib.file_digest(file, "sha256").hexdigest())
            parts = hashlib.blake2b(str(size).encode(), digest_size=32)
            for number in range(_PARTS):
                file.seek((size - _PART) * number // (_PARTS - 1))  # the first, the last, and some between
                parts.update(file.read(_PART))
    except OSError as error:
        raise SceneError(
            f"{path} cannot be read: {error.strerror or error}.", "Check that it is still there."
        ) from error
    return HashedFile(str(path), size, "sampled_blake2b", parts.hexdigest(), status.st_mtime_ns)


def _plain(value: Any) -> Any:
    """What JSON knows, without secrets."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, bool | int | float) or value is None:
        return value
    return without_secrets(value.isoformat() if isinstance(value, date) else str(value))


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
