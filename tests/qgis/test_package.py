"""The zip that users install: what is in it, and that QGIS finds the algorithms in it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def pack(target: Path) -> Path:
    subprocess.run([sys.executable, ROOT / "scripts" / "package.py", target], check=True, capture_output=True)
    return target


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return pack(tmp_path_factory.mktemp("package") / "cropmap.zip")


def test_packing_twice_gives_the_same_bytes(package, tmp_path):
    assert pack(tmp_path / "again.zip").read_bytes() == package.read_bytes()


def test_the_package_holds_what_runs_and_nothing_else(package):
    names = zipfile.ZipFile(package).namelist()

    assert {name.split("/")[0] for name in names} == {"cropmap"}
    inside = {name.split("/")[1] for name in names}
    assert inside == {
        "metadata.txt",
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "__init__.py",
        "plugin.py",
        "processing_provider",
        "algorithms",
        "cropmap_core",
        "models",
    }
    assert "cropmap/processing_provider/runtime/requirements.txt" in names
    assert not [name for name in names if "__pycache__" in name or "/." in name]


def test_the_package_fits_the_plugin_site(package):
    assert package.stat().st_size < 25e6


def test_qgis_lists_the_algorithms_of_the_unzipped_package(package, tmp_path):
    zipfile.ZipFile(package).extractall(tmp_path / "plugins")
    environment = {
        **os.environ,
        "QGIS_PLUGINPATH": str(tmp_path / "plugins"),
        "QGIS_CUSTOM_CONFIG_PATH": str(tmp_path / "profile"),
        "QT_QPA_PLATFORM": "offscreen",
    }
    environment.pop("CROPMAP_PYTHON", None)

    def qgis_process(*arguments: str) -> str:
        command = ["qgis_process", *arguments]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=120
        ).stdout

    qgis_process("plugins", "enable", "cropmap")

    assert "cropmap:mapcrops" in qgis_process("list")
