"""The parameters of a recipe: how a model is trained."""

from __future__ import annotations

from qgis.core import (
    Qgis,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterNumber,
    QgsProcessingParameterString,
)

from . import parameters, vocabulary
from .parameters import advanced, switch, tr, with_help, words

Definitions = list[QgsProcessingParameterDefinition]


def network() -> Definitions:
    """What is trained, and what it sees."""
    return [
        with_help(
            words("ARCHITECTURE", tr("Architecture"), vocabulary.ARCHITECTURES, "tempcnn"),
            tr(
                "tempcnn, ltae, transformer, rnn, atlstm and hybrid look at each pixel alone; hybrid_cnn, utae, "
                "convrnn and attention_unet3d at those around too; convlstm, resnet, densenet, efficientnet, lrcn and "
                "cnn3d give a small patch one class: all these need patches. xgboost and random_forest grow trees."
            ),
        ),
        _text(
            "CHANNELS",
            tr("Channels"),
            tr("Bands and indices that the model takes, like B04,B08,NDVI; empty: all bands of the training set."),
        ),
        _number("EPOCHS", tr("Epochs"), 30, tr("Passes over the training samples, at most."), least=1),
        switch(
            "CROSS_VALIDATE",
            tr("Cross-validate"),
            False,
            tr("Also judges the recipe on every fold, by models that have not seen it: takes as many times longer."),
        ),
        with_help(
            advanced(
                words("ENSEMBLE", tr("Ensemble with"), vocabulary.ARCHITECTURES, None, several=True, optional=True)
            ),
            tr("Further architectures: the model is then an ensemble of all."),
        ),
        advanced(_number("MEMBERS", tr("Members"), 1, tr("Of each, with other seeds, for an ensemble."), least=1)),
        with_help(
            advanced(words("COMBINE", tr("Combine members by"), vocabulary.COMBINATIONS, "mean")),
            tr("mean of their probabilities; stacked: learns from the validation samples whom to believe."),
        ),
        advanced(
            parameters.own_model(
                "FROM_MODEL",
                tr("Go on from model"),
                tr("Fine-tunes this model, with its architecture and channels; classes may be others."),
            )
        ),
        advanced(
            _text("HYPER_PARAMETERS", tr("Hyper-parameters"), tr("Of the architecture, like hidden=64; dropout=0.1."))
        ),
    ]


def optimisation() -> Definitions:
    """How it is trained; the defaults suit most sets."""
    real = Qgis.ProcessingNumberParameterType.Double
    definitions = [
        with_help(
            words("BALANCE", tr("Balance classes by"), vocabulary.BALANCES, "none"),
            tr("weights: rare classes count more; sampling: rare classes are shown more often."),
        ),
        with_help(
            words("LOSS", tr("Loss"), vocabulary.LOSSES, "cross_entropy"),
            tr("focal: what is easy counts less."),
        ),
        _text(
            "LEVEL_WEIGHTS",
            tr("Weights of levels"),
            tr(
                "Of groups, families and crops in the loss, coarsest first, like 0.3,0.7: the network tells groups "
                "apart before crops; empty: crops alone."
            ),
        ),
        _text(
            "AUGMENTATION",
            tr("Augmentation"),
            tr(
                "Strengths from 0 to 1 of turns, crops, dates, clouds, shift, jitter, noise and mixup, like dates=0.2; "
                "none: nothing is varied; empty: the usual ones."
            ),
        ),
        _number("BATCH_SIZE", tr("Batch size"), 0, tr("Samples per step; 0: up to 256 pixels or 8 patches.")),
        _number("LEARNING_RATE", tr("Learning rate"), 0.002, tr("At its highest."), real, 1e-6, 1),
        _number("WEIGHT_DECAY", tr("Weight decay"), 0.01, tr("Of AdamW."), real, 0, 1),
        _number(
            "LABEL_SMOOTHING", tr("Label smoothing"), 0.05, tr("Share of a label that other classes get."), real, 0, 0.9
        ),
        _number(
            "PATIENCE", tr("Patience"), 10, tr("Epochs without a better validation macro F1 before it ends; 0: never.")
        ),
        with_help(
            words("KEEP", tr("Epoch to keep"), vocabulary.KEPT_EPOCHS, "best"),
            tr("best: for the validation samples; last: they choose nothing, and their figures are fair."),
        ),
        _text(
            "DETAILS",
            tr("Column of finer labels"),
            tr("A second head learns them beside the classes, so that the network tells more apart; empty: none."),
        ),
        _number(
            "AVERAGING",
            tr("Averaging"),
            0.99,
            tr("Decay of the moving average of the weights; 0: none."),
            real,
            0,
            0.9999,
        ),
        with_help(
            words("PRECISION", tr("Precision"), vocabulary.PRECISIONS, "auto"),
            tr("bfloat16 is faster where the device is made for it; auto: there."),
        ),
        with_help(
            words("AT_CHECKPOINT", tr("A training that was stopped"), vocabulary.AT_CHECKPOINT, "resume"),
            tr("resume: goes on from its checkpoint; restart: begins anew; finish: makes the model of its best epoch."),
        ),
        _text("TITLE", tr("Title"), tr("Of the model, as users see it; empty: its classes.")),
        _number("SEED", tr("Seed"), 0, tr("Of what is drawn at random.")),
    ]
    return [advanced(definition) for definition in definitions]


def _text(name: str, description: str, text: str) -> QgsProcessingParameterDefinition:
    return with_help(QgsProcessingParameterString(name, description, None, False, True), text)


def _number(
    name: str, description: str, default: float, text: str, kind=Qgis.ProcessingNumberParameterType.Integer,
    least: float = 0, most: float = 2**31 - 1,
) -> QgsProcessingParameterDefinition:  # fmt: skip
    return with_help(QgsProcessingParameterNumber(name, description, kind, default, False, least, most), text)
