"""The probabilities of several runs to one crop map."""

from __future__ import annotations

import math

from qgis.core import Qgis, QgsProcessingParameterMultipleLayers, QgsProcessingParameterString

from ..processing_provider import map_outputs, parameters, vocabulary
from ..processing_provider.algorithm import CropMapAlgorithm
from ..processing_provider.parameters import tr, with_help, words

WEIGHTED = "weighted"


class CombinePredictions(CropMapAlgorithm):
    """`cropmap:combinepredictions`."""

    ID = "combinepredictions"
    TITLE = "Combine predictions"
    GROUP = "map"
    HELP = (
        "Makes one crop map of several: the class probabilities of runs of different models, or of one model with "
        "different input, are averaged pixel by pixel, and the most probable class is mapped. The rasters lie on one "
        "grid; their classes are matched by name, in whatever order the bands are. A class that a model does not know "
        "counts 0 there. Where only some of the runs saw a pixel, the map is theirs."
    )
    TAGS = ("ensemble", "fusion", "average", "probability", "classification")

    def define(self):
        rasters = QgsProcessingParameterMultipleLayers(
            "PREDICTIONS", tr("Class probabilities"), Qgis.ProcessingSourceType.Raster
        )
        return [
            with_help(rasters, tr('Two or more rasters that "Classify" or "Map crops" wrote as OUTPUT_PROBABILITIES.')),
            with_help(
                words("METHOD", tr("Method"), vocabulary.COMBINING_METHODS, "mean"),
                tr(
                    "mean: all count the same; weighted: by WEIGHTS; entropy_weighted: in each pixel by how sure a run "
                    "is of it."
                ),
            ),
            with_help(
                QgsProcessingParameterString("WEIGHTS", tr("Weights"), optional=True),
                tr("One number above 0 for each raster, in their order, with commas between; for METHOD weighted."),
            ),
            parameters.raster_output(
                "OUTPUT_CLASSES", tr("Crop classes"), tr("One class value per pixel, 0 where unknown.")
            ),
            parameters.raster_output(
                "OUTPUT_CONFIDENCE", tr("Confidence"), tr("Percent, 255 where unknown."), optional=True
            ),
            map_outputs.probabilities("OUTPUT_PROBABILITIES", tr("Combined probabilities")),
        ]

    def mistake(self, values):
        weights, rasters = values.decimals("WEIGHTS"), values.paths("PREDICTIONS")
        if len(rasters) < 2:
            return "PREDICTIONS holds one raster: give two or more."
        if weights and values.choice("METHOD") != WEIGHTED:
            return f"There are WEIGHTS, but METHOD is {values.choice('METHOD')}: leave them out, or choose weighted."
        if not weights and values.choice("METHOD") == WEIGHTED:
            return "WEIGHTS is empty: give one number for each raster, such as 2,1,1."
        if weights and (len(weights) != len(rasters) or not all(0 < weight < math.inf for weight in weights)):
            return (
                f"WEIGHTS is {values.text('WEIGHTS')}: give one number above 0 for each of the {len(rasters)} rasters."
            )
        return ""

    def compute(self, values, feedback):
        written = map_outputs.targets(values)
        job = {
            "predictions": values.paths("PREDICTIONS"),
            "method": values.choice("METHOD"),
            "weights": values.decimals("WEIGHTS"),
            **map_outputs.in_a_job(written),
        }
        self.run_job(self.ID, job, feedback, written.values())
        return {name: path for name, path in written.items() if path}
