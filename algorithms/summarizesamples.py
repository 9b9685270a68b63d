"""A training set to a report."""

from __future__ import annotations

from contextlib import nullcontext

from qgis.core import (
    Qgis,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterVectorDestination,
)

from ..processing_provider import parameters
from ..processing_provider.algorithm import CropMapAlgorithm
from ..processing_provider.parameters import tr, with_help
from ..processing_provider.parcels import check_parcels, numbered_parcels


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
            parameters.parcels(optional=True),
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
            parameters.only_if_asked(
                with_help(
                    QgsProcessingParameterVectorDestination(
                        "OUTPUT_PARCELS",
                        tr("Suspicious parcels"),
                        Qgis.ProcessingSourceType.VectorPolygon,
                        optional=True,
                    ),
                    tr("Of the field parcels those of whose pixels at least a quarter is suspicious, the worst first."),
                )
            ),
        ]

    def mistake(self, values):
        if values.has("OUTPUT_PARCELS") and not values.has("PARCELS"):
            return "OUTPUT_PARCELS needs PARCELS, the polygons of what the samples lie in."
        if values.has("PARCELS"):
            check_parcels(values)
        return ""

    def compute(self, values, feedback):
        names = [name for name in ("OUTPUT_HTML", "OUTPUT_SUSPICIOUS", "OUTPUT_PARCELS") if values.has(name)]
        outputs = {name: values.file_target(name) for name in names}
        job = {"samples": values.path("SAMPLES"), **{name.lower(): path for name, path in outputs.items()}}
        given = numbered_parcels(values, feedback) if values.has("PARCELS") else nullcontext()
        with given as parcels:
            self.run_job(self.ID, {**job, "parcels": parcels}, feedback, outputs.values())
        return outputs
