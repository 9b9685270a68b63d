"""A crop map to attributes of parcels."""

from __future__ import annotations

from qgis.core import Qgis, QgsProcessingParameterFeatureSink, QgsProcessingParameterRasterLayer

from ..processing_provider import parameters, record_parameters
from ..processing_provider.algorithm import CropMapAlgorithm
from ..processing_provider.parameters import tr, with_help
from ..processing_provider.parcels import DECLARED, ParcelExchange, check_parcels

_RASTERS = ("CLASSES", "CONFIDENCE", "OOD", "PROBABILITIES", "PROVENANCE", "SERIES")


class ParcelAttributes(CropMapAlgorithm):
    """`cropmap:parcelattributes`."""

    ID = "parcelattributes"
    TITLE = "Parcel attributes"
    GROUP = "map"
    HELP = (
        "Gives each field parcel its record: the crop by a class raster, how sure it is, the crop that comes next, "
        "area and pixels, how often the parcel was observed, whether a declared crop is confirmed, and the reasons to "
        "doubt all that. All parcels and all their attributes are kept; the record comes behind them (a field of a "
        "name that is there already is called pred_crop_2 and so on). A parcel without a classified pixel gets no "
        "crop. Parcels whose record is doubted are hatched."
    )
    TAGS = ("parcels", "fields", "zonal statistics", "majority", "declarations", "monitoring")

    def define(self):
        return [
            parameters.parcels(optional=False),
            with_help(
                QgsProcessingParameterRasterLayer("CLASSES", tr("Crop classes")), tr('A class raster of "Classify".')
            ),
            *record_parameters.maps(),
            *record_parameters.deciding(),
            *record_parameters.thresholds(),
            with_help(
                QgsProcessingParameterFeatureSink("OUTPUT", tr("Parcels"), Qgis.ProcessingSourceType.VectorPolygon),
                tr("The parcels with their records, in their own coordinate system."),
            ),
            parameters.only_if_asked(
                with_help(
                    QgsProcessingParameterFeatureSink(
                        "OUTPUT_PROFILES", tr("Profiles"), Qgis.ProcessingSourceType.Vector, optional=True
                    ),
                    tr("A table with the indices of each parcel by date; the parcels get their number in it."),
                )
            ),
            parameters.csv_output(
                "OUTPUT_SUMMARY", tr("Summary of declared crops"), tr("Hectares, declared by predicted crops.")
            ),
        ]

    def mistake(self, values):
        check_parcels(values)
        if values.has("OUTPUT_PROFILES") and not values.has("SERIES"):
            return "OUTPUT_PROFILES needs SERIES, the time series that the profiles are taken from."
        if values.has("OUTPUT_SUMMARY") and not values.has("DECLARED_FIELD"):
            return "OUTPUT_SUMMARY needs DECLARED_FIELD: choose the field that holds the declared crop."
        return ""

    def compute(self, values, feedback):
        declared, summary = values.text("DECLARED_FIELD"), values.file_target("OUTPUT_SUMMARY")
        with_profiles = values.has("OUTPUT_PROFILES")
        with ParcelExchange(values, "OUTPUT", feedback, declared) as exchange:
            job = {
                "parcels": exchange.parcels,
                **{name.lower(): values.raster(name) for name in _RASTERS},
                "declared_field": DECLARED if declared else None,
                **record_parameters.of_job(values),
                "output": exchange.records,
                "output_profiles": exchange.profiles if with_profiles else None,
                "output_summary": summary,
            }
            result = self.run_job(self.ID, job, feedback, [exchange.records, summary], span=(0, 95))
            written = {} if summary is None else {"OUTPUT_SUMMARY": summary}
            if not with_profiles:
                return {**written, "OUTPUT": exchange.write(result)}
            profiles = exchange.write_profiles("OUTPUT_PROFILES", lambda: written.update(OUTPUT=exchange.write(result)))
            return {**written, "OUTPUT_PROFILES": profiles}
