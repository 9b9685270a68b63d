"""Models and a training set to a report on how well they do."""

from __future__ import annotations

import os

from qgis.core import (
    Qgis,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterString,
    QgsProcessingParameterVectorDestination,
)

from ..processing_provider import model_cards, parameters, vocabulary
from ..processing_provider.algorithm import CropMapAlgorithm
from ..processing_provider.parameters import advanced, only_if_asked, switch, tr, whole_number, with_help, words

LAYERS = (".gpkg", ".geojson")


class EvaluateModel(CropMapAlgorithm):
    """`cropmap:evaluatemodel`."""

    ID = "evaluatemodel"
    TITLE = "Evaluate model"
    GROUP = "train"
    FOLD_MODELS = True
    HELP = (
        "Judges a model by samples that it has not seen, alone or side by side with others, on one page that opens in "
        "any browser: accuracy, F1 of each class with confidence intervals, confusion, calibration, learning curves, "
        "how early in the season it is right, and how it does by region and parcel size. All numbers stand in a JSON "
        "file beside the page. Samples that a model has seen in training are refused. Labels are declarations, surveys "
        "or maps: accuracy is agreement with them."
    )
    TAGS = ("accuracy", "evaluation", "validation", "test", "confusion matrix", "F1", "kappa", "calibration", "report")

    def define(self):
        return [
            parameters.model(self.FOLD_MODELS),
            with_help(
                QgsProcessingParameterFile("SAMPLES", tr("Training set"), fileFilter="HDF5 (*.h5 *.hdf5)"),
                tr('A training set of "Build training set".'),
            ),
            with_help(
                words("SET", tr("Samples to judge by"), vocabulary.EVALUATED_SETS, "test"),
                tr("test is what a model trained on this file has not seen; all suits a file that no model has seen."),
            ),
            advanced(
                with_help(
                    QgsProcessingParameterString("OTHER_MODELS", tr("Models beside it"), optional=True),
                    tr("Ids or folders of models, or of fold models, to compare with, separated by semicolons."),
                )
            ),
            advanced(
                switch(
                    "ALLOW_SEEN",
                    tr("Allow samples that a model has seen"),
                    False,
                    tr("The figures are too good then, and every report says so."),
                )
            ),
            with_help(
                advanced(words("GROUP", tr("Draw for confidence intervals"), vocabulary.EVALUATED_GROUPS, "auto")),
                tr(
                    "What is drawn as a whole, for pixels of one place are not independent; auto: parcels, else zones "
                    "if there are ten, else cells of 1 km, else samples."
                ),
            ),
            whole_number("SEED", tr("Seed"), 0, 0, tr("Decides what is drawn at random.")),
            parameters.model_temperatures(),
            parameters.device(),
            with_help(
                QgsProcessingParameterFileDestination("OUTPUT_HTML", tr("Report"), "HTML (*.html)"),
                tr("One page with all its figures; a JSON file of the same name is written beside it."),
            ),
            only_if_asked(
                advanced(
                    with_help(
                        QgsProcessingParameterFileDestination(
                            "OUTPUT_JSON", tr("Numbers"), "JSON (*.json)", optional=True
                        ),
                        tr("If they are to stand elsewhere than beside the report."),
                    )
                )
            ),
            only_if_asked(
                with_help(
                    QgsProcessingParameterVectorDestination(
                        "OUTPUT_ERRORS", tr("Errors"), Qgis.ProcessingSourceType.VectorPoint, optional=True
                    ),
                    tr("Points of wrongly predicted samples, the most confident errors first: GeoPackage or GeoJSON."),
                )
            ),
        ]

    def mistake(self, values):
        self._models(values)
        page = values.chosen_target("OUTPUT_HTML")
        if page is not None and not page.lower().endswith((".html", ".htm")):
            return f"OUTPUT_HTML is {page}: end its name in .html."
        layer = values.chosen_target("OUTPUT_ERRORS")
        if layer is not None and not layer.lower().endswith(LAYERS):
            return f"OUTPUT_ERRORS is {layer}: end its name in .gpkg or .geojson."
        return ""

    def compute(self, values, feedback):
        page, layer = values.file_target("OUTPUT_HTML"), values.file_target("OUTPUT_ERRORS")
        numbers = values.file_target("OUTPUT_JSON") or f"{os.path.splitext(page)[0]}.json"
        job = {
            "models": self._models(values),
            "samples": values.path("SAMPLES"),
            "set": values.choice("SET"),
            "allow_seen": values.flag("ALLOW_SEEN"),
            "group": values.choice("GROUP"),
            "seed": values.number("SEED"),
            "temperatures": values.path("TEMPERATURES") or None,
            "device": values.choice("DEVICE"),
            "output_html": page,
            "output_json": numbers,
            "output_errors": layer,
        }
        self.run_job(self.ID, job, feedback, [page, numbers, layer])
        return {"OUTPUT_HTML": page, "OUTPUT_JSON": numbers, **({"OUTPUT_ERRORS": layer} if layer else {})}

    def _models(self, values):
        others = [model_cards.resolve(model, self.FOLD_MODELS) for model in values.texts("OTHER_MODELS")]
        return [values.model(fold_models=self.FOLD_MODELS), *others]
