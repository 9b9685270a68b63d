"""The parameters that several algorithms share, each with its help."""

from __future__ import annotations

from qgis.core import (
    Qgis,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDateTime,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterField,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
)
from qgis.PyQt.QtCore import QCoreApplication

from . import vocabulary
from .model_cards import bundled_models


def tr(text: str) -> str:
    """Translate a text of CropMap."""
    return QCoreApplication.translate("CropMap", text)


def with_help(parameter: QgsProcessingParameterDefinition, text: str) -> QgsProcessingParameterDefinition:
    """Give a parameter its help text."""
    parameter.setHelp(text)
    return parameter


def advanced(parameter: QgsProcessingParameterDefinition) -> QgsProcessingParameterDefinition:
    """Put a parameter under "Advanced parameters"."""
    parameter.setFlags(parameter.flags() | Qgis.ProcessingParameterFlag.Advanced)
    return parameter


def words(
    name: str, description: str, options: list[str], default, several: bool = False, optional: bool = False
) -> QgsProcessingParameterEnum:
    """A choice whose values are words on command lines too, not numbers."""
    return QgsProcessingParameterEnum(
        name,
        description,
        options=options,
        allowMultiple=several,
        defaultValue=default,
        optional=optional,
        usesStaticStrings=True,
    )


def _chooser(name: str) -> dict:
    """Metadata that names a chooser; it is imported by the desktop's dialogs only."""
    return {"widget_wrapper": {"class": f"{__package__}.widgets.{name}"}}


def scenes() -> QgsProcessingParameterDefinition:
    """SCENES: where to look for scenes."""
    parameter = QgsProcessingParameterMultipleLayers(
        "SCENES", tr("Sentinel-2 L2A scenes"), Qgis.ProcessingSourceType.File
    )
    parameter.setMetadata(_chooser("ScenesWidget"))
    return with_help(
        parameter,
        tr(
            "Folders of scenes, SAFE folders, zipped or not, band files of any archive, Earth Engine exports, openEO "
            "cubes or STAC Items; a folder is searched with all its subfolders."
        ),
    )


def dates() -> list[QgsProcessingParameterDefinition]:
    """START_DATE and END_DATE, both optional and inclusive."""
    kind = Qgis.ProcessingDateTimeParameterDataType.Date
    return [
        with_help(
            QgsProcessingParameterDateTime("START_DATE", tr("First day"), type=kind, optional=True),
            tr("Earlier acquisitions are left out; none: from the first one on."),
        ),
        with_help(
            QgsProcessingParameterDateTime("END_DATE", tr("Last day"), type=kind, optional=True),
            tr("Later acquisitions are left out; none: up to the last one."),
        ),
    ]


def selection() -> list[QgsProcessingParameterDefinition]:
    """MONTHS and MAX_CLOUD: which of the scenes are used."""
    cloud = QgsProcessingParameterNumber(
        "MAX_CLOUD", tr("Most cloud in percent"), defaultValue=100, minValue=0, maxValue=100
    )
    return [
        with_help(
            advanced(words("MONTHS", tr("Months"), vocabulary.MONTHS, None, several=True, optional=True)),
            tr("Only acquisitions of these months, of whatever year; none chosen: all."),
        ),
        with_help(
            advanced(cloud),
            tr(
                "Scenes with a larger share of cloud in the area of interest, or over the raster where none is given, "
                "are left out; it is counted in the scene classification (SCL). Clouds in the others are masked pixel "
                "by pixel."
            ),
        ),
    ]


def series(optional: bool = False) -> QgsProcessingParameterDefinition:
    """SERIES: a time series file."""
    return with_help(
        QgsProcessingParameterRasterLayer("SERIES", tr("Time series"), optional=optional),
        tr("A time series file, as the algorithms of the group Prepare write it."),
    )


def keep_classes() -> QgsProcessingParameterDefinition:
    """KEEP_CLASSES: what counts as clear."""
    return with_help(
        advanced(
            words(
                "KEEP_CLASSES", tr("SCL classes to keep"), vocabulary.SCL_CLASSES, vocabulary.DEFAULT_SCL_CLASSES, True
            )
        ),
        tr("Pixels of other classes in the scene classification (SCL) count as not observed."),
    )


def period() -> QgsProcessingParameterDefinition:
    """PERIOD: what one composite is made of."""
    parameter = QgsProcessingParameterString("PERIOD", tr("Period"), "month")
    parameter.setMetadata(_chooser("PeriodWidget"))
    return with_help(
        parameter,
        tr(
            "month, half_month (from the 1st and 16th), dekad (from the 1st, 11th and 21st), days:N for periods of N "
            "days from the first day on, or dates:2018-03-01,2018-04-15 for periods that begin on those days, the last "
            "of which goes to the last day."
        ),
    )


def whole_number(
    name: str, description: str, default: int | None, least: int, text: str, most: int | None = None
) -> QgsProcessingParameterDefinition:
    """A whole number under "Advanced parameters", optional where it has no default."""
    parameter = QgsProcessingParameterNumber(
        name,
        description,
        defaultValue=default,
        optional=default is None,
        minValue=least,
        **({} if most is None else {"maxValue": most}),
    )
    return with_help(advanced(parameter), text)


def offset() -> QgsProcessingParameterDefinition:
    """OFFSET: the radiometric offset."""
    return with_help(
        advanced(words("OFFSET", tr("Radiometric offset"), vocabulary.OFFSETS, "auto")),
        tr(
            "What to add to digital numbers: -1000 from processing baseline 04.00 on, 0 before; "
            "auto finds out and says why."
        ),
    )


def model(fold_models: bool = False) -> QgsProcessingParameterDefinition:
    """MODEL: which model classifies; where it is judged, fold models will do."""
    parameter = QgsProcessingParameterString("MODEL", tr("Crop model"))
    parameter.setMetadata(_chooser("ModelWidget"))
    bundled = ", ".join(card.id for card in bundled_models()) or tr("none in this edition")
    text = tr("The id of a bundled model ({}), or the folder of a model bundle of your own.").format(bundled)
    return with_help(parameter, f"{text} {tr('A folder of fold models will do too.')}" if fold_models else text)


def own_model(name: str, description: str, text: str) -> QgsProcessingParameterDefinition:
    """A model that may be left out."""
    parameter = QgsProcessingParameterString(name, description, optional=True)
    parameter.setMetadata(_chooser("ModelWidget"))
    return with_help(parameter, text)


def device(automatic: str | None = None) -> QgsProcessingParameterDefinition:
    """DEVICE: what the network runs on; with what auto takes where that is more than one device."""
    automatic = automatic or tr("auto takes CUDA's first graphics card, else the processor.")
    return with_help(
        advanced(words("DEVICE", tr("Device"), vocabulary.DEVICES, "auto")),
        tr("Where the network runs: {} cuda:1 is the second of CUDA's graphics cards, mps that of Apple.").format(
            automatic
        ),
    )


def temperatures(text: str) -> QgsProcessingParameterDefinition:
    """A table of temperatures, with what it is for."""
    return advanced(
        with_help(
            QgsProcessingParameterFile(
                "TEMPERATURES", tr("Temperatures"), optional=True, fileFilter="CSV (*.csv *.txt)"
            ),
            text
            + tr(" CSV with date and t_mean (degrees Celsius, daily means); lon and lat where it has several places."),
        )
    )


def model_temperatures() -> QgsProcessingParameterDefinition:
    """Temperatures where a model is applied."""
    return temperatures(tr("For models that count thermal days."))


def sure_from() -> QgsProcessingParameterDefinition:
    """From which probability on a crop is named, and not its group."""
    return advanced(
        with_help(
            QgsProcessingParameterNumber(
                "SURE_FROM", tr("Sure from"), Qgis.ProcessingNumberParameterType.Double, 0, False, 0, 1
            ),
            tr(
                "Where the model gives no crop this probability, the finest group of crops that has it is mapped, or "
                '"Undecided"; 0: always a crop.'
            ),
        )
    )


def parcels(optional: bool) -> QgsProcessingParameterDefinition:
    """PARCELS: any vector source of polygons."""
    return with_help(
        QgsProcessingParameterFeatureSource(
            "PARCELS", tr("Field parcels"), [Qgis.ProcessingSourceType.VectorPolygon], optional=optional
        ),
        tr("Polygons in any coordinate system; if features are selected, the selection alone can be used."),
    )


def switch(name: str, description: str, default: bool, text: str) -> QgsProcessingParameterDefinition:
    """A yes or no."""
    return with_help(QgsProcessingParameterBoolean(name, description, defaultValue=default), text)


def raster_output(
    name: str, description: str, text: str, optional: bool = False, made_unasked: bool = True
) -> QgsProcessingParameterDefinition:
    """A GeoTIFF to write; the dialog offers to make an optional one unless told otherwise."""
    return with_help(
        QgsProcessingParameterRasterDestination(name, description, optional=optional, createByDefault=made_unasked),
        text,
    )


def optional_raster(name: str, description: str, text: str) -> QgsProcessingParameterDefinition:
    """A raster that may be left out."""
    return with_help(QgsProcessingParameterRasterLayer(name, description, optional=True), text)


def parcel_field(name: str, description: str, text: str) -> QgsProcessingParameterDefinition:
    """A field of PARCELS, which may be left out."""
    return with_help(
        QgsProcessingParameterField(name, description, parentLayerParameterName="PARCELS", optional=True), text
    )


def count(
    name: str, description: str, default: int, text: str, least: int = 1, most: int = 2**31 - 1
) -> QgsProcessingParameterDefinition:
    """A whole number."""
    return with_help(
        QgsProcessingParameterNumber(name, description, defaultValue=default, minValue=least, maxValue=most), text
    )


def measure(name: str, description: str, default: float, text: str) -> QgsProcessingParameterDefinition:
    """A number with decimals, not below 0; its unit stands in the description."""
    kind = Qgis.ProcessingNumberParameterType.Double
    return with_help(QgsProcessingParameterNumber(name, description, kind, defaultValue=default, minValue=0), text)


def csv_output(name: str, description: str, text: str) -> QgsProcessingParameterDefinition:
    """A table to write, which is left out unless it is asked for."""
    return only_if_asked(
        with_help(QgsProcessingParameterFileDestination(name, description, "CSV (*.csv)", optional=True), text)
    )


def only_if_asked(parameter: QgsProcessingParameterDefinition) -> QgsProcessingParameterDefinition:
    """Have dialogs leave an optional output out at first."""
    parameter.setCreateByDefault(False)
    return parameter
