"""Whole records through the real worker, into every kind of sink that QGIS has."""

import json
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from cropmap.processing_provider import vocabulary
from qgis.core import (
    NULL,
    Qgis,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCoordinateTransformContext,
    QgsDistanceArea,
    QgsExpressionContextUtils,
    QgsFeature,
    QgsGeometry,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingOutputLayerDefinition,
    QgsProject,
    QgsRenderContext,
    QgsSymbolLayer,
    QgsVectorFileWriter,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QDate, QDateTime

from tests.postgres import database, programs

from .conftest import ROOT, Ear, _in_worker

LEFT, TOP = 501360.0, 5629680.0
"""Upper left corner of the maps."""
RECORD = [
    "pred_code", "pred_crop", "pred_prob", "pred2_code", "pred2_crop", "pred2_prob", "margin", "entropy", "purity",
    "n_pixels", "inner_pixels", "area_ha", "perimeter_m", "compactness", "clear_dates_min", "clear_dates_mean",
    "filled_share", "longest_gap_days", "ood", "ndvi_fall", "ndvi_fall_date", "declared_agrees", "declared_prob",
    "doubt", "doubt_reason",
]  # fmt: skip
SHORT = [
    "pred_code", "pred_crop", "pred_prob", "pred2_code", "pred2_crop", "pred2_prob", "margin", "entropy", "purity",
    "n_pixels", "inner_px", "area_ha", "perim_m", "compact", "clear_min", "clear_mean", "filled", "gap_days", "ood",
    "ndvi_fall", "fall_date", "decl_agree", "decl_prob", "doubt", "doubt_why",
]  # fmt: skip


def on_pixels(left: float, top: float, right: float, bottom: float) -> str:
    """A rectangle's WKT by columns and rows of the maps."""
    x = [LEFT + 10 * col for col in (left, right)]
    y = [TOP - 10 * row for row in (bottom, top)]
    return f"Polygon (({x[0]} {y[0]}, {x[1]} {y[0]}, {x[1]} {y[1]}, {x[0]} {y[1]}, {x[0]} {y[0]}))"


@pytest.fixture(scope="session")
def maps(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("maps")
    _in_worker(Path(__file__).with_name("make_maps.py"), folder)
    return folder


@pytest.fixture
def source(layer_of):
    """Maize that was declared, grass that was declared as maize, and a parcel that was never observed."""
    shapes = on_pixels(0, 0, 4, 4), on_pixels(4, 0, 8, 3), on_pixels(0, 7, 3, 8)
    return layer_of(*shapes, field="crop:string", values=["Maize", "Maize", "Grass"], crs="EPSG:32631")


@pytest.fixture
def describe(run, worker, maps, source):
    """Run parcelattributes with all maps."""

    def describe(output, parcels=source, feedback=None, context=None, **more):
        given = {
            name: str(maps / f"{name.lower()}.tif") for name in ("CLASSES", "PROBABILITIES", "PROVENANCE", "SERIES")
        }
        parameters = {"PARCELS": parcels, **given, "DECLARED_FIELD": "crop", "OUTPUT": output, **more}
        return run("parcelattributes", parameters, feedback, **({"context": context} if context else {}))

    return describe


def check_records(layer, names: list) -> None:
    """The records of `source`, whatever they went through: FlatGeobuf has an order of its own and no dates
    without a time."""
    maize, grass, never = sorted(layer.getFeatures(), key=lambda feature: feature.geometry().area(), reverse=True)
    assert [feature["crop"] for feature in (maize, grass, never)] == ["Maize", "Maize", "Grass"]
    assert layer.crs().authid() == "EPSG:32631"
    assert layer.fields().names()[-len(names) :] == names
    field = dict(zip(RECORD, names, strict=True))
    # A quarter of the pixels is at 138 / 250, the others at 0.8.
    assert maize[field["pred_crop"]] == "Maize"
    assert maize[field["pred_prob"]] == pytest.approx(0.738, abs=1e-4)
    assert (maize[field["pred2_crop"]], maize[field["n_pixels"]], maize[field["purity"]]) == ("Grass", 16, 1)
    assert (maize[field["clear_dates_min"]], maize[field["longest_gap_days"]]) == (6, 31)
    assert maize[field["ndvi_fall"]] == pytest.approx(0.5)
    fallen = maize[field["ndvi_fall_date"]]
    assert (fallen.date() if isinstance(fallen, QDateTime) else fallen) == QDate(2018, 6, 1)
    assert (bool(maize[field["declared_agrees"]]), bool(grass[field["declared_agrees"]])) == (True, False)
    assert grass[field["declared_prob"]] == pytest.approx(0.2)
    assert (bool(maize[field["doubt"]]), maize[field["doubt_reason"]]) in ((False, NULL), (False, ""))
    assert (bool(never[field["doubt"]]), never[field["doubt_reason"]]) == (True, "NOT_COVERED")
    assert never[field["pred_code"]] == NULL
    assert never[field["declared_agrees"]] == NULL
    assert [feature.geometry().area() for feature in (maize, grass, never)] == pytest.approx([1600, 1200, 300])


@pytest.fixture(scope="module")
def postgis():
    """A PostGIS on loopback, as QGIS connects to it."""
    if programs() is None:
        pytest.skip("no PostgreSQL with PostGIS: run scripts/setup dev, which installs it")
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="cropmap-postgis-", dir="/tmp"))
        # Not by QGIS: it remembers of a connection that it had no PostGIS.
        at = stack.enter_context(database(Path(folder), "farm", "CREATE EXTENSION postgis"))
        place = f"host={at['PGHOST']} port={at['PGPORT']} dbname='{at['PGDATABASE']}'"
        yield f"{place} user='{at['PGUSER']}' password='none' sslmode=disable"


@pytest.mark.parametrize("kind", ["gpkg", "fgb", "shp", "parquet", "postgis"])
def test_records_come_through_every_sink(describe, tmp_path, request, kind):
    if kind == "postgis":
        table = f'{request.getfixturevalue("postgis")} key=\'id\' table="public"."crops" (geom)'
        output = f"postgis:{table}"
    else:
        output = str(tmp_path / f"crops.{kind}")
        if kind == "parquet" and not QgsVectorFileWriter.driverForExtension("parquet"):
            pytest.skip("NOT TESTED: the GDAL of this QGIS has no driver for GeoParquet")

    written = describe(output)["OUTPUT"]

    layer = QgsVectorLayer(table, "crops", "postgres") if kind == "postgis" else QgsVectorLayer(written)
    assert layer.isValid()
    check_records(layer, SHORT if kind == "shp" else RECORD)


def test_names_that_a_shapefile_has_already_stay_apart(describe, layer_of, tmp_path):
    """`clear_minutes` becomes `clear_minu` there; `pred_crop` and `inner_px` are taken."""
    layer = QgsVectorLayer(
        "Polygon?field=crop:string&field=clear_minutes:int&field=PRED_CROP:string&field=inner_px:int&crs=EPSG:32631",
        "fields", "memory",
    )  # fmt: skip
    feature = QgsFeature(layer.fields())
    feature.setAttributes(["Maize", 5, "declared", 7])
    feature.setGeometry(QgsGeometry.fromWkt(on_pixels(0, 0, 4, 4)))
    layer.dataProvider().addFeature(feature)

    describe(str(tmp_path / "crops.shp"), layer)

    written = QgsVectorLayer(str(tmp_path / "crops.shp"))
    names = written.fields().names()
    assert len(set(names)) == len(names) == 4 + len(RECORD)
    (feature,) = written.getFeatures()
    assert (feature["clear_minu"], feature["PRED_CROP"], feature["inner_px"]) == (5, "declared", 7)
    assert (feature["pred_cro_2"], feature["inner_px_2"], feature["clear_min"]) == ("Maize", 16, 6)
    assert written.renderer().classAttribute() == "pred_cro_2"


@pytest.mark.parametrize("crs", ["EPSG:32631", "EPSG:31370", "EPSG:4326", "EPSG:3857"])
def test_sizes_are_those_that_qgis_measures(describe, layer_of, crs):
    here, utm = QgsCoordinateReferenceSystem(crs), QgsCoordinateReferenceSystem("EPSG:32631")
    shape = QgsGeometry.fromWkt(on_pixels(0.3, 0.2, 7.8, 6.9))
    shape.transform(QgsCoordinateTransform(utm, here, QgsProject.instance()))
    parcels = layer_of(shape.asWkt(17), field="crop:string", values=["Maize"], crs=crs)

    (feature,) = describe("memory:", parcels)["OUTPUT"].getFeatures()

    measure = QgsDistanceArea()
    measure.setSourceCrs(here, QgsCoordinateTransformContext())
    measure.setEllipsoid(here.ellipsoidAcronym())
    assert feature["area_ha"] == pytest.approx(measure.measureArea(feature.geometry()) / 1e4, rel=1e-6)
    assert feature["perimeter_m"] == pytest.approx(measure.measurePerimeter(feature.geometry()), rel=1e-5)


def test_zonal_statistics_agree_on_parcels_of_whole_pixels(describe, layer_of, maps):
    """QGIS counts pixels by their centres, which is the same where no border cuts one."""
    import processing

    boxes = [(0, 0, 4, 4), (1, 2, 7, 6), (2, 0, 3, 7), (3, 5, 8, 7)]
    shapes = [on_pixels(*box) for box in boxes]
    parcels = layer_of(*shapes, field="crop:string", values=["Maize"] * len(boxes), crs="EPSG:32631")

    ours = list(describe("memory:", parcels, CLASS_PROBABILITIES=True)["OUTPUT"].getFeatures())

    for band, name in ((1, "prob_maize"), (2, "prob_grass")):
        given = {"INPUT": parcels, "INPUT_RASTER": str(maps / "probabilities.tif"), "RASTER_BAND": band}
        asked = {"COLUMN_PREFIX": "z_", "STATISTICS": [0, 2], "OUTPUT": "memory:"}
        theirs = processing.run("native:zonalstatisticsfb", {**given, **asked})["OUTPUT"]
        for mine, other in zip(ours, theirs.getFeatures(), strict=True):
            assert mine["n_pixels"] == pytest.approx(other["z_count"], abs=1e-4)
            assert mine[name] == pytest.approx(other["z_mean"], abs=1e-4)


def test_doubted_parcels_are_hatched(describe):
    layer = describe("memory:")["OUTPUT"]

    assert hatched(layer) == {"Maize": False, "Grass": False, NULL: True}


def hatched(layer) -> dict:
    """Whether each parcel is drawn with lines, by its crop."""
    context, renderer = QgsRenderContext(), layer.renderer()
    context.expressionContext().appendScopes([QgsExpressionContextUtils.layerScope(layer)])
    renderer.startRender(context, layer.fields())
    found = {}
    for feature in layer.getFeatures():
        context.expressionContext().setFeature(feature)
        symbol = renderer.symbolForFeature(feature, context)
        line = symbol.symbolLayer(1).subSymbol().symbolLayer(0)
        color = line.dataDefinedProperties().property(QgsSymbolLayer.Property.StrokeColor)
        found[feature["pred_crop"]] = color.valueAsColor(context.expressionContext())[0].alpha() > 0
    renderer.stopRender(context)
    return found


def test_parcels_without_an_area_are_doubted(describe, layer_of):
    shapes = on_pixels(0, 0, 4, 4), None
    parcels = layer_of(*shapes, field="crop:string", values=["Maize", "Maize"], crs="EPSG:32631")

    layer = describe("memory:", parcels)["OUTPUT"]

    assert [feature["doubt_reason"] for feature in layer.getFeatures()] == [NULL, "NOT_COVERED"]
    assert [feature["pred_crop"] for feature in layer.getFeatures()] == ["Maize", NULL]


def test_declared_crops_are_a_traffic_light(describe):
    layer = describe("memory:")["OUTPUT"]
    manager = layer.styleManager()
    assert layer.renderer().classAttribute() == "pred_crop"

    assert manager.setCurrentStyle("Declared crops")

    assert layer.renderer().classAttribute() == "declared_agrees"
    context, renderer = QgsRenderContext(), layer.renderer()
    renderer.startRender(context, layer.fields())
    colors = [renderer.symbolForFeature(feature, context).color().name() for feature in layer.getFeatures()]
    renderer.stopRender(context)
    assert colors == ["#1a9641", "#d7191c", "#bdbdbd"]


def test_without_a_declared_crop_there_is_no_traffic_light(describe):
    layer = describe("memory:", DECLARED_FIELD=None)["OUTPUT"]

    assert "declared_agrees" not in layer.fields().names()
    assert len(layer.styleManager().styles()) == 1


def test_the_desktop_gets_the_styles_with_the_layer(describe, tmp_path):
    project, context = QgsProject(), QgsProcessingContext()
    context.setProject(project)
    output = QgsProcessingOutputLayerDefinition(str(tmp_path / "crops.gpkg"), project)
    describe(output, context=context)
    details = context.layersToLoadOnCompletion()[str(tmp_path / "crops.gpkg")]
    layer = QgsVectorLayer(str(tmp_path / "crops.gpkg"), "crops")

    details.postProcessor().postProcessLayer(layer, context, Ear())

    assert "Declared crops" in layer.styleManager().styles()
    assert hatched(layer) == {"Maize": False, "Grass": False, NULL: True}


def test_profiles_are_a_table_that_parcels_lead_to(describe, tmp_path):
    outputs = describe(
        str(tmp_path / "crops.gpkg"), OUTPUT_PROFILES=str(tmp_path / "profiles.gpkg"), INDICES="NDVI, B08"
    )

    parcels, table = QgsVectorLayer(outputs["OUTPUT"]), QgsVectorLayer(outputs["OUTPUT_PROFILES"])
    assert table.wkbType() == Qgis.WkbType.NoGeometry
    assert table.fields().names() == ["fid", "parcel", "date", "n_pixels", "NDVI", "B08"]
    assert [feature["parcel"] for feature in parcels.getFeatures()] == [1, 2, 3]
    first = [[f["date"], f["NDVI"], f["B08"]] for f in table.getFeatures() if f["parcel"] == 1]
    assert first == [[QDate(2018, 5, 1), 0.75, 0.35], [QDate(2018, 6, 1), 0.25, 0.25]]
    assert table.featureCount() == 6


def test_a_summary_of_hectares_is_written(describe, tmp_path):
    outputs = describe("memory:", OUTPUT_SUMMARY=str(tmp_path / "summary.csv"))

    assert outputs["OUTPUT_SUMMARY"] == str(tmp_path / "summary.csv")
    assert (tmp_path / "summary.csv").read_text().splitlines() == [
        "declared,parcels,Maize,Grass,not classified,total",
        "Grass,1,0.0,0.0,0.03,0.03",
        "Maize,2,0.1601,0.1201,0.0,0.2802",
    ]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"SERIES": None, "OUTPUT_PROFILES": "memory:"}, "OUTPUT_PROFILES needs SERIES"),
        ({"DECLARED_FIELD": None, "OUTPUT_SUMMARY": "summary.csv"}, "OUTPUT_SUMMARY needs DECLARED_FIELD"),
        ({"PROBABILITIES": None, "METHOD": "mean"}, "METHOD is mean, but there are no PROBABILITIES"),
    ],
)
def test_what_cannot_be_is_refused(describe, more, told):
    with pytest.raises(QgsProcessingException, match=told):
        describe("memory:", **more)


def test_dialog_and_worker_have_the_same_defaults(algorithm):
    schema = json.loads((ROOT / "docs" / "job.schema.json").read_text())["$defs"]["parcelattributes"]["properties"]
    stated = {name: each["default"] for name, each in schema.items() if "default" in each and name != "indices"}

    definitions = algorithm("parcelattributes").parameterDefinitions()

    offered = {each.name().lower().replace("buffer", "buffer_m"): each.defaultValue() for each in definitions}
    assert {name: offered[name] for name in stated} == stated
    assert schema["method"]["enum"] == vocabulary.PARCEL_METHODS
