"""A time series file to composites."""

from __future__ import annotations

from qgis.core import QgsProcessingParameterString

from ..processing_provider import parameters, vocabulary
from ..processing_provider.algorithm import CropMapAlgorithm
from ..processing_provider.parameters import tr


class CompositeTimeSeries(CropMapAlgorithm):
    """`cropmap:compositetimeseries`."""

    ID = "compositetimeseries"
    TITLE = "Composite time series"
    GROUP = "prepare"
    HELP = (
        "Masks clouds in a time series and makes one image of what is left, period by period: the median, or what "
        "else you choose. A pixel counts when its class in the scene classification (SCL) is one of those to keep; "
        "a pixel that was never clear in a period stays nodata. Where there is no acquisition in a period, the whole "
        "period is nodata.\n\nTo mask the haze around clouds too, widen clouds (DILATE_CLOUD). Removing specks (SPECK) "
        "takes patches of cloud narrower than that for bright roofs and sand, and clear patches between clouds for "
        "undetected cloud. A cloud mask of your own (MASK_BAND) is a band of the time series. All three are among the "
        "advanced parameters."
    )
    TAGS = ("composite", "median", "medoid", "geomedian", "cloud mask", "SCL", "time series")

    def define(self):
        return [
            parameters.series(),
            parameters.period(),
            *parameters.dates(),
            parameters.with_help(
                parameters.words("METHOD", tr("Method"), vocabulary.COMPOSITE_METHODS, "median"),
                tr(
                    "median and mean take each band for itself. medoid (the observation that is closest to all "
                    "others) and geometric_median take all bands together. first, last and nearest take the clear "
                    "observation of that date."
                ),
            ),
            parameters.whole_number(
                "TARGET_DAY",
                tr("Day that nearest wants"),
                None,
                0,
                tr("Days from the first day of each period; none: the middle of the period."),
                366,
            ),
            parameters.keep_classes(),
            parameters.whole_number(
                "DILATE_CLOUD",
                tr("Widen clouds by (metres)"),
                0,
                0,
                tr("Pixels this close to cloud, cirrus or cloud shadow count as not observed."),
            ),
            parameters.whole_number(
                "SPECK",
                tr("Remove specks narrower than (metres)"),
                0,
                0,
                tr("Narrower patches of cloud, and of clear sky between clouds, are taken for what surrounds them."),
            ),
            parameters.with_help(
                parameters.advanced(
                    QgsProcessingParameterString("MASK_BAND", tr("Band with a cloud mask"), optional=True)
                ),
                tr("Name of a band of the time series; where it is not 0 there is a cloud, whatever SCL says."),
            ),
            parameters.raster_output(
                "OUTPUT", tr("Composites"), tr("The composites as a time series file, a GeoTIFF.")
            ),
            parameters.raster_output(
                "OUTPUT_COUNTS",
                tr("Clear observations"),
                tr("How many clear observations each composite is made from, one band per period."),
                optional=True,
                made_unasked=False,
            ),
        ]

    def compute(self, values, feedback):
        output, counts = values.target("OUTPUT"), values.target("OUTPUT_COUNTS")
        job = {
            "series": values.raster("SERIES"),
            "period": values.text("PERIOD").lower(),
            **values.dates(),
            "method": values.choice("METHOD"),
            "target_day": values.optional_number("TARGET_DAY"),
            "keep_classes": values.choices("KEEP_CLASSES"),
            "dilate_cloud": values.number("DILATE_CLOUD"),
            "speck": values.number("SPECK"),
            "mask_band": values.text("MASK_BAND") or None,
            "output": output,
            "output_counts": counts,
        }
        self.run_job(self.ID, job, feedback, [output, counts])
        return {"OUTPUT": output, **({"OUTPUT_COUNTS": counts} if counts else {})}
