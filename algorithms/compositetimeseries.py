"""A time series file to composites."""

from __future__ import annotations

from ..processing_provider import parameters, vocabulary
from ..processing_provider.algorithm import CropMapAlgorithm
from ..processing_provider.parameters import tr


class CompositeTimeSeries(CropMapAlgorithm):
    """`cropmap:compositetimeseries`."""

    ID = "compositetimeseries"
    TITLE = "Composite time series"
    GROUP = "prepare"
    HELP = (
        "Masks clouds in a time series and takes the median of what is left, period by period. A pixel counts"
        " when its class in the scene classification (SCL) is one of those to keep; a pixel that was never "
        "clear in a period stays nodata. Where there is no acquisition in a period, the whole period is "
        "nodata."
    )
    TAGS = ("composite", "median", "cloud mask", "SCL", "time series")

    def define(self):
        return [
            parameters.series(),
            parameters.with_help(
                parameters.words("PERIOD", tr("Period"), vocabulary.PERIODS, "month"), tr("Calendar months.")
            ),
            *parameters.dates(),
            parameters.keep_classes(),
            parameters.raster_output(
                "OUTPUT", tr("Composites"), tr("The composites as a time series file, a GeoTIFF.")
            ),
        ]

    def compute(self, values, feedback):
        output = values.target("OUTPUT")
        job = {
            "series": values.raster("SERIES"),
            "period": values.choice("PERIOD"),
            **values.dates(),
            "keep_classes": values.choices("KEEP_CLASSES"),
            "output": output,
        }
        self.run_job(self.ID, job, feedback, [output])
        return {"OUTPUT": output}
