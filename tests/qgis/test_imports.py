"""What the QGIS half may import: the standard library, `qgis`, and itself."""

import ast
import sys

import pytest

from .conftest import ROOT

FILES = [ROOT / "__init__.py", ROOT / "plugin.py"]
FILES += sorted((ROOT / "processing_provider").rglob("*.py")) + sorted((ROOT / "algorithms").rglob("*.py"))
ALLOWED = {*sys.stdlib_module_names, "qgis"}
PYTHON = (3, 9)


def imported(path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), feature_version=PYTHON)):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_standard_library_and_qgis(path):
    assert imported(path) <= ALLOWED


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_imports_stay_within_the_qgis_half(path):
    depth = len(path.relative_to(ROOT).parts) - 1
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == depth + 1:
            assert node.module is None or node.module.partition(".")[0] in (
                "plugin",
                "processing_provider",
                "algorithms",
            )


def test_no_algorithm_file_is_longer_than_150_lines():
    lengths = {path.name: len(path.read_text().splitlines()) for path in (ROOT / "algorithms").glob("*.py")}

    assert {name: length for name, length in lengths.items() if length > 150} == {}
