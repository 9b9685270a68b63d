"""Commands: as jobs and as command lines, what they return, and what a bad input leaves untouched."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import torch
from shapely.geometry import Point, box

from cropmap_core.__main__ import main
from cropmap_core.commands import COMMANDS
from cropmap_core.errors import JobError
from cropmap_core.inference.bundles import Bundle
from cropmap_core.parameters import bind
from cropmap_core.timeseries.files import open_time_series
from tests.core.seam import Outcome, numbered_parcels, run_here, unfinished_files
from tests.core.series_in_memory import whole
from tests.core.tiny_models import END, START, save_tiny_bundle
from tests.factories import ORIGIN, write_scene, write_season

DATES = {"start_date": START, "end_date": END}
BANDS = ["B02", "B03", "B04", "B08", "B11"]


@pytest.fixture(scope="module")
def files(
    steps: Mapping[str, Path], season: Path, hybrid_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Path]:
    """What each command takes: the files of the chain, their model and scenes, and parcels."""
    parcels = numbered_parcels(tmp_path_factory.mktemp("files") / "parcels.gpkg")
    return {**steps, "parcels": parcels, "model": hybrid_bundle.folder, "season": season}


class TestResults:
    def test_stackscenes(self, season: Path, tmp_path: Path) -> None:
        outcome = run_here(
            "stackscenes",
            scenes=[season],
            bands=["B08", "B04"],
            start_date="2018-05-06",
            end_date="2018-05-31",
            output=tmp_path / "stack.tif",
        )
        assert outcome.outputs == {
            "output": str(tmp_path / "stack.tif"),
            "dates": ["2018-05-06", "2018-05-21"],
            "bands": ["B04", "B08", "SCL"],
            "offset": [0],
        }
        assert "2 scenes of MGRS tile 31UDS, 2018-05-06 to 2018-05-21." in outcome.texts("log")
        assert "1st percentile of B02" in outcome.texts("log")

    def test_stackscenes_remembers_what_it_was_made_from(self, files: Mapping[str, Path]) -> None:
        provenance = open_time_series(files["months"]).provenance
        assert provenance["command"] == "compositetimeseries"
        assert provenance["series"] == "stack.tif"
        assert provenance["source"]["scenes"][0] == "T31UDS_20180406T105029"
        assert set(provenance["source"]["offsets"]) == {0}

    def test_compositetimeseries(self, files: Mapping[str, Path], tmp_path: Path) -> None:
        outcome = run_here("compositetimeseries", series=files["stack"], output=tmp_path / "months.tif")
        assert outcome.outputs["dates"] == [f"2018-{month:02}-01" for month in (4, 5, 6, 7, 8)]
        assert outcome.outputs["bands"] == BANDS

    def test_computeindices(self, files: Mapping[str, Path], tmp_path: Path) -> None:
        parameters = {"series": files["filled"], "indices": ["NDMI", "NDVI"], "output": tmp_path / "indices.tif"}
        assert run_here("computeindices", **parameters).outputs["bands"] == [*BANDS, "NDMI", "NDVI"]
        alone = run_here("computeindices", **parameters, include_reflectance=False)
        assert alone.outputs["bands"] == ["NDMI", "NDVI"]

    def test_computeindices_of_formulas(self, files: Mapping[str, Path], tmp_path: Path) -> None:
        target = tmp_path / "formulas.tif"
        formulas = ["RATIO = B08 / B04; HALF = NDVI / 2", "kNDVI_ = 1"]
        parameters = {"indices": [], "formulas": formulas, "include_reflectance": False}
        outcome = run_here("computeindices", series=files["filled"], output=target, **parameters)
        written = open_time_series(target)
        assert outcome.outputs["bands"] == list(written.bands) == ["RATIO", "HALF", "kNDVI_"]
        assert written.provenance["indices"] == {"RATIO": "B08 / B04", "HALF": "NDVI / 2", "kNDVI_": "1"}

    def test_a_time_series_has_a_style_where_it_can_be_shown_in_true_colour(
        self, files: Mapping[str, Path], tmp_path: Path
    ) -> None:
        assert files["filled"].with_suffix(".qml").is_file()
        run_here("computeindices", series=files["filled"], include_reflectance=False, output=tmp_path / "ndvi.tif")
        assert [path.name for path in tmp_path.iterdir()] == ["ndvi.tif"]

    def test_classify(self, files: Mapping[str, Path], tmp_path: Path) -> None:
        outputs = run_here(
            "classify", series=files["filled"], model=files["model"], output_classes=tmp_path / "c.tif"
        ).outputs
        with rasterio.open(tmp_path / "c.tif") as dataset:
            classes = dataset.read(1)
        assert outputs["pixels"] == {
            name: int((classes == value).sum()) for name, value in (("Maize", 3), ("Grass", 4), ("Potatoes", 7))
        }
        assert (outputs["output_confidence"], outputs["device"] in ("cpu", "cuda")) == (None, True)

    def test_parcelattributes(self, files: Mapping[str, Path], tmp_path: Path) -> None:
        outcome = run_here(
            "parcelattributes", parcels=files["parcels"], classes=files["classes"], output=tmp_path / "parcels.csv"
        )
        assert (outcome.outputs["parcels"], outcome.outputs["classified"]) == (4, 4)
        assert outcome.outputs["classes"][0] == {"value": 3, "name": "Maize", "color": "#f4c430"}

    def test_mapcrops_tells_of_parcels_outside(self, files: Mapping[str, Path], tmp_path: Path) -> None:
        layer = geopandas.read_file(files["parcels"])
        layer.loc[0, "geometry"] = box(0, 0, 10, 10)
        layer.to_file(tmp_path / "parcels.gpkg", driver="GPKG")
        outcome = mapcrops(files, tmp_path, parcels=tmp_path / "parcels.gpkg", output_parcels=tmp_path / "parcels.csv")
        assert outcome.status == 0
        assert "1 of 4 parcels lie outside the raster" in outcome.texts("warning")

    def test_what_is_skipped_among_the_scenes_is_logged(self, season: Path, tmp_path: Path) -> None:
        write_season(tmp_path / "season", times=["2018-05-04"])
        (tmp_path / "season" / "notes.txt").touch()
        outcome = run_here(
            "stackscenes", scenes=[tmp_path / "season"], bands=["B04", "B02"], output=tmp_path / "stack.tif"
        )
        assert "notes.txt: its name is not that of a Sentinel-2 band file" in outcome.texts("log")

    def test_an_offset_that_is_overruled_is_warned_of(self, l2a_products: Path, tmp_path: Path) -> None:
        """On a real product, of which one small band is read."""
        outcome = run_here(
            "stackscenes",
            scenes=[l2a_products],
            bands=["B01"],
            resolution=60,
            offset="0",
            output=tmp_path / "stack.tif",
        )
        assert outcome.outputs["offset"] == [-1000]
        assert "OFFSET=0 is not used" in outcome.texts("warning")


def mapcrops(files: Mapping[str, Path], folder: Path, **changes: Any) -> Outcome:
    """The main job on the season, with other parameters where they are named."""
    parameters: dict[str, Any] = {
        "scenes": [files["season"]],
        "model": files["model"],
        "output_classes": folder / "out" / "classes.tif",
        "output_confidence": folder / "out" / "confidence.tif",
        **DATES,
    }
    return run_here("mapcrops", **{**parameters, **changes})


Failing = Callable[[Mapping[str, Path], Path], Outcome]


def _stack(folder: Path, **parameters: Any) -> Outcome:
    given = {"scenes": [folder / "scenes"], "bands": ["B02", "B04"], "output": folder / "out" / "classes.tif"}
    return run_here("stackscenes", **{**given, **parameters})


def no_scenes(files: Mapping[str, Path], folder: Path) -> Outcome:
    (folder / "scenes").mkdir()
    return _stack(folder)


def band_missing_on_one_date(files: Mapping[str, Path], folder: Path) -> Outcome:
    write_scene(folder / "scenes", "2018-05-04")
    write_scene(folder / "scenes", "2018-06-13", bands=("B02",))
    return _stack(folder)


def nothing_in_common(files: Mapping[str, Path], folder: Path) -> Outcome:
    write_scene(folder / "scenes", "2018-05-04")
    write_scene(folder / "scenes", "2018-06-13", origin=(ORIGIN[0], ORIGIN[1] + 2000))
    return _stack(folder, cover="intersection")


def file_cut_short(files: Mapping[str, Path], folder: Path) -> Outcome:
    """It opens, and fails when half of the output is written."""
    noise = np.random.default_rng(0).integers(100, 9999, (64, 64))
    write_scene(folder / "scenes", "2018-05-04", values={"B04": noise}, width=64, height=64)
    damaged = next(folder.rglob("*_B04_10m.tif"))
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    return _stack(folder, offset="0")


def file_that_is_no_raster(files: Mapping[str, Path], folder: Path) -> Outcome:
    write_scene(folder / "scenes", "2018-05-04")
    next(folder.rglob("*_B04_10m.tif")).write_text("<html>404</html>")
    return _stack(folder)


def no_date(files: Mapping[str, Path], folder: Path) -> Outcome:
    write_scene(folder / "scenes", "2018-05-04")
    return _stack(folder, start_date="2019-01-01")


def ambiguous_offset(files: Mapping[str, Path], folder: Path) -> Outcome:
    write_scene(folder / "scenes", "2018-05-04", values={"B02": 870, "B04": 880}, width=16, height=16)
    return _stack(folder)


def series_that_is_none(files: Mapping[str, Path], folder: Path) -> Outcome:
    return run_here("compositetimeseries", series=files["classes"], output=folder / "out" / "classes.tif")


def stack_to_fill(files: Mapping[str, Path], folder: Path) -> Outcome:
    return run_here("fillgaps", series=files["stack"], output=folder / "out" / "classes.tif")


def index_without_its_band(files: Mapping[str, Path], folder: Path) -> Outcome:
    return run_here("computeindices", series=files["filled"], indices=["NDRE"], output=folder / "out" / "classes.tif")


def index_that_is_none(files: Mapping[str, Path], folder: Path) -> Outcome:
    return run_here("computeindices", series=files["filled"], indices=["NVDI"], output=folder / "out" / "classes.tif")


def formula_that_is_none(files: Mapping[str, Path], folder: Path) -> Outcome:
    return run_here(
        "computeindices", series=files["filled"], formulas=["X = B04.T"], output=folder / "out" / "classes.tif"
    )


def model_that_is_none(files: Mapping[str, Path], folder: Path) -> Outcome:
    return mapcrops(files, folder, model="no-such-model")


def model_with_another_band(files: Mapping[str, Path], folder: Path) -> Outcome:
    bundle = save_tiny_bundle(folder / "model", "hybrid_cnn", channels=("B04", "B12"), mean=(0, 0), std=(1, 1))
    return run_here(
        "classify", series=files["filled"], model=bundle.folder, output_classes=folder / "out" / "classes.tif"
    )


def model_with_another_month(files: Mapping[str, Path], folder: Path) -> Outcome:
    return mapcrops(files, folder, end_date="2018-07-31")


def all_clouds(files: Mapping[str, Path], folder: Path) -> Outcome:
    for month in range(4, 9):
        write_scene(folder / "scenes", date(2018, month, 4), scl=9)
    return mapcrops(files, folder, scenes=[folder / "scenes"], offset="0")


def parcels_elsewhere(files: Mapping[str, Path], folder: Path) -> Outcome:
    """The last step of the job, when the maps are done."""
    parcels = numbered_parcels(folder / "parcels.gpkg", origin=(ORIGIN[0] + 9000, ORIGIN[1]))
    return mapcrops(files, folder, parcels=parcels, output_parcels=folder / "out" / "parcels.csv")


def parcels_that_are_points(files: Mapping[str, Path], folder: Path) -> Outcome:
    points = geopandas.GeoDataFrame({"parcel": [1]}, geometry=[Point(ORIGIN)], crs="EPSG:32631")
    points.to_file(folder / "points.gpkg", driver="GPKG")
    return mapcrops(files, folder, parcels=folder / "points.gpkg", output_parcels=folder / "out" / "parcels.csv")


def parcels_without_layer(files: Mapping[str, Path], folder: Path) -> Outcome:
    return mapcrops(files, folder, output_parcels=folder / "out" / "parcels.csv")


def output_that_is_a_folder(files: Mapping[str, Path], folder: Path) -> Outcome:
    (folder / "out" / "maps").mkdir()
    return mapcrops(files, folder, output_confidence=folder / "out" / "maps")


def output_in_a_folder_that_is_a_file(files: Mapping[str, Path], folder: Path) -> Outcome:
    return mapcrops(files, folder, output_confidence=folder / "out" / "classes.tif" / "confidence.tif")


def outputs_in_one_file(files: Mapping[str, Path], folder: Path) -> Outcome:
    return mapcrops(files, folder, output_confidence=folder / "out" / "classes.tif")


@pytest.mark.parametrize(
    ("failing", "code", "told"),
    [
        (no_scenes, "SceneError", "No Sentinel-2 L2A scene in"),
        (band_missing_on_one_date, "MissingBandError", "B04 in scene T31UDS_20180613T105029"),
        (nothing_in_common, "GridMismatchError", "The scenes have no area in common: "),
        (file_cut_short, "SceneError", "T31UDS_20180504T105029_B04_10m.tif cannot be read"),
        (file_that_is_no_raster, "SceneError", "T31UDS_20180504T105029_B04_10m.tif cannot be read"),
        (no_date, "NoValidObservationError", "No scene between 2019-01-01"),
        (ambiguous_offset, "BaselineError", "1st percentile of B02 870"),
        (series_that_is_none, "SeriesError", "classes.tif is no time series"),
        (stack_to_fill, "SeriesError", "Only composites"),
        (index_without_its_band, "MissingBandError", "B05"),
        (index_that_is_none, "JobError", "NVDI"),
        (formula_that_is_none, "JobError", "'B04.T' cannot be read at character 4, '.'"),
        (model_that_is_none, "ModelBundleError", "no-such-model"),
        (model_with_another_band, "IncompatibleModelError", "B12"),
        (model_with_another_month, "IncompatibleModelError", "2018-08"),
        (all_clouds, "NoValidObservationError", "No pixel has a clear observation"),
        (parcels_elsewhere, "ParcelError", "No parcel lies on the raster"),
        (parcels_that_are_points, "ParcelError", "No parcel has an area"),
        (parcels_without_layer, "JobError", "no PARCELS"),
        (output_that_is_a_folder, "OutputError", "maps is a folder"),
        (output_in_a_folder_that_is_a_file, "OutputError", "cannot be written"),
        (outputs_in_one_file, "OutputError", "Two outputs"),
    ],
)
def test_bad_input_is_said_clearly_and_leaves_what_was_there(
    files: Mapping[str, Path], tmp_path: Path, failing: Failing, code: str, told: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    before = {
        name: f"what the user had in {name}".encode()
        for name in (
            "classes.tif",
            "classes.qml",
            "classes.tif.aux.xml",
            "confidence.tif",
            "confidence.qml",
            "parcels.csv",
        )
    }
    for name, content in before.items():
        (out / name).write_bytes(content)
    outcome = failing(files, tmp_path)
    assert (outcome.status, outcome.code) == (1, code), outcome.last
    assert told in outcome.last["message"]
    assert outcome.last["remedy"].endswith(".")
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    assert unfinished_files(tmp_path) == []


class TestParameters:
    def bound(self, command: str, **given: Any) -> dict[str, Any]:
        return bind(COMMANDS[command], given)

    def test_become_what_the_command_takes(self) -> None:
        bound = self.bound(
            "stackscenes", scenes=["/a", "/b"], output="/c.tif", start_date="2018-05-04", resolution=20, end_date=None
        )
        assert bound == {
            "scenes": (Path("/a"), Path("/b")),
            "output": Path("/c.tif"),
            "start_date": date(2018, 5, 4),
            "resolution": 20,
            "end_date": None,
        }

    @pytest.mark.parametrize(
        ("wrong", "told"),
        [
            ({"scenes": "/a"}, "scenes is no list"),
            ({"scenes": [7]}, "scenes is 7. Give a path"),
            ({"scenes": [""]}, "scenes is ''. Give a path"),
            ({"output": ""}, "output is ''. Give a path"),
            ({"start_date": "4.5.2018"}, "start_date is '4.5.2018'. Give a date like 2021-05-01"),
            ({"start_date": 20180504}, "start_date is 20180504"),
            ({"resolution": "ten"}, "resolution is 'ten'. Give a whole number"),
            ({"resolution": 10.5}, "resolution is 10.5"),
            ({"resolution": True}, "resolution is True"),
            ({"resolution": None}, "resolution is null. Leave it out for its default, 10"),
            ({"offset": -1000}, "offset is -1000. Give a text"),
            ({"bands": ["B04", 8]}, "bands is 8"),
            ({"scenes": None, "output": None}, "missing: scenes, output"),
            ({"outptu": "/c.tif", "band": []}, "unknown: outptu, band"),
        ],
    )
    def test_of_another_kind_are_refused(self, wrong: dict[str, Any], told: str) -> None:
        with pytest.raises(JobError) as refused:
            self.bound("stackscenes", **{"scenes": ["/a"], "output": "/c.tif", **wrong})
        assert told in str(refused.value)

    def test_a_text_is_not_true(self) -> None:
        with pytest.raises(JobError, match="include_reflectance is 'false'. Give true or false"):
            self.bound("computeindices", series="/a.tif", output="/b.tif", include_reflectance="false")


class TestCommandLine:
    @pytest.fixture(autouse=True)
    def _keep_this_process_s_signals(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cropmap_core.jobs.cancel_on_signals", lambda job: None)

    def test_lists_are_given_by_repeating_values(
        self, season: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        may = sorted(map(str, season.glob("201805*")))
        target = str(tmp_path / "stack.tif")
        status = main(
            ["stackscenes", "--scenes", *may, "--bands", "B08", "B04", "B02", "--resolution", "20", "--output", target]
        )
        told = capsys.readouterr()
        assert status == 0
        assert json.loads(told.out)["bands"] == ["B02", "B04", "B08", "SCL"]
        assert "Writing 2 dates of 4 bands" in told.err
        assert open_time_series(tmp_path / "stack.tif").grid.resolution_m == 20

    def test_switches(self, files: Mapping[str, Path], tmp_path: Path) -> None:
        series, target = str(files["filled"]), str(tmp_path / "ndvi.tif")
        assert main(["computeindices", "--series", series, "--output", target, "--no-include-reflectance"]) == 0
        data, _ = whole(open_time_series(tmp_path / "ndvi.tif"))
        assert data.shape[1] == 1

    def test_errors_go_to_standard_error_with_their_remedy(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        status = main(["fillgaps", "--series", str(tmp_path / "none.tif"), "--output", str(tmp_path / "out.tif")])
        told = capsys.readouterr()
        assert (status, told.out) == (1, "")
        assert told.err.startswith("SeriesError: ")
        assert "Give a file that stackscenes" in told.err

    def test_a_value_that_is_none_is_refused(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        status = main(["stackscenes", "--scenes", str(tmp_path), "--output", "x.tif", "--start-date", "May"])
        assert status == 1
        assert "start_date is 'May'" in capsys.readouterr().err

    @pytest.mark.parametrize("arguments", [["fillgaps", "--series", "a.tif"], ["nonsense"], []])
    def test_what_is_missing_is_said_as_command_lines_do(
        self, arguments: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
        assert "usage: " in capsys.readouterr().err

    @pytest.mark.parametrize("command", COMMANDS)
    def test_help_describes_every_option(self, command: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main([command, "--help"])
        text = capsys.readouterr().out
        names = list(inspect.signature(COMMANDS[command]).parameters)[1:]
        assert [name for name in names if f"--{name.replace('_', '-')}" not in text] == []

    def test_help_states_defaults(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["mapcrops", "--help"])
        assert "Default: vegetation bare_soil water unclassified." in " ".join(capsys.readouterr().out.split())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_where_there_is_none_is_refused(files: Mapping[str, Path], tmp_path: Path) -> None:
    outcome = mapcrops(files, tmp_path, device="cuda")
    assert outcome.code == "JobError"
    assert "DEVICE to auto or cpu" in outcome.last["remedy"]
