"""The command that tells what the worker runs on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from contextlib import suppress

import torch

from cropmap_core import __version__
from cropmap_core.commands.writing import Result
from cropmap_core.inference.bundles import list_bundles
from cropmap_core.jobs import Job

_PACKAGES = ("torch", "numpy", "rasterio", "geopandas", "shapely", "pyproj", "numba", "exactextract", "safetensors")


def runtimeinfo(job: Job) -> Result:
    """Reports the worker's interpreter, packages, devices and models."""
    devices = [{"name": platform.processor() or platform.machine(), "kind": "cpu", "memory_gb": _memory_gb()}]
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        devices.append(
            {"name": properties.name, "kind": "cuda", "memory_gb": round(properties.total_memory / 2**30, 1)}
        )
    return {
        "cropmap": __version__,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "devices": devices,
        "models": [
            {"id": bundle.id, "title": bundle.title, "classes": [crop.name for crop in bundle.classes]}
            for bundle in list_bundles()
        ],
        "threads": torch.get_num_threads(),
    }


def _memory_gb() -> float | None:
    with suppress(AttributeError, OSError, ValueError):  # not on every platform
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    return None
