"""Training sets: the file, building it from tables and rasters, killed builds, and what must not become one."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import geopandas
import h5py
import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from shapely.geometry import box

from cropmap_core.errors import GridMismatchError, SamplesError
from cropmap_core.samples import building
from cropmap_core.samples.files import SampleFile
from cropmap_core.samples.npz import write_long_table
from cropmap_core.samples.rasters import RastersAsked, RasterSource
from cropmap_core.samples.splits import SplitAsked
from cropmap_core.timeseries.series import NODATA
from tests.core.conftest import data_folder
from tests.core.sample_tables import long_table, write_table
from tests.core.seam import Outcome, run_here, unfinished_files, worker
from tests.core.series_in_memory import SeriesInMemory, grid
from tests.factories import CRS, ORIGIN, write_parcels

CLASSES = [{"value": 3, "name": "Maize", "color": "#f4c430"}, {"value": 4, "name": "Grass", "color": "#66aa33"}]
DAYS = (date(2021, 4, 1), date(2021, 5, 1))
SMALL = {"block_m": 3000, "folds": 3}


def build(folder: Path, rows: Any = None, **parameters: Any) -> Outcome:
    table = write_table(folder, long_table() if rows is None else rows)
    return run_here("buildtrainingset", table=table, output=folder / "set.h5", **{**SMALL, **parameters})


@pytest.fixture(scope="module")
def training_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 samples of two crops; one maize is labelled wheat."""
    folder = tmp_path_factory.mktemp("set")
    table = long_table(count=120)
    table.loc[table["sample_id"] == "s000", "label"] = "wheat"
    assert build(folder, table).status == 0
    return folder / "set.h5"


def raster(path: Path, values: NDArray[Any], **tags: str) -> Path:
    own = grid(*values.shape)
    with rasterio.open(
        path, "w", driver="GTiff", width=own.width, height=own.height, count=1, dtype=values.dtype, crs=own.crs,
        transform=own.transform,
    ) as dataset:  # fmt: skip
        dataset.write(values, 1)
        dataset.update_tags(**tags)
    return path


def label_raster(path: Path, values: NDArray[Any]) -> Path:
    return raster(path, values, CROPMAP_CLASSES=json.dumps(CLASSES))


def series(height: int = 4, width: int = 6) -> SeriesInMemory:
    """Band B04 counts pixels, B08 ten thousand more; the first pixel is never seen, the second in May only."""
    values = np.empty((2, 2, height, width), np.int16)
    values[:, 0] = np.arange(height * width).reshape(height, width)
    values[:, 1] = values[:, 0] + 10000
    values[:, :, 0, 0] = NODATA
    values[0, :, 0, 1] = NODATA
    return SeriesInMemory(values, ("B04", "B08"), DAYS, period="month")


class TestFile:
    def test_says_what_it_holds(self, training_set: Path) -> None:
        with SampleFile(training_set) as file:
            assert len(file) == 120
            assert (file.layout.kind, file.layout.period) == ("pixel", "month")
            assert file.layout.bands == ("B02", "B04", "B08")
            assert file.layout.days == (0, 31, 61, 92, 122, 153)
            assert [crop.name for crop in file.classes] == ["maize", "wheat"]
            assert file.provenance["command"] == "buildtrainingset"
            assert file.split is not None
            assert file.split["method"] == "blocks"

    def test_sets_are_all_there_is_and_share_nothing(self, training_set: Path) -> None:
        with SampleFile(training_set) as file:
            sets = [set(file.indices(role).tolist()) for role in ("train", "validation", "test")]
        assert set.union(*sets) == set(range(120))
        assert sum(map(len, sets)) == 120

    def test_reads_in_the_order_that_is_asked_for(self, training_set: Path) -> None:
        with SampleFile(training_set) as file:
            whole, some = file.read(np.arange(120)), file.read(np.asarray([70, 3, 3, 41]))
        np.testing.assert_array_equal(some.data, whole.data[[70, 3, 3, 41]])
        np.testing.assert_array_equal(some.label, whole.label[[70, 3, 3, 41]])

    @pytest.mark.parametrize("seed", [None, 0])
    def test_batches_hold_each_sample_once(self, training_set: Path, seed: int | None) -> None:
        with SampleFile(training_set) as file:
            batches = list(file.batches(np.arange(5, 100), 10, seed))
        assert [len(batch) for batch in batches] == [10] * 9 + [5]
        order = np.concatenate([batch.index for batch in batches])
        assert sorted(order) == list(range(5, 100))
        assert (order.tolist() == list(range(5, 100))) == (seed is None)

    def test_a_batch_holds_what_its_index_says(self, training_set: Path) -> None:
        with SampleFile(training_set) as file:
            whole = file.read(np.arange(120))
            for batch in file.batches(np.arange(120), 32, seed=1):
                np.testing.assert_array_equal(batch.data, whole.data[batch.index])

    def test_labels_are_counted_by_fold(self, training_set: Path) -> None:
        with SampleFile(training_set) as file:
            counts, fold, label = file.count_labels(), file.column("fold"), file.column("label")[:, 0, 0]
        assert counts.sum(axis=0).tolist() == [59, 61]
        assert counts[1].tolist() == [((fold == 1) & (label == value)).sum() for value in (1, 2)]

    def test_one_that_is_cut_short_is_refused(self, training_set: Path, tmp_path: Path) -> None:
        cut = tmp_path / "cut.h5"
        cut.write_bytes(training_set.read_bytes()[:-2000])
        with pytest.raises(SamplesError, match="cut.h5 cannot be read as a training set: it is cut short"):
            SampleFile(cut)

    def test_one_with_a_damaged_stretch_is_refused(self, training_set: Path, tmp_path: Path) -> None:
        """Its data are overwritten where they are compressed."""
        damaged = tmp_path / "damaged.h5"
        shutil.copy(training_set, damaged)
        with h5py.File(damaged) as file:
            place = file["data"].id.get_chunk_info(0).byte_offset
        with damaged.open("r+b") as file:
            file.seek(place)
            file.write(b"\0" * 200)
        with SampleFile(damaged) as file, pytest.raises(SamplesError, match="damaged.h5 cannot be read"):
            file.read(np.arange(10))

    def test_other_files_are_refused(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "other.h5", "w") as file:
            file["data"] = [1]
        (tmp_path / "text.h5").write_text("no HDF5")
        for name in ("other.h5", "text.h5", "none.h5"):
            with pytest.raises(SamplesError, match=name):
                SampleFile(tmp_path / name)


class TestRasters:
    def test_labelled_pixels_become_samples(self, tmp_path: Path) -> None:
        """Of six labelled pixels one was never observed; value 9 is no class."""
        values = np.zeros((4, 6), np.uint8)
        values[0, :3] = 3
        values[3, 4:] = 4
        values[2, 0] = 4
        values[1, 1] = 9
        source = RasterSource(series(), label_raster(tmp_path / "l.tif", values), None, RastersAsked(), "may")
        found = source.read(0)
        assert found is not None
        assert found.sample_id.tolist() == ["may_r0c1", "may_r0c2", "may_r2c0", "may_r3c4", "may_r3c5"]
        assert found.label[:, 0, 0].tolist() == [3, 3, 4, 4, 4]
        assert found.data[1:, 0, :, 0, 0].tolist() == [[2, 10002], [12, 10012], [22, 10022], [23, 10023]]
        assert found.data[0, :, :, 0, 0].tolist() == [[NODATA, NODATA], [1, 10001]]
        assert found.valid[0, :, 0, 0].tolist() == [False, True]
        assert found.tile.tolist() == ["31UES"] * 5
        assert source.warnings == ["Values of l.tif that are no class are not used: 9 (1 pixels)."]

    def test_coordinates_are_those_of_pixel_centres(self, tmp_path: Path) -> None:
        values = np.zeros((4, 6), np.uint8)
        values[1, 2], values[3, 3] = 3, 4
        source = RasterSource(series(), label_raster(tmp_path / "l.tif", values), None, RastersAsked(), "s")
        found = source.read(0)
        assert found is not None
        points = geopandas.GeoSeries.from_xy(found.lon, found.lat, crs=4326).to_crs(source._series.grid.crs)
        left, _, _, top = source._series.grid.bounds
        np.testing.assert_allclose(points.x - left, [25, 35], atol=0.01)
        np.testing.assert_allclose(top - points.y, [15, 35], atol=0.01)

    def test_a_parcel_gives_so_many_pixels_at_most(self, tmp_path: Path) -> None:
        values = np.full((40, 60), 3, np.uint8)
        values[20:] = 4
        parcels = np.zeros((40, 60), np.int32)
        parcels[:10], parcels[10:12, :1], parcels[30:] = 7, 8, 9
        given = label_raster(tmp_path / "l.tif", values), raster(tmp_path / "p.tif", parcels)
        found = RasterSource(series(40, 60), *given, RastersAsked(pixels_per_parcel=5), "s").read(0)
        assert found is not None
        numbers, counts = np.unique(found.parcel, return_counts=True)
        found_counts = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
        assert found_counts == {-1: 20 * 60 - 2, 7: 5, 8: 2, 9: 5}

    def test_a_class_gives_so_many_pixels_at_most(self, tmp_path: Path) -> None:
        """Of the class with more, pixels are drawn from all over it; the pixel that was never seen has no label."""
        values = np.full((40, 60), 3, np.uint8)
        values[39, :3] = 4
        values[0, 0] = 0
        given = label_raster(tmp_path / "l.tif", values)
        drawn = []
        for seed in (0, 1):
            found = RasterSource(series(40, 60), given, None, RastersAsked(pixels_per_class=50, seed=seed), "s").read(0)
            assert found is not None
            assert np.bincount(found.label.ravel()).tolist() == [0, 0, 0, 50, 3]
            place = found.data[found.label[:, 0, 0] == 3, 0, 0, 0, 0]
            assert len(set(place.tolist())) == 50
            assert 800 < place.mean() < 1600  # of 2400 pixels, by their number
            drawn.append(place.tolist())
        assert drawn[0] != drawn[1]

    def test_pixels_tell_how_large_their_parcel_is(self, tmp_path: Path) -> None:
        """All labelled pixels count, whether they were drawn or not; number 8 has some without a label."""
        values = np.full((40, 60), 3, np.uint8)
        values[20:] = 4
        values[10, 1] = 0
        parcels = np.zeros((40, 60), np.int32)
        parcels[1:3], parcels[10, :5] = 7, 8
        given = label_raster(tmp_path / "l.tif", values), raster(tmp_path / "p.tif", parcels)
        found = RasterSource(series(40, 60), *given, RastersAsked(pixels_per_parcel=3), "s").read(0)
        assert found is not None
        told = zip(found.parcel.tolist(), found.columns["parcel_pixels"].tolist(), strict=True)
        assert set(told) == {(-1, ""), (7, "120"), (8, "4")}
        patches = RasterSource(series(40, 60), *given, RastersAsked(kind="patch", patch_size=2), "s").read(0)
        assert patches is not None
        assert patches.columns == {}

    def test_large_values_that_nobody_named_are_numbered_anew(self, tmp_path: Path) -> None:
        values = np.zeros((4, 6), np.uint16)
        values[1, 2], values[3, 3:] = 60000, 1200
        source = RasterSource(series(), raster(tmp_path / "l.tif", values), None, RastersAsked(), "s")
        assert [(each.value, each.name) for each in source.classes] == [(1, "class 1200"), (2, "class 60000")]
        found = source.read(0)
        assert found is not None
        assert found.label[:, 0, 0].tolist() == [2, 1, 1, 1]
        assert "called by value and numbered from 1" in source.warnings[0]

    def test_large_values_of_a_legend_are_refused(self, tmp_path: Path) -> None:
        """Before anything is read: no model could map them."""
        classes = [
            {"value": 3, "name": "Maize", "color": "#f4c430"},
            {"value": 256, "name": "Grass", "color": "#66aa33"},
        ]
        given = raster(tmp_path / "l.tif", np.full((4, 6), 3, np.uint8), CROPMAP_CLASSES=json.dumps(classes))
        source = RasterSource(series(), given, None, RastersAsked(), "s")
        with pytest.raises(SamplesError, match="class Grass has the value 256; class rasters hold values up to 255"):
            building.build(source, tmp_path / "set.h5", tmp_path, SplitAsked(), None, {})

    def test_patches(self, tmp_path: Path) -> None:
        values = np.zeros((4, 6), np.uint8)
        values[0, 2], values[3, 1] = 3, 4
        parcels = np.zeros((4, 6), np.int32)
        parcels[0, 2:4] = 7
        given = label_raster(tmp_path / "l.tif", values), raster(tmp_path / "p.tif", parcels)
        found = RasterSource(series(), *given, RastersAsked(kind="patch", patch_size=2), "s").read(0)
        assert found is not None
        assert found.sample_id.tolist() == ["s_r0c2s2", "s_r2c0s2"]
        assert found.label.tolist() == [[[3, 0], [0, 0]], [[0, 0], [0, 4]]]
        assert found.parcel[0].tolist() == [[7, 7], [-1, -1]]
        assert found.data[1, 0, 0].tolist() == [[12, 13], [18, 19]]
        assert found.valid.shape == (2, 2, 2, 2)

    def test_no_labels_inside(self, tmp_path: Path) -> None:
        given = label_raster(tmp_path / "l.tif", np.zeros((4, 6), np.uint8))
        with pytest.raises(SamplesError, match="No pixel of .*l.tif has a label"):
            RasterSource(series(), given, None, RastersAsked(), "s")

    def test_labels_of_another_grid(self, tmp_path: Path) -> None:
        given = label_raster(tmp_path / "l.tif", np.ones((5, 6), np.uint8))
        with pytest.raises(GridMismatchError, match="6 x 5 pixels"):
            RasterSource(series(), given, None, RastersAsked(), "s")

    @pytest.mark.parametrize("told", ["tag", "parameter"])
    def test_labels_of_another_year(self, tmp_path: Path, told: str) -> None:
        tags = {"CROPMAP_LABEL_YEAR": "2019"} if told == "tag" else {}
        given = raster(tmp_path / "l.tif", np.full((4, 6), 3, np.uint8), CROPMAP_CLASSES=json.dumps(CLASSES), **tags)
        with pytest.raises(SamplesError, match="are of 2019, but the series runs from 2021-04-01"):
            RasterSource(series(), given, None, RastersAsked(label_year=None if tags else 2019), "s")


class TestBuilding:
    def test_the_chain_from_scenes_gives_what_its_steps_give(
        self, steps: Mapping[str, Path], season: Path, tmp_path: Path
    ) -> None:
        """Scenes with labels, and the composites that were made of them with the same labels."""
        with rasterio.open(steps["months"]) as dataset:
            own, height, width = dataset.profile, dataset.height, dataset.width
        values = np.where(np.indices((height, width)).sum(axis=0) % 2, 3, 4).astype(np.uint8)
        with rasterio.open(
            tmp_path / "l.tif", "w", driver="GTiff", width=width, height=height, count=1, dtype="uint8",
            crs=own["crs"], transform=own["transform"],
        ) as dataset:  # fmt: skip
            dataset.write(values, 1)
            dataset.update_tags(CROPMAP_CLASSES=json.dumps(CLASSES))
        shared = {"labels": tmp_path / "l.tif", "block_m": 40, "folds": 3}
        one = run_here("buildtrainingset", series=steps["months"], output=tmp_path / "one.h5", **shared)
        other = run_here(
            "buildtrainingset",
            scenes=[season],
            bands=["B02", "B03", "B04", "B08", "B11"],
            start_date="2018-04-01",
            end_date="2018-08-31",
            output=tmp_path / "other.h5",
            **shared,
        )
        assert one.outputs["samples"] == other.outputs["samples"] > 500
        with SampleFile(tmp_path / "one.h5") as file, SampleFile(tmp_path / "other.h5") as second:
            index = np.arange(len(file))
            np.testing.assert_array_equal(file.read(index).data, second.read(index).data)
            np.testing.assert_array_equal(file.column("fold"), second.column("fold"))

    @pytest.mark.parametrize("given", ["extent", "area"])
    def test_a_place_takes_the_parcels_within_it(self, season: Path, tmp_path: Path, given: str) -> None:
        """The two western ones of four."""
        left, top = ORIGIN
        west = box(left, top - 240, left + 160, top)
        geopandas.GeoDataFrame(geometry=[west], crs=CRS).to_file(tmp_path / "west.gpkg")
        place = {"extent": f"{left},{left + 160},{top - 240},{top} [{CRS}]", "area": tmp_path / "west.gpkg"}
        legend = tmp_path / "legend.csv"
        legend.write_text("code,value,name\nearly,1,Wheat\nlate,2,Maize\n")
        outcome = run_here(
            "buildtrainingset",
            scenes=[season],
            parcels=write_parcels(tmp_path / "parcels.gpkg"),
            field="crop_name",
            legend=str(legend),
            parcel_buffer_m=0,
            pixels_per_parcel=0,
            bands=["B04", "B08"],
            split="random",
            confirm_random=True,
            folds=3,
            output=tmp_path / "set.h5",
            **{given: place[given]},
        )
        assert "Parcels: 2 used, 2 outside." in outcome.texts("log")
        assert "10 m, 16 x 24 pixels" in outcome.texts("log")
        with SampleFile(tmp_path / "set.h5") as file:
            assert set(file.column("parcel").tolist()) == {1, 3}
            assert set(file.column("parcel_pixels").tolist()) == {"140"}  # 14 x 10

    def test_tells_of_the_split_and_its_leaks(self, tmp_path: Path) -> None:
        outcome = build(tmp_path, long_table().assign(parcel=1), split="column", split_column="label", folds=2)
        assert outcome.code == "SamplesError"  # two groups for three sets
        table = long_table()
        table["set"] = table["sample_id"].map(lambda name: ["train", "validation", "test"][int(name[1:]) % 3])
        table["parcel"] = table["sample_id"].map(lambda name: int(name[1:]) // 2)
        outcome = build(tmp_path, table, split="column", split_column="set")
        assert outcome.outputs["split"]["leakage"]["shared_parcels"] == 30
        assert "30 parcels have pixels in more than one set" in outcome.texts("warning")
        assert "Leakage check: least distances train-validation" in outcome.texts("log")

    def test_a_random_split_is_marked_in_the_file(self, tmp_path: Path) -> None:
        assert build(tmp_path, split="random").code == "JobError"
        assert "The split is random" in build(tmp_path, split="random", confirm_random=True).texts("warning")
        with SampleFile(tmp_path / "set.h5") as file:
            assert file.split is not None
            assert file.split["random"] is True

    def test_one_class_is_no_training_set(self, tmp_path: Path) -> None:
        outcome = build(tmp_path, long_table(crops=("maize",)))
        assert outcome.code == "SamplesError"
        assert "All labels are of one class, maize." in outcome.last["message"]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["table.parquet"]

    def test_no_label_is_no_training_set(self, tmp_path: Path) -> None:
        outcome = build(tmp_path, long_table().assign(label=""))
        assert "No sample has a label." in outcome.last["message"]

    def test_zones_split(self, tmp_path: Path) -> None:
        names = ["south", "middle", "north"]
        squares = [box(2, 50.99 + 0.036 * place, 4, 50.99 + 0.036 * (place + 1)) for place in range(3)]
        geopandas.GeoDataFrame({"name": names, "geometry": squares}, crs=4326).to_file(tmp_path / "zones.gpkg")
        outcome = build(tmp_path, zones=tmp_path / "zones.gpkg", zone_field="name", split="zone")
        assert sorted(outcome.outputs["split"]["samples"].values()) == [20, 20, 20]
        with SampleFile(tmp_path / "set.h5") as file:
            zone, fold = file.column("zone"), file.column("fold")
        assert {(str(name), int(number)) for name, number in zip(zone, fold, strict=True)} == {
            (name, int(fold[zone == name][0])) for name in names
        }

    @pytest.mark.parametrize(
        ("parameters", "complaint"),
        [
            ({"table": None}, "one of TABLE, SERIES and SCENES"),
            ({"table": None, "scenes": ["/none"]}, "no LABELS"),
            ({"extent": "0,1,0,1"}, "AREA and EXTENT are of SCENES"),
            ({"table": None, "scenes": ["/none"], "labels": "/l", "area": "/a"}, "both say what the grid covers"),
            ({"split": "zone", "zones": "/none.gpkg"}, "both ZONES and ZONE_FIELD"),
            ({"output": "/tmp/set.tif"}, "ends in .h5"),
            ({"test_folds": [1], "validation_folds": [1]}, "both test and validation"),
        ],
    )
    def test_parameters_that_do_not_go_together(
        self, tmp_path: Path, parameters: dict[str, Any], complaint: str
    ) -> None:
        given = {"table": write_table(tmp_path, long_table()), "output": tmp_path / "set.h5", **parameters}
        outcome = run_here("buildtrainingset", **given)
        assert outcome.code == "JobError"
        assert complaint in outcome.last["message"] + outcome.last["remedy"]

    def test_a_full_disk_is_told(self, tmp_path: Path) -> None:
        """The size of the worker's files is limited, which ends in the same error of the system."""
        table = write_table(tmp_path, long_table(count=3000))
        code = (
            "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000));"
            "from cropmap_core.__main__ import main; sys.exit(main(sys.argv[1:]))"
        )
        with worker(code=code) as running:
            running.send(
                json.dumps(
                    {
                        "version": 1,
                        "id": "0123456789ab",
                        "command": "buildtrainingset",
                        "parameters": {"table": str(table), "output": str(tmp_path / "set.h5")},
                    }
                )
            )
            outcome = running.outcome()
        assert outcome.code == "OutputError", outcome.last
        assert sorted(path.name for path in tmp_path.iterdir()) == ["table.parquet"]


class TestKilledBuilds:
    CODE = (
        "import os, sys; from cropmap_core.samples import building, drawers; drawers.ROWS_A_DRAWER = 60;"
        "write, done = building._write_part, []\n"
        "def write_part(samples, part):\n"
        "    if len(done) == 3: os.kill(os.getpid(), 9)\n"
        "    write(samples, part); done.append(part)\n"
        "building._write_part = write_part\n"
        "from cropmap_core.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )

    def test_go_on_where_they_were(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        table = write_table(tmp_path, long_table())
        parameters = {"table": str(table), "output": str(tmp_path / "set.h5"), **SMALL}
        document = {"version": 1, "id": "0123456789ab", "command": "buildtrainingset", "parameters": parameters}
        with worker(code=self.CODE) as running:
            running.send(json.dumps(document))
            running.stdin.close()
            assert running.process.wait(60) == -signal.SIGKILL
        left = [path for path in tmp_path.iterdir() if path.name.endswith(".building")]
        assert len(left) == 1
        assert len(list(left[0].glob("*.h5"))) == 3
        monkeypatch.setattr("cropmap_core.samples.drawers.ROWS_A_DRAWER", 60)
        again = run_here("buildtrainingset", **parameters)
        assert "3 steps were done by a run that was killed." in again.texts("log")
        assert not [path for path in tmp_path.iterdir() if path.name.endswith(".building")]
        once = run_here("buildtrainingset", **{**parameters, "output": str(tmp_path / "once.h5")})
        assert once.outputs["split"] == again.outputs["split"]
        with SampleFile(tmp_path / "set.h5") as file, SampleFile(tmp_path / "once.h5") as other:
            np.testing.assert_array_equal(file.read(np.arange(60)).data, other.read(np.arange(60)).data)

    def test_another_build_does_not_go_on_with_them(self, tmp_path: Path) -> None:
        inputs = [write_table(tmp_path, long_table())]
        first = building.working_folder(tmp_path / "set.h5", inputs, {"folds": 3})
        assert building.working_folder(tmp_path / "set.h5", inputs, {"folds": 3}) == first
        other = building.working_folder(tmp_path / "set.h5", inputs, {"folds": 4})
        assert (first.exists(), other.exists()) == (False, True)
        os.utime(inputs[0], (0, 0))
        assert building.working_folder(tmp_path / "set.h5", inputs, {"folds": 4}) != other

    def test_another_output_whose_name_goes_on_keeps_its_own(self, tmp_path: Path) -> None:
        kept = building.working_folder(tmp_path / "model.v2", [], {})
        building.working_folder(tmp_path / "model", [], {})
        assert kept.exists()


class TestSummary:
    @pytest.fixture(scope="class")
    @classmethod
    def outcome(cls, training_set: Path) -> Outcome:
        folder = training_set.parent
        return run_here(
            "summarizesamples",
            samples=training_set,
            output_html=folder / "set.html",
            output_suspicious=folder / "suspicious.gpkg",
        )

    def test_the_planted_label_error_is_the_first_suspect(self, outcome: Outcome) -> None:
        layer = geopandas.read_file(outcome.outputs["output_suspicious"])
        first = layer.iloc[0]
        assert (first["sample_id"], first["label_name"], first["looks_name"]) == ("s000", "wheat", "maize")
        assert first["reason"].startswith("label")
        assert (first.geometry.x, first.geometry.y) == (3.0, 51.0)
        assert layer.crs.to_epsg() == 4326
        assert len(layer) == outcome.outputs["suspicious"] < 12

    def test_the_page_needs_nothing_but_itself(self, outcome: Outcome) -> None:
        page = Path(outcome.outputs["output_html"]).read_text(encoding="utf-8")
        assert "http:" not in page.replace("http://www.w3.org", "")
        assert "https:" not in page
        assert "<script" not in page
        assert page.count('<img src="data:image/svg+xml;base64,') == 2 + 2 + 1
        assert "width=device-width" in page
        assert unfinished_files(Path(outcome.outputs["output_html"]).parent) == []

    def test_names_are_escaped(self, tmp_path: Path) -> None:
        build(tmp_path, long_table(crops=("maize", "<script>wheat")))
        run_here("summarizesamples", samples=tmp_path / "set.h5", output_html=tmp_path / "set.html")
        page = (tmp_path / "set.html").read_text(encoding="utf-8")
        assert "<script>" not in page
        assert "&lt;script&gt;wheat" in page

    def test_a_random_split_stands_on_the_page(self, tmp_path: Path) -> None:
        build(tmp_path, split="random", confirm_random=True)
        outcome = run_here("summarizesamples", samples=tmp_path / "set.h5", output_html=tmp_path / "set.html")
        assert "Random split." in (tmp_path / "set.html").read_text(encoding="utf-8")
        assert "The split is random" in outcome.texts("warning")

    def test_suspicious_parcels_are_polygons_with_their_share(self, training_set: Path, tmp_path: Path) -> None:
        """Squares around two samples each; one of the first square's is labelled wrongly. What they say is kept."""
        west = [3.0 + 0.06 * (number % 5) for number in range(10)]
        squares = [
            box(x - 0.01, y - 0.005, x + 0.04, y + 0.005) for x, y in zip(west, [51.0] * 5 + [51.018] * 5, strict=True)
        ]
        given = {"farm": [f"farm {number}" for number in range(10)], "share": ["theirs"] * 10}
        parcels = geopandas.GeoDataFrame(given, geometry=squares, crs=4326).to_crs(31370)
        parcels.to_file(tmp_path / "parcels.gpkg")
        outcome = run_here(
            "summarizesamples",
            samples=training_set,
            parcels=tmp_path / "parcels.gpkg",
            output_html=tmp_path / "set.html",
            output_parcels=tmp_path / "suspicious.gpkg",
        )
        layer = geopandas.read_file(outcome.outputs["output_parcels"])
        first = layer.iloc[0]
        told = [first[name] for name in ("parcel", "farm", "pixels", "suspicious", "share", "looks_name")]
        assert told == [1, "farm 0", 2, 1, 0.5, "maize"]
        assert (layer["share"] >= 0.25).all()
        assert len(layer) == outcome.outputs["suspicious_parcels"] < 5
        assert layer.crs.to_epsg() == 31370
        assert first.geometry.symmetric_difference(parcels.geometry[0]).area < 1e-3
        assert f"{len(layer)} of 10 parcels are suspicious." in outcome.texts("log")

    def test_samples_that_know_their_parcels_need_no_polygons(self, tmp_path: Path) -> None:
        table = long_table(count=120)
        table.loc[table["sample_id"] == "s000", "label"] = "wheat"
        table["parcel"] = table["sample_id"].str[1:].astype(int) // 2
        build(tmp_path, table)
        run_here("summarizesamples", samples=tmp_path / "set.h5", output_html=tmp_path / "set.html")
        page = (tmp_path / "set.html").read_text(encoding="utf-8")
        listed = page.partition("<h2>Suspicious parcels</h2>")[2]
        assert (
            '<td class="number">0</td><td>wheat</td><td>maize</td><td class="number">1</td><td class="number">2</td>'
            in listed
        )

    def test_parcels_elsewhere_are_refused(self, training_set: Path, tmp_path: Path) -> None:
        geopandas.GeoDataFrame(geometry=[box(5, 45, 6, 46)], crs=4326).to_file(tmp_path / "parcels.gpkg")
        outcome = run_here(
            "summarizesamples",
            samples=training_set,
            parcels=tmp_path / "parcels.gpkg",
            output_html=tmp_path / "set.html",
        )
        assert outcome.code == "ParcelError"
        assert "No sample is in a parcel" in outcome.last["message"]

    @pytest.mark.parametrize("name", ["set.txt", "set.h5"])
    def test_names_that_are_no_page(self, training_set: Path, tmp_path: Path, name: str) -> None:
        assert run_here("summarizesamples", samples=training_set, output_html=tmp_path / name).code == "JobError"

    def test_names_that_are_no_layer(self, training_set: Path, tmp_path: Path) -> None:
        outcome = run_here(
            "summarizesamples",
            samples=training_set,
            output_html=tmp_path / "set.html",
            output_suspicious=tmp_path / "set.csv",
        )
        assert outcome.code == "JobError"
        assert list(tmp_path.iterdir()) == []


def test_flanders_from_scenes_and_labels(flanders: Path, tmp_path: Path) -> None:
    """All pixels that its README counts, in the blocks of its 640 m."""
    outcome = run_here(
        "buildtrainingset",
        scenes=[flanders / "scenes"],
        labels=flanders / "crop_type.tif",
        start_date="2018-03-01",
        end_date="2018-10-31",
        block_m=100,
        folds=4,
        output=tmp_path / "set.h5",
    )
    assert outcome.outputs["classes"] == {
        "class 1200": 1249, "class 2130": 31, "class 5100": 25, "class 7900": 96, "class 9120": 835,
    }  # fmt: skip
    with SampleFile(tmp_path / "set.h5") as file:
        assert (file.layout.period, len(file.layout.days), len(file.layout.bands)) == ("month", 8, 10)
        assert set(file.column("tile")) == {"31UES"}


def test_flanders_from_scenes_and_parcels(flanders: Path, tmp_path: Path) -> None:
    """What preparelabels makes of the same parcels."""
    legend = tmp_path / "legend.csv"
    legend.write_text("code,value,name\n1200,1,Maize\n9120,2,Grass\n5100,3,Potatoes\n")
    shared = {"parcels": flanders / "parcels.gpkg", "field": "crop_code", "legend": str(legend)}
    outcome = run_here(
        "buildtrainingset",
        scenes=[flanders / "scenes"],
        start_date="2018-03-01",
        end_date="2018-10-31",
        split="parcel",
        folds=3,
        pixels_per_parcel=0,
        bands=["B04", "B08"],
        output=tmp_path / "set.h5",
        **shared,
    )
    assert outcome.outputs["split"]["leakage"]["shared_parcels"] == 0
    assert "their parcels are not used: 7900" in outcome.texts("warning")
    season = {"start_date": "2018-03-01", "end_date": "2018-10-31"}
    stack = {"scenes": [flanders / "scenes"], "bands": ["B04"], "area": shared["parcels"]}
    run_here("stackscenes", **stack, output=tmp_path / "s.tif", **season)
    run_here("compositetimeseries", series=tmp_path / "s.tif", output=tmp_path / "m.tif", **season)
    made = run_here("preparelabels", series=tmp_path / "m.tif", output_labels=tmp_path / "l.tif", **shared)
    assert outcome.outputs["classes"] == made.outputs["pixels"]


def test_us_2021_with_its_stored_folds(tmp_path: Path) -> None:
    """Counts as in its README; folds as the files hold them."""
    folder = data_folder("pixels/us_2021")
    sources = [folder / "arkansas.npz", folder / "california.npz"]
    write_long_table(sources, tmp_path / "us.parquet")
    outcome = run_here(
        "buildtrainingset",
        table=tmp_path / "us.parquet",
        split="column",
        split_column="fold",
        output=tmp_path / "us.h5",
    )
    assert outcome.outputs["classes"] == {
        "Alfalfa": 980, "Almonds": 780, "Corn": 1520, "Cotton": 760, "Grapes": 2060, "Others": 3722 + 620,
        "Pistachios": 438, "Rice": 2040 + 2420, "Soybean": 4680,
    }  # fmt: skip
    arrays = [dict(np.load(path, allow_pickle=False)) for path in sources]
    with SampleFile(tmp_path / "us.h5") as file:
        assert (len(file), file.layout.period, len(file.layout.days)) == (20020, "dekad", 36)
        assert np.bincount(file.column("fold")).tolist() == sum(np.bincount(each["fold"]) for each in arrays).tolist()
        place = int(np.flatnonzero(file.column("sample_id") == "california_17")[0])
        found = file.read(np.asarray([place]))
    np.testing.assert_array_equal(found.valid[0, :, 0, 0], arrays[1]["valid"][17])
    clear = arrays[1]["valid"][17]
    np.testing.assert_array_equal(found.data[0, clear, :, 0, 0], arrays[1]["X"][17][clear])
