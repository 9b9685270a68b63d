"""The plugin in QGIS: loading, unloading, and what must never change under users' models and scripts."""

import configparser
import json
import re
import subprocess

import pytest
from cropmap import plugin as plugin_module
from cropmap.processing_provider import vocabulary
from qgis.core import QgsApplication, QgsProcessingParameterDefinition

from .conftest import ROOT, WORKER, cropmap

IDS = {
    "searchscenes": "prepare",
    "stackscenes": "prepare",
    "compositetimeseries": "prepare",
    "fillgaps": "prepare",
    "computeindices": "prepare",
    "classify": "map",
    "classifysamples": "map",
    "parcelattributes": "map",
    "mapcrops": "map",
    "combinepredictions": "map",
    "preparelabels": "train",
    "buildtrainingset": "train",
    "summarizesamples": "train",
    "trainmodel": "train",
    "evaluatemodel": "train",
    "runtimeinfo": "runtime",
    "installruntime": "runtime",
}
# Optional ones in brackets, as saved models and scripts know them.
PARAMETERS = {
    "searchscenes": "CATALOGUE [URL] [COLLECTION] [AREA] [EXTENT] [START_DATE] [END_DATE] MAX_CLOUD BANDS RESOLUTION "
    "OFFSET [ITEMS] [AUTH] [OUTPUT_ITEMS] [OUTPUT_SCENES] [OUTPUT]",
    "stackscenes": "SCENES BANDS [START_DATE] [END_DATE] [AREA] [EXTENT] [TEMPLATE] COVER [CRS] RESAMPLING MISSING_SCL "
    "RESOLUTION [MONTHS] MAX_CLOUD OFFSET OUTPUT",
    "compositetimeseries": "SERIES PERIOD [START_DATE] [END_DATE] METHOD [TARGET_DAY] KEEP_CLASSES DILATE_CLOUD SPECK "
    "[MASK_BAND] OUTPUT [OUTPUT_COUNTS]",
    "fillgaps": "SERIES METHOD [MAX_GAP] WINDOW ORDER SMOOTHNESS OUTPUT [OUTPUT_PROVENANCE]",
    "computeindices": "SERIES [INDICES] [FORMULA] INCLUDE_REFLECTANCE OUTPUT",
    "classify": "SERIES MODEL [MASK] SMOOTHING MINIMUM_AREA SURE_FROM [TEMPERATURES] DEVICE PRECISION [STRIDE] "
    "SKIP_DAMAGED OUTPUT_CLASSES "
    "[OUTPUT_CONFIDENCE] [OUTPUT_OOD] [OUTPUT_ENTROPY] [OUTPUT_MARGIN] [OUTPUT_PROBABILITIES]",
    "classifysamples": "INPUT MODEL REFLECTANCE PROBABILITIES SURE_FROM [TEMPERATURES] DEVICE OUTPUT",
    "parcelattributes": "PARCELS CLASSES [CONFIDENCE] [PROBABILITIES] [OOD] [PROVENANCE] [SERIES] [INDICES] "
    "[DECLARED_FIELD] [LEGEND] METHOD BUFFER CLASS_PROBABILITIES CLASS_SHARES MIN_PIXELS MIN_PURITY MIN_PROBABILITY "
    "MIN_CLEAR_DATES MAX_FILLED MAX_EDGE MAX_OOD MIN_COVERED MAX_OVERLAP OUTPUT [OUTPUT_PROFILES] [OUTPUT_SUMMARY]",
    "mapcrops": "SCENES [PARCELS] [START_DATE] [END_DATE] [AREA] [EXTENT] [TEMPLATE] COVER [CRS] RESAMPLING "
    "MISSING_SCL MODEL KEEP_CLASSES [MONTHS] MAX_CLOUD OFFSET [MASK] SMOOTHING MINIMUM_AREA SURE_FROM [TEMPERATURES] "
    "DEVICE PRECISION [STRIDE] SKIP_DAMAGED OUTPUT_CLASSES [OUTPUT_CONFIDENCE] [OUTPUT_OOD] [OUTPUT_ENTROPY] "
    "[OUTPUT_MARGIN] [OUTPUT_PROBABILITIES] [OUTPUT_PARCELS]",
    "combinepredictions": "PREDICTIONS METHOD [WEIGHTS] OUTPUT_CLASSES [OUTPUT_CONFIDENCE] [OUTPUT_PROBABILITIES]",
    "preparelabels": "[SERIES] [PARCELS] [FIELD] [NAME_FIELD] [LEGEND] BUFFER MIN_PIXELS [LABEL_YEAR] [INVENTORY] "
    "[CONFIDENCE] MIN_CONFIDENCE [LAND_COVER] CROPLAND ZONE_SIZE ZONE_COUNT MIN_CROPLAND [OUTPUT_LABELS] "
    "[OUTPUT_PARCELS] [OUTPUT_TABLE] [OUTPUT_DRAFT] [OUTPUT_ZONES]",
    "buildtrainingset": "[TABLE] [SERIES] [SCENES] [LABELS] [PARCELS_RASTER] [PARCELS] [FIELD] [NAME_FIELD] [LEGEND] "
    "BUFFER MIN_PIXELS [START_DATE] [END_DATE] PERIOD [BANDS] REFLECTANCE [LABEL_YEAR] KIND PATCH_SIZE "
    "PIXELS_PER_PARCEL PIXELS_PER_CLASS FILL [AREA] [EXTENT] MISSING_SCL [MONTHS] MAX_CLOUD KEEP_CLASSES OFFSET "
    "SPLIT FOLDS VALIDATION_FOLDS TEST_FOLDS BLOCK_SIZE_KM BUFFER_M [ZONES] [ZONE_FIELD] [SPLIT_COLUMN] "
    "CONFIRM_RANDOM SEED OUTPUT",
    "summarizesamples": "SAMPLES [PARCELS] OUTPUT_HTML [OUTPUT_SUSPICIOUS] [OUTPUT_PARCELS]",
    "evaluatemodel": "MODEL SAMPLES SET [OTHER_MODELS] ALLOW_SEEN GROUP SEED [TEMPERATURES] DEVICE OUTPUT_HTML "
    "[OUTPUT_JSON] [OUTPUT_ERRORS]",
    "trainmodel": "SAMPLES ARCHITECTURE [CHANNELS] EPOCHS CROSS_VALIDATE [ENSEMBLE] MEMBERS COMBINE "
    "[FROM_MODEL] [HYPER_PARAMETERS] BALANCE LOSS [LEVEL_WEIGHTS] [AUGMENTATION] BATCH_SIZE LEARNING_RATE "
    "WEIGHT_DECAY LABEL_SMOOTHING PATIENCE KEEP [DETAILS] AVERAGING PRECISION AT_CHECKPOINT [TITLE] SEED "
    "[TEMPERATURES] DEVICE OUTPUT [TENSORBOARD]",
    "runtimeinfo": "",
    "installruntime": "TORCH [INDEX_URL] [TORCH_INDEX_URL] [WHEELS] [PYTHON]",
}
DEFAULTS = {
    "CATALOGUE": "earth-search",
    "BANDS": vocabulary.DEFAULT_BANDS,
    "RESOLUTION": "10",
    "MAX_CLOUD": 100,
    "COVER": "union",
    "RESAMPLING": "nearest",
    "MISSING_SCL": "refuse",
    "OFFSET": "auto",
    "PERIOD": "month",
    "compositetimeseries METHOD": "median",
    "DILATE_CLOUD": 0,
    "SPECK": 0,
    "fillgaps METHOD": "neighbour_mean",
    "combinepredictions METHOD": "mean",
    "WINDOW": 5,
    "ORDER": 2,
    "SMOOTHNESS": 1.0,
    "KEEP_CLASSES": vocabulary.DEFAULT_SCL_CLASSES,
    "INDICES": ["NDVI"],
    "INCLUDE_REFLECTANCE": True,
    "DEVICE": "auto",
    "SKIP_DAMAGED": False,
    "SMOOTHING": 0,
    "MINIMUM_AREA": 0,
    "SURE_FROM": 0,
    "TORCH": "auto",
    "BUFFER": 10,
    "MIN_PIXELS": 4,
    "MIN_CONFIDENCE": 0,
    "CROPLAND": "40",
    "ZONE_SIZE": 10,
    "ZONE_COUNT": 10,
    "MIN_CROPLAND": 50,
    "REFLECTANCE": "scaled",
    "PROBABILITIES": False,
    "KIND": "pixel",
    "PATCH_SIZE": 32,
    "PIXELS_PER_PARCEL": 20,
    "PIXELS_PER_CLASS": 0,
    "FILL": False,
    "SPLIT": "blocks",
    "FOLDS": 5,
    "VALIDATION_FOLDS": "1",
    "TEST_FOLDS": "0",
    "BLOCK_SIZE_KM": 5.0,
    "BUFFER_M": 0,
    "CONFIRM_RANDOM": False,
    "ARCHITECTURE": "tempcnn",
    "EPOCHS": 30,
    "CROSS_VALIDATE": False,
    "MEMBERS": 1,
    "COMBINE": "mean",
    "BALANCE": "none",
    "LOSS": "cross_entropy",
    "BATCH_SIZE": 0,
    "LEARNING_RATE": 0.002,
    "WEIGHT_DECAY": 0.01,
    "LABEL_SMOOTHING": 0.05,
    "PATIENCE": 10,
    "KEEP": "best",
    "AVERAGING": 0.99,
    "PRECISION": "auto",
    "AT_CHECKPOINT": "resume",
    "SET": "test",
    "ALLOW_SEEN": False,
    "GROUP": "auto",
    "SEED": 0,
}
OWN_DEFAULTS = {
    "buildtrainingset": {"BANDS": None, "PERIOD": "auto"},
    "parcelattributes": {
        "PROBABILITIES": None,
        "INDICES": None,
        "METHOD": "auto",
        "BUFFER": 0,
        "CLASS_PROBABILITIES": False,
        "CLASS_SHARES": False,
        "MIN_PIXELS": 10,
        "MIN_PURITY": 0.7,
        "MIN_PROBABILITY": 0.5,
        "MIN_CLEAR_DATES": 4,
        "MAX_FILLED": 0.5,
        "MAX_EDGE": 0.5,
        "MAX_OOD": 0.5,
        "MIN_COVERED": 0.8,
        "MAX_OVERLAP": 0.05,
    },
}
METADATA = (
    "name qgisMinimumVersion qgisMaximumVersion description about version author email homepage repository tracker "
    "license tags category icon hasProcessingProvider server experimental deprecated changelog"
)


@pytest.fixture
def bare_qgis(plugin):
    """Processing without CropMap, for a while."""
    plugin.unload()
    yield QgsApplication.processingRegistry()
    plugin.initProcessing()


def signature(algorithm) -> str:
    optional = QgsProcessingParameterDefinition.Flag.FlagOptional
    return " ".join(f"[{p.name()}]" if p.flags() & optional else p.name() for p in algorithm.parameterDefinitions())


def test_ids_and_groups_are_frozen(plugin):
    assert {algorithm.name(): algorithm.groupId() for algorithm in plugin.provider.algorithms()} == IDS
    assert all(algorithm.id() == f"cropmap:{algorithm.name()}" for algorithm in plugin.provider.algorithms())


@pytest.mark.parametrize("name", IDS)
def test_parameters_and_their_defaults_are_frozen(algorithm, name):
    assert signature(algorithm(name)) == PARAMETERS[name]
    defaults = {**DEFAULTS, **OWN_DEFAULTS.get(name, {})}
    for parameter in algorithm(name).parameterDefinitions():
        own = defaults.get(f"{name} {parameter.name()}", defaults.get(parameter.name()))
        assert parameter.defaultValue() == own, parameter.name()


@pytest.mark.parametrize("name", IDS)
def test_every_algorithm_and_parameter_explains_itself(algorithm, name):
    assert len(algorithm(name).shortHelpString()) > 80
    assert algorithm(name).helpUrl().startswith("https://")
    assert not algorithm(name).icon().isNull()
    assert all(parameter.help() for parameter in algorithm(name).parameterDefinitions())


def test_loading_and_unloading_leaves_qgis_as_it_was(bare_qgis):
    registry = bare_qgis
    before = [provider.id() for provider in registry.providers()]
    assert "cropmap" not in before
    one = cropmap.classFactory(None)

    one.initProcessing()
    assert registry.providerById("cropmap").algorithm("mapcrops") is not None
    one.unload()

    assert [provider.id() for provider in registry.providers()] == before


def test_in_the_desktop_too(bare_qgis, monkeypatch):
    class Desktop:
        pages = []

        def registerOptionsWidgetFactory(self, factory):
            self.pages.append(factory)

        def unregisterOptionsWidgetFactory(self, factory):
            self.pages.remove(factory)

    monkeypatch.setattr(plugin_module, "iface", Desktop())
    one = cropmap.classFactory(None)

    one.initGui()
    assert len(Desktop.pages) == 1
    one.unload()

    assert Desktop.pages == []
    assert bare_qgis.providerById("cropmap") is None


def test_a_second_copy_is_refused_and_the_first_one_stays(plugin):
    with pytest.raises(RuntimeError, match="Another copy of CropMap"):
        cropmap.classFactory(None).initProcessing()

    assert QgsApplication.processingRegistry().algorithmById("cropmap:mapcrops") is not None


def test_the_metadata_has_what_the_plugin_site_asks_for():
    metadata = configparser.ConfigParser()
    metadata.read(ROOT / "metadata.txt", encoding="utf-8")
    general = metadata["general"]

    assert sorted(general) == sorted(name.lower() for name in METADATA.split())
    assert (general["name"], general["qgisMinimumVersion"], general["qgisMaximumVersion"]) == (
        "CropMap",
        "3.40",
        "4.99",
    )
    assert general["hasProcessingProvider"] == "yes"
    assert (ROOT / general["icon"]).is_file()
    assert re.fullmatch(r"\d+\.\d+\.\d+", general["version"])


def test_the_words_of_the_dialogs_are_those_of_the_job_schema():
    definitions = json.loads((ROOT / "docs" / "job.schema.json").read_text())["$defs"]

    assert definitions["band"]["enum"] == vocabulary.BANDS
    assert definitions["bands"]["default"] == vocabulary.DEFAULT_BANDS
    assert definitions["sclClass"]["enum"] == vocabulary.SCL_CLASSES
    assert definitions["keepClasses"]["default"] == vocabulary.DEFAULT_SCL_CLASSES
    assert definitions["offset"]["enum"] == vocabulary.OFFSETS
    assert definitions["cover"]["enum"] == vocabulary.COVERS
    assert definitions["resampling"]["enum"] == vocabulary.RESAMPLINGS
    assert definitions["missingScl"]["enum"] == vocabulary.MISSING_SCL
    months = definitions["months"]["items"]
    assert [str(month) for month in range(months["minimum"], months["maximum"] + 1)] == vocabulary.MONTHS
    assert [str(metres) for metres in definitions["resolution"]["enum"]] == vocabulary.RESOLUTIONS_M
    assert definitions["searchscenes"]["properties"]["catalogue"]["enum"] == vocabulary.CATALOGUES
    assert all(re.match(definitions["period"]["pattern"], period) for period in vocabulary.PERIODS)
    assert definitions["compositetimeseries"]["properties"]["method"]["enum"] == vocabulary.COMPOSITE_METHODS
    assert definitions["fillgaps"]["properties"]["method"]["enum"] == vocabulary.FILL_METHODS
    assert definitions["combinepredictions"]["properties"]["method"]["enum"] == vocabulary.COMBINING_METHODS
    device = definitions["device"]
    assert all(re.match(device["pattern"], word) for word in vocabulary.DEVICES)
    assert set(vocabulary.DEVICES) >= {device["default"], "cpu", "cuda", "cuda:0", "mps"}
    assert definitions["precision"]["enum"] == vocabulary.PRECISIONS
    of_samples = definitions["buildtrainingset"]["properties"]
    assert of_samples["kind"]["enum"] == vocabulary.SAMPLE_KINDS
    assert of_samples["split"]["enum"] == vocabulary.SPLITS
    assert of_samples["reflectance"]["enum"] == vocabulary.REFLECTANCES
    judging = definitions["evaluatemodel"]["properties"]
    assert judging["set"]["enum"] == vocabulary.EVALUATED_SETS
    assert judging["group"]["enum"] == vocabulary.EVALUATED_GROUPS
    training = definitions["trainmodel"]["properties"]
    assert training["architecture"]["items"]["enum"] == vocabulary.ARCHITECTURES
    assert training["combine"]["enum"] == vocabulary.COMBINATIONS
    assert training["loss"]["enum"] == vocabulary.LOSSES
    assert training["balance"]["enum"] == vocabulary.BALANCES
    assert training["keep"]["enum"] == vocabulary.KEPT_EPOCHS
    assert training["precision"]["enum"] == vocabulary.PRECISIONS
    assert training["at_checkpoint"]["enum"] == vocabulary.AT_CHECKPOINT
    assert definitions["classifysamples"]["properties"]["reflectance"]["enum"] == vocabulary.REFLECTANCES


def test_the_indices_on_offer_are_those_that_the_worker_computes():
    program = "import json; from cropmap_core.timeseries.formulas import INDICES; print(json.dumps(list(INDICES)))"
    asked = subprocess.run([str(WORKER), "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert json.loads(asked.stdout) == vocabulary.INDICES


def test_the_words_that_saved_models_hold_are_on_offer():
    frozen = "NDVI GNDVI NDVI45 NDRE EVI EVI2 SAVI OSAVI MSAVI MTCI CIRE NDWI NDMI NBR PSRI"

    assert " ".join(vocabulary.INDICES).startswith(frozen)
