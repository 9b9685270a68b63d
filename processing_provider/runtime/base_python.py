"""Finds a Python to make the worker's environment with: inside QGIS `sys.executable` is often QGIS itself."""

from __future__ import annotations

import os
import shutil
import sys

from ..errors import JobFailed
from .finder import MINIMUM_VERSION, probe

_NEWEST_MINOR = 14
_NEEDED = ("venv", "ensurepip")


def find_base_python(given: str = "") -> str:
    """The interpreter to make a virtual environment with.

    Args:
        given: The user's choice; then no other is tried.

    Raises:
        JobFailed: None is recent enough and has the venv module.
    """
    rejected = []
    for python in [given] if given else _candidates():
        problem = _problem_of(python)
        if not problem:
            return python
        rejected.append(f"{python}: {problem}")
    version = ".".join(str(part) for part in MINIMUM_VERSION)
    raise JobFailed(
        "RuntimeMissingError",
        f"No Python to make the environment with was found ({'; '.join(rejected) or 'none at all'}).",
        f"Install Python {version} or later with its venv module (on Debian and Ubuntu: python3-venv), "
        "or name one in the parameter PYTHON.",
    )


def _problem_of(python: str) -> str:
    if not os.path.isfile(python):
        return "there is no such file"
    found, problem = probe(python, _NEEDED)
    if problem:
        return problem
    if tuple(found["version"]) < MINIMUM_VERSION:
        return f"it is Python {'.'.join(str(part) for part in found['version'])}"
    return f"it lacks {', '.join(found['missing'])}" if found["missing"] else ""


def _candidates() -> list[str]:
    """Files that may be a Python, the likeliest first: QGIS's own, then those on the search path."""
    minors = range(_NEWEST_MINOR, MINIMUM_VERSION[1] - 1, -1)
    names = [f"python{sys.version_info[0]}.{sys.version_info[1]}", "python3", "python"]
    names += [f"python3.{minor}" for minor in minors]
    if sys.platform == "win32":
        names = ["python3.exe", "python.exe"]
    folders = [sys.base_exec_prefix, sys.base_prefix]  # Windows and OSGeo4W
    folders += [os.path.join(folder, "bin") for folder in folders]  # Linux
    if sys.executable:
        beside = os.path.dirname(sys.executable)  # macOS: in the app bundle, beside QGIS
        folders += [beside, os.path.join(beside, "bin")]
    found = [os.path.join(folder, name) for folder in folders for name in names]
    if os.path.basename(sys.executable or "").lower().startswith("python"):
        found.append(sys.executable)  # an embedded Python only guesses it from the search path
    found += [path for path in (shutil.which(name) for name in names) if path]
    return [path for path in dict.fromkeys(found) if os.path.isfile(path)]
