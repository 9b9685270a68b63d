"""A training set to a report."""

from __future__ import annotations

from qgis.core import (
    Qgis,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterVectorDestination,
)

from ..processing_provider.algorithm import CropMapAlgorithm
from ..processing_provider.parameters import tr, with_help


class SummarizeSamples(CropMapAlgorithm):
    """`cropmap:summarizesamples`."""

    ID = "summarizesamples"
    TITLE = "Summarize samples"
    GROUP = "train"
    HELP = (
        "Describes a training set on one page that opens in any browser: how many samples of which class, what each "
        "class looks like over the season, gaps, how well classes can be told apart, and which samples to look at "
        "again. Labels are doubted where models that did not see a sample predict another class with confidence."
    )
    TAGS = ("training", "samples", "report", "label errors", "outliers", "separability")

    def define(self):
        return [
            with_help(
                QgsProcessingParameterFile("SAMPLES", tr("Training set"), fileFilter="HDF5 (*.h5 *.hdf5)"),
                tr('A training set of "Build training set".'),
            ),
            with_help(
                QgsProcessingParameterFileDestination("OUTPUT_HTML", tr("Report"), "HTML (*.html)"),
                tr("One page with all its figures."),
            ),
            with_help(
                QgsProcessingParameterVectorDestination(
                    "OUTPUT_SUSPICIOUS", tr("Suspicious samples"), Qgis.ProcessingSourceType.VectorPoint, optional=True
                ),
                tr("Points, the most suspicious first: label, what it looks like, probabilities and why."),
            ),
        ]

    def compute(self, values, feedback):
        page = values.file_target("OUTPUT_HTML")
        layer = values.file_target("OUTPUT_SUSPICIOUS")
        job = {"samples": values.path("SAMPLES"), "output_html": page, "output_suspicious": layer}
        self.run_job(self.ID, job, feedback, [page, layer])
        return {"OUTPUT_HTML": page, **({"OUTPUT_SUSPICIOUS": layer} if layer else {})}
