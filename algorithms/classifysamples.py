"""A table of point time series to crop classes."""

from __future__ import annotations

from qgis.core import QgsProcessingParameterFile, QgsProcessingParameterFileDestination

from ..processing_provider import parameters, vocabulary
from ..processing_provider.algorithm import CropMapAlgorithm
from ..processing_provider.parameters import advanced, switch, tr, with_help, words


class ClassifySamples(CropMapAlgorithm):
    """`cropmap:classifysamples`."""

    ID = "classifysamples"
    TITLE = "Classify samples"
    GROUP = "map"
    HELP = (
        "Classifies the samples of a table of point time series, as Earth Engine and openEO give them: a row per "
        "sample and date in, a row per sample with crop class and probability out. The rows of a period are composited "
        "by their median and gaps are filled, as for a map. The table must hold the bands that the model needs; "
        "coordinates and labels may be there, and never count. A sample that was not observed in the model's season "
        "has no class."
    )
    TAGS = ("classification", "table", "points", "samples", "prediction", "time series")

    def define(self):
        tables = "Parquet, CSV (*.parquet *.pq *.csv *.txt)"
        return [
            with_help(
                QgsProcessingParameterFile("INPUT", tr("Table"), fileFilter=tables),
                tr("Parquet or CSV with sample_id, date, B02, ..., and optional valid, in any order."),
            ),
            parameters.model(),
            with_help(
                advanced(words("REFLECTANCE", tr("Reflectance of the table"), vocabulary.REFLECTANCES, "scaled")),
                tr("scaled: reflectance x 10000; unit: 0 to 1."),
            ),
            advanced(
                switch(
                    "PROBABILITIES",
                    tr("Probabilities of all classes"),
                    False,
                    tr("Adds a column prob_NAME for each class."),
                )
            ),
            parameters.sure_from(),
            parameters.model_temperatures(),
            parameters.device(),
            with_help(
                QgsProcessingParameterFileDestination("OUTPUT", tr("Classes"), "CSV (*.csv);;Parquet (*.parquet)"),
                tr("A row per sample: sample_id, pred_code, pred_crop, pred_prob, ood."),
            ),
        ]

    def mistake(self, values):
        target = values.chosen_target("OUTPUT")
        if target is not None and not target.lower().endswith((".csv", ".parquet", ".pq")):
            return f"OUTPUT is {target}: end its name in .csv or .parquet."
        return ""

    def compute(self, values, feedback):
        output = values.file_target("OUTPUT")
        job = {
            "input": values.path("INPUT"),
            "model": values.model(),
            "reflectance": values.choice("REFLECTANCE"),
            "probabilities": values.flag("PROBABILITIES"),
            **values.model_use(),
            "output": output,
        }
        self.run_job(self.ID, job, feedback, [output])
        return {"OUTPUT": output}
