"""Reflectance to vegetation indices."""

from __future__ import annotations

from ..processing_provider import parameters, vocabulary
from ..processing_provider.algorithm import CropMapAlgorithm
from ..processing_provider.parameters import tr


class ComputeIndices(CropMapAlgorithm):
    """`cropmap:computeindices`."""

    ID = "computeindices"
    TITLE = "Compute indices"
    GROUP = "prepare"
    HELP = (
        "Computes vegetation indices for every date or period of a time series. The result holds the indices "
        'alone, or the reflectance (0-1) and the indices together, which is what "Classify" takes.'
    )
    TAGS = ("NDVI", "vegetation index", "time series")

    def define(self):
        return [
            parameters.series(),
            parameters.with_help(
                parameters.words("INDICES", tr("Indices"), vocabulary.INDICES, ["NDVI"], several=True),
                tr("Indices to compute; the series must hold the bands of each."),
            ),
            parameters.switch(
                "INCLUDE_REFLECTANCE",
                tr("Keep the reflectance too"),
                True,
                tr("Whether the bands of the series go into the result, before the indices."),
            ),
            parameters.raster_output("OUTPUT", tr("Time series with indices"), tr("A time series file, a GeoTIFF.")),
        ]

    def compute(self, values, feedback):
        output = values.target("OUTPUT")
        job = {
            "series": values.raster("SERIES"),
            "indices": values.choices("INDICES"),
            "include_reflectance": values.flag("INCLUDE_REFLECTANCE"),
            "output": output,
        }
        self.run_job(self.ID, job, feedback, [output])
        return {"OUTPUT": output}
