"""Child processes: a clean environment for them, a group of their own, and an end to the whole group."""

from __future__ import annotations

import os
import queue
import signal
import subprocess  # nosec: argument lists only, never a shell
import sys
import threading
from collections import deque

from qgis.core import QgsApplication

IS_WINDOWS = sys.platform == "win32"
POLL_S = 0.1
KILL_WAIT_S = 0.5
EXIT_GRACE_S = 10.0
_LAST_LINES = 40

# What QGIS's own start script sets for QGIS, and what would make another Python or GDAL read QGIS's files.
_STRIPPED_PREFIXES = ("PYTHON", "PROJ_", "GDAL_", "OGR_", "QT_", "QGIS_")
_STRIPPED_NAMES = frozenset({"VIRTUAL_ENV", "GEOTIFF_CSV", "O4W_QT_PREFIX", "__PYVENV_LAUNCHER__"})
_SEARCH_PATHS = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "DYLD_FRAMEWORK_PATH")

_SHARED_PREFIXES = ("/usr", "/usr/local", "/")  # of a QGIS that the system's package manager installed


def clean_environment(python_path: str = "") -> dict[str, str]:
    """The environment for another Python: that of QGIS without what is meant for QGIS alone.

    Args:
        python_path: The one folder that the other Python shall import from, or nothing.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(_STRIPPED_PREFIXES) and name.upper() not in _STRIPPED_NAMES
    }
    for name in _SEARCH_PATHS:
        if name in environment:
            kept = [entry for entry in environment[name].split(os.pathsep) if not _is_in_qgis_bundle(entry)]
            environment[name] = os.pathsep.join(kept)
            if not environment[name]:
                del environment[name]
    environment["PYTHONUNBUFFERED"] = "1"
    environment["PYTHONUTF8"] = "1"
    if python_path:
        environment["PYTHONPATH"] = python_path
    return environment


def _is_in_qgis_bundle(entry: str) -> bool:
    """Tell whether a search path lies in a QGIS that brings its own libraries (OSGeo4W, an app bundle, an AppImage)."""
    bundles = [os.environ.get("OSGEO4W_ROOT"), os.environ.get("APPDIR"), QgsApplication.prefixPath()]
    folders = {_normal(bundle) for bundle in bundles if bundle} - {_normal(shared) for shared in _SHARED_PREFIXES}
    entry = _normal(entry)
    return any(entry == folder or entry.startswith(folder.rstrip(os.sep) + os.sep) for folder in folders)


def _normal(path: str) -> str:
    return os.path.normcase(os.path.abspath(path))


def start(command: list[str], environment: dict[str, str], folder: str, one_stream: bool = False) -> subprocess.Popen:
    """Start a command in a process group of its own, with pipes for its streams and no console window.

    Args:
        command: The program and its arguments.
        environment: Its whole environment.
        folder: Its working folder.
        one_stream: Whether its standard error goes the way of its standard output.
    """
    if IS_WINDOWS:
        group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    else:
        group = {"start_new_session": True}
    return subprocess.Popen(  # nosec
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if one_stream else subprocess.PIPE,
        env=environment,
        cwd=folder,
        encoding="utf-8",
        errors="replace",
        **group,
    )


def run_quietly(command: list[str], environment: dict[str, str], timeout_s: float) -> subprocess.CompletedProcess:
    """Run a short command to its end and keep what it says.

    Raises:
        OSError: It cannot be started.
        subprocess.TimeoutExpired: It took longer than the timeout.
    """
    flags = {"creationflags": subprocess.CREATE_NO_WINDOW} if IS_WINDOWS else {}
    return subprocess.run(  # nosec
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment,
        encoding="utf-8",
        errors="replace",
        timeout=timeout_s,
        check=False,
        **flags,
    )


def stream(
    command: list[str], environment: dict[str, str], folder: str, feedback, hear
) -> tuple[int | None, list[str]]:
    """Run a command and pass on each line it says, until it ends or the user cancels.

    Args:
        command: The program and its arguments.
        environment: Its whole environment.
        folder: Its working folder.
        feedback: QgsFeedback that may cancel.
        hear: Called with each line of its standard output and error.

    Returns:
        The exit status, None when it was cancelled, and the last lines.

    Raises:
        OSError: It cannot be started.
    """
    process = start(command, environment, folder, one_stream=True)
    lines: queue.Queue = queue.Queue()
    reader = threading.Thread(target=_read_to_end, args=(process.stdout, lines), daemon=True)
    reader.start()
    last_lines: deque = deque(maxlen=_LAST_LINES)
    line: str | None = ""
    try:
        while line is not None and not feedback.isCanceled():
            try:
                line = lines.get(timeout=POLL_S)
            except queue.Empty:
                continue
            if line:
                last_lines.append(line)
                hear(line)
        cancelled = line is not None
        if not cancelled:
            has_ended(process, EXIT_GRACE_S)
    finally:
        end_group(process)
        reader.join(timeout=1)
        process.stdin.close()
        process.stdout.close()
    return (None if cancelled else process.returncode), list(last_lines)


def _read_to_end(pipe, lines: queue.Queue) -> None:
    for line in pipe:
        lines.put(line.rstrip())
    lines.put(None)


def has_ended(process: subprocess.Popen, within_s: float) -> bool:
    """Wait for a process for at most so long, and tell whether it has ended."""
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def end_group(process: subprocess.Popen, grace_s: float = 0.4) -> None:
    """End a process and all it started: ask, wait for the grace, then kill."""
    if process.poll() is None:
        _signal_group(process, forcibly=False)
        has_ended(process, grace_s)
    _signal_group(process, forcibly=True)
    has_ended(process, KILL_WAIT_S)


def _signal_group(process: subprocess.Popen, forcibly: bool) -> None:
    if IS_WINDOWS:
        # Windows has no signal that a whole tree heeds, so there is nothing gentler than this.
        if process.poll() is None:
            run_quietly(["taskkill", "/T", "/F", "/PID", str(process.pid)], dict(os.environ), timeout_s=10)
        return
    try:
        os.killpg(process.pid, signal.SIGKILL if forcibly else signal.SIGTERM)
    except ProcessLookupError:
        return  # the group is empty
