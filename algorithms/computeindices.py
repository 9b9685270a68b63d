"""Reflectance to vegetation indices."""

from __future__ import annotations

from qgis.core import QgsProcessingParameterString

from ..processing_provider import parameters, vocabulary
from ..processing_provider.algorithm import CropMapAlgorithm
from ..processing_provider.parameters import tr


class ComputeIndices(CropMapAlgorithm):
    """`cropmap:computeindices`."""

    ID = "computeindices"
    TITLE = "Compute indices"
    GROUP = "prepare"
    HELP = (
        "Computes vegetation indices and formulas of your own for every date or period of a time series, in "
        "reflectance 0-1; a division by zero gives nodata. The result holds the indices "
        'alone, or the reflectance (0-1) and the indices together, which is what "Classify" takes.'
    )
    TAGS = ("NDVI", "vegetation index", "time series")

    def define(self):
        return [
            parameters.series(),
            parameters.with_help(
                parameters.words("INDICES", tr("Indices"), vocabulary.INDICES, ["NDVI"], several=True, optional=True),
                tr(
                    "Indices to compute, the usual ones first, then all others of spyndex; the series must hold the "
                    "bands of each. Formulas and sources: docs/indices.md."
                ),
            ),
            parameters.with_help(
                QgsProcessingParameterString("FORMULA", tr("Formulas of your own"), multiLine=True, optional=True),
                tr(
                    "NAME = expression, such as GREENNESS = 2 * B03 - B04 - B02: bands (B04) or their letters (R) as "
                    "reflectance 0-1, numbers, indices, + - * / **, parentheses, sqrt, abs, exp, log, min, max. "
                    "Several stand apart by ; or new lines."
                ),
            ),
            parameters.switch(
                "INCLUDE_REFLECTANCE",
                tr("Keep the reflectance too"),
                True,
                tr("Whether the bands of the series go into the result, before the indices."),
            ),
            parameters.raster_output("OUTPUT", tr("Time series with indices"), tr("A time series file, a GeoTIFF.")),
        ]

    def mistake(self, values):
        if values.choices("INDICES") or values.text("FORMULA"):
            return ""
        return "There is nothing to compute: choose INDICES or write a FORMULA."

    def compute(self, values, feedback):
        output, formula = values.target("OUTPUT"), values.text("FORMULA")
        job = {
            "series": values.raster("SERIES"),
            "indices": values.choices("INDICES"),
            "formulas": [formula] if formula else [],
            "include_reflectance": values.flag("INCLUDE_REFLECTANCE"),
            "output": output,
        }
        self.run_job(self.ID, job, feedback, [output])
        return {"OUTPUT": output}
