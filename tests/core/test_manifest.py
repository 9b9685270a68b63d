"""The manifest of a run: what it was made from is told, nothing secret is, and its command can be given again."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cropmap_core.classes import CropClass
from cropmap_core.commands import COMMANDS
from cropmap_core.errors import SceneError
from cropmap_core.inference import manifest as module
from cropmap_core.inference.bundles import Bundle
from cropmap_core.inference.manifest import (
    Run,
    command_line,
    describe_run,
    hash_files,
    manifest_of,
    unchanged,
    versions,
    without_secrets,
)
from cropmap_core.inference.map_item import item_of_map
from cropmap_core.inference.map_layers import MapPaths
from cropmap_core.parameters import add_arguments, bind
from tests.core.seam import REPOSITORY, run_here
from tests.core.series_in_memory import grid
from tests.core.stac_server import PYTHON as STAC_PYTHON
from tests.core.tiny_models import save_tiny_bundle

CROPS = (CropClass(3, "Maize (grain)", "#f4c430"), CropClass(7, "Wheat", "#c0a060", "Winter and spring"))
SPAN = date(2018, 4, 1), date(2018, 9, 30)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return save_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny", "hybrid_cnn")


def scenes(folder: Path, *contents: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}.tif" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_text(content)
    return paths


def run_of(bundle: Bundle, paths: list[Path], **parameters: Any) -> Run:
    given = {"scenes": tuple(paths), "model": bundle.id, "output_classes": Path("map.tif"), "sure_from": 0.0}
    return describe_run("mapcrops", {**given, **parameters}, {"scenes": paths}, bundle, parameters.get("replay"))


class TestHashes:
    def test_of_small_files_are_of_all_of_them(self, tmp_path: Path) -> None:
        (path,) = scenes(tmp_path, "some bytes")
        (found,) = hash_files([path])
        assert found.as_json() == {
            "path": str(path),
            "bytes": 10,
            "sha256": hashlib.sha256(b"some bytes").hexdigest(),
        }

    def test_of_large_files_are_called_something_else(self, tmp_path: Path) -> None:
        path = tmp_path / "large.tif"
        with path.open("wb") as file:
            file.truncate(3 * 2**20)
        (found,) = hash_files([path], most=2**20)
        assert set(found.as_json()) == {"path", "bytes", "sampled_blake2b", "mtime_ns"}

    @pytest.mark.parametrize("at", [0, 3 * 2**20 - 1])
    def test_of_parts_see_both_ends_and_the_size(self, tmp_path: Path, at: int) -> None:
        path = tmp_path / "large.tif"
        path.write_bytes(bytes(3 * 2**20))
        (before,) = hash_files([path], most=2**20)
        with path.open("r+b") as file:
            file.seek(at)
            file.write(b"x")
        (after,) = hash_files([path], most=2**20)
        assert before.digest != after.digest
        path.write_bytes(bytes(3 * 2**20 + 1))
        assert hash_files([path], most=2**20)[0].digest != before.digest

    def test_of_many_inputs_are_of_parts(self, tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "WHOLE_TOTAL", 100)
        monkeypatch.setattr(module, "SMALL_FILE", 10)
        monkeypatch.setattr(module, "_PART", 4)
        files = run_of(bundle, scenes(tmp_path, "small", "large" * 30)).inputs["scenes"]
        assert [file.kind for file in files] == ["sha256", "sampled_blake2b"]

    def test_of_a_folder_are_those_of_its_files(self, tmp_path: Path, bundle: Bundle) -> None:
        """A File Geodatabase is a folder."""
        files = scenes(tmp_path / "area.gdb" / "more", "one", "two")
        run = describe_run("mapcrops", {"area": tmp_path / "area.gdb"}, {"area": [tmp_path / "area.gdb"]}, bundle)
        assert [file.path for file in run.inputs["area"]] == [str(path) for path in files]

    def test_of_what_is_gone_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(SceneError, match=r"gone.tif cannot be read"):
            hash_files([tmp_path / "gone.tif"])


class TestFingerprint:
    def test_does_not_depend_on_where_files_lie_their_order_or_outputs(self, tmp_path: Path, bundle: Bundle) -> None:
        here, there = scenes(tmp_path / "a", "one", "two"), scenes(tmp_path / "b", "two", "one")
        run = run_of(bundle, here)
        other = run_of(bundle, there[::-1], output_classes=Path("elsewhere.tif"), replay="qgis_process")
        assert run.fingerprint() == other.fingerprint()

    def test_depends_on_every_byte_every_parameter_and_what_computes(self, tmp_path: Path, bundle: Bundle) -> None:
        paths = scenes(tmp_path, "one", "two")
        run = run_of(bundle, paths)
        same = {run.fingerprint()}
        others = [
            run_of(bundle, paths, sure_from=0.5).fingerprint(),
            run_of(bundle, paths[:1]).fingerprint(),
            run.fingerprint({"precision": "bfloat16"}),
            replace(run, command="classify").fingerprint(),
            replace(run, model=run.inputs["scenes"]).fingerprint(),
        ]
        paths[0].write_text("One")
        others.append(run_of(bundle, paths).fingerprint())
        assert len(same.union(others)) == 7

    def test_depends_on_what_inputs_were_read_as(self, tmp_path: Path, bundle: Bundle) -> None:
        run = run_of(bundle, scenes(tmp_path, "one", "two"))
        first, second = ({"days": [[day, "one"]]} for day in SPAN)
        assert replace(run, read_as=first).fingerprint() != replace(run, read_as=second).fingerprint()

    def test_sees_that_a_sampled_file_was_written_again(
        self, tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "WHOLE_FILE", 2**20)
        path = tmp_path / "large.tif"
        path.write_bytes(bytes(3 * 2**20))
        before = run_of(bundle, [path]).fingerprint()
        assert run_of(bundle, [path]).fingerprint() == before
        with path.open("r+b") as file:
            file.seek(2**20 + 12345)
            file.write(b"x")
        os.utime(path, ns=(1, 1))
        assert run_of(bundle, [path]).fingerprint() != before


class TestSecrets:
    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("https://a.org/B04.tif?X-Amz-Signature=abc&x=1", "https://a.org/B04.tif"),
            ("/vsicurl/https://me:pass@a.org/B04.tif", "/vsicurl/https://a.org/B04.tif"),
            ("run --SCENES='https://a.org/i.json?sig=abc#1' --X=2", "run --SCENES='https://a.org/i.json' --X=2"),
            ("s3://eodata/S2/B04.jp2", "s3://eodata/S2/B04.jp2"),
            ("/data/what?/me@home.tif", "/data/what?/me@home.tif"),
        ],
    )
    def test_are_cut_from_addresses(self, text: str, told: str) -> None:
        assert without_secrets(text) == told

    def test_are_in_no_part_of_a_manifest(self, tmp_path: Path, bundle: Bundle) -> None:
        href = "https://a.org/item.json?sig=SECRET"
        run = describe_run("mapcrops", {"scenes": (href,)}, {}, bundle, f"qgis_process --SCENES={href}")
        told = json.dumps(manifest_of(run, {"source": href}, SPAN, {}, run.fingerprint()))
        assert "SECRET" not in told
        assert "https://a.org/item.json" in told


GIVEN: dict[str, dict[str, Any]] = {
    "classify": {"series": Path("a b.tif"), "model": "x", "output_classes": Path("o.tif"), "sure_from": 0.25},
    "mapcrops": {
        "scenes": (Path("one"), Path("it's two")),
        "model": "x",
        "output_classes": Path("o.tif"),
        "start_date": date(2018, 4, 1),
        "months": (4, 5),
        "end_date": None,
        "extent": "-1,2,3,4 [EPSG:4326]",
    },
    "preparelabels": {"cropland_classes": (40,), "output_labels": Path("l.tif")},
    "classifysamples": {"input": Path("t.csv"), "model": "x", "output": Path("o.csv"), "probabilities": True},
}


@pytest.mark.parametrize("command", GIVEN)
def test_the_command_line_gives_the_parameters_again(command: str) -> None:
    words = shlex.split(command_line(command, GIVEN[command]))
    assert words[:4] == ["python", "-m", "cropmap_core", command]
    parser = argparse.ArgumentParser()
    add_arguments(parser, COMMANDS[command])
    again = bind(COMMANDS[command], vars(parser.parse_args(words[4:])))
    assert again == {name: value for name, value in GIVEN[command].items() if value is not None}


@pytest.fixture
def finished(tmp_path: Path, bundle: Bundle) -> tuple[Run, Path, dict[str, Any]]:
    """A run, where its manifest stands, and what that says."""
    run = run_of(bundle, scenes(tmp_path / "scenes", "one"))
    target, part = tmp_path / "map.tif", tmp_path / ".map.tif.part.tif"
    part.write_text("the map")
    computed = {"device": "cpu", "precision": "float32"}
    told = manifest_of(run, computed, SPAN, {"output_classes": (target, part)}, run.fingerprint(), ["Far away."])
    part.replace(target)
    path = tmp_path / "map.run.json"
    path.write_text(json.dumps(told))
    return run, path, told


def test_a_manifest_tells_all(finished: tuple[Run, Path, dict[str, Any]], tmp_path: Path, bundle: Bundle) -> None:
    run, _, told = finished
    assert told["outputs"]["output_classes"] == {
        "path": str(tmp_path / "map.tif"),
        "bytes": 7,
        "sha256": hashlib.sha256(b"the map").hexdigest(),
    }
    weights = hashlib.sha256((bundle.folder / "weights.safetensors").read_bytes()).hexdigest()
    assert weights in [file["sha256"] for file in told["model"]["files"]]
    assert told["inputs"]["scenes"][0]["sha256"] == hashlib.sha256(b"one").hexdigest()
    assert told["versions"] == versions()
    assert {"cropmap", "torch", "numpy", "gdal", "python"} <= set(told["versions"])
    assert told["replay"].startswith("python -m cropmap_core mapcrops --scenes ")
    assert told["dates"] == ["2018-04-01", "2018-09-30"]
    assert (told["computed"]["device"], told["warnings"]) == ("cpu", ["Far away."])
    assert run.started.isoformat()[:19] <= told["ended"]


class TestUnchanged:
    def test_is_a_run_whose_outputs_stand_as_they_were_written(
        self, finished: tuple[Run, Path, dict[str, Any]], tmp_path: Path
    ) -> None:
        run, path, told = finished
        wanted = {"output_classes": tmp_path / "map.tif"}
        assert unchanged(path, run.fingerprint(), wanted) == told
        assert unchanged(path, run.fingerprint({"precision": "bfloat16"}), wanted) is None
        more = {**wanted, "output_entropy": tmp_path / "map.tif"}
        assert unchanged(path, run.fingerprint(), more) is None, "an output was not asked for before"

    @pytest.mark.parametrize("content", ["the mop", "the map, longer", None])
    def test_is_not_one_whose_output_was_touched(
        self, finished: tuple[Run, Path, dict[str, Any]], tmp_path: Path, content: str | None
    ) -> None:
        run, path, _ = finished
        target = tmp_path / "map.tif"
        target.unlink()
        if content is not None:
            target.write_text(content)
        assert unchanged(path, run.fingerprint(), {"output_classes": target}) is None

    def test_is_not_one_that_lacks_what_could_not_be_read(
        self, finished: tuple[Run, Path, dict[str, Any]], tmp_path: Path
    ) -> None:
        run, path, told = finished
        path.write_text(json.dumps({**told, "computed": {"damaged": ["rows 0 to 40"]}}))
        assert unchanged(path, run.fingerprint(), {"output_classes": tmp_path / "map.tif"}) is None

    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"cropmap_manifest": 1}'])
    def test_is_not_what_is_no_manifest(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "map.run.json").write_text(content)
        assert unchanged(tmp_path / "map.run.json", "0", {}) is None
        assert unchanged(tmp_path / "none.run.json", "0", {}) is None


def test_without_a_command_a_manifest_says_so(tmp_path: Path, bundle: Bundle) -> None:
    run = run_of(bundle, scenes(tmp_path / "scenes", "one"))
    assert "replay_note" not in manifest_of(run, {}, SPAN, {}, "0")
    told = manifest_of(run_of(bundle, scenes(tmp_path / "scenes", "one"), replay=""), {}, SPAN, {}, "0")
    assert told["replay"] is None
    assert "in the memory of QGIS" in told["replay_note"]
    item = item_of_map(told, tmp_path / "map.run.json", MapPaths(tmp_path / "map.tif"), grid(9, 9), SPAN, CROPS, CROPS)
    assert "processing:lineage" not in item["properties"]


class TestItem:
    @pytest.fixture
    def item(self, finished: tuple[Run, Path, dict[str, Any]], tmp_path: Path) -> Mapping[str, Any]:
        written = MapPaths(tmp_path / "map.tif", probabilities=tmp_path / "p.tif", entropy=tmp_path / "other" / "e.tif")
        return item_of_map(finished[2], finished[1], written, grid(100, 200), SPAN, CROPS, CROPS)

    def test_has_addresses_for_all_names(self, finished: tuple[Run, Path, dict[str, Any]], tmp_path: Path) -> None:
        written = MapPaths(tmp_path / "crops #1%.tif", tmp_path / "other" / "how sure?.tif")
        assets = item_of_map(finished[2], finished[1], written, grid(100, 200), SPAN, CROPS, CROPS)["assets"]
        assert assets["classes"]["href"] == "./crops%20%231%25.tif"
        assert assets["confidence"]["href"].endswith("/other/how%20sure%3F.tif")

    def test_says_what_the_rasters_hold(self, item: Mapping[str, Any], tmp_path: Path) -> None:
        classes = item["assets"]["classes"]
        (band,) = classes["bands"]
        assert classes["href"] == "./map.tif"
        assert classes["file:checksum"] == "1220" + hashlib.sha256(b"the map").hexdigest()
        assert (band["nodata"], band["data_type"]) == (0, "uint8")
        assert [each["value"] for each in band["classification:classes"]] == [0, 3, 7]
        assert band["classification:classes"][1] == {
            "value": 3,
            "name": "Maize-grain",
            "title": "Maize (grain)",
            "description": "Maize (grain)",
            "color_hint": "F4C430",
        }
        bands = item["assets"]["probabilities"]["bands"]
        assert [(each["name"], each["raster:scale"]) for each in bands] == [("Maize (grain)", 0.004), ("Wheat", 0.004)]
        assert item["assets"]["entropy"]["href"] == (tmp_path / "other" / "e.tif").as_uri()

    def test_says_where_and_when(self, item: Mapping[str, Any]) -> None:
        properties = item["properties"]
        assert properties["proj:code"] == "EPSG:32631"
        assert (properties["proj:shape"], properties["datetime"]) == ([100, 200], None)
        assert (properties["start_datetime"], properties["end_datetime"]) == (
            "2018-04-01T00:00:00Z",
            "2018-09-30T23:59:59Z",
        )
        west, south, east, north = item["bbox"]
        lon, lat = grid(100, 200).centre_degrees
        assert west < lon < east
        assert south < lat < north
        ring = item["geometry"]["coordinates"][0]
        assert ring[0] == ring[-1]
        assert sum((b[0] - a[0]) * (b[1] + a[1]) for a, b in pairwise(ring)) < 0, "counter-clockwise"

    def test_is_one_of_stac(self, item: Mapping[str, Any], tmp_path: Path) -> None:
        if not STAC_PYTHON.exists():
            pytest.skip("there is no validator: run scripts/setup dev, which makes .venv-stac")
        path = tmp_path / "map.stac.json"
        path.write_text(json.dumps(item))
        check = "import json, sys; from stac_pydantic import Item; Item(**json.load(open(sys.argv[1])))"
        done = subprocess.run([STAC_PYTHON, "-c", check, path], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        path.write_text(json.dumps({**item, "geometry": {"type": "Polygon"}}))
        assert subprocess.run([STAC_PYTHON, "-c", check, path], capture_output=True).returncode != 0


class TestRunsOfClassify:
    """On the chain's files: the manifest that a job leaves."""

    @pytest.fixture
    def first(self, steps: Mapping[str, Path], hybrid_bundle: Bundle, tmp_path: Path) -> dict[str, Any]:
        given = {
            "series": steps["filled"],
            "device": "cpu",
            "model": hybrid_bundle.folder,
            "output_classes": tmp_path / "map.tif",
            "output_entropy": tmp_path / "entropy.tif",
        }
        outcome = run_here("classify", **given)
        assert outcome.status == 0, outcome.last
        return given

    def test_the_command_makes_the_same_files_again(self, first: dict[str, Any], tmp_path: Path) -> None:
        manifest = json.loads((tmp_path / "map.run.json").read_text())
        before = {name: output["sha256"] for name, output in manifest["outputs"].items()}
        assert set(before) == {"output_classes", "output_entropy"}
        words = shlex.split(manifest["replay"])
        assert words[:3] == ["python", "-m", "cropmap_core"]
        for name in before:
            first[name].unlink()
        done = subprocess.run([sys.executable, *words[1:]], cwd=REPOSITORY, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert {name: hashlib.sha256(first[name].read_bytes()).hexdigest() for name in before} == before

    def test_only_what_has_changed_is_computed_again(self, first: dict[str, Any], tmp_path: Path) -> None:
        written = (tmp_path / "map.tif").stat().st_mtime_ns
        again = run_here("classify", **first)
        assert "not computed again" in again.texts("log")
        assert (tmp_path / "map.tif").stat().st_mtime_ns == written
        other = run_here("classify", **first, sure_from=0.9)
        assert "not computed again" not in other.texts("log")
        assert (tmp_path / "map.tif").stat().st_mtime_ns > written

    def test_it_says_what_computed_it_and_the_item_what_was_mapped(
        self, first: dict[str, Any], steps: Mapping[str, Path], tmp_path: Path
    ) -> None:
        manifest = json.loads((tmp_path / "map.run.json").read_text())
        assert manifest["computed"]["device"] == "cpu"
        assert manifest["computed"]["precision"] in ("float32", "bfloat16")
        assert manifest["dates"][0] == "2018-04-01"
        series = hashlib.sha256(steps["filled"].read_bytes()).hexdigest()
        assert manifest["inputs"]["series"] == [
            {"path": str(steps["filled"]), "bytes": steps["filled"].stat().st_size, "sha256": series}
        ]
        item = json.loads((tmp_path / "map.stac.json").read_text())
        assert set(item["assets"]) == {"classes", "entropy", "manifest"}
        assert item["assets"]["entropy"]["file:checksum"] == "1220" + manifest["outputs"]["output_entropy"]["sha256"]
