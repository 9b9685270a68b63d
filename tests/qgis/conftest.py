"""Fixtures of the QGIS half: the plugin inside QGIS, a worker to play with, and small data from the real worker."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsGeometry,
    QgsProcessingFeedback,
    QgsProject,
    QgsVectorLayer,
)

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "qgis_process"
WORKER = ROOT / ".venv" / "bin" / "python"
FAKE_WORKER = Path(__file__).with_name("fake_worker.py")


def _import_plugin():
    """Import the checkout as the package `cropmap`, as QGIS does whatever the folder is called."""
    spec = importlib.util.spec_from_file_location(
        "cropmap", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    package = importlib.util.module_from_spec(spec)
    sys.modules["cropmap"] = package
    spec.loader.exec_module(package)
    return package


cropmap = sys.modules.get("cropmap") or _import_plugin()


class Ear(QgsProcessingFeedback):
    """Feedback that remembers what it hears, and cancels as soon as it hears of progress beyond a percentage."""

    def __init__(self, cancel_at: float | None = None) -> None:
        super().__init__(False)
        self.heard: list[str] = []
        self.progress_heard: list[float] = []
        self._cancel_at = cancel_at
        self.progressChanged.connect(self._hear_progress)

    def _hear_progress(self, percent: float) -> None:
        self.progress_heard.append(percent)
        if self._cancel_at is not None and percent >= self._cancel_at:
            self.cancel()

    def pushInfo(self, text: str) -> None:
        self.heard.append(text)

    def pushWarning(self, text: str) -> None:
        self.heard.append(f"warning: {text}")

    def pushConsoleInfo(self, text: str) -> None:
        self.heard.append(text)

    def pushDebugInfo(self, text: str) -> None:
        self.heard.append(f"debug: {text}")

    def reportError(self, text: str, fatal: bool = False) -> None:
        self.heard.append(f"error: {text}")

    @property
    def text(self) -> str:
        return "\n".join(self.heard)


class FakeWorker:
    """A stand-in for the worker's interpreter that plays a list of steps (fake_worker.py)."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.python = folder / "python"
        self.python.write_text(
            "#!/bin/sh\n"
            'if [ "$1" = -c ]; then echo \'{"version": [3, 11, 0], "missing": []}\'; exit; fi\n'
            f'exec "{sys.executable}" "{FAKE_WORKER}" "$@"\n'
        )
        self.python.chmod(0o755)
        monkeypatch.setenv("CROPMAP_PYTHON", str(self.python))
        monkeypatch.setenv("FAKE_WORKER", str(folder))
        self.plays()

    def plays(self, *steps: list, heeds_cancel: bool = True) -> FakeWorker:
        plan = {"steps": steps, "heeds_cancel": heeds_cancel}
        (self.folder / "plan.json").write_text(json.dumps(plan))
        return self

    @property
    def job(self) -> dict:
        return json.loads((self.folder / "job.json").read_text())

    @property
    def surroundings(self) -> dict:
        """Its environment, arguments, working folder and process id."""
        return json.loads((self.folder / "surroundings.json").read_text())


@pytest.fixture
def ear():
    return Ear()


@pytest.fixture
def fake_worker(tmp_path_factory, monkeypatch):
    return FakeWorker(tmp_path_factory.mktemp("fake"), monkeypatch)


@pytest.fixture(scope="session")
def plugin(qgis_processing):
    """The plugin as `qgis_process` loads it."""
    plugin = cropmap.classFactory(None)
    plugin.initProcessing()
    yield plugin
    plugin.unload()


@pytest.fixture
def algorithm(plugin):
    """Look up an algorithm by its id without `cropmap:`."""
    return lambda name: QgsApplication.processingRegistry().algorithmById(f"cropmap:{name}")


@pytest.fixture
def run(plugin):
    """`processing.run` with CropMap's algorithms; without feedback it is silent."""
    import processing

    def run(name: str, parameters: dict, feedback: QgsProcessingFeedback | None = None, **options) -> dict:
        return processing.run(f"cropmap:{name}", parameters, feedback=feedback or Ear(), **options)

    return run


@pytest.fixture
def worker(monkeypatch):
    """The real worker's interpreter."""
    assert WORKER.exists(), "the worker's environment is missing: run scripts/setup worker"
    monkeypatch.setenv("CROPMAP_PYTHON", str(WORKER))
    return WORKER


def _in_worker(*arguments: object) -> None:
    subprocess.run([WORKER, *map(str, arguments)], cwd=ROOT, check=True, env={"PATH": os.environ["PATH"]})


@pytest.fixture(scope="session")
def season(tmp_path_factory) -> Path:
    """A folder with the scenes of one season, 32 x 24 pixels of 10 m."""
    folder = tmp_path_factory.mktemp("season")
    _in_worker("-m", "tests.factories", "season", folder)
    return folder


@pytest.fixture(scope="session")
def fields(tmp_path_factory) -> Path:
    """The season's four fields, in the Belgian Lambert 72 grid."""
    path = tmp_path_factory.mktemp("fields") / "fields.gpkg"
    _in_worker("-m", "tests.factories", "parcels", path)
    return path


@pytest.fixture(scope="session")
def bundle(tmp_path_factory) -> Path:
    """A model bundle with the right channels and months and random weights."""
    folder = tmp_path_factory.mktemp("models") / "untrained"
    _in_worker(Path(__file__).with_name("make_bundle.py"), folder)
    return folder


@pytest.fixture
def class_raster(tmp_path) -> Path:
    """A raster that QGIS can open, for jobs that the fake worker answers."""
    path = tmp_path / "classes.asc"
    path.write_text("ncols 2\nnrows 2\nxllcorner 0\nyllcorner 0\ncellsize 10\nNODATA_value 0\n1 2\n2 1\n")
    return path


@pytest.fixture
def layer_of():
    """Make a memory layer: WKT geometries (or None) and the values of one field."""

    def make(*geometries: str | None, field: str = "farmer:string", values=(), crs="EPSG:31370", kind="Polygon"):
        layer = QgsVectorLayer(f"{kind}?field={field}", "parcels", "memory")
        layer.setCrs(QgsCoordinateReferenceSystem(crs))
        for number, wkt in enumerate(geometries):
            feature = QgsFeature(layer.fields())
            feature.setAttributes([values[number] if values else f"farmer {number + 1}"])
            if wkt:
                feature.setGeometry(QgsGeometry.fromWkt(wkt))
            assert layer.dataProvider().addFeature(feature)
        QgsProject.instance().addMapLayer(layer)
        return layer

    yield make
    QgsProject.instance().clear()


def square(x: float, y: float, size: float = 10) -> str:
    """A square's WKT by its lower left corner."""
    return f"Polygon (({x} {y}, {x + size} {y}, {x + size} {y + size}, {x} {y + size}, {x} {y}))"


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("QGIS_")}
    return {
        **environment,
        "CROPMAP_PROFILE": str(tmp_path_factory.mktemp("profile")),
        "CROPMAP_PYTHON": str(WORKER),
    }


@pytest.fixture
def qgis_process(environment, tmp_path):
    def qgis_process(*arguments: str, stdin: str = "", **changes: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [SCRIPT, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**environment, **changes},
            timeout=300,
        )

    return qgis_process
