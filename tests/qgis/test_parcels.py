"""Parcels from any vector source, to any sink, with every feature and attribute kept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cropmap.processing_provider.polygons import polygons_of
from qgis.core import (
    NULL,
    Qgis,
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsGeometry,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeatureSourceDefinition,
    QgsProcessingOutputLayerDefinition,
    QgsProject,
    QgsRenderContext,
    QgsVectorFileWriter,
    QgsVectorLayer,
)

from .conftest import ROOT, Ear, square

CLASSES = [
    {"value": 1, "name": "Maize", "color": "#f4c430"},
    {"value": 2, "name": "Grass", "color": "#4caf50"},
]
FIELDS = [
    {"name": "pred_code", "kind": "integer", "short": "pred_code"},
    {"name": "pred_crop", "kind": "text", "short": "pred_crop"},
    {"name": "pred_prob", "kind": "number", "short": "pred_prob"},
    {"name": "n_pixels", "kind": "number", "short": "n_pixels"},
    {"name": "ood", "kind": "number", "short": "ood"},
]
RESULT = {"classes": CLASSES, "fields": FIELDS}
MAIZE, GRASS = [1, "Maize", 0.9, 12.5, 0.25], [2, "Grass", 0.75, 4, 0.0]
UNKNOWN = [NULL] * 5
BOW_TIE = "Polygon ((0 0, 10 10, 10 0, 0 10, 0 0))"


@pytest.fixture
def map_parcels(run, fake_worker, class_raster, tmp_path):
    """Run parcelattributes on a source; the worker answers with these records."""

    def map_parcels(source, records, output="memory:", feedback=None, **options):
        rows = [[number, *("" if cell is NULL else cell for cell in record)] for number, record in records.items()]
        fake_worker.plays(["records", rows], ["result", RESULT])
        parameters = {"PARCELS": source, "CLASSES": str(class_raster), "OUTPUT": output}
        return run("parcelattributes", parameters, feedback, **options)["OUTPUT"]

    return map_parcels


def rows(layer) -> list[list]:
    return [feature.attributes() for feature in layer.getFeatures()]


def saved(layer, path: Path, driver="GPKG") -> Path:
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName = driver
    QgsVectorFileWriter.writeAsVectorFormatV3(layer, str(path), QgsProject.instance().transformContext(), options)
    return path


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_all_features_and_attributes_stay_and_the_record_is_added(map_parcels, layer_of):
    source = layer_of(square(0, 0), square(20, 0), square(40, 0))

    result = map_parcels(source, {1: MAIZE, 2: [*UNKNOWN[:3], 0.0, None], 3: GRASS})

    assert [field.name() for field in result.fields()] == [
        "farmer",
        "pred_code",
        "pred_crop",
        "pred_prob",
        "n_pixels",
        "ood",
    ]
    assert rows(result) == [
        ["farmer 1", *MAIZE],
        ["farmer 2", NULL, NULL, NULL, 0.0, NULL],
        ["farmer 3", *GRASS],
    ]
    assert [feature.geometry().asWkt() for feature in result.getFeatures()] == [
        feature.geometry().asWkt() for feature in source.getFeatures()
    ]
    assert result.crs() == source.crs()


def test_the_worker_gets_numbered_polygons_in_the_crs_of_the_source(
    run, fake_worker, layer_of, class_raster, monkeypatch
):
    from cropmap.algorithms import parcelattributes

    seen = {}

    def look(self, command, parameters, feedback, outputs, span):
        layer = QgsVectorLayer(parameters["parcels"], "", "ogr")
        seen["crs"] = layer.crs().authid()
        seen["fields"] = [field.name() for field in layer.fields()]
        seen["numbers"] = [feature["parcel"] for feature in layer.getFeatures()]
        Path(parameters["output"]).write_text("parcel,pred_code,pred_crop,pred_prob,n_pixels,ood\n")
        return RESULT

    monkeypatch.setattr(parcelattributes.ParcelAttributes, "run_job", look)
    run("parcelattributes", {"PARCELS": layer_of(square(0, 0), square(20, 0), crs="EPSG:31370"),
                             "CLASSES": str(class_raster), "OUTPUT": "memory:"})  # fmt: skip

    assert seen == {"crs": "EPSG:31370", "fields": ["fid", "parcel"], "numbers": [1, 2]}


def test_the_selection_alone_is_mapped_when_it_is_asked_for(map_parcels, layer_of):
    source = layer_of(square(0, 0), square(20, 0), square(40, 0))
    source.selectByIds([feature.id() for feature in source.getFeatures() if feature["farmer"] == "farmer 2"])

    result = map_parcels(QgsProcessingFeatureSourceDefinition(source.id(), True), {1: GRASS})

    assert rows(result) == [["farmer 2", *GRASS]]


def test_a_filtered_layer_is_mapped_as_it_is_filtered(map_parcels, layer_of, tmp_path):
    path = saved(layer_of(square(0, 0), square(20, 0)), tmp_path / "fields.gpkg")
    source = QgsVectorLayer(str(path), "fields", "ogr")
    assert source.setSubsetString("farmer = 'farmer 2'")
    QgsProject.instance().addMapLayer(source)

    result = map_parcels(source, {1: GRASS})

    assert rows(result) == [[2, "farmer 2", *GRASS]]


@pytest.mark.parametrize("policy", list(Qgis.InvalidGeometryCheck))
def test_an_invalid_parcel_is_looked_at_repaired_and_kept_as_it_is(map_parcels, layer_of, ear, policy):
    context = QgsProcessingContext()
    context.setInvalidGeometryCheck(policy)

    result = map_parcels(layer_of(square(0, 0), BOW_TIE), {1: MAIZE, 2: GRASS}, feedback=ear, context=context)

    assert rows(result) == [["farmer 1", *MAIZE], ["farmer 2", *GRASS]]
    assert [*result.getFeatures()][1].geometry().equals(QgsGeometry.fromWkt(BOW_TIE))
    assert "Parcels with an invalid geometry: 1. A repaired copy was used" in ear.text


def test_a_parcel_without_geometry_stays_in_its_place_without_a_crop(map_parcels, layer_of, ear):
    result = map_parcels(layer_of(None, square(0, 0)), {2: MAIZE}, feedback=ear)

    assert rows(result) == [["farmer 1", *UNKNOWN], ["farmer 2", *MAIZE]]
    assert "Parcels without an area: 1." in ear.text


def test_a_field_of_the_same_name_keeps_its_values_and_the_new_one_gets_a_number(map_parcels, layer_of):
    source = layer_of(square(0, 0), field="pred_crop:string", values=["declared as maize"])

    result = map_parcels(source, {1: GRASS})

    assert [field.name() for field in result.fields()] == [
        "pred_crop",
        "pred_code",
        "pred_crop_2",
        "pred_prob",
        "n_pixels",
        "ood",
    ]
    assert rows(result) == [["declared as maize", *GRASS]]
    assert result.renderer().classAttribute() == "pred_crop_2"


@pytest.mark.parametrize(
    ("wkt", "area"),
    [
        ("PolygonZ ((0 0 5, 10 0 5, 10 10 5, 0 10 5, 0 0 5))", 100),
        ("MultiPolygon (((0 0, 1 0, 1 1, 0 1, 0 0)), ((5 5, 6 5, 6 6, 5 6, 5 5)))", 2),
        ("CurvePolygon (CircularString (-1 0, 0 1, 1 0, 0 -1, -1 0))", 3.141),
        ("MultiSurface (CurvePolygon (CircularString (-1 0, 0 1, 1 0, 0 -1, -1 0)))", 3.141),
        ("GeometryCollection (Point (9 9), Polygon ((0 0, 1 0, 1 1, 0 1, 0 0)))", 1),
        (BOW_TIE, 50),
    ],
)
def test_areas_reach_the_worker_flat_straight_edged_and_valid(wkt, area):
    polygons, _ = polygons_of(QgsGeometry.fromWkt(wkt))

    assert polygons.wkbType() == Qgis.WkbType.MultiPolygon
    assert polygons.isGeosValid()
    assert polygons.area() == pytest.approx(area, rel=1e-3)


@pytest.mark.parametrize("wkt", ["Polygon EMPTY", "LineString (0 0, 1 1)", "Polygon ((0 0, 1 1, 0 0))"])
def test_what_has_no_area_is_no_parcel(wkt):
    polygons, _ = polygons_of(QgsGeometry.fromWkt(wkt))

    assert polygons.isEmpty()


def test_heights_and_multipolygons_come_out_as_they_went_in(map_parcels, layer_of):
    wkt = "MultiPolygonZ (((0 0 5, 10 0 5, 10 10 5, 0 0 5)))"

    result = map_parcels(layer_of(wkt, kind="MultiPolygonZ"), {1: MAIZE})

    assert [feature.geometry().asWkt() for feature in result.getFeatures()] == [QgsGeometry.fromWkt(wkt).asWkt()]


def test_an_empty_layer_is_refused(map_parcels, layer_of):
    with pytest.raises(
        QgsProcessingException, match="PARCELS .parcels. holds no polygon. Give a layer with at least one"
    ):
        map_parcels(layer_of(), {})


def test_a_layer_of_parcels_without_any_area_is_refused(map_parcels, layer_of):
    with pytest.raises(QgsProcessingException, match="holds no polygon"):
        map_parcels(layer_of(None, None), {})


def test_points_are_refused(map_parcels, layer_of):
    with pytest.raises(QgsProcessingException, match="is of type point"):
        map_parcels(layer_of("Point (0 0)", kind="Point"), {})


def test_parcels_of_unknown_place_are_refused(map_parcels, layer_of):
    layer = layer_of(square(0, 0))
    layer.setCrs(QgsCoordinateReferenceSystem())

    with pytest.raises(QgsProcessingException, match="has no coordinate reference system. Set the layer's CRS"):
        map_parcels(layer, {})


def test_parcels_cannot_overwrite_themselves(map_parcels, layer_of, tmp_path):
    path = saved(layer_of(square(0, 0)), tmp_path / "fields.gpkg")

    with pytest.raises(QgsProcessingException, match="OUTPUT would overwrite PARCELS"):
        map_parcels(str(path), {1: MAIZE}, output=str(path))

    assert rows(QgsVectorLayer(str(path))) == [[1, "farmer 1"]]


def test_parcels_cannot_overwrite_themselves_by_a_name_without_its_extension(map_parcels, layer_of, tmp_path):
    path = saved(layer_of(square(0, 0)), tmp_path / "fields.gpkg")

    with pytest.raises(QgsProcessingException, match=f"OUTPUT would overwrite PARCELS .{path}."):
        map_parcels(str(path), {1: MAIZE}, output=str(path.with_suffix("")))

    assert rows(QgsVectorLayer(str(path))) == [[1, "farmer 1"]]


def test_a_file_named_without_extension_is_a_geopackage(map_parcels, layer_of, tmp_path):
    (tmp_path / "v1.0").mkdir()

    result = map_parcels(layer_of(square(0, 0)), {1: MAIZE}, output=str(tmp_path / "v1.0" / "crops"))

    assert result == str(tmp_path / "v1.0" / "crops.gpkg")
    assert rows(QgsVectorLayer(f"{result}|layername=crops")) == [[1, "farmer 1", *MAIZE]]
    assert QgsVectorLayer(result).renderer().classAttribute() == "pred_crop"


@pytest.mark.parametrize("name", ["p.xyz", "crops 2.0", "crops."])
def test_a_name_with_an_extension_of_no_format_is_refused(map_parcels, layer_of, tmp_path, name):
    with pytest.raises(
        QgsProcessingException, match=f"OUTPUT: QGIS knows no vector format for the name {name}: end it in"
    ):
        map_parcels(layer_of(square(0, 0)), {1: MAIZE}, output=str(tmp_path / name))


def test_a_relative_output_is_returned_absolute(map_parcels, layer_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    for name in ("crops.gpkg", "crops.csv"):
        assert map_parcels(layer_of(square(0, 0)), {1: MAIZE}, output=name) == str(tmp_path / name)
        assert (tmp_path / name).is_file()


def test_a_shortened_field_name_of_a_shapefile_is_the_one_that_is_drawn(map_parcels, layer_of, tmp_path):
    source = layer_of(square(0, 0), field="pred_crop:string", values=["declared as maize"])

    map_parcels(source, {1: GRASS}, output=str(tmp_path / "crops.shp"))

    layer = QgsVectorLayer(str(tmp_path / "crops.shp"))
    drawn = layer.renderer().classAttribute()
    assert [feature[drawn] for feature in layer.getFeatures()] == ["Grass"]


@pytest.mark.parametrize("name", ["crops.gpkg", "crops.shp", "crops.geojson", "crops.csv"])
def test_the_project_loads_the_file_by_its_name(map_parcels, layer_of, tmp_path, name):
    project, context = QgsProject(), QgsProcessingContext()
    context.setProject(project)
    output = QgsProcessingOutputLayerDefinition(str(tmp_path / name), project)

    map_parcels(layer_of(square(0, 0)), {1: MAIZE}, output=output, context=context)

    details = context.layersToLoadOnCompletion()
    assert list(details) == [str(tmp_path / name)]
    assert (details[str(tmp_path / name)].name, details[str(tmp_path / name)].outputName) == ("Parcels", "OUTPUT")
    assert details[str(tmp_path / name)].postProcessor() is not None


@pytest.mark.parametrize("name", ["crops.gpkg", "crops.shp", "crops.geojson", "new/folder/crops.fgb"])
def test_a_file_gets_its_style_beside_it(map_parcels, layer_of, tmp_path, name):
    path = tmp_path / name

    map_parcels(layer_of(square(0, 0)), {1: MAIZE}, output=str(path))

    layer = QgsVectorLayer(str(path), "crops", "ogr")
    assert [category.label() for category in layer.renderer().categories()] == ["Maize", "Grass", "not classified"]
    assert layer.renderer().categories()[0].symbol().color().name() == "#f4c430"
    assert [feature["pred_crop"] for feature in layer.getFeatures()] == ["Maize"]
    assert path.with_suffix(".qml").exists()


def test_a_layer_added_to_a_geopackage_leaves_the_others_alone_and_is_styled(map_parcels, layer_of, tmp_path):
    path = saved(layer_of(square(0, 0), square(20, 0)), tmp_path / "farm.gpkg")

    map_parcels(layer_of(square(0, 0)), {1: MAIZE}, output=f"ogr:dbname='{path}' table=\"crops\" (geom)")

    assert len(rows(QgsVectorLayer(f"{path}|layername=farm"))) == 2
    crops = QgsVectorLayer(f"{path}|layername=crops")
    assert [feature["pred_crop"] for feature in crops.getFeatures()] == ["Maize"]
    assert crops.renderer().categories()[0].label() == "Maize"
    assert {name for name in names_in(tmp_path) if name.startswith("farm")} == {"farm.gpkg"}


def test_an_unclassified_parcel_is_drawn_grey(map_parcels, layer_of):
    result = map_parcels(layer_of(square(0, 0)), {1: UNKNOWN})

    feature = next(result.getFeatures())
    context, renderer = QgsRenderContext(), result.renderer()
    renderer.startRender(context, result.fields())
    color = renderer.symbolForFeature(feature, context).color().name()
    renderer.stopRender(context)
    assert color == "#bdbdbd"


@pytest.fixture
def earlier(tmp_path, layer_of) -> Path:
    """The output of an earlier run, with its style."""
    path = saved(layer_of(square(0, 0), values=["earlier"]), tmp_path / "out" / "crops.gpkg")
    path.with_suffix(".qml").write_text("earlier style")
    return path


@pytest.fixture(autouse=True)
def out_folder(tmp_path):
    (tmp_path / "out").mkdir()


def assert_is_as_before(path: Path) -> None:
    assert rows(QgsVectorLayer(str(path))) == [[1, "earlier"]]
    assert path.with_suffix(".qml").read_text() == "earlier style"
    assert {name for name in names_in(path.parent) if not name.endswith(("-wal", "-shm"))} == {
        path.name,
        f"{path.stem}.qml",
    }


def test_a_good_run_replaces_the_earlier_output(map_parcels, layer_of, earlier):
    map_parcels(layer_of(square(0, 0)), {1: MAIZE}, output=str(earlier))

    assert rows(QgsVectorLayer(str(earlier))) == [[1, "farmer 1", *MAIZE]]
    assert "earlier" not in earlier.with_suffix(".qml").read_text()
    assert {name for name in names_in(earlier.parent) if not name.endswith(("-wal", "-shm"))} == {
        "crops.gpkg",
        "crops.qml",
    }


def test_a_failed_job_leaves_the_earlier_output(run, fake_worker, layer_of, class_raster, earlier):
    fake_worker.plays(["kill"])

    with pytest.raises(QgsProcessingException, match="SIGKILL"):
        run(
            "parcelattributes",
            {"PARCELS": layer_of(square(0, 0)), "CLASSES": str(class_raster), "OUTPUT": str(earlier)},
        )

    assert_is_as_before(earlier)


def test_cancelling_while_parcels_are_written_gives_the_earlier_output_back(
    map_parcels, layer_of, earlier, monkeypatch
):
    feedback = Ear()
    add = QgsFeature.setAttributes

    def cancel_at_the_second(feature, attributes):
        if "farmer 2" in attributes:
            feedback.cancel()
        add(feature, attributes)

    monkeypatch.setattr(QgsFeature, "setAttributes", cancel_at_the_second)

    with pytest.raises(QgsProcessingException, match="cancelled"):
        map_parcels(
            layer_of(*[square(20 * n, 0) for n in range(4)]), {1: MAIZE}, output=str(earlier), feedback=feedback
        )

    assert_is_as_before(earlier)


@pytest.mark.parametrize("extension", [".gpkg", ""])
def test_a_sink_that_cannot_take_the_parcels_leaves_the_earlier_output(map_parcels, layer_of, earlier, extension):
    # A GeoPackage's fid must be unique.
    source = layer_of(square(0, 0), square(20, 0), field="fid:integer", values=[7, 7])

    with pytest.raises(QgsProcessingException, match=f"cannot be written to {earlier}: .*UNIQUE constraint failed"):
        map_parcels(source, {1: MAIZE}, output=str(earlier.with_suffix(extension)))

    assert_is_as_before(earlier)


DOOMED_QGIS = """
import os, sys
from qgis.core import QgsApplication, QgsFeature
qgis = QgsApplication([], False)
qgis.initQgis()
sys.path += [{root!r}, os.path.join(qgis.pkgDataPath(), "python", "plugins")]
from processing.core.Processing import Processing
Processing.initialize()
from tests.qgis.conftest import cropmap
plugin = cropmap.classFactory(None)
plugin.initProcessing()
add = QgsFeature.setAttributes

def die_at_the_third(feature, attributes):
    if "farmer 3" in attributes:
        print("dying", flush=True)
        os.kill(os.getpid(), 9)
    add(feature, attributes)

QgsFeature.setAttributes = die_at_the_third
import processing
processing.run("cropmap:{algorithm}", {parameters!r})
"""


def run_doomed_qgis(algorithm: str, parameters: dict, temporary: Path) -> None:
    """Run an algorithm in a QGIS that is killed when it writes the third parcel."""
    doomed = subprocess.run(
        [sys.executable, "-c", DOOMED_QGIS.format(root=str(ROOT), algorithm=algorithm, parameters=parameters)],
        env={**os.environ, "TMPDIR": str(temporary)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "dying" in doomed.stdout, doomed.stderr


@pytest.mark.parametrize("name", ["crops.gpkg", "crops.shp", "crops.geojson"])
def test_a_qgis_killed_while_parcels_are_written_leaves_the_earlier_output(
    fake_worker, layer_of, class_raster, tmp_path, name
):
    drivers = {"gpkg": "GPKG", "shp": "ESRI Shapefile", "geojson": "GeoJSON"}
    target = tmp_path / "out" / name
    saved(layer_of(square(0, 0), values=["earlier"], crs="EPSG:4326"), target, drivers[name.partition(".")[2]])
    before = {path: path.read_bytes() for path in target.parent.iterdir()}
    source = saved(layer_of(*[square(20 * n, 0) for n in range(4)]), tmp_path / "fields.gpkg")
    fake_worker.plays(["records", [[1, *MAIZE]]], ["result", RESULT])
    parameters = {"PARCELS": str(source), "CLASSES": str(class_raster), "OUTPUT": str(target)}

    run_doomed_qgis("parcelattributes", parameters, tmp_path)

    assert {path: path.read_bytes() for path in before} == before
    assert all(path.name.startswith(f".{name}.") and ".part." in path.name
               for path in set(target.parent.iterdir()) - set(before))  # fmt: skip


@pytest.fixture
def mapcrops_parameters(fake_worker, season, bundle, layer_of, tmp_path) -> dict:
    """For mapcrops with a worker that writes the class raster, its style and four parcels."""
    source = saved(layer_of(*[square(20 * n, 0) for n in range(4)]), tmp_path / "fields.gpkg")
    fake_worker.plays(["write", "output_classes"], ["records", [[1, *MAIZE]]], ["result", RESULT])
    return {
        "SCENES": [str(season)],
        "MODEL": str(bundle),
        "PARCELS": str(source),
        "OUTPUT_CLASSES": str(tmp_path / "out" / "map.tif"),
        "OUTPUT_PARCELS": str(tmp_path / "out" / "crops.gpkg"),
    }


def test_a_qgis_killed_while_parcels_are_written_leaves_the_earlier_map_too(mapcrops_parameters, earlier, tmp_path):
    raster = earlier.with_name("map.tif")
    raster.write_text("earlier")

    run_doomed_qgis("mapcrops", mapcrops_parameters, tmp_path)

    assert raster.read_text() == "earlier"
    assert rows(QgsVectorLayer(str(earlier))) == [[1, "earlier"]]


def test_map_and_parcels_replace_the_earlier_ones_together(run, mapcrops_parameters, earlier):
    raster = earlier.with_name("map.tif")
    raster.write_text("earlier")

    run("mapcrops", mapcrops_parameters)

    assert raster.read_text() == "new"
    assert names_in(earlier.parent) == {"map.tif", "crops.gpkg", "crops.qml"}
    assert rows(QgsVectorLayer(str(earlier)))[0] == [1, "farmer 1", *MAIZE]


def test_a_target_that_cannot_be_replaced_stays_with_all_its_files(map_parcels, layer_of, tmp_path, monkeypatch):
    target = saved(layer_of(square(0, 0), values=["earlier"]), tmp_path / "out" / "crops.shp", "ESRI Shapefile")
    before = {path: path.read_bytes() for path in target.parent.iterdir()}
    replace = os.replace

    def refuse(source, file):
        if file == str(target) and ".part" in str(source):
            raise PermissionError(13, "Permission denied")
        replace(source, file)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(QgsProcessingException, match=f"{target} cannot be replaced: Permission denied. Close the"):
        map_parcels(layer_of(square(0, 0)), {1: MAIZE}, output=str(target))

    assert {path: path.read_bytes() for path in target.parent.iterdir()} == before


def test_files_that_went_with_the_replaced_one_are_gone(map_parcels, layer_of, earlier):
    journal = earlier.with_name("crops.gpkg-wal")
    journal.write_bytes(b"of the earlier file")

    map_parcels(layer_of(square(0, 0)), {1: MAIZE}, output=str(earlier))

    assert not journal.exists()


@pytest.mark.parametrize("folder", ["{tmp_path}/file", "/proc"], ids=["below a file", "that takes no file"])
def test_a_folder_that_cannot_be_written_is_refused_before_the_worker_starts(
    map_parcels, layer_of, fake_worker, tmp_path, folder
):
    (tmp_path / "file").write_text("")
    target = f"{folder.format(tmp_path=tmp_path)}/crops.gpkg"

    with pytest.raises(QgsProcessingException, match=f"{target} cannot be written"):
        map_parcels(layer_of(square(0, 0)), {1: MAIZE}, output=target)

    assert not (fake_worker.folder / "job.json").exists()


def test_the_working_files_are_gone_afterwards(map_parcels, layer_of, fake_worker):
    map_parcels(layer_of(square(0, 0)), {1: MAIZE})

    assert not os.path.exists(os.path.dirname(fake_worker.job["parameters"]["parcels"]))
