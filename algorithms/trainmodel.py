"""A training set to a model."""

from __future__ import annotations

from qgis.core import QgsProcessingParameterFile, QgsProcessingParameterFolderDestination

from ..processing_provider import parameters, recipe_parameters
from ..processing_provider.algorithm import CropMapAlgorithm
from ..processing_provider.parameters import advanced, only_if_asked, tr, with_help

CHOICES = ("COMBINE", "LOSS", "BALANCE", "KEEP", "PRECISION", "AT_CHECKPOINT", "DEVICE")
WHOLE = ("MEMBERS", "EPOCHS", "BATCH_SIZE", "PATIENCE", "SEED")
DECIMAL = ("LEARNING_RATE", "WEIGHT_DECAY", "LABEL_SMOOTHING", "AVERAGING")


class TrainModel(CropMapAlgorithm):
    """`cropmap:trainmodel`."""

    ID = "trainmodel"
    TITLE = "Train model"
    GROUP = "train"
    HELP = (
        "Trains a model on a training set: it learns from the training samples, stops where it does best on the "
        "validation samples, and never looks at the test samples, which are for judging it. The result is the folder "
        "of a model bundle that maps at once. A training that is cancelled keeps a checkpoint: run it again with the "
        'same parameters to go on, or choose "finish" for a training that was stopped (AT_CHECKPOINT) to have the '
        "model of its best epoch so far."
    )
    TAGS = ("training", "deep learning", "neural network", "random forest", "xgboost", "fine-tuning")

    def define(self):
        return [
            with_help(
                QgsProcessingParameterFile("SAMPLES", tr("Training set"), fileFilter="HDF5 (*.h5 *.hdf5)"),
                tr('A training set of "Build training set".'),
            ),
            *recipe_parameters.network(),
            *recipe_parameters.optimisation(),
            parameters.temperatures(tr("To count thermal days in place of days of the calendar.")),
            parameters.device(),
            with_help(
                QgsProcessingParameterFolderDestination("OUTPUT", tr("Model")),
                tr("Folder of the model bundle; its name becomes the model's id."),
            ),
            only_if_asked(
                advanced(
                    with_help(
                        QgsProcessingParameterFolderDestination("TENSORBOARD", tr("TensorBoard curves"), optional=True),
                        tr("Folder for curves that TensorBoard shows."),
                    )
                )
            ),
        ]

    def compute(self, values, feedback):
        output = values.file_target("OUTPUT")
        curves = values.file_target("TENSORBOARD")
        augmentation = values.texts("AUGMENTATION")
        job = {
            "samples": values.path("SAMPLES"),
            "architecture": [values.choice("ARCHITECTURE"), *values.choices("ENSEMBLE")],
            "hyper_parameters": [part for part in values.text("HYPER_PARAMETERS").split(";") if part.strip()],
            "channels": values.texts("CHANNELS"),
            "from_model": values.model("FROM_MODEL") if values.has("FROM_MODEL") else None,
            "cross_validate": values.flag("CROSS_VALIDATE"),
            "augmentation": augmentation,
            "tensorboard": curves,
            "level_weights": values.decimals("LEVEL_WEIGHTS"),
            "temperatures": values.path("TEMPERATURES") or None,
            "details": values.text("DETAILS"),
            "title": values.text("TITLE"),
            "output": output,
            **{name.lower(): values.choice(name) for name in CHOICES},
            **{name.lower(): values.number(name) for name in WHOLE},
            **{name.lower(): values.decimal(name) for name in DECIMAL},
        }
        self.run_job(self.ID, job, feedback, [output])
        return {"OUTPUT": output, **({"TENSORBOARD": curves} if curves else {})}
