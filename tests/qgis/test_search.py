"""`searchscenes` through Processing: with the real worker at a STAC API on loopback, and what never leaves QGIS."""

import json
import os
import subprocess

import pytest
from qgis.core import (
    QgsApplication,
    QgsAuthMethodConfig,
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingModelAlgorithm,
    QgsProcessingModelChildAlgorithm,
    QgsProcessingModelChildParameterSource,
    QgsProcessingModelOutput,
    QgsProcessingOutputLayerDefinition,
    QgsProject,
    QgsRasterLayer,
    QgsReferencedRectangle,
    QgsVectorLayer,
)

from .conftest import ROOT, WORKER, Ear, square

EXTENT = "501360,501680,5629440,5629680 [EPSG:32631]"
SCENES = 24


@pytest.fixture(scope="session")
def catalogue(season):
    """The address of a STAC API that knows the season."""
    command = [str(WORKER), "-m", "tests.core.remote_season", str(season)]
    server = subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")},
    )
    try:
        url = server.stdout.readline().strip()
        if not url.startswith("http"):
            pytest.skip(f"no STAC API: {url or 'see above'} (scripts/setup dev)")
        yield url
    finally:
        server.stdin.close()
        server.wait()


@pytest.fixture
def credentials():
    """Make an authentication configuration in QGIS's database, and tell its id."""
    manager, made = QgsApplication.authManager(), []
    if not manager.masterPasswordIsSet():
        manager.setMasterPassword("master", True)

    def make(method: str, **values: str) -> str:
        config = QgsAuthMethodConfig(method)
        config.setName("test")
        for name, value in values.items():
            config.setConfig(name, value)
        assert manager.storeAuthenticationConfig(config)
        made.append(config.id())
        return config.id()

    yield make
    for name in made:
        manager.removeAuthenticationConfig(name)


def test_the_list_is_a_vector_layer_with_footprints(run, worker, catalogue, tmp_path):
    outputs = run(
        "searchscenes",
        {
            "URL": catalogue,
            "EXTENT": EXTENT,
            "START_DATE": "2018-03-01",
            "END_DATE": "2018-03-31",
            "OUTPUT_ITEMS": str(tmp_path / "found.geojson"),
        },
    )

    assert outputs == {"OUTPUT_ITEMS": str(tmp_path / "found.geojson")}
    layer = QgsVectorLayer(outputs["OUTPUT_ITEMS"])
    assert [feature["datetime"].toString("yyyy-MM-dd") for feature in layer.getFeatures()] == [
        "2018-03-06",
        "2018-03-21",
    ]
    assert layer.crs().authid() == "EPSG:4326"


def test_an_area_in_another_crs_becomes_the_series_itself(run, worker, catalogue, fields, tmp_path):
    heard = Ear()
    outputs = run(
        "searchscenes",
        {
            "URL": catalogue,
            "AREA": str(fields),
            "BANDS": ["B04"],
            "OFFSET": "0",
            "OUTPUT_SCENES": str(tmp_path / "scenes"),
            "OUTPUT": str(tmp_path / "series.tif"),
        },
        heard,
    )

    assert outputs == {"OUTPUT_SCENES": str(tmp_path / "scenes"), "OUTPUT": str(tmp_path / "series.tif")}
    assert QgsRasterLayer(outputs["OUTPUT"]).bandCount() == SCENES * 2
    assert len(os.listdir(tmp_path / "scenes")) == SCENES
    assert f"Fetching {SCENES} scenes" in heard.text or f"{SCENES} scenes of MGRS tiles 31UDS" in heard.text


def test_what_the_toolbox_makes_of_a_temporary_list(plugin, worker, catalogue, monkeypatch):
    from processing.gui.Postprocessing import handleAlgorithmResults

    monkeypatch.setattr("processing.gui.Postprocessing.iface", None)
    project, context, feedback = QgsProject(), QgsProcessingContext(), Ear()
    context.setProject(project)
    search = QgsApplication.processingRegistry().createAlgorithmById("cropmap:searchscenes")
    parameters = {
        "URL": catalogue,
        "EXTENT": EXTENT,
        "OUTPUT_ITEMS": QgsProcessingOutputLayerDefinition(QgsProcessing.TEMPORARY_OUTPUT, project),
    }
    results, ok = search.run(parameters, context, feedback)
    assert ok, feedback.text
    assert handleAlgorithmResults(search, context, feedback, parameters)

    assert results["OUTPUT_ITEMS"].endswith(".geojson")
    (layer,) = project.mapLayers().values()
    assert (layer.name(), layer.featureCount()) == ("Scenes found", SCENES)


def test_in_a_model_the_list_is_a_layer_for_the_next_step(plugin, worker, catalogue, ear):
    import processing

    model = QgsProcessingModelAlgorithm("Footprints", "search")
    given = QgsProcessingModelChildParameterSource.fromStaticValue
    found = QgsProcessingModelChildParameterSource.fromChildOutput("search", "OUTPUT_ITEMS")
    for algorithm, name, sources in (
        ("cropmap:searchscenes", "search", {"URL": given(catalogue), "EXTENT": given(EXTENT)}),
        ("native:centroids", "middles", {"INPUT": found}),
    ):
        child = QgsProcessingModelChildAlgorithm(algorithm)
        child.setChildId(name)
        for parameter, source in sources.items():
            child.addParameterSources(parameter, [source])
        model.addChildAlgorithm(child)
    for name, output in (("search", "OUTPUT_ITEMS"), ("middles", "OUTPUT")):
        child, made = model.childAlgorithm(name), QgsProcessingModelOutput(output, output)
        made.setChildId(name)
        made.setChildOutputName(output)
        child.setModelOutputs({output: made})
        model.setChildAlgorithm(child)
    model.updateDestinationParameters()
    model.initAlgorithm()

    destinations = {each.name(): QgsProcessing.TEMPORARY_OUTPUT for each in model.destinationParameterDefinitions()}
    results = processing.run(model, destinations, feedback=ear)

    listed, middles = results["output_items"], results["output"]
    assert listed.endswith(".geojson")
    assert QgsVectorLayer(listed).featureCount() == SCENES
    assert middles.featureCount() == SCENES


def test_the_job_holds_the_area_and_no_secret(run, fake_worker, credentials, layer_of, tmp_path):
    fake_worker.plays(["write", "output_items"], ["result", {}])
    heard = Ear()
    area = layer_of(square(0, 0), square(100, 100))
    run(
        "searchscenes",
        {
            "CATALOGUE": "CDSE",
            "AREA": area,
            "MAX_CLOUD": 20,
            "AUTH": credentials("AWSS3", username="mykey", password="hidden", region="default"),  # noqa: S106
            "OUTPUT_ITEMS": str(tmp_path / "found.geojson"),
        },
        heard,
    )

    job = fake_worker.job["parameters"]
    assert (job["catalogue"], job["url"], job["extent"], job["max_cloud_percent"]) == ("cdse", None, None, 20)
    assert job["area"].endswith("area.gpkg")
    assert not os.path.exists(job["area"])
    environment = fake_worker.surroundings["environment"]
    assert (environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]) == ("mykey", "hidden")
    assert environment["AWS_REGION"] == "default"
    assert "hidden" not in json.dumps(fake_worker.job) + heard.text + json.dumps(fake_worker.surroundings["arguments"])
    assert "AWS_SECRET_ACCESS_KEY" not in os.environ


def test_basic_credentials_and_the_proxy_of_qgis_reach_the_worker(run, fake_worker, credentials, monkeypatch, tmp_path):
    from cropmap.processing_provider import network

    monkeypatch.setattr(network, "_proxy_of_qgis", lambda: "http://proxy.example.org:3128")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    fake_worker.plays(["write", "output_items"], ["result", {}])
    run(
        "searchscenes",
        {
            "URL": "https://stac.example.org",
            "EXTENT": "3,4,50,51 [EPSG:4326]",
            "AUTH": credentials("Basic", username="me", password="word"),  # noqa: S106
            "OUTPUT_ITEMS": str(tmp_path / "found.geojson"),
        },
    )

    environment = fake_worker.surroundings["environment"]
    assert environment["CROPMAP_HTTP_USERPWD"] == "me:word"
    assert environment["https_proxy"] == environment["HTTPS_PROXY"] == "http://proxy.example.org:3128"
    assert environment["http_proxy"] == "http://proxy.example.org:3128"
    assert fake_worker.job["parameters"]["extent"] == "3.0,4.0,50.0,51.0 [EPSG:4326]"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"EXTENT": None}, r"Give either an area \(AREA\) or an extent"),
        ({"AREA": "fields"}, r"Give either an area \(AREA\) or an extent"),
        ({"OUTPUT_ITEMS": None}, "Choose at least one output"),
        ({"OUTPUT_ITEMS": "/tmp/found.gpkg"}, "OUTPUT_ITEMS is GeoJSON, not found.gpkg"),
        ({"CATALOGUE": "google"}, 'CATALOGUE cannot be "google"'),
        ({"AUTH": "nothere"}, "AUTH: the authentication configuration nothere cannot be read"),
        ({"ITEMS": "/there/is/none.geojson"}, "ITEMS: there is no file"),
    ],
)
def test_what_is_refused_before_the_worker_starts(run, fake_worker, layer_of, tmp_path, changes, message):
    if "AREA" in changes:
        changes = {"AREA": layer_of(square(0, 0))}
    parameters = {"EXTENT": EXTENT, "OUTPUT_ITEMS": str(tmp_path / "found.geojson"), **changes}

    with pytest.raises(QgsProcessingException, match=message):
        run("searchscenes", parameters)

    assert not (fake_worker.folder / "job.json").exists()


def test_credentials_of_another_method_are_refused(run, fake_worker, credentials, tmp_path):
    parameters = {"EXTENT": EXTENT, "OUTPUT_ITEMS": str(tmp_path / "found.geojson")}

    with pytest.raises(QgsProcessingException, match="AUTH is of the method PKI-Paths"):
        run("searchscenes", {**parameters, "AUTH": credentials("PKI-Paths", certpath="x", keypath="y")})


def test_an_extent_of_a_dialog_has_its_crs(run, fake_worker, tmp_path):
    from qgis.core import QgsCoordinateReferenceSystem, QgsRectangle

    fake_worker.plays(["write", "output_items"], ["result", {}])
    extent = QgsReferencedRectangle(QgsRectangle(1, 2, 3, 4), QgsCoordinateReferenceSystem("EPSG:31370"))
    run("searchscenes", {"EXTENT": extent, "OUTPUT_ITEMS": str(tmp_path / "found.geojson")})

    assert fake_worker.job["parameters"]["extent"] == "1.0,3.0,2.0,4.0 [EPSG:31370]"
