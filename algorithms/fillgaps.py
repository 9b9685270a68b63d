"""Composites with gaps to composites without."""

from __future__ import annotations

from ..processing_provider import parameters
from ..processing_provider.algorithm import CropMapAlgorithm
from ..processing_provider.parameters import tr


class FillGaps(CropMapAlgorithm):
    """`cropmap:fillgaps`."""

    ID = "fillgaps"
    TITLE = "Fill gaps"
    GROUP = "prepare"
    HELP = (
        "Fills the periods in which a pixel was never clear. A gap between two observed periods takes the "
        "mean of the nearest one before and after it; a gap at the start takes the next, one at the end the "
        "last observed period. A pixel that was never observed at all stays nodata."
    )
    TAGS = ("fill", "gaps", "clouds", "time series")

    def define(self):
        return [
            parameters.series(),
            parameters.raster_output("OUTPUT", tr("Filled time series"), tr("The filled time series file, a GeoTIFF.")),
        ]

    def compute(self, values, feedback):
        output = values.target("OUTPUT")
        self.run_job(self.ID, {"series": values.raster("SERIES"), "output": output}, feedback, [output])
        return {"OUTPUT": output}
