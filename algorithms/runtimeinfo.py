"""What the worker runs on."""

from __future__ import annotations

from qgis.core import QgsProcessingOutputNumber, QgsProcessingOutputString

from ..processing_provider.algorithm import CropMapAlgorithm
from ..processing_provider.parameters import tr
from ..processing_provider.runtime import finder


class RuntimeInfo(CropMapAlgorithm):
    """`cropmap:runtimeinfo`."""

    ID = "runtimeinfo"
    TITLE = "Runtime info"
    GROUP = "runtime"
    HELP = (
        "Reports what CropMap computes with: the Python of its own environment, the versions of its packages,"
        " the devices that networks can run on, and the crop models at hand."
    )
    TAGS = ("environment", "python", "torch", "version", "cuda")

    def define(self):
        return [
            QgsProcessingOutputString("PYTHON", tr("Interpreter")),
            QgsProcessingOutputString("VERSION", tr("Python version")),
            QgsProcessingOutputString("PACKAGES", tr("Packages")),
            QgsProcessingOutputString("DEVICES", tr("Devices")),
            QgsProcessingOutputString("MODELS", tr("Crop models")),
            QgsProcessingOutputNumber("THREADS", tr("Threads")),
        ]

    def compute(self, values, feedback):
        info = self.run_job(self.ID, {}, feedback)
        report = {
            "PYTHON": finder.find_python(),
            "VERSION": info["python"],
            "PACKAGES": ", ".join(f"{name} {version}" for name, version in info["packages"].items()),
            "DEVICES": ", ".join(_device(device) for device in info["devices"]),
            "MODELS": ", ".join(model["id"] for model in info["models"]),
            "THREADS": info["threads"],
        }
        for output in self.outputDefinitions():
            feedback.pushInfo(f"{output.description()}: {report[output.name()]}")
        return report


def _device(device: dict) -> str:
    memory = device.get("memory_gb")
    return f"{device['name']} ({memory:.0f} GB)" if memory else device["name"]
