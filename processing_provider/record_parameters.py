"""The parameters of parcel records: what they hold, and from where on they are doubted."""

from __future__ import annotations

from qgis.core import Qgis, QgsProcessingParameterDefinition, QgsProcessingParameterNumber, QgsProcessingParameterString

from . import vocabulary
from .parameters import advanced, measure, optional_raster, parcel_field, series, switch, tr, with_help, words

Definitions = list[QgsProcessingParameterDefinition]
THRESHOLDS = {
    "MIN_PIXELS": (10, None, "Fewest pixels", "TOO_SMALL where fewer were observed."),
    "MIN_PURITY": (0.7, 1, "Least purity", "MIXED where the largest class covers a smaller share."),
    "MIN_PROBABILITY": (0.5, 1, "Least probability", "LOW_CONFIDENCE where pred_prob is less."),
    "MIN_CLEAR_DATES": (4, None, "Fewest observed periods", "FEW_OBSERVATIONS where there are fewer on average."),
    "MAX_FILLED": (0.5, 1, "Most filled", "FEW_OBSERVATIONS where a greater share of the periods is filled."),
    "MAX_EDGE": (0.5, 1, "Most at the edge", "EDGE where a greater share lies in pixels that the border cuts."),
    "MAX_OOD": (0.5, 1, "Most unlike training", "OUT_OF_DISTRIBUTION where a greater share is."),
    "MIN_COVERED": (0.8, 1, "Least covered", "NOT_COVERED where less of the parcel has a class."),
    "MAX_OVERLAP": (0.05, 1, "Most overlap", "OVERLAP where a greater share lies in other parcels."),
}
"""Default, largest value, description and help of each; docs/job.schema.json has the same defaults."""


def maps() -> Definitions:
    """The rasters that go with the classes, and how a series is looked at."""
    return [
        optional_raster(
            "CONFIDENCE",
            tr("Confidence"),
            tr("The confidence raster that goes with it; without one, pred_prob is the share that the crop covers."),
        ),
        optional_raster(
            "PROBABILITIES",
            tr("Probabilities"),
            tr("The probabilities that go with it: a parcel is then of the crop with the highest mean."),
        ),
        optional_raster(
            "OOD",
            tr("Unlike training (ood)"),
            tr("The ood raster that goes with it; without one, the field ood is empty."),
        ),
        optional_raster(
            "PROVENANCE",
            tr("Fill provenance"),
            tr('Of "Fill gaps": how often parcels were observed, and how much was filled.'),
        ),
        with_help(series(optional=True), tr("On the grid of the classes: for profiles, and the largest fall of NDVI.")),
        _text("INDICES", tr("Indices of profiles"), tr("Indices or bands of the series, between commas; empty: NDVI.")),
    ]


def deciding() -> Definitions:
    """How a parcel's class is found, and what it is compared with."""
    return [
        parcel_field("DECLARED_FIELD", tr("Field of the declared crop"), tr("To tell whether the map agrees.")),
        _text(
            "LEGEND",
            tr("Legend of declared codes"),
            tr("What codes mean: a CSV file with the columns code,value,name, or one of {}; empty: names of classes.")
            .format(", ".join(vocabulary.LEGENDS)),
        ),
        with_help(
            advanced(words("METHOD", tr("Class by"), vocabulary.PARCEL_METHODS, "auto")),
            tr("majority of the pixels, or mean probability; auto takes the mean where there are probabilities."),
        ),
        advanced(
            measure("BUFFER", tr("Inward buffer in metres"), 0, tr("Pixels nearer to a parcel's border do not decide."))
        ),
        advanced(
            switch("CLASS_PROBABILITIES", tr("Probability of every class"), False, tr("A field prob_NAME for each."))
        ),
        advanced(switch("CLASS_SHARES", tr("Share of every class"), False, tr("A field share_NAME for each."))),
    ]  # fmt: skip


def thresholds() -> Definitions:
    """From where on a record is doubted."""
    real = Qgis.ProcessingNumberParameterType.Double
    definitions = []
    for name, (default, most, description, text) in THRESHOLDS.items():
        limit = {} if most is None else {"maxValue": most}
        number = QgsProcessingParameterNumber(name, tr(description), real, defaultValue=default, minValue=0, **limit)
        definitions.append(with_help(advanced(number), tr(text)))
    return definitions


def of_job(values) -> dict:
    """All of them but the rasters, as a job's parameters."""
    return {
        "indices": values.texts("INDICES"),
        "legend": values.word_or_path("LEGEND", vocabulary.LEGENDS),
        "method": values.choice("METHOD"),
        "buffer_m": values.decimal("BUFFER"),
        "class_probabilities": values.flag("CLASS_PROBABILITIES"),
        "class_shares": values.flag("CLASS_SHARES"),
        **{name.lower(): values.decimal(name) for name in THRESHOLDS},
    }


def _text(name: str, description: str, text: str) -> QgsProcessingParameterDefinition:
    return advanced(with_help(QgsProcessingParameterString(name, description, optional=True), text))
