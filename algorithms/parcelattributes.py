"""A crop map to attributes of parcels."""

from __future__ import annotations

from qgis.core import Qgis, QgsProcessingParameterFeatureSink, QgsProcessingParameterRasterLayer

from ..processing_provider import parameters
from ..processing_provider.algorithm import CropMapAlgorithm
from ..processing_provider.parameters import tr, with_help
from ..processing_provider.parcels import ParcelExchange, check_parcels


class ParcelAttributes(CropMapAlgorithm):
    """`cropmap:parcelattributes`."""

    ID = "parcelattributes"
    TITLE = "Parcel attributes"
    GROUP = "map"
    HELP = (
        "Gives each field parcel its crop: the class that covers most of it in a class raster. All parcels "
        "and all their attributes are kept; pred_code, pred_crop, pred_prob, n_pixels and ood are added (as "
        "pred_code_2 and so on where a field of that name is there already). A parcel without a classified "
        "pixel gets empty values."
    )
    TAGS = ("parcels", "fields", "zonal statistics", "majority")

    def define(self):
        return [
            parameters.parcels(optional=False),
            with_help(
                QgsProcessingParameterRasterLayer("CLASSES", tr("Crop classes")), tr('A class raster of "Classify".')
            ),
            with_help(
                QgsProcessingParameterRasterLayer("CONFIDENCE", tr("Confidence"), optional=True),
                tr(
                    "The confidence raster that goes with it; without one, pred_prob is the share that the crop covers."
                ),
            ),
            parameters.optional_raster(
                "OOD",
                tr("Unlike training (ood)"),
                tr("The ood raster that goes with it; without one, the field ood is empty."),
            ),
            with_help(
                QgsProcessingParameterFeatureSink("OUTPUT", tr("Parcels"), Qgis.ProcessingSourceType.VectorPolygon),
                tr("The parcels with their crop, in their own coordinate system."),
            ),
        ]

    def mistake(self, values):
        check_parcels(values)
        return ""

    def compute(self, values, feedback):
        with ParcelExchange(values, "OUTPUT", feedback) as exchange:
            job = {
                "parcels": exchange.parcels,
                "classes": values.raster("CLASSES"),
                "confidence": values.raster("CONFIDENCE"),
                "ood": values.raster("OOD"),
                "output": exchange.records,
            }
            result = self.run_job(self.ID, job, feedback, [exchange.records], span=(0, 95))
            return {"OUTPUT": exchange.write(result["classes"])}
