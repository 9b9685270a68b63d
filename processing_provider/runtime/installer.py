"""Makes the managed environment: a virtual environment from the locked list, put in place only when it is whole."""

from __future__ import annotations

import os
import re
import shutil
import subprocess  # nosec: see processes.py
import time
import uuid
from dataclasses import dataclass

from ..errors import JobCancelled, JobFailed
from ..network import proxy_settings
from ..processes import clean_environment, run_quietly, stream
from ..worker_client import run_job
from .base_python import find_base_python
from .finder import managed_environment, managed_folder, python_in

_LOCK_FOLDER = os.path.dirname(os.path.abspath(__file__))
_REQUIREMENTS = os.path.join(_LOCK_FOLDER, "requirements.txt")
_TORCH = os.path.join(_LOCK_FOLDER, "torch.txt")
_PIP = os.path.join(_LOCK_FOLDER, "pip_under_watch.py")
_DRIVER_TIMEOUT_S = 30
_DAY_S = 24 * 3600
_AS_BEFORE = "What was installed before is as it was."


@dataclass(frozen=True)
class Choices:
    """What the user chose; everything else is up to pip's own configuration."""

    python: str = ""
    """The interpreter to make the environment with; empty: one is looked for."""
    torch: str = "auto"
    """`auto`, `cpu` or `cuda`."""
    index_url: str = ""
    """The package index; empty: pip's configuration decides."""
    torch_index_url: str = ""
    """The package index for torch; empty: as for the others."""
    wheels: str = ""
    """A folder of wheels to install from instead of an index."""


def install(choices: Choices, feedback) -> str:
    """Make the managed environment, or make it anew.

    Args:
        choices: What the user chose.
        feedback: QgsProcessingFeedback that hears pip and may cancel.

    Returns:
        The environment's interpreter.

    Raises:
        JobCancelled: The user cancelled; an environment that was there still is.
        JobFailed: The environment could not be made; an environment that was there still is.
    """
    base = find_base_python(choices.python)
    target = managed_environment()
    building = f"{target}.{uuid.uuid4().hex[:6]}.new"
    feedback.pushInfo(f"Making {target} with {base}")
    try:
        os.makedirs(managed_folder(), exist_ok=True)
        _build(building, base, choices, feedback)
        _check(building, feedback)
        _put_in_place(building, target)
    except OSError as error:
        raise JobFailed(
            "InstallError", f"The environment {target} cannot be written ({error}).",
            f"Check the folder and its disk, and close other programs that use it. {_AS_BEFORE}",
        ) from error  # fmt: skip
    finally:
        shutil.rmtree(building, ignore_errors=True)
    _remove_outdated(target)
    feedback.setProgress(100)
    return python_in(target)


def torch_attempts(choice: str) -> list[str]:
    """The requirements to try for torch, the wanted build first (`torch.txt` pins the version, not the build)."""
    with open(_TORCH, encoding="utf-8") as file:
        version = re.search(r"^torch==([^\s;]+)", file.read(), re.MULTILINE).group(1)
    if choice == "cuda":
        return [f"torch=={version},!={version}+cpu"]
    return [f"torch=={version}+cpu", f"torch=={version}"]


def has_nvidia_gpu() -> bool:
    """Tell whether NVIDIA's driver answers."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return False
    try:
        return run_quietly([program], clean_environment(), _DRIVER_TIMEOUT_S).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False  # a driver that hangs is none that torch can use


def pip_environment(index_url: str = "") -> dict[str, str]:
    """What pip sees: its own settings, QGIS's proxy, and the index.

    The index is not on pip's command line, which others on the machine can read. That alone hides no password
    (docs/decisions/0013).
    """
    environment = clean_environment()
    environment.update({"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"})
    environment.update(proxy_settings(environment))
    if index_url:
        environment["PIP_INDEX_URL"] = index_url
    return environment


def _build(building: str, base: str, choices: Choices, feedback) -> None:
    feedback.setProgressText("Making a virtual environment")
    status, last_lines = stream(
        [base, "-m", "venv", building], clean_environment(), managed_folder(), feedback, feedback.pushConsoleInfo
    )
    if status is None:
        raise JobCancelled
    if status != 0:
        raise JobFailed(
            "InstallError", f"{base} could not make a virtual environment in {building}: {_gist(last_lines)}",
            f"Name another Python in the parameter PYTHON. {_AS_BEFORE}",
        )  # fmt: skip
    feedback.setProgress(5)
    pip = _Pip(python_in(building), choices, feedback)
    feedback.setProgressText("Installing the locked packages")
    status, last_lines = pip.install(["--no-deps", "--require-hashes", "-r", _REQUIREMENTS], choices.index_url, (5, 55))
    if status != 0:
        raise _pip_failed("the locked packages", last_lines)
    torch = choices.torch
    if torch == "auto":
        torch = "cuda" if has_nvidia_gpu() else "cpu"
    feedback.setProgressText(f"Installing torch for {torch}")
    for requirement in torch_attempts(torch):
        status, last_lines = pip.install([requirement], choices.torch_index_url or choices.index_url, (55, 92))
        if status == 0:
            return
        if not any("No matching distribution found" in line for line in last_lines):
            break
        feedback.pushInfo(f"No build {requirement} is on offer there.")
    raise _pip_failed("torch", last_lines)


class _Pip:
    """pip of the new environment, heard by QGIS."""

    def __init__(self, python: str, choices: Choices, feedback) -> None:
        self._command = [python, _PIP, "install", "--no-input", "--progress-bar", "off"]
        if choices.wheels:
            self._command += ["--no-index", "--find-links", choices.wheels]
        self._feedback = feedback
        with open(_REQUIREMENTS, encoding="utf-8") as file:
            self._expected = sum(1 for line in file if re.match(r"[a-z0-9]", line, re.IGNORECASE))

    def install(self, what: list[str], index_url: str, span: tuple[float, float]) -> tuple[int, list[str]]:
        collected = 0

        def hear(line: str) -> None:
            nonlocal collected
            self._feedback.pushConsoleInfo(line)
            if line.startswith("Collecting "):
                collected += 1
                share = 0.8 * min(1.0, collected / self._expected)
            elif line.startswith("Installing collected packages"):
                share = 0.85
            else:
                return
            self._feedback.setProgress(span[0] + share * (span[1] - span[0]))

        status, last_lines = stream(
            self._command + what, pip_environment(index_url), managed_folder(), self._feedback, hear
        )
        if status is None:
            raise JobCancelled
        return status, last_lines


def _pip_failed(what: str, last_lines: list[str]) -> JobFailed:
    return JobFailed(
        "InstallError", f"pip could not install {what}: {_gist(last_lines)}",
        "Check the network, the proxy in QGIS's options, and the parameters INDEX_URL and WHEELS; the log has all of "
        f"pip's words. {_AS_BEFORE}",
        "\n".join(last_lines),
    )  # fmt: skip


def _gist(last_lines: list[str]) -> str:
    errors = [line for line in last_lines if "error" in line.lower()]
    return (errors or last_lines or ["it said nothing."])[-1].strip()


def _check(building: str, feedback) -> None:
    """Import everything once: that a package is installed does not say that it runs on this machine."""
    feedback.setProgressText("Checking the new environment")
    info = run_job(python_in(building), "runtimeinfo", {}, feedback, span=(92, 99))
    for device in info["devices"]:
        feedback.pushInfo(f"Device: {device['name']}")


def _put_in_place(built: str, target: str) -> None:
    aside = f"{target}.{uuid.uuid4().hex[:6]}.old"
    replaces = os.path.lexists(target)
    if replaces:
        os.replace(target, aside)
    try:
        os.replace(built, target)
    except OSError:
        if replaces:
            os.replace(aside, target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _remove_outdated(target: str) -> None:
    """Remove environments of earlier locks, and unfinished ones of installations that died long ago."""
    for entry in os.scandir(managed_folder()):
        if entry.name.startswith("runtime-") and entry.path != target:
            is_unfinished = entry.name.endswith((".new", ".old"))
            if not is_unfinished or time.time() - entry.stat().st_mtime > _DAY_S:
                shutil.rmtree(entry.path, ignore_errors=True)
