"""Finds the Python that the worker runs on, and tells cheaply whether it can."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess  # nosec: see processes.py

from qgis.core import QgsApplication, QgsSettings

from ..errors import JobFailed
from ..processes import IS_WINDOWS, clean_environment, run_quietly

VARIABLE = "CROPMAP_PYTHON"
SETTING = "Processing/Configuration/CROPMAP_PYTHON"
MINIMUM_VERSION = (3, 11)
INSTALL_COMMAND = "qgis_process run cropmap:installruntime"
HOW_TO_INSTALL = f'run "{INSTALL_COMMAND}", or "Install runtime" in the Processing Toolbox under CropMap > Runtime'

_LOCK_FOLDER = os.path.dirname(os.path.abspath(__file__))
_PROBE_TIMEOUT_S = 60
_MODULES = (
    "torch", "numpy", "numba", "rasterio", "pyproj", "pyogrio", "geopandas", "shapely", "exactextract",
    "safetensors", "sklearn", "pystac_client", "planetary_computer", "spyndex", "h5py", "pyarrow",
    "isal", "xgboost", "tensorboardX",
)  # fmt: skip
_PROBE = (
    "import importlib.util, json, sys; "
    "print(json.dumps({'version': list(sys.version_info[:3]), "
    "'missing': [name for name in sys.argv[1:] if importlib.util.find_spec(name) is None]}))"
)
_sound: set[tuple[str, float]] = set()


def find_python() -> str:
    """The interpreter to run jobs with.

    It is the one in the environment variable or the setting CROPMAP_PYTHON if there is one, else that of the
    managed environment.

    Raises:
        JobFailed: There is none (RuntimeMissingError), or the one that was asked for cannot run CropMap.
    """
    for origin, given in (
        (f"the environment variable {VARIABLE}", os.environ.get(VARIABLE)),
        ("Settings > Options > CropMap", QgsSettings().value(SETTING, "")),
    ):
        if given:
            python = _absolute(str(given))
            problem = problem_of(python)
            if problem:
                raise JobFailed(
                    "RuntimeMissingError",
                    f"The Python {python}, named in {origin}, cannot run CropMap: {problem}.",
                    f"Name another there or none at all; to have CropMap make its own, {HOW_TO_INSTALL}.",
                )
            return python
    python = python_in(managed_environment())
    if not os.path.exists(python):
        raise JobFailed(
            "RuntimeMissingError",
            f"CropMap has no Python environment to compute in yet: {HOW_TO_INSTALL}.",
        )
    problem = problem_of(python)
    if problem:
        raise JobFailed(
            "RuntimeMissingError",
            f"CropMap's environment {managed_environment()} is damaged ({problem}): {HOW_TO_INSTALL}.",
        )
    return python


def managed_environment() -> str:
    """The folder of the environment that ``installruntime`` makes: in the profile, one for each version of the lock."""
    fingerprint = hashlib.sha256()
    for name in ("requirements.txt", "torch.txt"):
        with open(os.path.join(_LOCK_FOLDER, name), "rb") as file:
            fingerprint.update(file.read())
    return os.path.join(managed_folder(), f"runtime-{fingerprint.hexdigest()[:8]}")


def managed_folder() -> str:
    """Where environments lie: outside the plugin, so that an update of the plugin does not delete them."""
    return os.path.join(os.path.abspath(QgsApplication.qgisSettingsDirPath()), "cropmap")


def python_in(environment: str) -> str:
    """The interpreter of a virtual environment."""
    return (
        os.path.join(environment, "Scripts", "python.exe") if IS_WINDOWS else os.path.join(environment, "bin", "python")
    )


def problem_of(python: str) -> str:
    """Why an interpreter cannot run the worker, or nothing if it can. Remembered for the session while it is sound."""
    try:
        key = (python, os.stat(python).st_mtime)
    except OSError:
        return "there is no such file"
    if key in _sound:
        return ""
    found, problem = probe(python, _MODULES)
    if problem:
        return problem
    if tuple(found["version"]) < MINIMUM_VERSION:
        return f"it is Python {_dotted(found['version'])}, and {_dotted(MINIMUM_VERSION)} or later is needed"
    if found["missing"]:
        return f"it lacks {', '.join(found['missing'])}"
    _sound.add(key)
    return ""


def probe(python: str, modules: tuple[str, ...]) -> tuple[dict, str]:
    """Ask an interpreter for its version and which modules it lacks, without importing them.

    Returns:
        The answer (``version``, ``missing``), and a problem if there was none.
    """
    try:
        answer = run_quietly([python, "-c", _PROBE, *modules], clean_environment(), _PROBE_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return {}, f"it cannot be started ({error})"
    try:
        return json.loads(answer.stdout), ""
    except json.JSONDecodeError:
        said = answer.stderr.strip().splitlines()[-1:] or ["nothing"]
        return {}, f"it is not a working Python and says {said[0]}"


def _absolute(python: str) -> str:
    python = os.path.expanduser(python)
    if os.path.dirname(python):
        return os.path.abspath(python)
    return shutil.which(python) or os.path.abspath(python)


def _dotted(version) -> str:
    return ".".join(str(part) for part in version)
