"""Composites with gaps to composites without."""

from __future__ import annotations

from qgis.core import Qgis, QgsProcessingParameterNumber

from ..processing_provider import parameters, vocabulary
from ..processing_provider.algorithm import CropMapAlgorithm
from ..processing_provider.parameters import tr


class FillGaps(CropMapAlgorithm):
    """`cropmap:fillgaps`."""

    ID = "fillgaps"
    TITLE = "Fill gaps"
    GROUP = "prepare"
    HELP = (
        "Fills the periods in which a pixel was never clear. By the usual method, neighbour_mean, a gap between two "
        "observed periods takes the mean of the nearest one before and after it; linear goes by the days between "
        "them. A gap at the start takes the next, one at the end the last observed period. savitzky_golay and "
        "whittaker draw a smooth curve through the observed periods and replace these too.\n\nA pixel that was never "
        "observed at all stays nodata, and so does a gap longer than the longest to fill "
        "(MAX_GAP), if you give one."
    )
    TAGS = ("fill", "gaps", "smooth", "clouds", "Savitzky-Golay", "Whittaker", "time series")

    def define(self):
        return [
            parameters.series(),
            parameters.with_help(
                parameters.words("METHOD", tr("Method"), vocabulary.FILL_METHODS, "neighbour_mean"),
                tr("The bundled models learnt from seasons that were filled by neighbour_mean."),
            ),
            parameters.whole_number(
                "MAX_GAP",
                tr("Longest gap to fill (days)"),
                None,
                1,
                tr("Days from the observed period before a gap to the one after it; none: gaps of any length."),
            ),
            parameters.whole_number(
                "WINDOW",
                tr("Savitzky-Golay: periods in the window"),
                5,
                3,
                tr("How many periods each polynomial is fitted to, an odd number."),
            ),
            parameters.whole_number(
                "ORDER", tr("Savitzky-Golay: order"), 2, 0, tr("Order of the polynomials, less than WINDOW."), 4
            ),
            parameters.with_help(
                parameters.advanced(
                    QgsProcessingParameterNumber(
                        "SMOOTHNESS",
                        tr("Whittaker: smoothness"),
                        Qgis.ProcessingNumberParameterType.Double,
                        defaultValue=1.0,
                        minValue=0.001,
                    )
                ),
                tr(
                    "How much curvature weighs against distance from the observed values (lambda): about 1 for months, "
                    "10 and more for dekads."
                ),
            ),
            parameters.raster_output("OUTPUT", tr("Filled time series"), tr("The filled time series file, a GeoTIFF.")),
            parameters.raster_output(
                "OUTPUT_PROVENANCE",
                tr("Fill provenance"),
                tr(
                    "Per pixel the number of observed periods (clear_count), the share of its periods that are filled "
                    "(filled_share, 0 to 1) and its longest gap in days (longest_gap_days)."
                ),
                optional=True,
                made_unasked=False,
            ),
        ]

    def compute(self, values, feedback):
        output, provenance = values.target("OUTPUT"), values.target("OUTPUT_PROVENANCE")
        job = {
            "series": values.raster("SERIES"),
            "method": values.choice("METHOD"),
            "max_gap": values.optional_number("MAX_GAP"),
            "window": values.number("WINDOW"),
            "order": values.number("ORDER"),
            "smoothness": values.decimal("SMOOTHNESS"),
            "output": output,
            "output_provenance": provenance,
        }
        self.run_job(self.ID, job, feedback, [output, provenance])
        return {"OUTPUT": output, **({"OUTPUT_PROVENANCE": provenance} if provenance else {})}
