"""The parameters of a training set: where samples come from, what is taken of it, and how it is split."""

from __future__ import annotations

from qgis.core import (
    Qgis,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterField,
    QgsProcessingParameterFile,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
)

from . import parameters, place, vocabulary
from .parameters import advanced, switch, tr, with_help, words

PLACE = ("AREA", "EXTENT", "MISSING_SCL")
Definitions = list[QgsProcessingParameterDefinition]


def sources() -> Definitions:
    """TABLE, SERIES or SCENES, and what tells their labels, all optional."""
    scenes = parameters.scenes()
    scenes.setFlags(scenes.flags() | Qgis.ProcessingParameterFlag.Optional)
    return [
        _file("TABLE", tr("Table"), tr("Parquet or CSV with sample_id, date, B02, ..., label, x and y.")),
        _raster("SERIES", tr("Time series"), tr("A time series file of composites, filled or not.")),
        scenes,
        _raster(
            "LABELS", tr("Labels"), tr("Class values on the grid of the series, 0 unlabelled; of scenes, the grid.")
        ),
        _raster("PARCELS_RASTER", tr("Parcel numbers"), tr("A raster on the same grid, 0 none.")),
        parameters.parcels(optional=True),
        parameters.parcel_field("FIELD", tr("Field of the crop code"), tr("Numbers or texts, as in the legend.")),
        parameters.parcel_field("NAME_FIELD", tr("Field of the crop's name"), tr("For the legend `names`.")),
        with_help(
            QgsProcessingParameterString("LEGEND", tr("Legend"), optional=True),
            tr("A CSV file with the columns code,value,name, or one of {}; without it each code is a class.").format(
                ", ".join(vocabulary.LEGENDS)
            ),
        ),
        parameters.measure("BUFFER", tr("Inward buffer in metres"), 10, tr("Pixels nearer to a border are left out.")),
        parameters.count("MIN_PIXELS", tr("Fewest pixels"), 4, tr("Parcels with fewer are left out.")),
    ]


def sampling() -> Definitions:
    """What is taken of a table, a series or scenes."""
    year = _number("LABEL_YEAR", tr("Year of the labels"), None, tr("Checked against the series."), optional=True)
    period_help = tr("auto: month, or what a table's dates show; as_is: a table's own dates.")
    return [
        *parameters.dates(),
        _text("PERIOD", tr("Period"), "auto", period_help),
        with_help(
            advanced(words("BANDS", tr("Bands"), vocabulary.BANDS, None, several=True, optional=True)),
            tr("None chosen: all that are there, of scenes those of 10 and 20 m."),
        ),
        with_help(
            advanced(words("REFLECTANCE", tr("Reflectance of the table"), vocabulary.REFLECTANCES, "scaled")),
            tr("scaled: reflectance x 10000; unit: 0 to 1."),
        ),
        year,
        with_help(words("KIND", tr("Samples are"), vocabulary.SAMPLE_KINDS, "pixel"), tr("Of tables always pixels.")),
        _number("PATCH_SIZE", tr("Patch size in pixels"), 32, tr("Edge of a patch."), least=2),
        _number("PIXELS_PER_PARCEL", tr("Most pixels of a parcel"), 20, tr("Drawn at random; 0: all.")),
        _number("PIXELS_PER_CLASS", tr("Most pixels of a class"), 0, tr("Drawn at random; 0: all.")),
        advanced(switch("FILL", tr("Fill gaps"), False, tr("Of composites made of scenes."))),
        *(each for each in place.parameters() if each.name() in PLACE),
        *parameters.selection(),
        parameters.keep_classes(),
        parameters.offset(),
    ]


def splitting() -> Definitions:
    """What stays together in which fold, and which folds are for what."""
    zones = QgsProcessingParameterFeatureSource(
        "ZONES", tr("Zones"), [Qgis.ProcessingSourceType.VectorPolygon], optional=True
    )
    zone_field = QgsProcessingParameterField("ZONE_FIELD", tr("Name of zones"), None, "ZONES", optional=True)
    real = Qgis.ProcessingNumberParameterType.Double
    return [
        with_help(words("SPLIT", tr("Split by"), vocabulary.SPLITS, "blocks"), tr("What stays together in one fold.")),
        _number("FOLDS", tr("Folds"), 5, tr("Number of folds."), least=2),
        _text("VALIDATION_FOLDS", tr("Validation folds"), "1", tr("What early stopping looks at, like 1 or 1,2.")),
        _text("TEST_FOLDS", tr("Test folds"), "0", tr("What the final evaluation looks at.")),
        _number("BLOCK_SIZE_KM", tr("Block size in km"), 5.0, tr("Edge of a spatial block."), real, 0.001),
        _number("BUFFER_M", tr("Buffer in metres"), 0, tr("Samples closer than this to another fold are not used.")),
        with_help(advanced(zones), tr("Polygons; zones named train, validation and test are these sets.")),
        with_help(advanced(zone_field), tr("The field of their names.")),
        _text("SPLIT_COLUMN", tr("Split column"), None, tr("Of the table: groups, folds, or sets."), optional=True),
        advanced(switch("CONFIRM_RANDOM", tr("A random split is wanted"), False, tr("Reports say so: it flatters."))),
        _number("SEED", tr("Seed"), 0, tr("Of what is drawn at random.")),
    ]


def _file(name: str, description: str, text: str) -> QgsProcessingParameterDefinition:
    return with_help(QgsProcessingParameterFile(name, description, optional=True), text)


def _raster(name: str, description: str, text: str) -> QgsProcessingParameterDefinition:
    return with_help(QgsProcessingParameterRasterLayer(name, description, optional=True), text)


def _text(name: str, description: str, default, text: str, optional: bool = False) -> QgsProcessingParameterDefinition:
    return with_help(advanced(QgsProcessingParameterString(name, description, default, False, optional)), text)


def _number(
    name: str, description: str, default, text: str, kind=Qgis.ProcessingNumberParameterType.Integer, least: float = 0,
    optional: bool = False,
) -> QgsProcessingParameterDefinition:  # fmt: skip
    return with_help(advanced(QgsProcessingParameterNumber(name, description, kind, default, optional, least)), text)
