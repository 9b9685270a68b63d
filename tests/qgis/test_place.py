"""What AREA, EXTENT, TEMPLATE and CRS become in a job, and what they refuse."""

import json

import pytest
from cropmap.processing_provider import layer_files
from qgis.core import (
    Qgis,
    QgsCoordinateReferenceSystem,
    QgsGeometry,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeatureSourceDefinition,
    QgsProcessingModelAlgorithm,
    QgsProcessingModelChildAlgorithm,
    QgsProcessingModelChildParameterSource,
    QgsProcessingModelOutput,
    QgsProcessingModelParameter,
    QgsProcessingParameterCrs,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterMultipleLayers,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
    QgsReferencedRectangle,
    QgsVectorLayer,
)

from .conftest import Ear, square

PLACE = ("AREA", "EXTENT", "TEMPLATE", "COVER", "CRS", "RESAMPLING", "MISSING_SCL")
DEGREES = "1.123456789012345,2,49.1,50 [EPSG:4326]"


@pytest.fixture
def start(run, season, bundle, tmp_path):
    """Runs an algorithm with what it needs and what is given."""

    def start(algorithm: str = "stackscenes", **parameters) -> None:
        output = {"OUTPUT" if algorithm == "stackscenes" else "OUTPUT_CLASSES": str(tmp_path / "out.tif")}
        model = {"MODEL": str(bundle)} if algorithm == "mapcrops" else {}
        run(algorithm, {"SCENES": [str(season)], **model, **output, **parameters})

    return start


@pytest.fixture
def job(start, fake_worker):
    """The parameters of the job that an algorithm hands to the worker."""

    def job(algorithm: str = "stackscenes", **parameters) -> dict:
        fake_worker.plays(["result", {"output": "", "classes": []}])
        start(algorithm, **parameters)
        return fake_worker.job["parameters"]

    return job


@pytest.fixture
def template(tmp_path) -> str:
    """A raster file that QGIS can open."""
    path = tmp_path / "template.asc"
    path.write_text("ncols 2\nnrows 2\nxllcorner 0\nyllcorner 0\ncellsize 10\nNODATA_value 0\n1 2\n2 1\n")
    return str(path)


@pytest.fixture
def area_seen(monkeypatch):
    """What the worker could read of AREA while its job ran: CRS and the polygons' WKT."""
    from cropmap.processing_provider import algorithm

    seen = []

    def look(self, command, parameters, feedback, outputs=(), span=(0, 100)):
        layer = QgsVectorLayer(parameters["area"])
        seen.extend([parameters["area"], layer.crs().authid()])
        seen.append(sorted(feature.geometry().asWkt(0) for feature in layer.getFeatures()))
        return {"classes": []}

    monkeypatch.setattr(algorithm.CropMapAlgorithm, "run_job", look)
    return seen


@pytest.mark.parametrize("algorithm", ["stackscenes", "mapcrops"])
def test_without_any_of_them_the_scenes_decide(job, algorithm):
    given = job(algorithm)

    assert [given[name] for name in ("area", "extent", "template", "crs")] == [None] * 4
    assert [given[name] for name in ("cover", "resampling", "missing_scl")] == ["union", "nearest", "refuse"]


@pytest.mark.parametrize("algorithm", ["stackscenes", "mapcrops"])
def test_words_reach_the_job(job, algorithm):
    given = job(algorithm, COVER="Intersection", RESAMPLING="cubic", MISSING_SCL="as_clear", CRS="EPSG:32632")

    assert [given[name] for name in ("cover", "resampling", "missing_scl")] == ["intersection", "cubic", "as_clear"]
    assert given["crs"] == "EPSG:32632"


@pytest.mark.parametrize(
    ("extent", "expected"),
    [
        (DEGREES, "1.123456789012345,2.0,49.1,50.0 [EPSG:4326]"),
        (" 500000 , 500100,5600000,5600100[EPSG:32631]", "500000.0,500100.0,5600000.0,5600100.0 [EPSG:32631]"),
        (
            QgsReferencedRectangle(QgsRectangle(0.1, 0.2, 0.3, 0.4), QgsCoordinateReferenceSystem("EPSG:31370")),
            "0.1,0.3,0.2,0.4 [EPSG:31370]",
        ),
    ],
    ids=["text", "careless text", "rectangle"],
)
def test_an_extent_keeps_its_crs_and_every_digit(job, extent, expected):
    assert job(EXTENT=extent)["extent"] == expected


def test_an_extent_without_a_crs_is_in_that_of_the_project(job):
    QgsProject.instance().setCrs(QgsCoordinateReferenceSystem("EPSG:31370"))

    assert job(EXTENT="1,2,3,4")["extent"] == "1.0,2.0,3.0,4.0 [EPSG:31370]"


def test_an_extent_in_an_unknown_crs_is_not_taken_for_one_of_the_project(job):
    QgsProject.instance().setCrs(QgsCoordinateReferenceSystem("EPSG:31370"))

    with pytest.raises(QgsProcessingException, match="EXTENT has no known coordinate reference system"):
        job(EXTENT="1,2,3,4 [EPSG:999999]")


def test_an_extent_may_be_that_of_a_layer(job, layer_of):
    assert job(EXTENT=layer_of(square(20, 30)))["extent"] == "20.0,30.0,30.0,40.0 [EPSG:31370]"


def test_a_crs_that_no_authority_knows_goes_as_wkt(job):
    own = QgsCoordinateReferenceSystem.fromProj("+proj=tmerc +lat_0=1.5 +lon_0=4.5 +ellps=GRS80 +units=m +type=crs")

    assert own.authid() == ""
    assert job(CRS=own)["crs"].startswith('PROJCRS["unknown"')
    extent = job(EXTENT=QgsReferencedRectangle(QgsRectangle(0, 0, 1, 1), own))["extent"]
    assert extent.startswith('0.0,1.0,0.0,1.0 [PROJCRS["unknown"')


def test_a_crs_may_be_that_of_the_project(job):
    QgsProject.instance().setCrs(QgsCoordinateReferenceSystem("EPSG:32632"))

    assert job(CRS="ProjectCrs")["crs"] == "EPSG:32632"


def test_a_template_goes_as_its_file(job, template):
    assert job(TEMPLATE=QgsRasterLayer(template, "template"))["template"] == template


@pytest.mark.parametrize("algorithm", ["stackscenes", "mapcrops"])
def test_an_area_is_written_in_its_own_crs_for_as_long_as_the_job_runs(start, area_seen, layer_of, algorithm):
    layer = layer_of(square(0, 0), None, square(20, 0))

    start(algorithm, AREA=layer)

    path, crs, polygons = area_seen
    assert crs == "EPSG:31370"
    assert polygons == [
        "MultiPolygon (((0 0, 10 0, 10 10, 0 10, 0 0)))",
        "MultiPolygon (((20 0, 30 0, 30 10, 20 10, 20 0)))",
    ]
    assert not QgsVectorLayer(path).isValid()


def test_of_an_area_the_selection_alone_can_be_used(start, area_seen, layer_of):
    layer = layer_of(square(0, 0), square(20, 0))
    layer.selectByIds([2])

    start(AREA=QgsProcessingFeatureSourceDefinition(layer.id(), selectedFeaturesOnly=True))

    assert area_seen[2] == ["MultiPolygon (((20 0, 30 0, 30 10, 20 10, 20 0)))"]


MISTAKES = {
    "area and extent": ({"AREA": "area", "EXTENT": DEGREES}, "AREA and EXTENT would each decide what to cover"),
    "area and template": ({"AREA": "area", "TEMPLATE": "file"}, "AREA and TEMPLATE would each"),
    "extent and template": ({"EXTENT": DEGREES, "TEMPLATE": "file"}, "EXTENT and TEMPLATE would each"),
    "crs and template": ({"CRS": "EPSG:32631", "TEMPLATE": "file"}, "CRS and TEMPLATE would both decide"),
    "extent without crs": ({"EXTENT": "1,2,3,4"}, "EXTENT has no known coordinate reference system: 1,2,3,4"),
    "extent in no crs": ({"EXTENT": "1,2,3,4 [EPSG:999999]"}, "EXTENT has no known coordinate reference system"),
    "extent without area": ({"EXTENT": "1,1,3,4 [EPSG:4326]"}, "EXTENT is no rectangle: 1,1,3,4"),
    "unknown crs": ({"CRS": "EPSG:999999"}, "CRS is no known coordinate reference system: EPSG:999999. Write it as"),
    "unknown cover": ({"COVER": "all"}, 'COVER cannot be "all". Choose from union, intersection.'),
    "no raster": ({"TEMPLATE": "/nowhere.tif"}, "TEMPLATE"),
    "no layer": ({"AREA": "/nowhere.gpkg"}, "AREA"),
}


@pytest.mark.parametrize(("given", "message"), MISTAKES.values(), ids=MISTAKES.keys())
@pytest.mark.parametrize("algorithm", ["stackscenes", "mapcrops"])
def test_what_contradicts_itself_is_refused_before_the_worker_starts(
    job, fake_worker, layer_of, template, algorithm, given, message
):
    layers = {"area": layer_of(square(0, 0)), "file": template}
    given = {name: layers.get(value, value) for name, value in given.items()}

    with pytest.raises(QgsProcessingException, match=message.replace("[", r"\[")):
        job(algorithm, **given)

    assert not (fake_worker.folder / "job.json").exists()


@pytest.mark.parametrize(
    ("options", "geometries", "message"),
    [
        ({}, [], "AREA .parcels. holds no polygon"),
        ({}, [None], "AREA .parcels. holds no polygon"),
        ({"crs": ""}, [square(0, 0)], "AREA .parcels. has no coordinate reference system"),
        ({"kind": "Point"}, ["Point (1 1)"], "AREA .parcels. is of type point. Give a layer of polygons."),
    ],
    ids=["no feature", "no geometry", "no CRS", "points"],
)
def test_an_area_that_is_none_is_refused(job, fake_worker, layer_of, options, geometries, message):
    with pytest.raises(QgsProcessingException, match=message):
        job(AREA=layer_of(*geometries, **options))

    assert not (fake_worker.folder / "job.json").exists()


def test_the_output_cannot_overwrite_the_template(job, template, tmp_path):
    taken = tmp_path / "template.tif"
    (tmp_path / "template.asc").rename(taken)

    with pytest.raises(QgsProcessingException, match="OUTPUT would overwrite TEMPLATE"):
        job(TEMPLATE=str(taken), OUTPUT=str(taken))


def test_the_parcels_cannot_overwrite_the_area(job, layer_of, tmp_path):
    area = tmp_path / "area.geojson"
    area.write_text(json.dumps({"type": "FeatureCollection", "features": [
        {"type": "Feature", "properties": {}, "geometry": json.loads(QgsGeometry.fromWkt(square(0, 0)).asJson())}
    ]}))  # fmt: skip

    with pytest.raises(QgsProcessingException, match="OUTPUT_PARCELS would overwrite AREA"):
        job("mapcrops", PARCELS=layer_of(square(0, 0)), AREA=str(area), OUTPUT_PARCELS=str(area))


@pytest.fixture(autouse=True)
def clean_project():
    yield
    QgsProject.instance().clear()


def test_a_list_of_layers_stands_for_their_files(job, season):
    red, scl = sorted(season.rglob("*B04*"))[0], sorted(season.rglob("*SCL*"))[0]
    by_id, itself = QgsRasterLayer(str(red), "red"), QgsRasterLayer(str(scl), "classes")
    QgsProject.instance().addMapLayers([by_id, itself])

    assert job(SCENES=[by_id.id(), itself])["scenes"] == [str(red), str(scl)]
    assert job(SCENES=["classes", str(red), by_id.id()])["scenes"] == [str(scl), str(red)]


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("MTD_MSIL2A.xml", "SENTINEL2_L2A:{}:10m:EPSG_32631"),
        ("product.zip", "SENTINEL2_L2A:/vsizip/{}/P.SAFE/MTD_MSIL2A.xml:20m:EPSG_32631"),
        ("product.zip", "/vsizip/{}/P.SAFE/B04.jp2"),
        ("cube.nc", 'NETCDF:"{}":S2-L2A-B04'),
    ],
)
def test_layers_that_are_parts_of_a_file_stand_for_it(tmp_path, file, source):
    path = tmp_path / file
    path.touch()
    layers = [QgsRasterLayer(source.format(path), "part"), QgsRasterLayer(source.format(path), "other part")]

    assert layer_files.as_files("SCENES", layers, None) == [str(path)]


def test_a_layer_that_is_no_file_is_refused(job, layer_of):
    with pytest.raises(QgsProcessingException, match="SCENES: the layer parcels is not a file on this computer"):
        job(SCENES=[layer_of(square(0, 0)).id()])


def model_of_inputs() -> QgsProcessingModelAlgorithm:
    """A graphical model that hands its inputs to stackscenes."""
    polygons = [Qgis.ProcessingSourceType.VectorPolygon]
    model = QgsProcessingModelAlgorithm("Stack", "stack")
    child = QgsProcessingModelChildAlgorithm("cropmap:stackscenes")
    child.setChildId("stack")
    for definition in (
        QgsProcessingParameterMultipleLayers("SCENES", "Scenes", Qgis.ProcessingSourceType.File),
        QgsProcessingParameterFeatureSource("AREA", "Area", polygons, optional=True),
        QgsProcessingParameterExtent("EXTENT", "Extent", optional=True),
        QgsProcessingParameterCrs("CRS", "CRS", optional=True),
    ):
        model.addModelParameter(definition, QgsProcessingModelParameter(definition.name()))
        source = QgsProcessingModelChildParameterSource.fromModelParameter(definition.name())
        child.addParameterSources(definition.name(), [source])
    output = QgsProcessingModelOutput("stacked", "Stacked")
    output.setChildId("stack")
    output.setChildOutputName("OUTPUT")
    child.setModelOutputs({"stacked": output})
    model.addChildAlgorithm(child)
    model.updateDestinationParameters()
    return model


@pytest.fixture
def run_model(plugin, season, tmp_path):
    """Runs that model, saved and read back."""
    import processing

    def run_model(**given) -> None:
        assert model_of_inputs().toFile(str(tmp_path / "stack.model3"))
        model = QgsProcessingModelAlgorithm()
        assert model.fromFile(str(tmp_path / "stack.model3"))
        model.initAlgorithm()
        destination = model.destinationParameterDefinitions()[0].name()
        given = {"SCENES": [str(season)], destination: str(tmp_path / "out.tif"), **given}
        processing.run(model, given, feedback=Ear())

    return run_model


def test_inputs_of_a_model_reach_the_job(run_model, fake_worker, area_seen, layer_of):
    run_model(AREA=layer_of(square(0, 0)), CRS=QgsCoordinateReferenceSystem("EPSG:32631"))

    assert area_seen[1:] == ["EPSG:31370", ["MultiPolygon (((0 0, 10 0, 10 10, 0 10, 0 0)))"]]


def test_an_extent_of_a_model_keeps_its_crs(run_model, fake_worker):
    fake_worker.plays(["result", {"output": ""}])

    run_model(EXTENT=DEGREES)

    job = fake_worker.job["parameters"]
    assert (job["extent"], job["area"], job["crs"]) == ("1.123456789012345,2.0,49.1,50.0 [EPSG:4326]", None, None)


def test_what_contradicts_itself_in_a_model_is_refused(run_model, fake_worker, layer_of):
    with pytest.raises(QgsProcessingException, match="AREA and EXTENT would each decide what to cover"):
        run_model(AREA=layer_of(square(0, 0)), EXTENT=DEGREES)


def test_what_a_row_of_a_batch_holds_reaches_the_job(plugin, job, monkeypatch):
    from processing.gui.BatchAlgorithmDialog import BatchAlgorithmDialog

    for module in ("BatchPanel", "wrappers"):
        monkeypatch.setattr(f"processing.gui.{module}.iface", None, raising=False)
    dialog = BatchAlgorithmDialog(plugin.provider.algorithm("stackscenes").create(), None)
    panel = dialog.mainWidget()
    cells = {name: panel.wrappers[0][column] for name, column in panel.parameter_to_column.items()}
    cells["EXTENT"].setParameterValue("4.5,5,49.1,50 [EPSG:4326]", QgsProcessingContext())
    cells["CRS"].setParameterValue(QgsCoordinateReferenceSystem("EPSG:32631"), QgsProcessingContext())

    given = job(**{name: cells[name].parameterValue() for name in PLACE})
    dialog.deleteLater()

    assert [given[name] for name in ("area", "template", "cover", "resampling")] == [None, None, "union", "nearest"]
    assert (given["extent"], given["crs"]) == ("4.5,5.0,49.1,50.0 [EPSG:4326]", "EPSG:32631")


@pytest.fixture
def grid(start, worker, tmp_path):
    """Stacks one band of one date and tells the grid: CRS, left and top, pixel size, columns and rows."""

    def grid(**given) -> tuple:
        start(BANDS=["B04"], END_DATE="2018-01-10", OFFSET="0", **given)
        layer = QgsRasterLayer(str(tmp_path / "out.tif"), "stack")
        corner = layer.extent().xMinimum(), layer.extent().yMaximum()
        return layer.crs().authid(), corner, layer.rasterUnitsPerPixelX(), (layer.width(), layer.height())

    return grid


# The season's 32 x 24 pixels of 10 m have their upper left corner at 501360 E, 5629680 N.
def test_the_worker_covers_an_extent_with_whole_pixels_of_the_scenes(grid):
    extent = "501381,501435,5629500,5629590 [EPSG:32631]"

    assert grid(EXTENT=extent) == ("EPSG:32631", (501380, 5629590), 10, (6, 9))
    assert grid(EXTENT=extent, RESOLUTION="20") == ("EPSG:32631", (501380, 5629600), 20, (3, 5))


def test_the_worker_covers_an_area(grid, layer_of):
    area = layer_of(square(501385, 5629505, 30), crs="EPSG:32631")

    assert grid(AREA=area) == ("EPSG:32631", (501380, 5629540), 10, (4, 4))


def test_the_worker_takes_an_area_in_another_crs(grid, fields):
    crs, corner, _, (width, height) = grid(AREA=str(fields))

    # The four fields leave a pixel free on all sides; turned from Lambert 72, they may reach a hair beyond that.
    assert (crs, corner in [(501360, 5629680), (501370, 5629670)]) == ("EPSG:32631", True)
    assert 30 <= width <= 32
    assert 22 <= height <= 24


def test_the_worker_takes_the_grid_of_a_template(grid, tmp_path):
    taken = grid(EXTENT="501381,501435,5629500,5629590 [EPSG:32631]", RESOLUTION="20")
    template = tmp_path / "template.tif"
    (tmp_path / "out.tif").rename(template)

    assert grid(TEMPLATE=str(template)) == taken


def test_the_worker_takes_a_crs_that_no_authority_knows(grid):
    wgs = "+ellps=WGS84 +units=m +no_defs +type=crs"
    own = QgsCoordinateReferenceSystem.fromProj(f"+proj=tmerc +lon_0=3.1 +k=0.9996 +x_0=500000 {wgs}")

    _, corner, size, _ = grid(CRS=own)

    assert own.authid() == ""
    assert size == 10
    assert abs(corner[0] - 494500) < 200  # the season lies 0.078 degrees, or 5.5 km, west of that meridian


def test_the_worker_takes_an_extent_in_a_crs_of_ones_own(grid):
    own = QgsCoordinateReferenceSystem.fromProj("+proj=utm +zone=31 +ellps=WGS84 +units=km +type=crs")
    bounds = QgsRectangle(501.381, 5629.5, 501.435, 5629.59)

    assert own.authid() == ""
    assert grid(EXTENT=QgsReferencedRectangle(bounds, own))[3] in [(6, 9), (6, 10), (7, 9), (7, 10)]


def test_the_worker_refuses_an_area_elsewhere(start, worker, layer_of, tmp_path):
    with pytest.raises(QgsProcessingException, match="(?i)area"):
        start(AREA=layer_of(square(5.0, 45.0, 0.01), crs="EPSG:4326"))

    assert list(tmp_path.iterdir()) == []
